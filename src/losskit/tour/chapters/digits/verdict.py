"""What the numbers of this chapter say, whatever they turn out to be."""

from typing import Any

import numpy as np

from losskit.tour.chapter import Effort, Text
from losskit.tour.chapters.digits.experiment import PLAIN, SHARE, Findings, Result, missing, points, steps
from losskit.tour.compare import Difference, Numbers, rank_correlation, spread
from losskit.tour.texts import texts

TEXTS = texts("digits")


def pm(scores: Numbers) -> str:
    """Mean and spread of shares, in per cent."""
    mean, deviation = spread(100.0 * scores)
    return f"{mean:.1f} ± {deviation:.1f}"


def remembered(result: Result) -> float:
    """Share of the wrong labels that is known by heart when training ends."""
    return float(result.heart[-1].mean())


def verdict(names: list[str], found: Findings, with_wrong: dict[str, Difference], without: dict[str, Difference], effort: Effort) -> tuple[Text, ...]:
    """The sentences that these findings make true; `names` are in order, the best first."""
    dirty, clean, pulls = found.dirty, found.clean, found.look.pulls
    best, worst = names[0], names[-1]
    other = PLAIN if best != PLAIN else worst
    levels = [float(r.accuracy.mean()) for r in clean.values()]
    return TEXTS.sentences(
        "verdict",
        share=SHARE,
        best=best,
        best_accuracy=pm(dirty[best].accuracy),
        other=other,
        other_accuracy=pm(dirty[other].accuracy),
        equal=[n for n in names[1:] if not with_wrong[n].clear],
        behind=[f"{n} (-{100 * with_wrong[n].mean:.1f})" for n in names[1:] if with_wrong[n].clear],
        **_forgotten(names, found, effort),
        best_heart=remembered(dirty[best]),
        low=min(levels),
        high=max(levels),
        apart=[n for n in names if without[n].clear],
        missed=[n for n in names if missing(clean[n], found.data) + missing(dirty[n], found.data)],
        right=_calibration(names, clean),
        wrong=_calibration(names, dirty),
        worst=worst,
        worst_pull=pulls[worst],
        best_pull=pulls[best],
        agreement=rank_correlation(np.array([pulls[n] for n in names]), np.array([1.0 - dirty[n].accuracy.mean() for n in names])),
    )


def _forgotten(names: list[str], found: Findings, effort: Effort) -> dict[str, Any]:
    """Which losses lose accuracy by further training, and how the one that loses most goes."""
    course = {n: found.dirty[n].course.mean(1) for n in names}
    loss = {n: float(course[n].max() - course[n][-1]) for n in names}
    forgot = [n for n in names if loss[n] > 0.01]
    most = max(names, key=lambda n: loss[n])
    return {
        "forgot": forgot,
        "lost": 100.0 * min((loss[n] for n in forgot), default=0.0),
        "most": most,
        "when": points(steps(effort))[int(course[most].argmax())],
        "steps": steps(effort),
        "top": course[most].max(),
        "end": course[most][-1],
        "most_heart": remembered(found.dirty[most]),
    }


def _calibration(names: list[str], results: dict[str, Result]) -> dict[str, Any]:
    """What the probabilities are worth: the smallest and the largest calibration error."""
    ece = {n: float(results[n].ece.mean()) for n in names}
    least, most = min(names, key=lambda n: ece[n]), max(names, key=lambda n: ece[n])
    sure = bool(results[most].probability.max(-1).mean() > results[most].accuracy.mean())
    return {"least": least, "least_ece": ece[least], "most": most, "most_ece": ece[most], "sure": sure}
