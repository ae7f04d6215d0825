// What ties the cards to the fields: cards turn grey as soon as the fields say something else than
// what they answer, a run shows its seconds, and Segment during a run stops it and starts anew.
(() => {
  const TOO_SOON = 400; // milliseconds in which a second press is the end of a double click
  const find = (selector) => document.querySelector(selector);
  const clocks = new WeakMap(); // clock of a run's state -> when that began, by this page's clock
  let pressed = -Infinity;

  function shownTicket() {
    const image = find("#ovs-picture img");
    return /\/file=([\w.-]+)/.exec(image?.src ?? "")?.[1] ?? "";
  }

  function tickedMethods() {
    const boxes = [...document.querySelectorAll(".ovs-methods input[type=checkbox]")];
    return new Set(boxes.filter((box) => box.checked).map((box) => box.name));
  }

  function markOld() {
    const cards = find(".ovs-cards");
    if (!cards) return;
    const words = find("#ovs-words textarea")?.value ?? "";
    const other = cards.dataset.words !== words || cards.dataset.picture !== shownTicket();
    const methods = tickedMethods();
    cards.querySelectorAll(".ovs-card").forEach((card) => {
      const old = other || !methods.has(card.dataset.method);
      if (old !== card.classList.contains("ovs-stale")) card.classList.toggle("ovs-stale", old);
    });
  }

  function tick() {
    document.querySelectorAll(".ovs-clock").forEach((clock) => {
      const now = performance.now() / 1000;
      if (!clocks.has(clock)) clocks.set(clock, now - Number(clock.dataset.seconds));
      const text = `${Math.floor(now - clocks.get(clock))} s`;
      if (clock.textContent !== text) clock.textContent = text; // else it would call itself
    });
  }

  // gradio's own script would start two runs for two quick presses.
  function guardPress(event) {
    if (!event.target.closest?.("#ovs-go")) return;
    const now = performance.now();
    if (now - pressed < TOO_SOON) {
      event.stopImmediatePropagation();
      event.preventDefault();
      return;
    }
    pressed = now;
    if (find(".ovs-running")) find("#ovs-stop").click();
  }

  function look() {
    markOld();
    tick();
    document.body?.classList.toggle("ovs-busy", find(".ovs-running") !== null);
  }

  document.addEventListener("click", guardPress, true);
  for (const kind of ["input", "change", "click"]) document.addEventListener(kind, markOld);
  const changes = { subtree: true, childList: true, attributes: true, attributeFilter: ["src"] };
  new MutationObserver(look).observe(document.documentElement, changes);
  setInterval(look, 250);
})();
