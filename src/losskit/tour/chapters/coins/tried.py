"""Chapter 6, what else was tried: other schedules and other starts. They say how far the verdict carries, and take too long for every tour.

`python -c "from losskit.tour.chapters.coins import tried; tried.show()"` measures them anew and prints what `TRIED` holds.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import losskit
from losskit.tour.chapter import FULL, Block, Cell, Heading, Paragraph, Table, Text
from losskit.tour.chapters.coins.experiment import APART, ENTRIES, MIDDLE, WARM, drawn, fit, steps
from losskit.tour.texts import texts
from losskit.tour.train import one_thread

TEXTS = texts("coins")

Box = tuple[float, ...]
# start, share of the steps in which the step size is reached, how many times the steps, seeds; in the order of TRIED
SETTINGS: tuple[tuple[Box, float, int, tuple[int, ...]], ...] = (
    (MIDDLE, WARM, 1, (0, 1)),
    (MIDDLE, 0.0, 1, (0, 1)),
    (MIDDLE, WARM, 3, (0,)),
    (APART, WARM, 1, (0, 1)),
    ((-8.0, -8.0, 0.0, 0.0), WARM, 1, (0, 1)),
    ((0.0, 0.0, 4.0, 4.0), WARM, 1, (0, 1)),
    ((0.0, 0.0, 8.0, 8.0), WARM, 1, (0, 1)),
)
# mean IoU on held-out coins, seeds 0 and 1, losses in the order of ENTRIES
TRIED: tuple[tuple[Text, tuple[str, ...]], ...] = (
    (
        Text("middle", "中央"),
        ("0.822, 0.824", "0.809, 0.813", "0.810, 0.809", "0.806, 0.808", "0.807, 0.809", "0.805, 0.807", "0.806, 0.813"),
    ),
    (
        Text("middle, no warm-up", "中央，步长不预热"),
        ("0.772, 0.787", "0.803, 0.797", "0.806, 0.807", "0.805, 0.810", "0.803, 0.806", "0.665, 0.665", "0.798, 0.805"),
    ),
    (Text("middle, three times the steps (seed 0)", "中央，三倍步数（种子 0）"), ("0.866", "0.854", "0.858", "0.854", "0.853", "0.854", "0.859")),
    (
        Text("4 × 4 outside the corner", "角外 4 × 4"),
        ("0.685, 0.690", "0.000, 0.000", "0.640, 0.671", "0.000, 0.000", "0.000, 0.000", "0.728, 0.699", "0.700, 0.693"),
    ),
    (
        Text("8 × 8 outside the corner", "角外 8 × 8"),
        ("0.686, 0.689", "0.000, 0.000", "0.000, 0.000", "0.000, 0.000", "0.000, 0.000", "0.728, 0.707", "0.695, 0.703"),
    ),
    (
        Text("4 × 4 inside the corner", "角内 4 × 4"),
        ("0.715, 0.723", "0.599, 0.706", "0.723, 0.716", "0.000, 0.000", "0.000, 0.000", "0.741, 0.733", "0.733, 0.717"),
    ),
    (
        Text("8 × 8 inside the corner", "角内 8 × 8"),
        ("0.746, 0.741", "0.749, 0.737", "0.739, 0.708", "0.750, 0.727", "0.746, 0.717", "0.753, 0.752", "0.748, 0.736"),
    ),
)
WARNING = TEXTS("warning")


def measured() -> Iterator[tuple[str, ...]]:
    """Mean IoU of every loss under each of the settings, as TRIED has it; two losses at a time, each on one thread."""
    with one_thread(), ThreadPoolExecutor(2) as pool:
        for start, warm, times, seeds in SETTINGS:
            found: list[list[str]] = [[] for _ in ENTRIES]
            for seed in seeds:
                _, _, _, data = drawn(seed, times * steps(FULL))
                for scores, path in zip(found, pool.map(partial(fit, start=start, data=data, seed=seed, warm=warm), ENTRIES), strict=True):
                    scores.append(f"{float(losskit.iou(path[-1], data.test_box).mean()):.3f}")
            yield tuple(", ".join(scores) for scores in found)


def show() -> None:
    """Measure, and print a line for each of the settings."""
    for (title, _), scores in zip(TRIED, measured(), strict=True):
        print(title.en, scores)


def tried() -> tuple[Block, ...]:
    """The other settings, one row per loss."""
    return (
        Heading(TEXTS("tried.heading")),
        Paragraph(TEXTS("tried.meaning")),
        Table(
            (TEXTS("table.loss"), *(title for title, _ in TRIED)),
            tuple((Cell(entry.name, code=True), *(Cell(scores[number]) for _, scores in TRIED)) for number, entry in enumerate(ENTRIES)),
            TEXTS("tried.caption"),
        ),
    )
