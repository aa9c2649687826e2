"""The pictures of this chapter."""

from typing import Any

import numpy as np

from losskit.contract.registry import LOSSES
from losskit.curves import label, sample
from losskit.tour.chapters.imbalance.experiment import ENTRIES, MEASURES, PLAIN, Data, Scores
from losskit.tour.compare import Numbers, spread
from losskit.tour.figures import SERIES, SOFT, key, panel, ranges
from losskit.tour.texts import texts

TEXTS = texts("imbalance")


def ranges_panel(scores: dict[str, Scores], measure: str, colour: int) -> str:
    """One measure for all losses."""
    words = (MEASURES[measure].title,)
    return panel(lambda axes: ranges(axes, list(scores), [("", colour, [spread(s[measure]) for s in scores.values()])], words[0].en), words, height=3.1)


def why_panels() -> tuple[str, ...]:
    """Value and derivative of cross-entropy and focal for the target 1."""
    shown = [(PLAIN, sample(LOSSES["binary_cross_entropy_with_logits"], {}))]
    shown += [(f"focal_loss({label({'gamma': g})})", sample(LOSSES["focal_loss"], {"gamma": g})) for g in (0.5, 1.0, 2.0, 5.0)]
    words = TEXTS.row("panels.why")
    panels = []
    for part in ("value", "derivative"):

        def draw(axes: Any, part: str = part) -> None:
            axes.axhline(0, color=SOFT, linewidth=0.8)
            for number, (name, curve) in enumerate(shown):
                axes.plot(curve.x, curve.value if part == "value" else curve.slope, color=SERIES[number], linewidth=2, label=name)
            axes.set_xlabel(words[0].en)
            axes.set_title(words[1].en if part == "value" else words[2].en)
            key(axes)

        panels.append(panel(draw, words))
    return tuple(panels)


def reliability_panels(probabilities: dict[str, Numbers], data: Data) -> tuple[str, ...]:
    """Frequency against probability, cross-entropies in one panel and focal losses in the other."""
    words = TEXTS.row("panels.reliability")
    truth, weight = data.truth.ravel(), np.broadcast_to(data.weight, data.truth.shape).ravel()
    panels = []
    for family in ("binary_cross_entropy_with_logits", "focal_loss"):
        names = [PLAIN] * (family == "focal_loss") + [e.name for e in ENTRIES if e.loss == family]

        def draw(axes: Any, names: list[str] = names) -> None:
            axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1)
            for number, name in enumerate(names):
                p = probabilities[name].ravel()
                place = np.minimum((p * 8).astype(int), 7)
                enough = np.flatnonzero(np.bincount(place, minlength=8) >= 20)
                held = [place == b for b in enough]
                predicted = [np.average(p[h], weights=weight[h]) for h in held]
                happened = [np.average(truth[h], weights=weight[h]) for h in held]
                axes.plot(predicted, happened, "o-", color=SERIES[number], linewidth=1.8, markersize=4, label=name)
            axes.set_xlabel(words[0].en)
            axes.set_ylabel(words[1].en)
            key(axes)

        panels.append(panel(draw, words, height=3.8))
    return tuple(panels)
