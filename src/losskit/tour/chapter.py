"""What a chapter of the tour is made of. Chapters say what they found; `report` decides how it looks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from losskit.curves import label

Advance = Callable[[str], None]  # called once for every step of the tour, with what was done


class Text(NamedTuple):
    """The same words in both languages of the report."""

    en: str
    zh: str


class Cell(NamedTuple):
    """One entry of a table."""

    text: str | Text
    note: str = ""  # smaller, after the text: a spread, a mark
    tone: str = ""  # "good", "bad", "best" or nothing
    picture: str = ""  # inline SVG in place of the text
    code: bool = False


@dataclass(frozen=True)
class Table:
    """Rows under headings; the first column names the row."""

    headings: tuple[Text, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: Text
    kind: str = "table"
    prose: bool = False  # sentences in its cells, which may wrap


@dataclass(frozen=True)
class Figure:
    """Pictures that belong together, each an inline SVG, and what to see in them."""

    panels: tuple[str, ...]
    caption: Text
    kind: str = "figure"


@dataclass(frozen=True)
class Paragraph:
    """Running text."""

    text: Text
    kind: str = "paragraph"


@dataclass(frozen=True)
class Heading:
    """A heading inside a chapter."""

    text: Text
    kind: str = "heading"


@dataclass(frozen=True)
class Session:
    """Lines of Python and what they printed."""

    text: str
    kind: str = "session"


Block = Table | Figure | Paragraph | Heading | Session


@dataclass(frozen=True)
class Chapter:
    """One task: a question, its answer computed from the numbers, and the evidence."""

    key: str
    title: Text
    question: Text
    verdict: tuple[Text, ...]
    blocks: tuple[Block, ...]
    summary_headings: tuple[str, ...]  # the few columns the terminal shows
    summary: tuple[tuple[str, ...], ...]
    calls: Mapping[str, str] = field(default_factory=dict)  # by the short names of losses, how the library's are called


@dataclass(frozen=True)
class Effort:
    """How much work a tour does."""

    seeds: int
    steps: int
    elements: int  # of the speed measurement
    rounds: int


FULL = Effort(seeds=20, steps=150, elements=1 << 22, rounds=7)
QUICK = Effort(seeds=4, steps=25, elements=1 << 16, rounds=2)


class ChapterModule(Protocol):
    """A module of the tour that makes one chapter."""

    def work(self) -> int:
        """How many times `build` calls `advance`."""

    def build(self, seed: int, effort: Effort, advance: Advance) -> Chapter:
        """Train, measure, draw and judge."""


def call(loss: str, settings: Mapping[str, Any]) -> str:
    """A loss of the library with its settings, as it is called."""
    return f"{loss}({label(settings)})" if settings else loss
