"""What `losskit explain --lang zh` prints of docstrings: the site's translations, in the package, as sentences without links."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from losskit.cli.explain import chinese, sections
from losskit.contract import arguments
from losskit.contract.registry import LOSSES, Loss
from pages import WRITER
from translation import catalog, needed

PATH = Path(chinese.__code__.co_filename).with_name("chinese.json")
LINK = re.compile(r"\[(`[^`]*`)\]\([^)]*\)")


def texts(loss: Loss) -> Iterator[str]:
    """What stands in a docstring on arguments and on differences, a paragraph or a cell of a table at a time."""
    found = sections(loss)
    for _, meaning in arguments.ENTRY.findall("\n".join("    " + line for line in found.get("Args", "").splitlines())):
        yield from blocks(re.sub(r"\n +", "\n", meaning))
    for heading, text in found.items():
        if heading.startswith("Differs from"):
            yield from blocks(text)


def blocks(text: str) -> Iterator[str]:
    """Its paragraphs, and the cells of its tables."""
    for block in re.split(r"\n\s*\n", text):
        if not block.startswith("|"):
            yield " ".join(block.split())
            continue
        for line in block.splitlines():
            yield from (cell.strip() for cell in line.strip().strip("|").split(" | ") if not set(cell) <= set("-| "))


def made(locale: Path) -> dict[str, str]:
    """Each text and its Chinese."""
    known: dict[str, str] = {}
    for path in sorted(locale.glob("*.po")):
        known |= {str(m.id): str(m.string) for m in catalog(path, "zh_CN") if m.id and m.string and not m.fuzzy}
    found: dict[str, str] = {}
    for loss in LOSSES.values():
        for text in texts(loss):
            if (translated := known.get(WRITER.inline(text))) is not None and needed(text):
                found[text] = re.sub(r"\\([\\*<\[\]${}|])", r"\1", LINK.sub(r"\1", translated))
    return dict(sorted(found.items()))


def write(locale: Path) -> None:
    """The file."""
    PATH.write_text(json.dumps(made(locale), ensure_ascii=False, indent=0) + "\n", encoding="utf-8")
