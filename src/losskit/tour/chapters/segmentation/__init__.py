"""Chapter 4 in words, tables and pictures."""

from losskit.tour.chapter import Advance, Chapter, Effort, Figure, Heading, Paragraph, Text, call
from losskit.tour.chapters.segmentation.data import BANDS, BRIGHT, DARK, LIGHT, NOISE, SMALLEST_GALAXY, TILE
from losskit.tour.chapters.segmentation.example import by_hand
from losskit.tour.chapters.segmentation.experiment import (
    BATCH,
    ENTRIES,
    MATTERS,
    Findings,
    UNet,
    run,
    steps,
)
from losskit.tour.chapters.segmentation.figures import bins_panels, chosen, ranges_panel, stages, tile, whole, why_panels
from losskit.tour.chapters.segmentation.seen import Seen
from losskit.tour.chapters.segmentation.tables import table
from losskit.tour.chapters.segmentation.verdict import verdict
from losskit.tour.texts import texts

TEXTS = texts("segmentation")


def work() -> int:
    """Trainings, and the drawing."""
    return 2 * len(ENTRIES) + 1


def build(seed: int, effort: Effort, advance: Advance) -> Chapter:
    """Train with every loss on both pictures, and judge."""
    chapter = tell(run(seed, effort, advance), effort)
    advance("segmentation: figures")
    return chapter


def tell(found: Findings, effort: Effort) -> Chapter:
    """The chapter of these findings."""
    seen = Seen(found)
    coins, galaxies = found.pictures
    return Chapter(
        key="segmentation",
        title=TEXTS("title"),
        question=TEXTS("question", coins_share=coins.mask.mean(), galaxies_share=galaxies.mask.mean(), near=seen.near.sum(), tiles=len(seen.near)),
        verdict=verdict(seen),
        blocks=(
            table(seen),
            Figure(
                tuple(ranges_panel(seen, part, title) for part, title in (("dice", TEXTS("panels.dice")), ("iou", TEXTS("panels.iou")))),
                TEXTS("figures.ranges"),
            ),
            Heading(TEXTS("headings.pictures")),
            Paragraph(TEXTS("pictures.coins", dark=DARK, light=LIGHT)),
            Figure(stages(coins), TEXTS("figures.coins")),
            Paragraph(TEXTS("pictures.galaxies", bright=BRIGHT, smallest_galaxy=SMALLEST_GALAXY, noise=NOISE)),
            Figure(stages(galaxies), TEXTS("figures.galaxies")),
            Heading(TEXTS("headings.found")),
            Figure(
                tuple(whole(coins, n, found.results["coins"][n]) for n in seen.order["coins"]),
                TEXTS("figures.found", common=seen.common),
            ),
            Figure(
                tuple(tile(picture, found.results[picture.key], number, title) for picture, number, title in chosen(found.pictures, found.results)),
                TEXTS("figures.tiles"),
            ),
            Heading(TEXTS("headings.empty")),
            Figure(
                bins_panels(seen),
                TEXTS("figures.bins"),
            ),
            Heading(TEXTS("headings.why")),
            Paragraph(TEXTS("why")),
            Figure(
                why_panels(seen),
                TEXTS("figures.why", batch=BATCH, typical=found.typical),
            ),
            *by_hand(),
            Heading(TEXTS("headings.method")),
            Paragraph(_method(effort)),
        ),
        summary_headings=("loss", "Dice, coins", "IoU", "Dice, galaxies", "IoU", "false pixels in a nearly empty tile"),
        summary=tuple(
            (n, *(f"{s.mean():.3f}" for r in (of[n] for of in found.results.values()) for s in (r.dice, r.iou)), f"{seen.false[n]:.1f}") for n in seen.names
        ),
        calls={e.name: call(e.loss, e.settings) for e in ENTRIES},
    )


def _method(effort: Effort) -> Text:
    """How the comparison is made fair."""
    size = sum(p.numel() for p in UNet().parameters())
    return TEXTS("method", bands=BANDS, tile=TILE, size=size, steps=steps(effort), batch=BATCH, matters=MATTERS)
