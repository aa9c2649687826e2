"""The report: one page that needs nothing else."""

import os
import platform
import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import torch
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

import losskit
from losskit.cli import outputs
from losskit.tour.chapter import Chapter, Text
from losskit.tour.figures import NAMES
from losskit.tour.speed import Speed

# the page's colours at night, by the names of `figures.NAMES`
NIGHT = {"ink": "#e8eaed", "soft": "#9aa4af", "grid": "#2c333b", "paper": "#14181d"} | {
    f"c{number}": colour for number, colour in enumerate(("#6ea8ea", "#f0935a", "#62c48f", "#c08ad8", "#d9b45a", "#7cc3d1", "#f07fa6", "#9aa4af"))
}


LONG = re.compile(r"[A-Za-z][\w.()=\[\]]{27,}", re.ASCII)  # a name or a call that may not fit into a line of a phone


def held(text: str, space: str) -> Markup:
    """Words whose percent signs stay with their numbers, behind this space; long names break between their words."""
    words = LONG.sub(lambda name: str(breakable(name[0])), str(escape(text)).replace("losskit.", "losskit.<wbr>"))
    return Markup(re.sub(r"(?<=\d) %", f"{space}%", words))


def both(text: str | Text) -> Markup:
    """Words for the page: in both languages, of which the page shows one."""
    english, chinese = (text, text) if isinstance(text, str) else (text.en, text.zh)
    words = held(english, "\u00a0"), held(chinese, "")
    return words[0] if words[0] == words[1] else Markup('<span lang="en">{}</span><span lang="zh">{}</span>').format(*words)


def site(folder: Path) -> str:
    """Where the site is, seen from a folder: that which `make docs` builds where one is, or nothing."""
    built = Path("docs/_build/site")
    return Path(os.path.relpath(built, folder)).as_posix() if (built / "en" / "index.html").is_file() else ""


def page_of(call: str) -> str:
    """The page of the loss called, within a language's folder of the site, or of the function on products; nothing for what is neither."""
    name = call.partition("(")[0]
    loss = losskit.LOSSES.get(name)
    if loss is not None:
        return f"{loss.function.__module__.split('.')[-2]}/{loss.name}.html"
    ours = getattr(getattr(losskit, name, None), "__module__", "") == "losskit.products"
    return f"reference/helpers.html#losskit-{name.replace('_', '-')}" if ours else ""


def breakable(call: str) -> Markup:
    """A call as code that may wrap within its name, and before its arguments and their values, on a phone."""
    return Markup(re.sub(r"([_(=])(?!\))", r"\1<wbr>", str(escape(call))))


def html(chapters: Sequence[Chapter], speed: Speed | None, seed: int, site: str = "") -> str:
    """The page; without a speed, that of a chapter alone. Losses lead to their pages on the site, if there is one."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"both": both, "breakable": breakable, "svg": Markup, "page_of": page_of}
    template = environment.from_string(files("losskit.tour").joinpath("report.html").read_text(encoding="utf-8"))
    facts: dict[str, Any] = {
        "version": losskit.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "seed": seed,
        "losses": len(losskit.LOSSES),
        "day": {name: colour for colour, name in NAMES.items()},
        "night": NIGHT,
        "site": site,
    }
    return template.render(chapters=chapters, speed=speed, T=Text, **facts)


def check(folder: Path) -> None:
    """Find out whether the folder can be written to, and leave nothing behind."""
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with TemporaryFile(dir=folder):
            pass
    finally:
        for place in made:
            place.rmdir()


def write(folder: Path, page: str, name: str = "index.html") -> Path:
    """Put the page into the folder, which is made if needed: the whole page or nothing, so that an interrupt leaves the page that was there."""
    return outputs.write(folder / name, page)
