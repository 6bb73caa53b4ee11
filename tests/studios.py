"""A studio in a process of its own, and what a person does on its page in a browser."""

from __future__ import annotations

import base64
import http.client
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import warm

SECONDS = 60


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@dataclass
class Running:
    """A studio in a process of its own."""

    process: subprocess.Popen[str]
    url: str
    folder: Path

    @property
    def netloc(self) -> str:
        return self.url.removeprefix("http://").rstrip("/")

    def request(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.netloc, timeout=SECONDS)
        try:
            connection.request(method, path, body, headers or {}, encode_chunked=False)
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def key(self) -> str:
        """A new page's name."""
        found = re.search(r"/studio/([\w-]+)/pictures", self.request("GET", "/")[1])
        assert found is not None
        return found[1]

    def left(self) -> list[Path]:
        """Files that lie about."""
        return [path for path in self.folder.rglob("*") if path.is_file()]


@contextmanager
def started(
    folder: Path, kernels: Path, *options: str, models: str | None = "toy", **environment: str
) -> Iterator[Running]:
    """Start a studio, and end it.

    Args:
        folder: For all that it writes.
        kernels: Where kernels are built; beside it is what CLIPs say of texts that mean nothing.
        *options: Of the command.
        models: The pack; None leaves the choice to the command.
        **environment: Variables.
    """
    pytest.importorskip("nicegui")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("STYLECLIP_", "PYTEST_"))}
    (folder / "cache").mkdir()
    (folder / "cache" / "kernels").symlink_to(kernels)
    (folder / "cache" / "texts").symlink_to(kernels.parent / "texts")
    (folder / "temporary").mkdir()
    own = {
        "STYLECLIP_CACHE_DIR": str(folder / "cache"),
        "STYLECLIP_HOME": str(folder / "home"),
        "TMPDIR": str(folder / "temporary"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "styleclip_cli", "studio", "--port", "0", "--no-browser", *options]
    process = warm.Popen(
        [*command, *([] if models is None else ["--models", models])],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=inherited | own | environment,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        url = process.stdout.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url), process.stderr.read()
        yield Running(process, url, folder / "temporary")
    finally:
        process.kill()
        process.communicate()


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
KEYS = """async ([steps]) => {
  const canvas = document.querySelector('.tile.main canvas.after');
  const thumb = document.querySelector('.slider .q-slider [tabindex]');
  const times = [];
  for (let i = 0; i < steps; i++) {
    const began = performance.now();
    const drawn = new Promise((done) => {
      const seen = new MutationObserver(() => (seen.disconnect(), done()));
      seen.observe(canvas, { attributeFilter: ['data-version'] });
    });
    const key = { key: 'ArrowLeft', keyCode: 37, which: 37, bubbles: true };
    thumb.dispatchEvent(new KeyboardEvent('keydown', key));
    await drawn;
    times.push(performance.now() - began);
    await new Promise((done) => setTimeout(done, 60));  // the slider's own pace
  }
  return times;
}"""


CUT = """() => [...document.querySelectorAll('.studio *')].filter((element) => {
  const box = element.getBoundingClientRect();
  const inside = box.left >= -1 && box.right <= innerWidth + 1;
  return box.width > 1 && box.height > 1 && !inside && !element.closest('.q-slider, .q-focus-helper');
}).map((element) => element.className)"""
"""What reaches beyond the window's sides."""


@contextmanager
def launched() -> Iterator[Any]:
    """A browser; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as begun:
        found = begun.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@contextmanager
def opened(browser: Any, url: str, width: int = 1280, height: int = 800, **options: Any) -> Iterator[Any]:
    """A page, on which nothing may go wrong, and which may fetch nothing from elsewhere."""
    page = browser.new_page(viewport={"width": width, "height": height}, **options)
    page.set_default_timeout(1000 * SECONDS)
    problems: list[str] = []
    asked: list[str] = []
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("console", lambda line: problems.append(line.text) if line.type == "error" else None)
    page.on("request", lambda request: asked.append(request.url))
    page.goto(url)
    yield page
    assert problems == []
    assert [one for one in asked if not one.startswith((url, "data:", "blob:"))] == []
    page.close()


class Hand:
    """Does on a page what a person does."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.after = page.locator(".tile.main canvas.after")

    def version(self) -> int:
        return int(self.after.get_attribute("data-version") or 0)

    def pixels(self) -> np.ndarray:
        """What is painted of the picture after the edit."""
        data = self.after.evaluate("canvas => canvas.toDataURL()")
        return pixels(Image.open(io.BytesIO(base64.b64decode(data.partition(",")[2]))).convert("RGB"))

    def until_painted(self, version: int) -> np.ndarray:
        """Wait for a newer picture than a version's."""
        self.page.wait_for_function(
            "v => Number(document.querySelector('.tile.main canvas.after')?.dataset.version ?? -1) > v",
            arg=version,
        )
        return self.pixels()

    def type(self, field: str, text: str) -> np.ndarray:
        version = self.version()
        self.page.get_by_label(field).fill(text)
        return self.until_painted(version)

    def press(self, name: str) -> np.ndarray:
        version = self.version()
        self.page.get_by_role("button", name=name, exact=True).click()
        return self.until_painted(version)

    def tap(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).tap()

    def drag(self, slider: Any, start: float, end: float) -> np.ndarray:
        """Drag a slider, and wait until the picture at its end is painted."""
        box = slider.bounding_box()
        left, width, y = box["x"] + 6, box["width"] - 12, box["y"] + box["height"] / 2
        self.page.mouse.move(left + width * start, y)
        self.page.mouse.down()
        for step in range(1, 11):
            self.page.mouse.move(left + width * (start + (end - start) * step / 10), y)
        self.page.mouse.up()
        return self.settled()

    def settled(self) -> np.ndarray:
        """Wait until nothing is on its way any more."""
        last = -1
        while self.version() != last:
            last = self.version()
            self.page.wait_for_timeout(1000)
        return self.pixels()

    def saved(self, name: str, path: Path) -> Path:
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name=name, exact=True).click()
        download.value.save_as(path)
        return path


def dropped(page: Any, name: str, content: bytes) -> None:
    """Drop a file on the page."""
    data = page.evaluate_handle(
        """([name, content]) => {
          const data = new DataTransfer();
          data.items.add(new File([Uint8Array.from(atob(content), (c) => c.charCodeAt(0))], name));
          return data;
        }""",
        [name, base64.b64encode(content).decode()],
    )
    page.dispatch_event("main", "drop", {"dataTransfer": data})
