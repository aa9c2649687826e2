"""Chapter 7 in words, tables and pictures."""

from losskit.tour.chapter import Advance, Chapter, Effort, Figure, Heading, Paragraph, Text
from losskit.tour.chapters.products import held, language, towers
from losskit.tour.chapters.products.example import by_hand
from losskit.tour.chapters.products.experiment import TICKS, Findings, run
from losskit.tour.chapters.products.figures import finding, growth, learning, matrices
from losskit.tour.chapters.products.tables import found_words, megabytes, samples, table
from losskit.tour.chapters.products.verdict import verdict
from losskit.tour.texts import texts

TEXTS = texts("products")


def work() -> int:
    """Trainings and measurements, and the drawing."""
    return TICKS + 1


def build(seed: int, effort: Effort, advance: Advance) -> Chapter:
    """Train both models both ways, measure, and judge."""
    chapter = tell(run(seed, effort, advance))
    advance("products: figures")
    return chapter


def tell(found: Findings) -> Chapter:
    """The chapter of these findings."""
    text, pairs = found.language, found.towers
    shown = table(found)
    return Chapter(
        key="products",
        title=TEXTS("title"),
        question=TEXTS("question", words=len(text.prose.words), digits=len(pairs.data.digit)),
        verdict=verdict(found),
        blocks=(
            shown,
            Heading(TEXTS("headings.words")),
            Figure(learning(text), TEXTS("figures.learning")),
            samples(text),
            Heading(TEXTS("headings.pairs")),
            Paragraph(TEXTS("pairs", count=len(set(pairs.data.descriptions)), width=towers.WIDTH, example=max(pairs.held_out, key=len))),
            Figure((*matrices(pairs), finding(pairs)), TEXTS("figures.pairs", count=len(pairs.held_out))),
            found_words(pairs),
            Heading(TEXTS("headings.memory")),
            Paragraph(TEXTS("memory")),
            Figure(growth(found.held), TEXTS("figures.growth", items=held.ITEMS, width=held.WIDTH, least=held.LEAST, space=held.SPACE >> 20)),
            *by_hand(),
            Heading(TEXTS("headings.method")),
            Paragraph(_method(found)),
        ),
        summary_headings=("loss", "model", "held out", "memory of a step"),
        summary=tuple((row[0].text, row[1].text.en, row[3].text, row[4].text) for row in shown.rows),  # type: ignore[union-attr, misc]
    )


def _method(found: Findings) -> Text:
    """How it is done."""
    text, pairs = found.language, found.towers
    return TEXTS(
        "method",
        train=len(text.prose.train),
        test=len(text.prose.test),
        words=len(text.prose.words),
        size=text.size,
        steps=len(text.whole.train),
        batch=language.BATCH,
        length=language.LENGTH,
        width=language.WIDTH,
        learned=len(pairs.data.train),
        held_out=len(pairs.data.test),
        pair_steps=len(pairs.whole.train),
        pair_batch=towers.BATCH,
        start=towers.START,
        most=megabytes(max(found.held.by_classes["F.cross_entropy"])),
    )
