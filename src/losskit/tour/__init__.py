"""The tour: small models trained on real data with every loss, and a report of what came of it.

A chapter is a folder of `chapters/`.
"""

from pathlib import Path
from typing import NamedTuple

from losskit.tour import report, speed
from losskit.tour.chapter import FULL, QUICK, Advance, Chapter, Effort
from losskit.tour.chapters import CHAPTERS
from losskit.tour.train import one_thread


class Outcome(NamedTuple):
    """What a tour found, and where the report is."""

    page: Path
    chapters: tuple[Chapter, ...]
    speed: speed.Speed


def work() -> int:
    """How many times a tour calls `advance`."""
    return sum(chapter.work() for chapter in CHAPTERS) + speed.work()


def conduct(output: Path, seed: int = 0, effort: Effort = FULL, advance: Advance = lambda done: None) -> Outcome:
    """Train, measure, judge, and write `output/index.html`. The same seed gives the same numbers; only the speed line is measured anew."""
    report.check(output)  # an unwritable folder should not cost a minute first
    with one_thread():
        chapters = tuple(chapter.build(seed, effort, advance) for chapter in CHAPTERS)
    measured = speed.measure(effort, advance)
    return Outcome(report.write(output, report.html(chapters, measured, seed, report.site(output))), chapters, measured)


__all__ = ["CHAPTERS", "FULL", "QUICK", "Outcome", "conduct", "work"]
