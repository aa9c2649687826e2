"""What a loss hands to an engine: the formula, its parameters, and what multiplies or drops items. Engines add nothing to its meaning."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Call(NamedTuple):
    """One elementwise loss, ready to run on an `input` and a `target` of one shape.

    `field` is a parameter that varies by element (`pos_weight`); it comes before `params` in the formula's arguments.
    `factors` multiply an item's loss; the first may be a bool mask. An item whose factor is 0 is absent: whatever its loss, it adds exactly 0.
    """

    formula: Callable[..., Any]
    params: tuple[float, ...] = ()
    field: Tensor | None = None
    factors: tuple[Tensor, ...] = ()


class Results(NamedTuple):
    """What a run gives; None where it was not asked for. `total` is the scaled sum of the losses."""

    total: Tensor | None
    value: Tensor | None
    grad_input: Tensor | None
    grad_target: Tensor | None


def real_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype a loss is computed and returned in: float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype is torch.float64 else torch.float32
