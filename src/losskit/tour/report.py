"""The report: one page that needs nothing else."""

import platform
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

import losskit
from losskit.tour.chapter import Chapter, Text
from losskit.tour.figures import NAMES
from losskit.tour.speed import Speed

# the page's colours at night, by the names of `figures.NAMES`
NIGHT = {"ink": "#e8eaed", "soft": "#9aa4af", "grid": "#2c333b", "paper": "#14181d"} | {
    f"c{number}": colour for number, colour in enumerate(("#6ea8ea", "#f0935a", "#62c48f", "#c08ad8", "#d9b45a", "#7cc3d1", "#f07fa6", "#9aa4af"))
}


def both(text: str | Text) -> Markup:
    """Words for the page: in both languages, of which the page shows one."""
    if isinstance(text, str):
        return escape(text)
    if text.en == text.zh:
        return escape(text.en)
    return Markup('<span lang="en">{}</span><span lang="zh">{}</span>').format(text.en, text.zh)


def breakable(call: str) -> Markup:
    """A call as code that may wrap before its arguments, on a phone."""
    return Markup("(<wbr>").join(escape(part) for part in call.split("("))


def html(chapters: Sequence[Chapter], speed: Speed | None, seed: int) -> str:
    """The page; without a speed, that of a chapter alone."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"both": both, "breakable": breakable, "svg": Markup}
    template = environment.from_string(files("losskit.tour").joinpath("report.html").read_text(encoding="utf-8"))
    facts: dict[str, Any] = {
        "version": losskit.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seed": seed,
        "losses": len(losskit.LOSSES),
        "day": {name: colour for colour, name in NAMES.items()},
        "night": NIGHT,
    }
    return template.render(chapters=chapters, speed=speed, T=Text, **facts)


def write(folder: Path, page: str, name: str = "index.html") -> Path:
    """Put the page into the folder, which is made if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(page, encoding="utf-8")
    return path
