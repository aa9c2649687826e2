"""Chapter on boxes, the pictures: error against steps, error over places, and boxes on their way."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from losskit.tour.chapter import Text
from losskit.tour.chapters.boxes.claims import FAR, direction
from losskit.tour.chapters.boxes.experiment import CENTRE, PUBLISHED, RADIUS, STEPS, Findings, title, trace
from losskit.tour.compare import Numbers
from losskit.tour.figures import SERIES, both, key, panel, picture, write
from losskit.tour.texts import texts

TEXTS = texts("boxes")

COLOURS = {"smooth_l1_loss": 7, "iou_loss": 0, "giou_loss": 1, PUBLISHED: 1, "diou_loss": 2, "ciou_loss": 3}
LEVELS = 24  # shades of a map
ERROR = TEXTS("panels.error")
MARKS = (0.1, 0.5, 1.0, 2.0, 4.0)  # of the maps' scale, which goes with the square root, so that small errors are seen beside large ones
SHOTS = (0, 20, 40, 80, 120, STEPS)  # steps at which a box on its way is drawn
ANCHOR, GOAL = (CENTRE + 2.5, CENTRE, 1.0, 1.0), (CENTRE, CENTRE, 1.0, 1.0)


def strokes(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """How each loss is drawn: the paper's in colours of their own, the published code's GIoU dashed, newer ones dotted."""
    styles: dict[str, dict[str, Any]] = {}
    spare = 0
    for name in names:
        known = COLOURS.get(name)
        style = {"linestyle": "--" if name == PUBLISHED else "-" if known is not None else (":", "-.")[spare // 8 % 2]}
        styles[name] = {"color": SERIES[spare % 8 if known is None else known], "linewidth": 2, "label": title(name), **style}
        spare += known is None
    return styles


def curves(found: Findings) -> tuple[str, ...]:
    """Error against steps, on a plain and on a logarithmic axis."""
    words = (TEXTS("panels.step"), ERROR)
    panels = []
    for logarithmic in (False, True):

        def draw(axes: Any, logarithmic: bool = logarithmic) -> None:
            for name, style in strokes(found.courses).items():
                axes.plot(np.arange(STEPS + 1), found.courses[name].error, **style)
            axes.set_xlim(0, STEPS)
            axes.set_xlabel(words[0].en)
            axes.set_ylabel(words[1].en)
            if logarithmic:
                axes.set_yscale("log")
                axes.set_ylim(bottom=1e-3)
            else:
                axes.set_ylim(bottom=0)
            key(axes)

        panels.append(panel(draw, words, height=3.6))
    return tuple(panels)


def binned(x: Numbers, y: Numbers, edges: Numbers) -> tuple[Numbers, Numbers]:
    """Means of y over intervals of x that hold something, at their middles."""
    place = np.digitize(x, edges) - 1
    count = np.bincount(place, minlength=len(edges))[: len(edges) - 1]
    total = np.bincount(place, y, minlength=len(edges))[: len(edges) - 1]
    held = count > 0
    return ((edges[:-1] + edges[1:]) / 2)[held], total[held] / count[held]


def profiles(found: Findings) -> tuple[str, ...]:
    """Error left at the end against the distance of the start, and for far ones against its direction."""
    distance, fold = np.hypot(*found.offset.T), direction(found.offset)
    far = distance > FAR
    bins = 15 if len(distance) >= 1000 else 9
    views = (
        (distance, np.ones_like(far), np.linspace(0.0, RADIUS, bins + 1), TEXTS("panels.distance")),
        (fold, far, np.linspace(0.0, 45.0, bins + 1), TEXTS("panels.direction")),
    )
    label = TEXTS("panels.left")
    panels = []
    for x, held, edges, name in views:

        def draw(axes: Any, x: Numbers = x, held: Any = held, edges: Numbers = edges, name: Text = name) -> None:
            for loss, style in strokes(found.courses).items():
                axes.plot(*binned(x[held], found.courses[loss].final[held], edges), **style)
            axes.set_yscale("log")
            axes.set_ylim(bottom=5e-4)
            axes.set_xlim(edges[0], edges[-1])
            axes.set_xlabel(name.en)
            axes.set_ylabel(label.en)
            key(axes)

        panels.append(panel(draw, (name, label), height=3.4))
    return tuple(panels)


def heading(name: str, number: str) -> str:
    """A loss's name above a picture, and a number beside it."""
    return write(0, 14, f'{title(name)}<tspan dx="10" font-weight="normal" fill="var(--soft)">{number}</tspan>', 14, bold=True)


def spread_over(offset: Numbers, values: Numbers, side: int) -> Numbers:
    """Values at places averaged over a grid of `side` by `side` cells, each with its neighbourhood; NaN outside the disc."""
    step = 2.0 * RADIUS / side
    middle = (np.arange(side) + 0.5) * step - RADIUS
    reach = max(0.6 * step, 0.6 * RADIUS * float(np.sqrt(np.pi / len(offset))))
    cells = np.full((side, side), np.nan)
    for row, y in enumerate(-middle):  # the first row is on top
        for column, x in enumerate(middle):
            if np.hypot(x, y) <= RADIUS:
                weight = np.exp(-((offset[:, 0] - x) ** 2 + (offset[:, 1] - y) ** 2) / (2.0 * reach**2))
                cells[row, column] = (weight * values).sum() / max(weight.sum(), 1e-300)
    return cells


def shade(value: float, top: float) -> int:
    """The level of a value on the map's scale."""
    return round(LEVELS * math.sqrt(min(max(value, 0.0) / top, 1.0)))


def painted(cells: Sequence[tuple[float, float, float, float, int]], colour: str) -> str:
    """Rectangles (x, y, width, height, level), one path for each level."""
    paths: dict[int, str] = {}
    for x, y, w, h, level in cells:
        paths[level] = paths.get(level, "") + f"M{x:g} {y:g}h{w:g}v{h:g}h-{w:g}z"
    return "".join(
        f'<path d="{d}" fill="var(--{colour})" fill-opacity="{0.04 + 0.96 * level / LEVELS:.3g}" shape-rendering="crispEdges"/>'
        for level, d in sorted(paths.items())
    )


def surfaces(found: Findings) -> tuple[str, ...]:
    """For each loss a map of the error left at the end over the places where boxes start."""
    top = max(float(c.final.max()) for c in found.courses.values())
    side = 49 if len(found.offset) >= 2000 else 31
    width, head = 330.0, 24.0
    cell = width / side
    panels = []
    for name, course in found.courses.items():
        grid = spread_over(found.offset, course.final, side)
        cells = [(c * cell, head + r * cell, cell, cell, shade(v, top)) for r, row in enumerate(grid) for c, v in enumerate(row) if v == v]
        box = width / (2.0 * RADIUS)
        middle = (width - box) / 2
        parts = [heading(name, f"{course.final.mean():.4f}"), painted(cells, "c1")]
        parts.append(f'<rect x="{middle:g}" y="{head + middle:g}" width="{box:g}" height="{box:g}" fill="none" stroke="var(--ink)" stroke-width="1.2"/>')
        alt = TEXTS("panels.map", name=title(name), error=course.final.mean())
        panels.append(picture(f"0 0 {width:g} {head + width + 4:g}", "".join(parts), alt))
    return (*panels, scale(top))


def scale(top: float) -> str:
    """What the shades of the maps mean."""
    width, head, high = 330.0, 24.0, 16.0
    cells = [(width * k / LEVELS, head, width / LEVELS, high, k) for k in range(LEVELS)]
    parts = [write(0, 14, both(TEXTS("panels.left")), 13), painted(cells, "c1")]
    for mark in (0.0, *(m for m in MARKS if m < 0.95 * top), top):
        x = width * (mark / top) ** 0.5
        parts.append(write(x, head + high + 15, f"{mark:.3g}", 11, anchor="start" if mark == 0 else "end" if mark == top else "middle", colour="soft"))
    return picture(f"0 0 {width:g} {head + high + 24:g}", "".join(parts), TEXTS("panels.shades", top=top))


def ways(names: Sequence[str]) -> tuple[str, ...]:
    """One box to the right of its target, under each loss: where it is after some of the steps."""
    unit, left, top, high, head = 66.0, CENTRE - 1.1, CENTRE - 1.35, 2.7, 24.0
    width = 330.0
    panels = []
    for name in names:
        path = trace(name, ANCHOR, GOAL)
        error = np.abs(path[-1] - np.array(GOAL)).sum()
        clip = f'<clipPath id="{name}-way"><rect x="0" y="{head:g}" width="{width:g}" height="{high * unit:g}"/></clipPath>'
        parts = [clip, heading(name, f"{error:.3f}")]
        inside = [frame(np.array(GOAL), unit, left, top, head, 'fill="var(--soft)" fill-opacity="0.25"')]
        for number, step in enumerate(SHOTS):
            strength = 0.25 + 0.75 * number / (len(SHOTS) - 1)
            dash = ' stroke-dasharray="5 4"' if number == 0 else ""
            colour = "soft" if number == 0 else f"c{COLOURS.get(name, 4)}"
            inside.append(
                frame(path[step], unit, left, top, head, f'fill="none" stroke="var(--{colour})" stroke-width="2" stroke-opacity="{strength:.2g}"{dash}')
            )
        parts.append(f'<g clip-path="url(#{name}-way)">{"".join(inside)}</g>')
        panels.append(picture(f"0 0 {width:g} {head + high * unit:g}", "".join(parts), TEXTS("panels.way", name=title(name), error=error)))
    return tuple(panels)


def frame(box: Numbers, unit: float, left: float, top: float, head: float, look: str) -> str:
    """A box (centre and size) as a rectangle of the picture."""
    x, y, w, h = box
    return f'<rect x="{(x - w / 2 - left) * unit:.1f}" y="{head + (y - h / 2 - top) * unit:.1f}" width="{max(w, 0) * unit:.1f}" height="{max(h, 0) * unit:.1f}" {look}/>'
