"""The pictures of this chapter."""

from typing import Any

import numpy as np

from losskit.tour.chapter import Effort, Text
from losskit.tour.chapters.digits.experiment import (
    ENTRIES,
    PLAIN,
    Findings,
    Result,
    curve,
    hardest,
    points,
    steps,
)
from losskit.tour.compare import spread
from losskit.tour.figures import SERIES, SOFT, gallery, key, panel, ranges
from losskit.tour.texts import texts

TEXTS = texts("digits")

RIGHT, WRONG = TEXTS.row("panels.sides")
ACCURACY, ECE = TEXTS.row("panels.scores")
NUMBER = {entry.name: number for number, entry in enumerate(ENTRIES)}  # a loss keeps its colour through the chapter


def ranges_panel(names: list[str], found: Findings, part: str, title: Text) -> str:
    """One score of all losses, with wrong and with right labels."""

    def draw(axes: Any) -> None:
        sides = ((WRONG, 1, found.dirty), (RIGHT, 0, found.clean))
        ranges(axes, names, [(words.en, colour, [spread(100.0 * getattr(side[n], part)) for n in names]) for words, colour, side in sides], title.en)
        key(axes)

    return panel(draw, (RIGHT, WRONG, title), height=3.1)


def course_panels(found: Findings, effort: Effort) -> tuple[str, ...]:
    """What is learned when: the digits, and the mistakes."""
    words = (TEXTS("panels.steps"), ACCURACY, TEXTS("panels.heart"))
    where = points(steps(effort))
    panels = []
    for part, title in (("course", words[1]), ("heart", words[2])):

        def draw(axes: Any, part: str = part, title: Text = title) -> None:
            series = {e.name: 100.0 * getattr(found.dirty[e.name], part).mean(1) for e in ENTRIES}
            for name, heights in series.items():
                axes.plot(where, heights, color=SERIES[NUMBER[name]], linewidth=2, label=name)
            axes.set_xlabel(words[0].en)
            axes.set_title(title.en)
            top = max(float(h.max()) for h in series.values())
            if part == "course":
                axes.set_ylim(max(0.0, top - 35.0), top + 2.0)
            else:
                axes.set_ylim(bottom=0.0)
            key(axes)

        panels.append(panel(draw, words, height=3.5))
    return tuple(panels)


def reliability_panels(found: Findings) -> tuple[str, ...]:
    """Frequency against confidence, with right and with wrong labels."""
    words = (TEXTS("panels.probability"), TEXTS("panels.right"), RIGHT, WRONG)
    truth = found.data.truth.numpy().ravel()
    panels = []
    for title, results in ((RIGHT, found.clean), (WRONG, found.dirty)):

        def draw(axes: Any, title: Text = title, results: dict[str, Result] = results) -> None:
            axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1)
            for name, number in NUMBER.items():
                p = results[name].probability.reshape(len(truth), -1)
                sure, right = p.max(-1), p.argmax(-1) == truth
                place = np.minimum((sure * 10).astype(int), 9)
                held = [place == b for b in np.flatnonzero(np.bincount(place, minlength=10) >= 20)]
                axes.plot([sure[h].mean() for h in held], [right[h].mean() for h in held], "o-", color=SERIES[number], linewidth=1.8, markersize=4, label=name)
            axes.set_xlim(0.18, 1.02)
            axes.set_ylim(0.0, 1.03)
            axes.set_xlabel(words[0].en)
            axes.set_ylabel(words[1].en)
            axes.set_title(title.en)
            key(axes)

        panels.append(panel(draw, words, height=3.8))
    return tuple(panels)


def why_panels(found: Findings) -> tuple[str, ...]:
    """Value and pull against the probability of the label."""
    words = TEXTS.row("panels.why")
    curves = [curve(entry) for entry in ENTRIES]
    panels = []
    for part, top, bottom in (("value", 5.0, 0.0), ("pull", 1.12, -0.2)):

        def draw(axes: Any, part: str = part, top: float = top, bottom: float = bottom) -> None:
            axes.axvspan(0.0, found.look.wrong_below, color=SOFT, alpha=0.13, linewidth=0)
            axes.axvline(found.look.right_above, color=SOFT, linewidth=1, linestyle="--")
            axes.text(0.01, bottom + 0.04 * (top - bottom), words[3].en, color=SOFT, fontsize=9)
            axes.axhline(0, color=SOFT, linewidth=0.8)
            for number, line in enumerate(curves):
                heights = np.array(line.value) if part == "value" else -np.array(line.slope) / np.abs(line.slope).max()
                axes.plot(line.x, heights, color=SERIES[number], linewidth=2, label=line.label)
            axes.set_ylim(bottom, top)
            axes.set_xlim(0, 1)
            axes.set_xlabel(words[0].en)
            axes.set_title(words[1].en if part == "value" else words[2].en)
            key(axes)

        panels.append(panel(draw, words, height=3.6))
    return tuple(panels)


def galleries(names: list[str], found: Findings) -> tuple[str, ...]:
    """The hardest digits under plain cross-entropy with right and wrong labels, and under the best loss with wrong ones."""
    shown = [(PLAIN, RIGHT, found.clean), (PLAIN, WRONG, found.dirty)] + [(names[0], WRONG, found.dirty)] * (names[0] != PLAIN)
    pictures = []
    for name, labels, results in shown:
        items = [(h.image, f"{h.truth} → {h.read}, {h.probability:.2f}", h.truth == h.read) for h in hardest(results[name], found.data, 12)]
        pictures.append(gallery(TEXTS("panels.gallery", name=name, labels=labels), items))
    return tuple(pictures)
