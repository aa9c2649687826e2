"""The interactive page in a browser: how a test opens it, what a reader does with it and reads there. A plugin of the files that test it: one browser a worker."""

import contextlib
import io
import math
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
import touch  # noqa: E402

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place: Path = tmp_path_factory.mktemp("touch")
    touch.build(place)
    return place


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright")
    with sync_api.sync_playwright() as playwright:
        found = next((path for path in map(shutil.which, BROWSERS) if path), None)
        try:
            started = playwright.chromium.launch(executable_path=found)
        except sync_api.Error:
            pytest.skip("Chromium")
        yield started
        started.close()


class Page:
    """A page that is open, and what a reader does with it."""

    def __init__(self, browser: Any, folder: Path, width: int = 1280, query: str = "", **options: Any) -> None:
        self.size = {"width": width, "height": 900}
        self.context = browser.new_context(viewport=self.size, reduced_motion="reduce", **options)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.root = (folder / "index.html").as_uri() + query

    def open(self, address: str = "") -> "Page":
        self.page.goto("about:blank")
        self.page.set_viewport_size(self.size)
        self.page.mouse.move(0, 0)
        self.page.goto(self.root + address)
        self.settle()
        return self

    def settle(self) -> None:
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 5))))")

    def text(self, selector: str) -> str:
        return str(self.page.text_content(selector))

    def number(self, view: str) -> str:
        return self.text(f"#{view}_value")

    def code(self, place: str = ".readout") -> str:
        return self.text(f"{place} code")

    def drag(self, selector: str, dx: float, dy: float) -> None:
        box = self.page.locator(selector).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx / 2, y + dy / 2)
        self.page.mouse.move(x + dx, y + dy)
        self.page.mouse.up()
        self.settle()

    def press(self, selector: str, *keys: str) -> None:
        for key in keys:
            self.page.locator(selector).press(key)
        self.settle()


@pytest.fixture(scope="session")
def waiting() -> dict[str, list[Page]]:
    """Pages that no test has at the moment, by their options."""
    return {}


@pytest.fixture
def opened(browser: Any, folder: Path, waiting: dict[str, list[Page]]) -> Iterator[Any]:
    """Opens pages, in windows of earlier tests: all that a page remembers stands in its address. Afterwards none may have said anything on its console."""
    taken: list[tuple[str, Page]] = []

    def opening(address: str = "", **options: Any) -> Page:
        kind = repr(sorted(options.items()))
        free = waiting.setdefault(kind, [])
        taken.append((kind, free.pop() if free else Page(browser, folder, **options)))
        return taken[-1][1].open(address)

    yield opening
    for kind, page in taken:
        assert page.said == []
        waiting[kind].append(page)


def printed(code: str) -> str:
    """What a reader sees who runs the code."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    return out.getvalue().strip()


def same(shown: str, python: str) -> bool:
    """Equal to the last digit, or one off where the last digit is a matter of rounding."""
    return float(shown) == pytest.approx(float(python), rel=2e-6)


def worked_out(text: str) -> float:
    """The value of a formula with its numbers, as one would type it into Python."""
    text = re.sub(r"\|([^|]+)\|", r"abs(\1)", text).replace("^", "**")
    return float(eval(text, {"log": math.log, "exp": math.exp, "sqrt": math.sqrt, "cosh": math.cosh, "abs": abs, "Gamma": math.gamma}))
