"""The tour in a terminal: a progress bar, then what was found."""

from pathlib import Path
from typing import Literal

import skimage  # noqa: F401  # missing, these are told here, before the first training
import sklearn  # noqa: F401
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from losskit import tour
from losskit.tour.chapter import Chapter


def conduct(output: Path, seed: int, quick: bool, language: Literal["en", "zh"]) -> Path:
    """Run the tour and print its summary; returns the report's path."""
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=tour.work())
        outcome = tour.conduct(output, seed, tour.QUICK if quick else tour.FULL, lambda done: progress.update(task, advance=1, description=done))
    for chapter in outcome.chapters:
        summarise(chapter, console, language)
    console.print()
    console.print("Speed" if language == "en" else "速度", style="bold")
    console.print(f"  {getattr(outcome.speed.line, language)}", highlight=False)
    return outcome.page


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
