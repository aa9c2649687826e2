"""Whether two losses really differ: a test on paired results of repeated random splits, and scores that scikit-learn lacks."""

from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
LEVEL = 0.05  # chance of calling equal losses different


class Difference(NamedTuple):
    """How far one loss's score is from another's, over the same seeds."""

    mean: float
    margin: float  # half the width of its interval of confidence
    clear: bool  # beyond the margin, and large enough to matter


def student(level: float, freedom: int) -> float:
    """The two-sided quantile of Student's t, by its expansion around the normal one (error below 1 % from 8 degrees of freedom).

    >>> round(student(0.05, 19), 2)
    2.09
    """
    z = NormalDist().inv_cdf(1.0 - level / 2.0)
    v = float(freedom)
    return z + (z**3 + z) / (4 * v) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2) + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)


def difference(a: Numbers, b: Numbers, *, train: int, test: int, matters: float) -> Difference:
    """Score a minus score b, seed by seed.

    Random splits of one data set overlap, so their spread understates the doubt; Nadeau and Bengio (2003) widen it by test/train.
    `matters` is the smallest difference worth a word.
    """
    d = a - b
    error = float(np.std(d, ddof=1)) * (1.0 / len(d) + test / train) ** 0.5
    margin = student(LEVEL, len(d) - 1) * error
    mean = float(np.mean(d))
    return Difference(mean, margin, abs(mean) > max(margin, matters))


def calibration_error(probability: Numbers, truth: Numbers, weight: Numbers, bins: int = 10) -> float:
    """Expected calibration error: how far, on average, a predicted probability is from what happens at it."""
    place = np.minimum((probability * bins).astype(int), bins - 1)
    gaps = np.bincount(place, weight * (probability - truth), minlength=bins)
    return float(np.abs(gaps).sum() / weight.sum())


def rank_correlation(a: Numbers, b: Numbers) -> float:
    """Spearman's: 1 where both put the losses in the same order."""

    def ranks(v: Numbers) -> Numbers:
        rounded = np.round(v, 6)  # losses that are the same up to rounding share a rank
        return np.array([np.mean(np.flatnonzero(np.sort(rounded) == x)) for x in rounded])

    return float(np.corrcoef(ranks(a), ranks(b))[0, 1])


def spread(scores: Any) -> tuple[float, float]:
    """Mean and standard deviation over the seeds."""
    return float(np.mean(scores)), float(np.std(scores, ddof=1))
