"""The Chinese pages: which messages need a translation, and what is wrong with those there are."""

import re
from collections.abc import Iterator
from pathlib import Path

from babel.messages import pofile
from babel.messages.catalog import Catalog

CODE = re.compile(r"`[^`]*`|\$[^$]*\$")
LINK = re.compile(r"\]\([^)]*\)")
SETTING = re.compile(r"\w+=(\[[^\]]*\]|\([^)]*\)|\S+)")
WORD = re.compile(r"[A-Za-z][A-Za-z]+")
RATIO = re.compile(r"\b\d[\d.]*x [A-Za-z]")  # 4x torch
CITED = re.compile(r"[A-Z].*, (?:arXiv \S+, )?(?:19|20)\d\d\.?$")
# names, which are the same in every language
NAMES = set(
    re.findall(
        r"\w+",
        "losskit torch torchvision MONAI kornia smp segmentation models pytorch PyTorch mmdetection Ultralytics timm Liger nnU Net cpu triton compile float bfloat"
        " ms inf nan Dice CE BCE IoU GIoU DIoU CIoU EIoU SIoU MPDIoU Lovasz CHANGELOG README NumPy Numba Triton CUDA GPU CPU",
    )
)
CHINESE = "\u4e00-\u9fff"
MARKED = re.compile(r"`[^`\n]*`|\$[^$\n]*\$|\]\([^)]*\)|\{\{.*?\}\}|\{%.*?%\}|</?[a-z][^>\n]*>")  # code, formulas, where links lead, templates


def plain(text: str) -> str:
    """What is left of a message without code, formulas, links, settings and names with underscores."""
    text = SETTING.sub(" ", LINK.sub("] ", CODE.sub(" ", text)))
    return re.sub(r"\b\w*(?:_\w+|\.\w+)+\b|\b[A-Z][a-z]*(?:[A-Z][a-z0-9]*)+\b|\b\w*\d\w*\b", " ", text)


def needed(text: str) -> bool:
    """Whether there are words to translate; one that is spoken of, as in the glossary, stands in italics and stays as it is."""
    return bool(RATIO.search(text)) or (
        not re.fullmatch(r"\*[^*]+\*", text)
        and not text.startswith(".. image::")
        and not CITED.match(text)
        and any(word not in NAMES for word in WORD.findall(plain(text)))
    )


def catalog(path: Path, locale: str | None = None) -> Catalog:
    """A file of messages."""
    with path.open("rb") as file:
        return pofile.read_po(file, locale=locale)


def kept(text: str) -> list[str]:
    """What must stand in a translation as it stands in the text: code, formulas, where links lead."""
    return sorted(CODE.findall(text)) + sorted(LINK.findall(text))


def widened(text: str) -> str:
    """Chinese with the parentheses that go with it: wide ones around Chinese, and after it; those of calls, formulas and intervals stay."""
    plainly = MARKED.sub(lambda match: "\0" * len(match[0]), text)
    letters, open_at = list(text), []
    beside = re.compile(f"[{CHINESE}，。；：、]")
    word = re.compile(f"[{CHINESE}]")
    for place, letter in enumerate(plainly):
        if letter == "(":
            open_at.append(place)
        elif letter == ")" and open_at:
            start = open_at.pop()
            before, after = plainly[start - 1 : start], plainly[place + 1 : place + 2]
            called = re.search(r"(\b(exp|log|sqrt|max|min|sum|mean|cos|cosh|tanh|sigmoid|softmax)|[-+/=^] ?| \* ?)$", plainly[:start])
            if not called and (
                word.search(text[start:place])
                or re.fullmatch("\0[\0 、]*", plainly[start + 1 : place])
                or word.match(before)
                or (before in {"\0", "*", '"'} and beside.match(after))
            ):
                letters[start], letters[place] = "（", "）"
    return re.sub(" ?([（）]) ?", r"\1", "".join(letters))


def faults(english: str, chinese: str) -> Iterator[str]:
    """What is wrong with a translation."""
    if kept(english) != kept(chinese):
        lost = [part for part in kept(english) if part not in kept(chinese)] or [part for part in kept(chinese) if part not in kept(english)]
        yield f"code, formula or link differs: {', '.join(lost)}"
    if needed(english) and not re.search(f"[{CHINESE}]", chinese) and len(plain(english).split()) > 3:
        yield "not in Chinese"
    bare = CODE.sub("x", chinese)
    if match := re.search(f"[{CHINESE}][,;:!?]|[{CHINESE}]\\.(?![\\w.])|[，。；：！？] ", bare):
        yield f"punctuation: {match[0]!r}"
    if re.search(f"[{CHINESE}]", chinese) and widened(chinese) != chinese:
        yield f"parentheses: write {widened(chinese)}"


def check(messages: Path, locale: Path) -> list[str]:
    """What is untranslated, stale or wrong, a line each."""
    found = []
    for template in sorted(messages.glob("*.pot")):
        path = locale / f"{template.stem}.po"
        if not path.exists():
            found.append(f"{path.name} is missing: python docs/build.py --messages")
            continue
        wanted = {str(m.id) for m in catalog(template) if m.id}
        there = {str(m.id): m for m in catalog(path, "zh_CN") if m.id}
        found += [f"{path.name}: stale: {text[:80]}" for text in there if text not in wanted]
        found += [f"{path.name}: new, run python docs/build.py --messages: {text[:80]}" for text in wanted if text not in there]
        for text in sorted(wanted & set(there)):
            message = there[text]
            if message.fuzzy:
                found.append(f"{path.name}: fuzzy: {text[:80]}")
            elif not message.string and needed(text):
                found.append(f"{path.name}: untranslated: {text[:80]}")
            elif message.string:
                found += [f"{path.name}: {fault}: {text[:80]}" for fault in faults(text, str(message.string))]
    return found
