"""Chapter 2 in words, tables and pictures."""

from losskit.tour.chapter import Advance, Chapter, Effort, Figure, Heading, Paragraph, Text, call
from losskit.tour.chapters.imbalance.experiment import COMMON, ENTRIES, RARE, SHARE, TEST_RARE, Data, Findings, run
from losskit.tour.chapters.imbalance.figures import ranges_panel, reliability_panels, why_panels
from losskit.tour.chapters.imbalance.tables import by_hand, table
from losskit.tour.chapters.imbalance.verdict import pm, verdict
from losskit.tour.texts import texts

TEXTS = texts("imbalance")


def work() -> int:
    """Trainings, and the drawing."""
    return len(ENTRIES) + 1


def build(seed: int, effort: Effort, advance: Advance) -> Chapter:
    """Train with every loss, and judge."""
    chapter = tell(run(seed, effort, advance), effort)
    advance("breast cancer: figures")
    return chapter


def tell(found: Findings, effort: Effort) -> Chapter:
    """The chapter of these findings."""
    scores, differences, probabilities, data = found
    return Chapter(
        key="imbalance",
        title=TEXTS("title"),
        question=TEXTS("question", share=SHARE, rare=RARE, all=RARE + COMMON),
        verdict=verdict(scores, differences),
        blocks=(
            table(scores, differences),
            Figure(
                (
                    ranges_panel(scores, "recall", 0),
                    ranges_panel(scores, "ece", 1),
                ),
                TEXTS("figures.ranges"),
            ),
            Heading(TEXTS("headings.why")),
            Paragraph(TEXTS("why")),
            Figure(
                why_panels(),
                TEXTS("figures.why"),
            ),
            Figure(
                reliability_panels(probabilities, data),
                TEXTS("figures.reliability"),
            ),
            by_hand(),
            Heading(TEXTS("headings.method")),
            Paragraph(_method(data, effort)),
        ),
        summary_headings=("loss", "accuracy", "recall", "average precision", "ECE"),
        summary=tuple((name, *(pm(s[m]) for m in ("accuracy", "recall", "ap", "ece"))) for name, s in scores.items()),
        calls={e.name: call(e.loss, e.settings) for e in ENTRIES},
    )


def _method(data: Data, effort: Effort) -> Text:
    """How the comparison is made fair."""
    others = data.truth.shape[1] - TEST_RARE
    return TEXTS("method", seeds=effort.seeds, rare=RARE, common=COMMON, test_rare=TEST_RARE, others=others, share=SHARE, steps=2 * effort.steps)
