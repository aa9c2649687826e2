"""Chapter 3 in words, tables and pictures."""

from losskit.tour.chapter import Advance, Chapter, Effort, Figure, Heading, Paragraph, Text, call
from losskit.tour.chapters.digits.example import by_hand
from losskit.tour.chapters.digits.experiment import (
    ENTRIES,
    MATTERS,
    PLAIN,
    SHARE,
    Findings,
    Networks,
    against,
    confusion,
    run,
    seeds,
    steps,
)
from losskit.tour.chapters.digits.figures import ACCURACY, ECE, WRONG, course_panels, galleries, ranges_panel, reliability_panels, why_panels
from losskit.tour.chapters.digits.tables import table
from losskit.tour.chapters.digits.verdict import pm, remembered, verdict
from losskit.tour.figures import matrix
from losskit.tour.texts import texts

TEXTS = texts("digits")


def work() -> int:
    """Trainings, the gradients, and the drawing."""
    return 2 * len(ENTRIES) + 2


def build(seed: int, effort: Effort, advance: Advance) -> Chapter:
    """Train with every loss on wrong and on right labels, and judge."""
    chapter = tell(run(seed, effort, advance), effort)
    advance("digits: figures")
    return chapter


def tell(found: Findings, effort: Effort) -> Chapter:
    """The chapter of these findings."""
    dirty, clean, data = found.dirty, found.clean, found.data
    names = [e.name for e in found.order]
    best_clean = max(names, key=lambda n: float(clean[n].accuracy.mean()))
    with_wrong = {n: against(dirty[names[0]].accuracy, dirty[n].accuracy, data) for n in names}
    without = {n: against(clean[best_clean].accuracy, clean[n].accuracy, data) for n in names}
    return Chapter(
        key="digits",
        title=TEXTS("title"),
        question=TEXTS("question", share=SHARE),
        verdict=verdict(names, found, with_wrong, without, effort),
        blocks=(
            table(names, found, with_wrong, without),
            Figure(
                tuple(ranges_panel(names, found, part, title) for part, title in (("accuracy", ACCURACY), ("ece", ECE))),
                TEXTS("figures.ranges"),
            ),
            Figure(
                course_panels(found, effort),
                TEXTS("figures.course"),
            ),
            Figure(
                reliability_panels(found),
                TEXTS("figures.reliability"),
            ),
            Heading(TEXTS("headings.why")),
            Paragraph(TEXTS("why")),
            Figure(
                why_panels(found),
                TEXTS("figures.why"),
            ),
            Heading(TEXTS("headings.hardest")),
            Figure(
                galleries(names, found),
                TEXTS("figures.hardest"),
            ),
            Figure(
                tuple(
                    matrix(
                        TEXTS("panels.confusion", n=n, labels=WRONG),
                        confusion(found.dirty[n], data).tolist(),
                        TEXTS("panels.truth"),
                        TEXTS("panels.read"),
                    )
                    for n in dict.fromkeys((PLAIN, names[0]))
                ),
                TEXTS("figures.confusion"),
            ),
            *by_hand(),
            Heading(TEXTS("headings.method")),
            Paragraph(_method(found, effort)),
        ),
        summary_headings=("loss", "accuracy (%), 30 % wrong", "accuracy (%), clean", "ECE, 30 % wrong", "by heart"),
        summary=tuple((n, pm(dirty[n].accuracy), pm(clean[n].accuracy), f"{dirty[n].ece.mean():.3f}", f"{remembered(dirty[n]):.0%}") for n in names),
        calls={e.name: call(e.loss, e.settings) for e in ENTRIES},
    )


def _method(found: Findings, effort: Effort) -> Text:
    """How the comparison is made fair."""
    train, test, size = len(found.data.x), len(found.data.test_x), Networks(1, 0).size()
    return TEXTS("method", seeds=seeds(effort), train=train, test=test, size=size, steps=steps(effort), matters=100 * MATTERS)
