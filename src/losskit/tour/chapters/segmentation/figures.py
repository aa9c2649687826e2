"""Chapter 4, the pictures in it: from picture to mask, and what every loss found."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from losskit.tour.chapter import Text
from losskit.tour.chapters.segmentation.data import BANDS, NEARLY_EMPTY, TILE, Mask, Picture
from losskit.tour.chapters.segmentation.experiment import (
    ENTRIES,
    FOREGROUND,
    Result,
    shares,
)
from losskit.tour.chapters.segmentation.seen import NUMBER, Seen
from losskit.tour.compare import spread
from losskit.tour.figures import SERIES, both, fitting, key, panel, photograph, ranges, region, write
from losskit.tour.figures import picture as picture_of
from losskit.tour.texts import texts

TEXTS = texts("segmentation")

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
        titles = Text(*(", ".join(getattr(stage.title, language) for stage in pair) for language in Text._fields))
        panels.append(picture_of(f"0 0 {2 * SIDE + GAP:g} {24 + height:g}", "".join(parts), titles))
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
    title = f"{name}: {result.dice.mean():.3f}"
    parts = [write(0, 15, title, fitting(14, SIDE, title), bold=True), errors(picture.shown, picture.mask, result.found, 0, 24, SIDE, sharp=False)]
    parts += [f'<path d="M{SIDE * band / BANDS:g} 24v{height:g}" stroke="var(--soft)" stroke-width="1"/>' for band in range(1, BANDS)]
    alt = TEXTS("tiles.whole", picture=picture.title, name=name, dice=result.dice.mean(), iou=result.iou.mean())
    return picture_of(f"0 0 {SIDE:g} {25 + height:g}", "".join(parts), alt)


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
        (photograph(image, 0, 0, side), both(TEXTS("tiles.picture")), "", "ink"),
        (photograph(truth.astype(np.float64), 0, 0, side), both(TEXTS("tiles.mask")), f"{truth.mean():.1%}", "soft"),
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
    scores = [f"{e.name} {results[e.name].by_tile[number]:.2f}" for e in ENTRIES]
    alt = TEXTS("tiles.alt", title=title, share=truth.mean(), scores=scores)
    return picture_of(f"-1 0 {4 * (side + gap) - gap + 2:g} {24 + 2 * (side + line) - 8:g}", "".join(parts), alt)


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
        *((coins, int(n), TEXTS("tiles.coins_hardest")) for n in hard),
        (galaxies, int(share.argmax()), TEXTS("tiles.galaxies_fullest")),
        *((galaxies, int(n), TEXTS("tiles.galaxies_nearly_empty")) for n in split),
        (galaxies, int(false.argmax()), TEXTS("tiles.galaxies_empty")),
    ]


BINS = ((0.0, "0"), (NEARLY_EMPTY, "< 1 %"), (0.03, "1-3 %"), (1.0, "> 3 %"))  # upper bounds of a tile's foreground


def ranges_panel(seen: Seen, part: str, title: Text) -> str:
    """One score of all losses, for both pictures."""
    words = [picture.title for picture in seen.found.pictures]

    def draw(axes: Any) -> None:
        groups = [
            (picture.title.en, number, [spread(getattr(seen.found.results[picture.key][n], part)) for n in seen.names])
            for number, picture in enumerate(seen.found.pictures)
        ]
        ranges(axes, seen.names, groups, title.en)
        key(axes)

    return panel(draw, (*words, title), height=3.1)


def bins_panels(seen: Seen) -> tuple[str, ...]:
    """Dice and false pixels of the galaxy tiles by their share of foreground."""
    words = TEXTS.row("panels.bins")
    inside = np.searchsorted([upper for upper, _ in BINS], seen.share)
    panels = []
    for part, title in (("by_tile", words[1]), ("false", words[2])):

        def draw(axes: Any, part: str = part, title: Text = title) -> None:
            held = [b for b in range(len(BINS)) if (inside == b).any()]
            for name, number in NUMBER.items():
                heights = [getattr(seen.results[name], part)[inside == b].mean() for b in held]
                axes.plot(range(len(held)), heights, "o-", color=SERIES[number], linewidth=1.8, markersize=5, label=name)
            axes.set_xticks(range(len(held)), [f"{BINS[b][1]} ({(inside == b).sum()})" for b in held])
            axes.set_ylim(bottom=0.0)
            axes.set_xlabel(words[0].en)
            axes.set_title(title.en)
            key(axes)

        panels.append(panel(draw, words, height=3.6))
    return tuple(panels)


def why_panels(seen: Seen) -> tuple[str, ...]:
    """What one pixel pulls, by the foreground of its tile."""
    words = TEXTS.row("panels.why")
    hundred, places = FOREGROUND.index(100), range(len(FOREGROUND))
    panels = []
    for number, title in enumerate(words[1:]):

        def draw(axes: Any, number: int = number, title: Text = title) -> None:
            for name, colour in NUMBER.items():
                p = seen.found.pulls[name]
                heights = p.missed / p.false if number else p.false / p.false[hundred]
                axes.plot(places, heights, "o-", color=SERIES[colour], linewidth=1.8, markersize=4, label=name)
            axes.set_yscale("log")
            axes.set_xticks(places, [str(f) for f in FOREGROUND])
            ticks = (1, 2, 5, 10, 20) if number else (0.1, 0.2, 0.5, 1, 2, 5)
            axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
            axes.minorticks_off()
            axes.set_xlabel(words[0].en)
            axes.set_title(title.en)
            key(axes)

        panels.append(panel(draw, words, height=3.6))
    return tuple(panels)
