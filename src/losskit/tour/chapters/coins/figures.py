"""Chapter 6, the pictures: the coins and their boxes, crops, and what the networks answered."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from losskit.tour.chapter import Text
from losskit.tour.chapters.coins.data import SIDE, coin_boxes
from losskit.tour.chapters.coins.experiment import (
    ENTRIES,
    Findings,
    Result,
)
from losskit.tour.chapters.coins.seen import NUMBER, PARTS, Seen
from losskit.tour.chapters.segmentation.data import traced
from losskit.tour.compare import Numbers, spread
from losskit.tour.figures import SERIES, both, key, panel, photograph, picture, ranges, write
from losskit.tour.texts import texts

TEXTS = texts("coins")

SCORE, LENGTH = TEXTS.row("panels.scores")
TRUE, ANSWER = "c2", "c1"  # green, orange
WIDE, SMALL, GAP = 480.0, 84.0, 8.0  # of the picture and of a crop, in units of their SVG
SHOTS = (0.0, 0.04, 0.08, 0.16, 0.4, 1.0)  # shares of the steps, at which boxes on their way are drawn
ROUND = 10.0  # pixels around a crop, where boxes are on their way into it


def frame(box: Iterable[float], unit: float, look: str) -> str:
    """A box as a rectangle; its sides may be out of order."""
    x0, y0, x1, y1 = (float(v) * unit for v in box)
    return f'<rect x="{min(x0, x1):.1f}" y="{min(y0, y1):.1f}" width="{abs(x1 - x0):.1f}" height="{abs(y1 - y0):.1f}" fill="none" {look}/>'


def stroke(colour: str, width: float, opacity: float = 1.0) -> str:
    """How a box is drawn."""
    return f'stroke="var(--{colour})" stroke-width="{width:g}" stroke-opacity="{opacity:.2g}"'


def shown(pixels: Numbers) -> Any:
    """A crop as grey from 0 to 1."""
    grey = traced().grey
    return np.clip((pixels * grey.std() + grey.mean()) / 255.0, 0.0, 1.0)


def coins(title: Text, boxes: str) -> str:
    """The whole picture with boxes in it."""
    grey = traced().grey
    height = WIDE * grey.shape[0] / grey.shape[1]
    inside = (
        f'<svg y="24" width="{WIDE:g}" height="{height:g}" viewBox="0 0 {WIDE:g} {height:g}">{photograph(grey / 255.0, 0, 0, WIDE, sharp=False)}{boxes}</svg>'
    )
    return picture(f"0 0 {WIDE:g} {25 + height:g}", write(0, 15, both(title), 15, bold=True) + inside, TEXTS("pictures.coins", title=title))


def regions(found: Findings) -> str:
    """Every coin in its box, in the colour of its fold."""
    unit = WIDE / traced().grey.shape[1]
    boxes = [frame(coin_boxes()[coin], unit, stroke(f"c{number}", 2.5)) for number, held_out in enumerate(found.held_out) for coin in held_out]
    return coins(TEXTS("pictures.regions", count=found.held_out.size), "".join(boxes))


def answers(found: Findings, name: str) -> str:
    """Every held-out coin's box, and what the network answered to its crops, put back into the picture."""
    unit = WIDE / traced().grey.shape[1]
    result = found.middle[name]
    corner, side = np.tile(found.window[:, :2], 2), found.window[:, 2:]
    placed = corner + result.boxes[-1] * (side / SIDE)
    parts = [frame(box, unit, stroke(ANSWER, 1, 0.45)) for box in placed] + [frame(box, unit, stroke(TRUE, 2)) for box in coin_boxes()]
    return coins(Text(*(f"{name}: {result.iou[-1].mean():.3f}",) * 2), "".join(parts))


def cells(title: Text, drawn: Sequence[tuple[str, str, str, str]], *, side: float, across: int = 4, size: int = 11) -> str:
    """Small pictures, so many in a row, each with a name and a number below it: (picture, name, number, colour of the number)."""
    line, rows = 2 * size + 14 if any(name for _, name, _, _ in drawn) else 0, -(-len(drawn) // across)
    head, parts = 24, [write(0, 14, both(title), 14, bold=True)]
    for index, (crop, name, number, colour) in enumerate(drawn):
        x, y = index % across * (side + GAP), head + index // across * (side + GAP + line)
        parts.append(f'<g transform="translate({x:g} {y:g})">{crop}</g>')
        if name:
            parts += [write(x, y + side + size + 3, name, size), write(x, y + side + 2 * size + 6, number, size, colour=colour)]
    view = f"-1 0 {across * (side + GAP) - GAP + 2:g} {head + rows * (side + GAP + line) - GAP:g}"
    numbers = [f"{name} {number}" for _, name, number, _ in drawn if number and "<" not in name]
    return picture(view, "".join(parts), TEXTS("pictures.crops_alt", title=title, count=len(drawn), numbers=numbers))


def sample(found: Findings) -> str:
    """Crops of every other coin, with the box that is asked for."""
    side, each = (WIDE + GAP) / 4 - GAP, len(found.box) // found.held_out.size
    picked = range(0, len(found.box), 2 * each)
    return cells(
        TEXTS("pictures.crops"),
        [(photograph(shown(found.pixels[n]), 0, 0, side) + frame(found.box[n], side / SIDE, stroke(TRUE, 2.5)), "", "", "") for n in picked],
        side=side,
    )


def order(found: Findings) -> Any:
    """The test crops by the mean IoU of all losses, worst first."""
    return np.argsort(np.mean([r.iou[-1] for r in found.middle.values()], 0), kind="stable")


def cases(found: Findings) -> tuple[str, ...]:
    """The best, the middle and the worst of the test crops, with every loss's answer."""
    by, unit, panels = order(found), SMALL / SIDE, []
    for title, number in ((TEXTS("pictures.best"), by[-1]), (TEXTS("pictures.middle"), by[len(by) // 2]), (TEXTS("pictures.worst"), by[0])):
        image = photograph(shown(found.pixels[number]), 0, 0, SMALL)
        truth = frame(found.box[number], unit, stroke(TRUE, 2))
        drawn = [(image + truth, both(TEXTS("pictures.asked")), f"{found.size[number]:.0f} px", "soft")]
        for entry in ENTRIES:
            result = found.middle[entry.name]
            iou = float(result.iou[-1, number])
            box = inside(frame(result.boxes[-1, number], unit, stroke(ANSWER, 2)), SMALL)
            drawn.append((image + truth + box, entry.name, f"{iou:.2f}", "good" if iou >= 0.75 else "bad" if iou < 0.5 else "ink"))
        panels.append(cells(title, drawn, side=SMALL))
    return tuple(panels)


def inside(drawn: str, side: float) -> str:
    """Cut off what leaves a square."""
    return f'<svg width="{side:g}" height="{side:g}" viewBox="0 0 {side:g} {side:g}">{drawn}</svg>'


def ways(found: Findings) -> tuple[str, ...]:
    """From the start apart: the boxes of one crop on their way, under each loss."""
    number, side = order(found)[len(found.box) // 2], 150.0
    unit = side / (SIDE + 2 * ROUND)
    looks = np.unique(np.searchsorted(found.looks, [found.looks[-1] * share for share in SHOTS]))
    image = f'<g opacity="0.6">{photograph(shown(found.pixels[number]), ROUND * unit, ROUND * unit, SIDE * unit)}</g>'
    edge = f'<rect width="{side:g}" height="{side:g}" fill="none" stroke="var(--grid)"/>'
    styles = [stroke(ANSWER, 1.6, 0.35 + 0.65 * k / max(1, len(looks) - 1)) + (' stroke-dasharray="3 3"' if k == 0 else "") for k in range(len(looks))]
    drawn = []
    for entry in ENTRIES:
        result = found.apart[entry.name]
        boxes = [frame(result.boxes[look, number] + ROUND, unit, style) for look, style in zip(looks, styles, strict=True)]
        iou = float(result.iou[-1, number])
        truth = frame(found.box[number] + ROUND, unit, stroke(TRUE, 2))
        drawn.append((edge + image + inside(truth + "".join(boxes), side), entry.name, f"{iou:.2f}", "good" if iou >= 0.75 else "bad" if iou < 0.5 else "ink"))
    key = [
        f'<path d="M8 {20 + 21 * k}h40" {style}/>' + write(58, 23 + 21 * k, str(found.looks[look]), 9)
        for k, (look, style) in enumerate(zip(looks, styles, strict=True))
    ]
    drawn.append((edge + "".join(key), both(TEXTS("pictures.steps")), "", "ink"))
    return tuple(cells(TEXTS("pictures.ways"), half, side=side, across=2, size=9) for half in (drawn[:4], drawn[4:]))


def ranges_panel(seen: Seen) -> str:
    """Mean IoU of all losses."""

    def draw(axes: Any) -> None:
        ranges(axes, seen.names, [("", 0, [spread(seen.found.middle[n].scores) for n in seen.names])], SCORE.en)

    return panel(draw, (SCORE,), width=3.7, height=3.4)


def sizes_panel(seen: Seen) -> str:
    """Mean IoU by the size of the box."""
    label, limits = TEXTS("panels.size"), [seen.found.size.min(), *seen.edges, seen.found.size.max()]

    def draw(axes: Any) -> None:
        for name, number in NUMBER.items():
            axes.plot(range(PARTS), seen.by_size(name), "o-", color=SERIES[number], linewidth=1.8, markersize=4, label=name)
        axes.set_xticks(range(PARTS), [f"{a:.0f}-{b:.0f}" for a, b in pairwise(limits)])
        axes.set_xlabel(label.en)
        axes.set_ylabel(SCORE.en)
        key(axes)

    return panel(draw, (label, SCORE), width=3.7, height=3.4)


def course_panel(found: Findings, results: dict[str, Result], what: Text) -> str:
    """Mean IoU, or the mean side of the answers, against the step."""
    label, wide = TEXTS("panels.step"), results is found.apart

    def draw(axes: Any) -> None:
        for name, number in NUMBER.items():
            heights = results[name].iou.mean(1) if what is SCORE else results[name].sides
            axes.plot(found.looks, heights, "o--" if name == "ciou_loss" else "o-", color=SERIES[number], linewidth=1.8, markersize=3.5, label=name)
        if what is SCORE:
            axes.set_ylim(-0.03, 1.0)
        else:
            axes.set_yscale("log")
        axes.set_xlabel(label.en)
        axes.set_ylabel(what.en)
        key(axes)

    return panel(draw, (label, what), width=4.7 if wide else 3.7, height=3.4)
