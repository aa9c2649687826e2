"""What the numbers of this chapter say, whatever they turn out to be."""

import numpy as np

from losskit.tour.chapter import Text
from losskit.tour.chapters.regression.experiment import Result
from losskit.tour.compare import Difference, Numbers, rank_correlation, spread
from losskit.tour.texts import texts

TEXTS = texts("regression")


def pm(scores: Numbers) -> str:
    """Mean and spread."""
    mean, deviation = spread(scores)
    return f"{mean:.1f} ± {deviation:.1f}"


def verdict(
    names: list[str],
    results: dict[str, tuple[Result, Result]],
    pulls: dict[str, float],
    with_wrong: dict[str, Difference],
    without: dict[str, Difference],
    median: float,
) -> tuple[Text, ...]:
    """The sentences that these results make true; `names` are in order, the best first."""
    best, worst = names[0], names[-1]
    usual = "mse_loss" if "mse_loss" in names[1:] else worst
    mae = {n: float(results[n][0].mae.mean()) for n in names}
    clean = [float(results[n][1].mae.mean()) for n in names]
    clear = [n for n in names[1:] if with_wrong[n].clear]
    return TEXTS.sentences(
        "verdict",
        best=best,
        best_error=pm(results[best][0].mae),
        usual=usual,
        usual_error=pm(results[usual][0].mae),
        worst=worst,
        worst_error=mae[worst],
        equal=[n for n in names[1:] if not with_wrong[n].clear],
        behind=[f"{n} (+{with_wrong[n].mean:.1f})" for n in clear],
        useless=[n for n in clear if mae[n] > median],
        median=median,
        apart=[n for n in names if without[n].clear],
        low=min(clean),
        high=max(clean),
        best_pull=pulls[best],
        worst_pull=pulls[worst],
        agreement=rank_correlation(np.array([pulls[n] for n in names]), np.array([mae[n] for n in names])),
    )
