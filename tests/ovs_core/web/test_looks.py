"""How the page looks: narrow and wide, light and dark, by eye, key and screen reader."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCHEMES = ("light", "dark")
SIZES = {1440: 1000, 390: 844}
GUTTER = 12  # pixels, of a phone


def find_axe():
    """axe-core's script, as `npm install [-g] axe-core` puts it; AXE_CORE names it elsewhere."""
    places = [Path(os.environ.get("AXE_CORE", "")), Path("node_modules/axe-core/axe.min.js")]
    if npm := shutil.which("npm"):
        root = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=True)
        places.append(Path(root.stdout.strip()) / "axe-core" / "axe.min.js")
    return next((place for place in places if place.is_file()), None)


def segmented(window):
    """A tab with two results and a message."""
    tab = window.open()
    tab.locator("#ovs-examples button").first.click()
    tab.wait_for_function("document.querySelector('#ovs-words textarea').value.includes(',')")
    tab.click("#ovs-go")
    tab.wait_for_function("document.querySelectorAll('.ovs-stage').length == 2")
    return tab


@pytest.fixture(scope="module")
def plain_page(serve_page):
    return serve_page()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_serious(plain_page, open_window, scheme):
    axe = find_axe()
    if axe is None:
        pytest.skip("axe-core is not here: npm install --no-save axe-core, or set AXE_CORE")
    tab = segmented(open_window(plain_page.address, color_scheme=scheme))
    check_by_axe(tab, axe)
    tab.fill("#ovs-words textarea", "cat, cat")  # grey cards and an error
    tab.click("#ovs-go")
    tab.wait_for_selector("#ovs-message [role=alert]")
    check_by_axe(tab, axe)


def check_by_axe(tab, axe):
    tab.add_script_tag(content=axe.read_text())
    found = tab.evaluate("axe.run().then((found) => found.violations)")
    serious = [
        (rule["id"], [node["html"][:200] for node in rule["nodes"]])
        for rule in found
        if rule["impact"] in ("serious", "critical")
    ]
    assert not serious


@pytest.mark.slow
def test_pictures_of_the_page(plain_page, open_window, tmp_path):
    for width, height in SIZES.items():
        for scheme in SCHEMES:
            view = {"width": width, "height": height}
            tab = segmented(open_window(plain_page.address, viewport=view, color_scheme=scheme))
            tab.wait_for_timeout(500)  # scrolling is smooth
            card = tab.locator(".ovs-card").first.bounding_box()
            assert card["y"] < height / 3  # results are in view
            path = tmp_path / f"page_{width}_{scheme}.png"
            tab.screenshot(path=path)
            assert path.stat().st_size > 10_000
            if width == 390:
                check_phone(tab, card, width)


def check_phone(tab, card, width):
    assert card["x"] == GUTTER and card["width"] == width - 2 * GUTTER
    inputs = tab.locator("#ovs-inputs").bounding_box()
    assert inputs["x"] == GUTTER and inputs["width"] == width - 2 * GUTTER
    assert tab.evaluate("document.documentElement.scrollWidth") <= width


REACHED = """() => {
  const at = document.activeElement;
  if (at.closest(".ovs-legend")) return "legend";
  return {checkbox: "method", range: "strength", textarea: "words"}[at.type] ?? at.id;
}"""


@pytest.mark.slow
def test_the_keyboard_reaches_everything(plain_page, open_window):
    tab = segmented(open_window(plain_page.address))
    tab.mouse.move(2, 2)
    reached = set()
    for _ in range(40):
        tab.keyboard.press("Tab")
        reached.add(tab.evaluate(REACHED))
        if tab.evaluate(REACHED) == "legend":
            assert tab.locator(".ovs-dim").count() == 2  # picked out as if pointed at
    named = {"words", "method", "strength", "ovs-go", "ovs-download", "ovs-example-1", "legend"}
    assert named <= reached
