"""Chapter on boxes, in words, tables and pictures."""

from losskit.tour.chapter import Advance, Chapter, Effort, Figure, Heading, Paragraph
from losskit.tour.chapters.boxes.claims import FAR, claims
from losskit.tour.chapters.boxes.example import by_hand
from losskit.tour.chapters.boxes.experiment import CASES, CENTRE, COMPARED, POINTS, Findings, newer, run, title
from losskit.tour.chapters.boxes.figures import ANCHOR, curves, profiles, surfaces, ways
from losskit.tour.chapters.boxes.method import method
from losskit.tour.chapters.boxes.tables import claims_table, rows, table
from losskit.tour.chapters.boxes.verdict import verdict
from losskit.tour.texts import texts

TEXTS = texts("boxes")

SHARE = POINTS // 200  # points for each seed of a tour's effort: 500 in full


def work() -> int:
    """The losses, GIoU with more steps, and the drawing."""
    return len(COMPARED) + len(newer()) + 2


def build(seed: int, effort: Effort, advance: Advance) -> Chapter:
    """Let boxes descend under every loss, and judge."""
    chapter = tell(run(SHARE * effort.seeds, seed, (*COMPARED, *newer()), advance))
    advance("boxes: figures")
    return chapter


def tell(found: Findings) -> Chapter:
    """The chapter of these findings."""
    judged = claims(found)
    points = len(found.offset)
    here = TEXTS("here.all") if points == POINTS else TEXTS("here.some", count=points * CASES)
    return Chapter(
        key="boxes",
        title=TEXTS("title"),
        question=TEXTS("question", all=POINTS * CASES, here=here),
        verdict=verdict(found, judged),
        blocks=(
            claims_table(judged),
            Figure(
                curves(found),
                TEXTS("figures.curves"),
            ),
            table(found),
            Figure(
                surfaces(found),
                TEXTS("figures.surfaces"),
            ),
            Figure(
                profiles(found),
                TEXTS("figures.profiles", far=FAR),
            ),
            Heading(TEXTS("headings.cross")),
            Paragraph(TEXTS("cross")),
            by_hand(),
            Figure(
                ways([n for n in COMPARED if n in found.courses]),
                TEXTS("figures.ways", distance=ANCHOR[0] - CENTRE),
            ),
            Heading(TEXTS("headings.method")),
            Paragraph(method(points)),
        ),
        summary_headings=("loss", "error left", "a tenth after", "mean IoU", "left on the axes", "on the diagonals"),
        summary=tuple((title(n), *cells) for n, cells in rows(found).items()),
    )
