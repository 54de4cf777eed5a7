"""Pages as a browser shows them: Debian's chromium, without a window."""

import dataclasses
import html
import json
import pathlib
import re
import shutil
import subprocess
from typing import Any

import numpy as np
import pytest
from matplotlib import image

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    # The frame below is a file of its own, and is measured from the one around it.
    "--allow-file-access-from-files",
    # In a process of its own a frame may not be drawn yet when the picture is taken.
    "--disable-features=IsolateSandboxedIframes",
)
DARK = "--blink-settings=preferredColorScheme=0"
# A window is 500 pixels wide at least; a frame within it as narrow as a telephone.
FRAME = """<!DOCTYPE html><html><body style="margin: 0"><pre id="found"></pre>
<iframe src="{name}" {more} style="border: 0; width: {width}px; height: {height}px">
</iframe><script>{script}</script></body></html>"""
MEASURE = """
addEventListener("load", () => {
  const inner = document.querySelector("iframe").contentDocument;
  const wide = inner.documentElement.clientWidth;
  const out = [...inner.body.querySelectorAll("*")].filter(
    (each) => !each.closest(".scroll") && each.getBoundingClientRect().right > wide + 1
  );
  const boxes = [...inner.querySelectorAll(".scroll")];
  document.querySelector("#found").textContent = JSON.stringify({
    width: wide,
    scrolls: inner.documentElement.scrollWidth,
    outside: out.map((each) => each.tagName + " " + each.textContent.slice(0, 40)),
    boxes: boxes.map((each) => each.getBoundingClientRect().right),
  });
});
"""
CLICK = """
addEventListener("load", () => {
  const inner = document.querySelector("iframe").contentDocument;
  const heads = [...inner.querySelectorAll("th button")];
  const head = heads.find((each) => each.textContent.trim() === %s);
  for (let i = 0; i < %d; i++) head.click();
  const rows = [...head.closest("table").querySelectorAll("tbody th bdi")];
  document.querySelector("#found").textContent = JSON.stringify(
    rows.map((each) => each.textContent)
  );
});
"""


@dataclasses.dataclass(frozen=True)
class Browser:
    """A browser, and a folder of its own.

    Attributes:
      program: the file.
      profile: an empty folder.
    """

    program: str
    profile: pathlib.Path

    def _run(self, page: pathlib.Path, *flags: str) -> tuple[str, list[str]]:
        """What it printed, and the messages on its console."""
        found = subprocess.run(
            [
                self.program,
                *FLAGS,
                f"--user-data-dir={self.profile}",
                *flags,
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        return found.stdout, re.findall(r":CONSOLE[^\]]*\] (.*)", found.stderr)

    def opened(self, page: pathlib.Path) -> tuple[str, list[str]]:
        """The page's elements once its scripts have run, and what its console says."""
        return self._run(page, "--dump-dom")

    def seen(self, page: pathlib.Path, width: int, *flags: str) -> np.ndarray:
        """What is to be seen of it, ``[H, W, 3]``; scripts do not run."""
        around = _framed(page, width, 2000, more='sandbox=""')
        picture = page.with_suffix(".png")
        size = f"--window-size={max(width, 500)},2000"
        self._run(around, size, f"--screenshot={picture}", *flags)
        return image.imread(picture)[:, :width, :3]

    def measured(self, page: pathlib.Path, width: int) -> dict:
        """Its width, how far it scrolls, what stands out of it, its scrolled boxes."""
        return self._asked(page, width, MEASURE)

    def sorted_by(self, page: pathlib.Path, head: str, clicks: int) -> list[str]:
        """The rows of the table with that head, after so many clicks on it."""
        return self._asked(page, 1000, CLICK % (json.dumps(head), clicks))

    def _asked(self, page: pathlib.Path, width: int, script: str) -> Any:
        around = _framed(page, width, 800, script=script)
        found, _ = self._run(around, "--dump-dom")
        answer = re.search(r'<pre id="found">(.*?)</pre>', found, re.DOTALL)
        return json.loads(html.unescape(answer[1]))


def _framed(
    page: pathlib.Path, width: int, height: int, more: str = "", script: str = ""
) -> pathlib.Path:
    """A page beside this one that shows it in a frame."""
    around = page.with_name(f"around-{page.name}")
    around.write_text(
        FRAME.format(
            name=page.name, width=width, height=height, more=more, script=script
        )
    )
    return around


def find_browser(folder: pathlib.Path) -> Browser:
    """The browser of this machine; skips where there is none."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("no chromium: no page is opened in a browser")
    return Browser(program, folder)
