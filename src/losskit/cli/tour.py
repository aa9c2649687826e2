"""The tour in a terminal: what it does, then what was found."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import skimage  # noqa: F401  # missing, these are told here, before the first training
import sklearn  # noqa: F401
from rich.console import Console
from rich.table import Table

from losskit import tour
from losskit.cli import stop
from losskit.cli.steps import Steps
from losskit.tour import report
from losskit.tour.chapter import Chapter, Text
from losskit.tour.chapters import boxes
from losskit.tour.chapters.boxes import experiment as simulation
from losskit.tour.chapters.boxes.claims import claims
from losskit.tour.chapters.boxes.tables import outcome
from losskit.tour.compiling import announced

PAGE = "boxes.html"


@contextmanager
def interruptible(steps: Steps, page: Path) -> Iterator[None]:
    """While this lasts, Control-C ends the command with a line that says what is there now."""
    try:
        yield
    except KeyboardInterrupt:
        report_now = f"{page} is still that of an earlier run" if page.exists() else f"{page} was not written"
        stop(f"stopped after {steps.done} of {steps.total} steps: {report_now}; compiled kernels are kept, nothing else. A new run begins anew", 130)


def conduct(output: Path, seed: int, quick: bool, language: Literal["en", "zh"]) -> Path:
    """Run the tour and print its summary; returns the report's path."""
    console = Console()
    report.check(output)
    page = output / "index.html"
    with Steps(console, tour.work()) as steps, interruptible(steps, page), announced(steps.say):
        steps.say(f"{tour.work()} steps: {len(tour.CHAPTERS)} chapters, each loss trained in each, and the speed; then {page} is written")
        outcome = tour.conduct(output, seed, tour.QUICK if quick else tour.FULL, steps)
    for chapter in outcome.chapters:
        summarise(chapter, console, language)
    console.print()
    console.print("Speed" if language == "en" else "速度", style="bold")
    console.print(f"  {getattr(outcome.speed.line, language)}", highlight=False)
    return outcome.page


def simulate(output: Path, points: int, seed: int, more: bool, language: Literal["en", "zh"]) -> Path:
    """Run the experiment of boxes alone and print what came out, claim by claim; returns the page's path."""
    console = Console()
    report.check(output)
    names = (*simulation.COMPARED, *(simulation.newer() if more else ()))
    with Steps(console, simulation.ticks(points, names)) as steps, interruptible(steps, output / PAGE), announced(steps.say):
        steps.say(f"{points * simulation.CASES:,} boxes under each of {len(names)} losses; then {output / PAGE} is written")
        found = simulation.run(points, seed, names, steps.now, steps.tick)
    chapter = boxes.tell(found)
    summarise(chapter, console, language)
    table = Table(title="What the paper says" if language == "en" else "论文的说法", title_justify="left", title_style="bold", show_lines=True)
    for heading in (Text("claim", "说法"), Text("losses as defined", "按定义"), Text("the published code's GIoU", "公开代码的 GIoU")):
        table.add_column(getattr(heading, language), ratio=1, overflow="fold")
    for claim in claims(found):
        ours, theirs = (getattr(outcome(held), language) for held in (claim.held, claim.held_published))
        published = "" if claim.published is None else f"{theirs}: {getattr(claim.published, language)}"
        table.add_row(getattr(claim.words, language), f"{ours}: {getattr(claim.measured, language)}", published)
    console.print()
    console.print(table, highlight=False)
    return report.write(output, report.html((chapter,), None, seed, report.site(output)), PAGE)


def summarise(chapter: Chapter, console: Console, language: Literal["en", "zh"]) -> None:
    """A chapter's table and verdict."""
    table = Table(title=getattr(chapter.title, language), title_justify="left", title_style="bold")
    for number, heading in enumerate(chapter.summary_headings):
        table.add_column(heading, justify="right" if number else "left", no_wrap=not number)
    for row in chapter.summary:
        table.add_row(*row)
    console.print()
    console.print(table)
    for sentence in chapter.verdict:
        console.print(f"  {getattr(sentence, language)}", highlight=False, markup=False)
