"""How the comparison is made fair."""

from collections.abc import Sequence

import torch

import losskit
from losskit.tour.chapter import Effort, Text
from losskit.tour.chapters.coins.data import FOLDS, LEARNED, REACH, SIDE, TESTED, WINDOWS
from losskit.tour.chapters.coins.experiment import (
    BATCH,
    ENTRIES,
    FAR,
    MATTERS,
    MIDDLE,
    RATE,
    WARM,
    Findings,
    Networks,
    Result,
    steps,
)
from losskit.tour.texts import texts

TEXTS = texts("coins")


def method(found: Findings, effort: Effort) -> Text:
    """How the comparison is made fair."""
    coins, order = found.held_out.size, _disorder((*found.middle.values(), *found.apart.values()))
    size = Networks(MIDDLE, 0).size()
    return TEXTS(
        "method",
        smallest=WINDOWS[0],
        largest=WINDOWS[1],
        reach=REACH,
        side=SIDE,
        coins=coins,
        folds=FOLDS,
        learned=LEARNED,
        tested=TESTED,
        size=size,
        unit=SIDE // 4,
        order=order,
        steps=steps(effort),
        batch=BATCH,
        rate=RATE,
        warm=WARM,
        far=FAR,
        matters=MATTERS,
        others=len(ENTRIES) - 1,
    )


def _disorder(results: Sequence[Result]) -> Text:
    """Whether any answers were no boxes, at the look that had most of them."""
    worst = max(int(losskit.degenerate_boxes(torch.as_tensor(look))) / len(look) for result in results for look in result.boxes)
    if worst == 0.0:
        return TEXTS("order.none")
    return TEXTS("order.some", worst=worst)
