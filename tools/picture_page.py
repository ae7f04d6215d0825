#!/usr/bin/env python
"""Picture the page with its first example: ``python tools/picture_page.py docs/web.jpg``.

Needs ``pip install playwright`` and a Chromium on the path.
"""

import argparse
import io
import shutil
import subprocess
import sys

from PIL import Image

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DONE = "document.querySelectorAll('.ovs-stage').length == 2"


def picture_page(address: str, width: int, height: int) -> Image.Image:
    """Segment the first example with the two methods that are ticked, and look.

    Args:
        address: of the served page.
        width: of the window in pixels.
        height: of it too.

    Returns:
        What the window shows.
    """
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    with sync_playwright() as playwright:
        window = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = window.new_page(viewport={"width": width, "height": height})
        tab.set_default_timeout(120_000)
        tab.goto(address)
        tab.locator("#ovs-examples button").first.click()
        tab.wait_for_function("document.querySelector('#ovs-words textarea').value.includes(',')")
        tab.click("#ovs-go")
        tab.wait_for_function(DONE)
        tab.mouse.move(2, 2)
        tab.wait_for_timeout(500)  # colours and scrolling move smoothly
        return Image.open(io.BytesIO(tab.screenshot()))


def main() -> int:
    """Serve the page, picture it, stop it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file")
    parser.add_argument("--size", default="1360x920", help="of the window, width x height")
    args = parser.parse_args()
    line = [sys.executable, "-m", "ovs_core", "web"]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            address = server.stdout.readline().split()[0]  # the first line says where it is
            picture = picture_page(address, *map(int, args.size.split("x")))
        finally:
            server.terminate()
    picture.convert("RGB").save(args.file, quality=88)
    return 0


if __name__ == "__main__":
    sys.exit(main())
