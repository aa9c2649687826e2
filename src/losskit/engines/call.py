"""What a loss hands to an engine: the formula, its parameters, and what multiplies or drops items. Engines add nothing to its meaning."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

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

    def tensors(self) -> tuple[Tensor, ...]:
        """What autograd must keep: changed in place before the backward, they raise there."""
        return self.factors if self.field is None else (*self.factors, self.field)

    def holding(self, tensors: Sequence[Tensor]) -> "Call":
        """The same call with the tensors that autograd kept."""
        count = len(self.factors)
        return self._replace(factors=tuple(tensors[:count]), field=tensors[count] if self.field is not None else None)


class Rows(NamedTuple):
    """One loss of rows of class scores and a label each, ready to run on an `input` with its classes along `dim` and a `target` of the other dimensions.

    `formula` takes a row's (nll, hit, miss, spread, lse, weight, *params): -log p_y, p_y, 1 - p_y, the sum over j of shares_j (-log p_j), log sum exp,
    weight_y. It returns the value and its derivatives by nll, spread and lse. `link` (score, slope) stands between input and scores.
    An item is absent if its label is `ignore` or its factor is 0.
    """

    formula: Callable[..., Any]
    params: tuple[float, ...] = ()
    weight: Tensor | None = None  # (classes,)
    shares: Tensor | None = None  # (classes,)
    link: Callable[..., Any] | None = None
    link_parameter: float = 0.0
    ignore: int = -100
    dim: int = 1
    factor: Tensor | None = None  # the target's shape

    def tensors(self) -> tuple[Tensor, ...]:
        """As of `Call`."""
        return tuple(x for x in (self.weight, self.shares, self.factor) if x is not None)

    def holding(self, tensors: Sequence[Tensor]) -> "Rows":
        """As of `Call`."""
        given = iter(tensors)
        weight, shares, factor = (None if x is None else next(given) for x in (self.weight, self.shares, self.factor))
        return self._replace(weight=weight, shares=shares, factor=factor)


class Distributions(NamedTuple):
    """One loss of rows of class scores and a distribution each, ready to run on an `input` with its classes along `dim` and a `target`: of the input's
    shape (`kind="distribution"`), labels of the other dimensions (`kind="label"`: all mass on that class), or no target (`kind="none"`: the formula reads
    t = 0; the tensor handed over is empty and never looked at).

    `formula` takes a class's (log p, p, 1 - p, t, weight, *params) and returns the value and its derivatives by log p and by t. `link` (score, slope) stands
    between input and scores. An item is absent if its label is `ignore` or its factor is 0.
    """

    formula: Callable[..., Any]
    params: tuple[float, ...] = ()
    weight: Tensor | None = None  # (classes,)
    link: Callable[..., Any] | None = None
    link_parameter: float = 0.0
    shift: bool = False  # take the row's largest input from all of them before the link
    square: float = 0.0  # times sum_j(t_j weight_j) lse^2, which is added to the row's loss
    kind: Literal["distribution", "label", "none"] = "distribution"
    ignore: int = -100
    dim: int = 1
    factor: Tensor | None = None  # the shape without the classes

    def tensors(self) -> tuple[Tensor, ...]:
        """As of `Call`."""
        return tuple(x for x in (self.weight, self.factor) if x is not None)

    def holding(self, tensors: Sequence[Tensor]) -> "Distributions":
        """As of `Call`."""
        given = iter(tensors)
        weight, factor = (None if x is None else next(given) for x in (self.weight, self.factor))
        return self._replace(weight=weight, factor=factor)


class Census(NamedTuple):
    """The weights of the items that count, summed; how many items count; how many of them have a label that is no class."""

    weight: float
    items: int
    wrong: int


class Results(NamedTuple):
    """What a run gives; None where it was not asked for. `total` is the scaled sum of the losses.

    By-products of rows: the log-sum-exp of each item, and whether its label is the first class with the largest score.
    """

    total: Tensor | None
    value: Tensor | None
    grad_input: Tensor | None
    grad_target: Tensor | None = None
    lse: Tensor | None = None
    right: Tensor | None = None


def real_dtype(dtype: torch.dtype) -> torch.dtype:
    """The dtype a loss is computed and returned in: float64 for float64, float32 for everything narrower."""
    return torch.float64 if dtype is torch.float64 else torch.float32
