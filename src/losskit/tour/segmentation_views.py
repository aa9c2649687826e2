"""Chapter 4, the pictures in it: from picture to mask, and what every loss found."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losskit.tour.chapter import Text
from losskit.tour.figures import both, photograph, region, write
from losskit.tour.segmentation_data import BANDS, NEARLY_EMPTY, TILE, Mask, Picture
from losskit.tour.segmentation_run import ENTRIES, Result, shares

HIT, FALSE, MISSED = "c2", "c1", "c0"  # green, orange, blue
SIDE, GAP = 300.0, 12.0  # of a picture, in units of its SVG


def stages(picture: Picture) -> tuple[str, ...]:
    """The steps from picture to mask, two beside each other; the bands are drawn into the last."""
    panels = []
    height = SIDE * picture.mask.shape[0] / picture.mask.shape[1]
    for pair in (picture.stages[:2], picture.stages[2:]):
        parts = []
        for number, stage in enumerate(pair):
            x = number * (SIDE + GAP)
            grey = stage.picture.dtype != np.bool_
            parts += [write(x, 15, both(stage.title), 14, bold=True), photograph(stage.picture.astype(np.float64), x, 24, SIDE, sharp=not grey)]
        panels.append(f'<svg viewBox="0 0 {2 * SIDE + GAP:g} {24 + height:g}">{"".join(parts)}</svg>')
    return tuple(panels)


def errors(image: Any, truth: Mask, found: Mask, x: float, y: float, width: float, *, sharp: bool = True) -> str:
    """A faint picture with what was found, found wrongly, and missed."""
    parts = [f'<g opacity="0.3">{photograph(image, x, y, width, sharp=sharp)}</g>']
    for colour, mask in ((HIT, truth & found), (FALSE, found & ~truth), (MISSED, truth & ~found)):
        if mask.any():
            parts.append(region(mask, x, y, width, colour, 0.6 if colour == HIT else 0.95))
    return "".join(parts)


def whole(picture: Picture, name: str, result: Result) -> str:
    """The picture put together from its held-out bands."""
    height = SIDE * picture.mask.shape[0] / picture.mask.shape[1]
    parts = [write(0, 15, f"{name}: {result.dice.mean():.3f}", 14, bold=True), errors(picture.shown, picture.mask, result.found, 0, 24, SIDE, sharp=False)]
    parts += [f'<path d="M{SIDE * band / BANDS:g} 24v{height:g}" stroke="var(--soft)" stroke-width="1"/>' for band in range(1, BANDS)]
    return f'<svg viewBox="0 0 {SIDE:g} {25 + height:g}">{"".join(parts)}</svg>'


def place(picture: Picture, number: int) -> tuple[slice, slice]:
    """Where in the picture a tile lies that is at this place of `Result.by_tile`."""
    across = picture.band // TILE
    band, within = divmod(number, across * picture.mask.shape[0] // TILE)
    top, left = within // across * TILE, band * picture.band + within % across * TILE
    return slice(top, top + TILE), slice(left, left + TILE)


def tile(picture: Picture, results: dict[str, Result], number: int, title: Text) -> str:
    """A held-out tile, its mask, and what every loss made of it."""
    here, side, gap, line = place(picture, number), 84.0, 8.0, 40.0
    truth, image = picture.mask[here], picture.shown[here]
    cells: list[tuple[str, str, str, str]] = [
        (photograph(image, 0, 0, side), both(Text("picture", "图像")), "", "ink"),
        (photograph(truth.astype(np.float64), 0, 0, side), both(Text("mask", "掩码")), f"{truth.mean():.1%}", "soft"),
    ]
    for entry in ENTRIES:
        found, dice = results[entry.name].found[here], float(results[entry.name].by_tile[number])
        cells.append((errors(image, truth, found, 0, 0, side), entry.short, f"{dice:.2f}", "good" if dice >= 0.8 else "bad" if dice < 0.5 else "ink"))
    parts = [write(0, 14, both(title), 14, bold=True)]
    for index, (drawn, name, number_shown, colour) in enumerate(cells):
        x, y = index % 4 * (side + gap), 24 + index // 4 * (side + line)
        frame = f'<rect width="{side:g}" height="{side:g}" fill="none" stroke="var(--grid)"/>'
        parts += [f'<g transform="translate({x:g} {y:g})">{drawn}{frame}</g>', write(x, y + side + 14, name, 11)]
        parts.append(write(x, y + side + 28, number_shown, 11, colour=colour))
    return f'<svg viewBox="-1 0 {4 * (side + gap) - gap + 2:g} {24 + 2 * (side + line) - 8:g}">{"".join(parts)}</svg>'


def chosen(pictures: Sequence[Picture], found: dict[str, dict[str, Result]]) -> list[tuple[Picture, int, Text]]:
    """Tiles worth a look, by rule: the worst coins, the fullest galaxies, the nearly empty tiles that divide the losses most, and the empty one that does by its false pixels."""
    coins, galaxies = pictures

    def by_loss(key: str, part: str) -> NDArray[np.float64]:
        return np.stack([getattr(result, part) for result in found[key].values()])

    share = shares(galaxies)
    dice = by_loss("galaxies", "by_tile")
    apart = np.where((share > 0) & (share < NEARLY_EMPTY), dice.max(0) - dice.min(0), -1.0)
    false = np.where(share == 0, np.ptp(by_loss("galaxies", "false"), 0), -1.0)
    hard = np.argsort(by_loss("coins", "by_tile").mean(0), kind="stable")[:2]
    split = np.argsort(-apart, kind="stable")[:2]
    return [
        *((coins, int(n), Text("coins, hardest", "硬币，最难")) for n in hard),
        (galaxies, int(share.argmax()), Text("galaxies, fullest", "星系，最满")),
        *((galaxies, int(n), Text("galaxies, nearly empty", "星系，近空")) for n in split),
        (galaxies, int(false.argmax()), Text("galaxies, empty", "星系，全空")),
    ]
