"""Chapter 1 in words, tables and pictures."""

from losskit.tour.chapter import Advance, Chapter, Effort, Figure, Heading, Paragraph, Text
from losskit.tour.chapters.regression.experiment import MATTERS, SHARE, SLIP, TEST, Findings, against, entries, run
from losskit.tour.chapters.regression.figures import fit_panel, results_panel, why_panels
from losskit.tour.chapters.regression.tables import by_hand, table
from losskit.tour.chapters.regression.verdict import pm, verdict
from losskit.tour.texts import texts

TEXTS = texts("regression")


def work() -> int:
    """Trainings, and the drawing."""
    return 2 * len(entries()) + 1


def build(seed: int, effort: Effort, advance: Advance) -> Chapter:
    """Train with every loss on wrong and on right targets, and judge."""
    chapter = tell(run(seed, effort, advance), effort)
    advance("diabetes: figures")
    return chapter


def tell(found: Findings, effort: Effort) -> Chapter:
    """The chapter of these findings."""
    order, pulls, data = found.order, found.pulls, found.data
    names = [e.name for e in order]
    results = {n: (found.dirty[n], found.clean[n]) for n in names}
    train = data.target.shape[1]
    median = float((data.test_y - data.middle).abs().double().mean())
    with_wrong = {n: against(results[names[0]][0].mae, results[n][0].mae, train) for n in names}
    best_clean = min(names, key=lambda n: float(results[n][1].mae.mean()))
    without = {n: against(results[best_clean][1].mae, results[n][1].mae, train) for n in names}
    return Chapter(
        key="regression",
        title=TEXTS("title"),
        question=TEXTS("question", share=SHARE, slip=SLIP),
        verdict=verdict(names, results, pulls, with_wrong, without, median),
        blocks=(
            table(order, results, pulls, with_wrong),
            Figure(
                (results_panel(names, results), fit_panel(names, results, data)),
                TEXTS("figures.results"),
            ),
            Heading(TEXTS("headings.why")),
            Paragraph(TEXTS("why")),
            Figure(
                why_panels(order, data),
                TEXTS("figures.why"),
            ),
            by_hand(),
            Heading(TEXTS("headings.method")),
            Paragraph(_method(effort, train)),
        ),
        summary_headings=("loss", "MAE, 15 % wrong", "MAE, clean", "pull of wrong"),
        summary=tuple((n, pm(results[n][0].mae), pm(results[n][1].mae), f"{pulls[n]:.1%}") for n in names),
    )


def _method(effort: Effort, train: int) -> Text:
    """How the comparison is made fair."""
    return TEXTS("method", seeds=effort.seeds, train=train, test=TEST, steps=effort.steps, matters=MATTERS)
