"""Links from the page of a loss to the places in the guides that speak of it, taken from what the guides name."""

import re
from collections.abc import Iterator
from pathlib import Path

import pages
from losskit.contract.registry import LOSSES

LABEL = re.compile(r"\(([\w-]+)\)=\n")
HEADING = re.compile(r"^## (.+)$", re.M)
FENCE = re.compile(r"^(`{3,}|:{3,}).*?^\1$", re.M | re.S)
NAME = re.compile(r"\b(losskit\.)?([A-Za-z]\w*)\b")
HERE, BEFORE = "## In the guides", "## How to call it"  # where the links stand on a loss's page


def headings(text: str) -> list[re.Match[str]]:
    """A page's headings of the second level; what begins with two signs within code is none."""
    fenced = [match.span() for match in FENCE.finditer(text)]
    return [match for match in HEADING.finditer(text) if not any(low < match.start() < high for low, high in fenced)]


def labels(text: str) -> list[str]:
    """A label for each heading of the second level, made of the page's own."""
    page = LABEL.match(text)
    assert page, text[:80]
    return [f"{page[1]}-{re.sub(r'[^a-z0-9]+', '-', match[1].lower()).strip('-')}" for match in headings(text)]


def labelled(text: str) -> str:
    """A guide whose headings can be linked to."""
    for match, label in reversed(list(zip(headings(text), labels(text), strict=True))):
        text = f"{text[: match.start()]}({label})=\n{text[match.start() :]}"
    return text


def losses_in(text: str) -> set[str]:
    """The losses that a text names, by function or module; scores, whose names are words as well, only behind `losskit.`."""
    found = {name: pages.target(name) for prefix, name in NAME.findall(text) if prefix or "_" in name or name != name.lower()}
    return {target.removeprefix("losskit.") for target in found.values() if target} & set(LOSSES)


def places(text: str) -> Iterator[tuple[str, set[str]]]:
    """The label of each section that begins with a heading, and the losses it names."""
    starts = [match.start() for match in headings(text)]
    for label, start, end in zip(labels(text), starts, [*starts[1:], len(text)], strict=True):
        yield label, losses_in(text[start:end])


def links(guides: list[str]) -> dict[str, list[str]]:
    """A line for each guide that names a loss: the guide, and its sections that do. The titles are those of the places, in the page's language."""
    made: dict[str, list[str]] = {name: [] for name in LOSSES}
    for text in guides:
        guide = LABEL.match(text)
        assert guide
        sections = list(places(text))
        for name in sorted(losses_in(text)):
            where = [f"[](#{label})" for label, named in sections if name in named]
            made[name].append(f"- [](#{guide[1]})" + (" › " if where else "") + " · ".join(where))
    return made


def write(root: Path) -> None:
    """Into every page below a folder that has guides and pages of losses."""
    order = re.findall(r"^guides/(\w\S*)$", (root / "index.md").read_text(encoding="utf-8"), re.M)
    files = [root / "guides" / f"{name}.md" for name in order]
    texts = [file.read_text(encoding="utf-8") for file in files]
    for file, text in zip(files, texts, strict=True):
        file.write_text(labelled(text), encoding="utf-8")
    for name, lines in links(texts).items():
        file = root / pages.family(LOSSES[name]) / f"{name}.md"
        text = file.read_text(encoding="utf-8")
        if lines:
            assert text.count(f"\n{BEFORE}\n") == 1, name
            file.write_text(text.replace(f"\n{BEFORE}\n", "\n" + "\n".join([HERE, "", *lines, "", BEFORE, ""])), encoding="utf-8")
