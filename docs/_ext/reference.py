"""Pages that are made of texts which stand elsewhere: the contract, helpers, architecture, GPUs, benchmark, error budget, changelog."""

import inspect
import re
from collections.abc import Mapping
from pathlib import Path

import losskit
import losskit.contract
import pages
from losskit.contract.arguments import sections

ROOT = Path(__file__).parent.parent.parent
DOCUMENTS: Mapping[str, tuple[str, str]] = {  # a page, the file it is, and the label it is linked by
    "reference/architecture": ("docs/architecture.md", "architecture"),
    "reference/gpu": ("docs/gpu.md", "on-a-gpu"),
    "reference/benchmarks": ("docs/benchmarks.md", "benchmark"),
    "reference/error-budget": ("docs/error-budget.md", "error-budget"),
    "reference/changelog": ("CHANGELOG.md", "changelog"),
    "guides/writing": ("CONTRIBUTING.md", "guide-writing"),
}
LINKS = {  # from the files as they stand in the repository to the pages of the site
    "docs/architecture.md": "#architecture",
    "docs/gpu.md": "#on-a-gpu",
    "docs/benchmarks.md": "#benchmark",
    "docs/error-budget.md": "#error-budget",
    "architecture.md": "#architecture",
    "gpu.md": "#on-a-gpu",
    "benchmarks.md": "#benchmark",
    "error-budget.md": "#error-budget",
}


PICTURE = re.compile(r'<picture>.*?<img alt="([^"]*)" src="(_static/\w+)-light\.svg">\s*</picture>', re.DOTALL)


def shown(found: re.Match[str]) -> str:
    """A picture with a file for each theme, as a page of the site shows it."""
    return "\n".join(f"```{{image}} ../{found[2]}-{theme}.svg\n:alt: {found[1]}\n:class: only-{theme} curve\n```" for theme in ("light", "dark"))


def document(path: str, label: str) -> str:
    """A Markdown file of the repository, with its links turned to pages of the site and its pictures to those of the reader's theme and language."""
    text = PICTURE.sub(shown, (ROOT / path).read_text(encoding="utf-8"))
    text = re.sub(r"\]\(([^)#]+\.md)\)", lambda m: f"]({LINKS[m[1].removeprefix('../')]})", text)
    return f"({label})=\n\n{text}"


def contract() -> str:
    """The text on mask, weights, reduction and the rest."""
    first, _, rest = inspect.cleandoc(losskit.contract.__doc__ or "").partition("\n")
    return f"(contract)=\n\n# The contract\n\n{pages.WRITER.inline(first)}\n\n{pages.WRITER.headed(rest, 2)}\n"


def helpers() -> str:
    """Public functions and classes that are no losses."""
    made = ["# Helpers", "What is public besides the losses, their modules and their scores."]
    for name in pages.HELPERS:
        thing = getattr(losskit, name)
        about = sections(thing.__doc__ or "")
        made += [f"(losskit.{name})=".lower(), f"## {name}", pages.WRITER.inline(about["Summary"].split("\n\n")[0])]
        made.append(f"```python\n{pages.called(name, thing)}\n```")
        more = "\n\n".join(about["Summary"].split("\n\n")[1:])
        if more:
            made.append(pages.WRITER.blocks(more))
        if "Args" in about:
            made.append(pages.WRITER.arguments(about["Args"], pages.about(thing)))
        for heading, body in about.items():
            if heading not in ("Summary", "Args"):
                made += [f"**{heading}**", pages.WRITER.blocks(body)]
    return "\n\n".join(made) + "\n"


def write(root: Path) -> None:
    """Every page below a folder."""
    for page, (path, label) in DOCUMENTS.items():
        (root / f"{page}.md").write_text(document(path, label), encoding="utf-8")
    (root / "reference" / "contract.md").write_text(contract(), encoding="utf-8")
    (root / "reference" / "helpers.md").write_text(helpers(), encoding="utf-8")
