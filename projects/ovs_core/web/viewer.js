// Names under the pointer, and words picked out from the legend. Works by delegation, because the
// results are replaced as a whole whenever there are new ones.
(() => {
  const maps = new WeakMap(); // stage -> {width, height, data, names, owners}

  function regionMap(stage) {
    const image = stage.querySelector(".ovs-map");
    if (!maps.has(stage) && image.complete && image.naturalWidth) {
      const canvas = document.createElement("canvas");
      canvas.width = image.naturalWidth;
      canvas.height = image.naturalHeight;
      const context = canvas.getContext("2d", { willReadFrequently: true });
      context.drawImage(image, 0, 0);
      const { width, height, data } = context.getImageData(0, 0, canvas.width, canvas.height);
      const [names, owners] = [stage.dataset.names, stage.dataset.owners].map(JSON.parse);
      maps.set(stage, { width, height, data, names, owners });
    }
    return maps.get(stage);
  }

  // Index of the name that owns a pixel; -1 where a panoptic method names nothing.
  function nameIndex(map, at) {
    return map.owners[map.data[at] + 256 * map.data[at + 1]];
  }

  function showTip(stage, x, y) {
    const map = regionMap(stage);
    if (!map) return;
    const column = Math.min(map.width - 1, Math.max(0, Math.floor(x * map.width)));
    const row = Math.min(map.height - 1, Math.max(0, Math.floor(y * map.height)));
    const tip = stage.querySelector(".ovs-tip");
    tip.textContent = map.names[nameIndex(map, 4 * (row * map.width + column))] ?? "no name";
    for (const mark of [tip, stage.querySelector(".ovs-dot")]) {
      mark.style.left = `${100 * x}%`;
      mark.style.top = `${100 * y}%`;
    }
    tip.classList.toggle("ovs-left", x > 0.6);
    tip.classList.toggle("ovs-below", y < 0.15);
    stage.classList.add("ovs-pointed");
  }

  function hideTips() {
    document.querySelectorAll(".ovs-pointed").forEach((s) => s.classList.remove("ovs-pointed"));
  }

  // All methods show the same picture, so all name the same spot.
  function point(event) {
    const stage = event.target.closest?.(".ovs-stage");
    if (!stage) return hideTips();
    const box = stage.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width;
    const y = (event.clientY - box.top) / box.height;
    stage.closest(".ovs-cards").querySelectorAll(".ovs-stage").forEach((s) => showTip(s, x, y));
  }

  function dimOthers(stage, index) {
    const map = regionMap(stage);
    if (!map) return;
    const canvas = document.createElement("canvas");
    canvas.className = "ovs-dim";
    canvas.width = map.width;
    canvas.height = map.height;
    const shade = new ImageData(map.width, map.height);
    for (let at = 0; at < map.data.length; at += 4) {
      shade.data[at + 3] = nameIndex(map, at) === index ? 0 : 190;
    }
    canvas.getContext("2d").putImageData(shade, 0, 0);
    stage.append(canvas);
  }

  function pickOut(event) {
    const word = event.target.closest?.(".ovs-legend button");
    document.querySelectorAll(".ovs-dim").forEach((canvas) => canvas.remove());
    if (!word) return;
    word.closest(".ovs-cards").querySelectorAll(".ovs-stage").forEach((stage) => {
      dimOthers(stage, Number(word.dataset.index));
    });
  }

  // Where the columns stand below each other, the results are out of sight when they come. Only
  // with them is the page long enough to bring them to its top.
  let shownRun = "";

  function showResults() {
    const run = document.querySelector(".ovs-cards")?.dataset.run ?? "";
    if (run === shownRun) return;
    shownRun = run;
    const outputs = document.querySelector("#ovs-outputs");
    if (outputs.getBoundingClientRect().top < window.innerHeight / 4) return;
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    outputs.scrollIntoView({ behavior: calm ? "auto" : "smooth" });
  }

  new MutationObserver(showResults).observe(document.documentElement, {
    subtree: true, childList: true,
  });
  document.addEventListener("pointermove", point);
  document.addEventListener("pointerdown", point);
  document.addEventListener("pointerover", pickOut);
  document.addEventListener("focusin", pickOut);
  document.addEventListener("focusout", () => pickOut({ target: document }));
})();
