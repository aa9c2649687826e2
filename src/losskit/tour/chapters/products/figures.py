"""The pictures of this chapter."""

from typing import Any

import numpy as np

from losskit.tour.chapter import Text
from losskit.tour.chapters.products.experiment import LOSSES
from losskit.tour.chapters.products.held import FAR, WAYS, Held, formula
from losskit.tour.chapters.products.language import Languages
from losskit.tour.chapters.products.towers import Pairings, firsts
from losskit.tour.compare import Numbers
from losskit.tour.figures import SERIES, SOFT, both, fitting, key, panel, picture, write
from losskit.tour.texts import texts

TEXTS = texts("products")

WHOLE, NEVER = LOSSES.values()
COLOURS = {WHOLE: SERIES[1], NEVER: SERIES[0], "cross_entropy": SERIES[2], "clip_loss": SERIES[0]}
EACH = 3  # held-out digits of a kind in the matrices
LEVELS = 12  # shades of a cosine


def twins(axes: Any, x: Any, first: tuple[str, Any], second: tuple[str, Any]) -> None:
    """Two lines that may lie on each other: a broad one, and a narrow dashed one over it."""
    for (name, heights), width, dashes in ((first, 5.0, "-"), (second, 1.6, "--")):
        axes.plot(x, heights, color=COLOURS[name], linewidth=width, linestyle=dashes, alpha=0.45 if dashes == "-" else 1.0, label=name)


def learning(found: Languages) -> tuple[str, ...]:
    """Loss while the language model learns, in training and on held-out text, and how far the two ways are apart."""
    words = TEXTS.row("panels.learning")
    steps = range(1, len(found.whole.train) + 1)

    def training(axes: Any) -> None:
        twins(axes, steps, (WHOLE, found.whole.train), (NEVER, found.never.train))
        axes.set_title(words[1].en)

    def testing(axes: Any) -> None:
        twins(axes, found.looks, (WHOLE, found.whole.test), (NEVER, found.never.test))
        axes.axhline(found.frequency, color=SOFT, linewidth=1, linestyle=":", label=words[4].en)
        axes.set_title(words[2].en)

    def apart(axes: Any) -> None:
        axes.plot(steps, 1e6 * (found.never.train - found.whole.train), color=SERIES[3], linewidth=1.5)
        axes.set_title(words[3].en)
        axes.set_xlabel(words[0].en)

    def named(draw: Any) -> Any:
        def all_of_it(axes: Any) -> None:
            draw(axes)
            axes.set_xlabel(words[0].en)
            key(axes)

        return all_of_it

    return (*(panel(named(draw), words) for draw in (training, testing)), panel(apart, words))


def finding(found: Pairings) -> str:
    """How many held-out pictures and descriptions find each other, while the towers learn."""
    words = TEXTS.row("panels.finding")

    def draw(axes: Any) -> None:
        for number, name in enumerate(words[2:]):
            axes.plot(found.looks, 100.0 * found.never.course[:, number], color=SERIES[number], linewidth=2, label=name.en)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(words[0].en)
        axes.set_title(words[1].en)
        key(axes)

    return panel(draw, words, width=4.2, height=3.6)


def matrices(found: Pairings) -> tuple[str, ...]:
    """Cosines of pictures with descriptions, untrained and trained."""
    some = firsts(found, EACH)
    digit = found.data.digit[found.data.test][some]
    titles = TEXTS.row("panels.matrices")
    return tuple(cosines(title, c[np.ix_(some, some)], digit) for title, c in zip(titles, (found.before, found.never.cosines), strict=True))


def cosines(title: Text, values: Numbers, digit: Any) -> str:
    """A square for each picture (row) with each description (column): blue the more they agree, orange the more they disagree."""
    n, left, top = len(values), 40.0, 58.0
    cell = 360.0 / n
    down, across = TEXTS.row("panels.sides")
    parts = [
        write(0, 13, both(title), fitting(13, left + 360, *title), bold=True),
        write(left + 180, 32, both(across), 12, anchor="middle", colour="soft"),
        f'<g transform="rotate(-90)">{write(-(top + 180), 12, both(down), 12, anchor="middle", colour="soft")}</g>',
    ]
    for kind in np.unique(digit):
        middle = (np.flatnonzero(digit == kind).mean() + 0.5) * cell
        parts += [write(left - 10, top + middle + 4, str(kind), 11, anchor="middle"), write(left + middle, top - 6, str(kind), 11, anchor="middle")]
    strokes: dict[tuple[str, int], str] = {}
    for row, line in enumerate(values):
        for column, value in enumerate(line):
            shade = ("c0" if value > 0 else "c1", round(LEVELS * abs(float(value))))
            strokes[shade] = strokes.get(shade, "") + f"M{column} {row}h1v1h-1z"
    scale = f'transform="translate({left:g} {top:g}) scale({cell:.5g})" shape-rendering="crispEdges"'
    shades = "".join(f'<path d="{d}" fill="var(--{colour})" fill-opacity="{level / LEVELS:.3g}"/>' for (colour, level), d in strokes.items() if level)
    parts.append(f'<rect x="{left - 1:g}" y="{top - 1:g}" width="362" height="362" fill="none" stroke="var(--grid)"/><g {scale}>{shades}</g>')
    own, others = float(values.diagonal().mean()), float(values[~np.eye(n, dtype=bool)].mean())
    return picture(f"0 0 {left + 362:g} {top + 364:g}", "".join(parts), TEXTS("panels.cosines", title=title, own=own, others=others))


def growth(held: Held) -> tuple[str, ...]:
    """Memory against classes, measured and by formula, and against pairs."""
    words = TEXTS.row("panels.growth")

    def of_classes(axes: Any) -> None:
        wide = np.geomspace(held.classes[0], FAR, 300).round().astype(int).tolist()
        for name in WAYS:
            axes.plot(wide, [formula(name, c) / 1e6 for c in wide], color=COLOURS[name], linewidth=1.5, label=name)
            axes.plot(held.classes, [b / 1e6 for b in held.by_classes[name]], "o", color=COLOURS[name], markersize=5)
        axes.set_xlabel(words[0].en)

    def of_pairs(axes: Any) -> None:
        for name, peaks in held.by_pairs.items():
            axes.plot(held.pairs, [b / 1e6 for b in peaks], "o-", color=COLOURS[name], linewidth=1.5, markersize=5, label=name)
        axes.set_xlabel(words[1].en)

    def finished(draw: Any) -> Any:
        def all_of_it(axes: Any) -> None:
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            draw(axes)
            axes.xaxis.set_major_formatter(lambda v, _: f"{v / 1024:g}k" if v >= 1024 else f"{v:g}")
            axes.yaxis.set_major_formatter(lambda v, _: f"{v:,g}")
            axes.set_title(words[2].en)
            key(axes)

        return all_of_it

    return tuple(panel(finished(draw), words, height=3.6) for draw in (of_classes, of_pairs))
