"""Chapter 6 in words, tables and pictures."""

from losskit.tour.chapter import Advance, Chapter, Effort, Figure, Heading, Paragraph
from losskit.tour.chapters.coins.data import FOLDS, SIDE, TESTED
from losskit.tour.chapters.coins.example import by_hand
from losskit.tour.chapters.coins.experiment import (
    APART,
    CORNERS,
    ENTRIES,
    Findings,
    run,
)
from losskit.tour.chapters.coins.figures import LENGTH, SCORE, answers, cases, course_panel, ranges_panel, regions, sample, sizes_panel, ways
from losskit.tour.chapters.coins.method import method
from losskit.tour.chapters.coins.seen import GOOD, Seen, share
from losskit.tour.chapters.coins.tables import table
from losskit.tour.chapters.coins.tried import tried
from losskit.tour.chapters.coins.verdict import verdict
from losskit.tour.texts import texts

TEXTS = texts("coins")


def work() -> int:
    """Trainings, and the drawing."""
    return 2 * len(ENTRIES) + 1


def build(seed: int, effort: Effort, advance: Advance) -> Chapter:
    """Train with every loss from both starts, and judge."""
    chapter = tell(run(seed, effort, advance), effort)
    advance("coins: figures")
    return chapter


def tell(found: Findings, effort: Effort) -> Chapter:
    """The chapter of these findings."""
    seen = Seen(found)
    coins = found.held_out.size
    second = next(n for n in seen.names if n != seen.best and CORNERS in (n, seen.best))  # smooth L1, or the first after it
    return Chapter(
        key="coins",
        title=TEXTS("title"),
        question=TEXTS("question", coins=coins),
        verdict=verdict(seen),
        blocks=(
            table(seen),
            Figure(
                (ranges_panel(seen), sizes_panel(seen), course_panel(found, found.middle, SCORE)),
                TEXTS("figures.results", folds=FOLDS),
            ),
            Heading(TEXTS("headings.picture")),
            Figure(
                (regions(found), sample(found)),
                TEXTS("figures.picture", side=SIDE),
            ),
            Heading(TEXTS("headings.answers")),
            Figure(
                tuple(answers(found, n) for n in (seen.best, second)),
                TEXTS("figures.answers", tested=TESTED),
            ),
            Figure(
                cases(found),
                TEXTS("figures.cases"),
            ),
            Heading(TEXTS("headings.apart")),
            Paragraph(TEXTS("apart", width=APART[2] - APART[0], height=APART[3] - APART[1])),
            Figure(
                (course_panel(found, found.apart, SCORE), course_panel(found, found.apart, LENGTH)),
                TEXTS("figures.apart"),
            ),
            Figure(
                ways(found),
                TEXTS("figures.ways"),
            ),
            *by_hand(),
            *tried(),
            Heading(TEXTS("headings.method")),
            Paragraph(method(found, effort)),
        ),
        summary_headings=("loss", "mean IoU", f"IoU >= {GOOD:g}", "sides off, pixels", "mean IoU from apart"),
        summary=tuple(
            (n, f"{seen.iou[n]:.3f}", f"{share(found.middle[n], GOOD):.0%}", f"{seen.off[n]:.2f}", f"{found.apart[n].iou[-1].mean():.3f}") for n in seen.names
        ),
    )
