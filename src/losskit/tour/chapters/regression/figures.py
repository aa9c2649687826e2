"""The pictures of this chapter."""

from typing import Any

import numpy as np
import torch

from losskit.tour.chapters.regression.experiment import Data, Entry, Result
from losskit.tour.compare import Numbers, spread
from losskit.tour.figures import SERIES, SOFT, key, panel, ranges
from losskit.tour.texts import texts

TEXTS = texts("regression")


def results_panel(names: list[str], results: dict[str, tuple[Result, Result]]) -> str:
    """Error with and without wrong targets."""
    words = TEXTS.row("panels.results")

    def draw(axes: Any) -> None:
        groups = [(words[0].en, 1, [spread(results[n][0].mae) for n in names]), (words[1].en, 0, [spread(results[n][1].mae) for n in names])]
        ranges(axes, names, groups, words[2].en)
        axes.set_xscale("log")
        ticks = [t for t in (30, 40, 50, 70, 100, 150, 200, 300) if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]]
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.set_xticks([], minor=True)
        key(axes)

    return panel(draw, words, height=0.8 + 0.24 * len(names))


def fit_panel(names: list[str], results: dict[str, tuple[Result, Result]], data: Data) -> str:
    """Predictions of the best and the worst loss for one test set."""
    words = TEXTS.row("panels.fit")
    truth = data.test_y[0].numpy()

    def draw(axes: Any) -> None:
        axes.plot([20, 350], [20, 350], color=SOFT, linewidth=1)
        for name, colour in ((names[-1], 1), (names[0], 0)):
            axes.scatter(truth, results[name][0].predicted, s=14, color=SERIES[colour], alpha=0.75, linewidths=0, label=name)
        axes.set_xlabel(words[0].en)
        axes.set_ylabel(words[1].en)
        key(axes)

    return panel(draw, words, height=0.8 + 0.24 * len(names))


def why_panels(order: list[Entry], data: Data) -> tuple[str, ...]:
    """Value and derivative over ordinary and wrong errors."""
    low = float(torch.quantile(data.target[data.wrong], 0.1))
    shown = [e for e in order if e in _families(order)][: len(SERIES)]
    words = TEXTS.row("panels.why")
    panels = []
    for part, top, bottom in (("value", 9.0, -0.3), ("derivative", 2.2, -4.0)):

        def draw(axes: Any, part: str = part, top: float = top, bottom: float = bottom) -> None:
            axes.axvspan(-18.0, -low, color=SOFT, alpha=0.13, linewidth=0)
            axes.text(-17.6, top - 0.06 * (top - bottom), words[3].en, color=SOFT, fontsize=9)
            axes.axhline(0, color=SOFT, linewidth=0.8)
            for number, entry in enumerate(shown):
                heights = entry.curve.value if part == "value" else entry.curve.slope
                axes.plot(entry.curve.x, heights, color=SERIES[number], linewidth=2, label=entry.name, clip_on=True)
            axes.set_ylim(bottom, top)
            axes.set_xlim(-18, 4)
            axes.set_xlabel(words[0].en)
            axes.set_title(words[1].en if part == "value" else words[2].en)
            key(axes)

        panels.append(panel(draw, words, height=3.6))
    return tuple(panels)


def _families(order: list[Entry]) -> list[Entry]:
    """One loss for each shape of derivative, whatever its scale: the one with the plainest name."""

    def shape(entry: Entry) -> Numbers:
        slope = np.array([s for x, s in zip(entry.curve.x, entry.curve.slope, strict=True) if abs(x) <= 4.0])
        return np.asarray(slope / np.abs(slope).max())

    kept: list[Entry] = []
    for entry in sorted(order, key=lambda e: len(e.name)):
        if all(np.abs(shape(entry) - shape(other)).mean() > 0.06 for other in kept):
            kept.append(entry)
    return kept
