"""A loss of its hardest items alone (`TopK`): the loss of each item from the loss itself, then which are kept, then the reduction of those.

It is called with reduction="none" and, in place of a normalizer, with something to tell how much each item counts (`Shares`).
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy
import torch
from torch import Tensor

from losskit.contract import checks, reduce
from losskit.contract.groups import Ranks
from losskit.contract.topk import Shares, TopK, refusal

FINEST = 10**9  # of a share as a fraction: its product with a number of items is a whole number, on any device


def mined(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """What `function` gives with reduction=TopK(...)."""
    how: TopK = kwargs["reduction"]
    name, normalizer = getattr(function, "__name__", "the loss"), kwargs.get("normalizer")
    if "reduction" not in (getattr(function, "__kwdefaults__", None) or {}):
        raise TypeError(refusal(name))
    if isinstance(normalizer, str) or (isinstance(normalizer, Ranks) and isinstance(normalizer.normalizer, str)):
        raise ValueError(
            f'normalizer={normalizer!r} counts positive targets, kept or not, which TopK does not do: try TopK(..., reduction="sum"), and divide by the count'
        )
    reduce.check(how.reduction, normalizer)
    shares = Shares(reduce.by_weights(how.reduction, normalizer))
    found = function(*args, **{**kwargs, "reduction": "none", "normalizer": shares})
    each, *beside = found if isinstance(found, tuple) else (found,)
    if not shares.told:
        raise ValueError(f"{name} with these settings has losses of some of the items alone, of which TopK cannot keep the largest: leave process_group out")
    result = of_items(how, each, shares.of_items, normalizer)
    return (result, *beside) if beside else result


def of_items(how: TopK, each: Tensor, shares: Tensor | None, normalizer: Any) -> Tensor:
    """The reduction of one loss per item, of which some are kept."""
    present = None if shares is None else (shares != 0) | (each != 0)  # smoothing gives a label whose class has weight 0 a loss, and no share
    kept = chosen(how, each, present)
    if how.reduction != "mean":
        denominator: Tensor | float = 0.0
    elif shares is None or shares.dtype is torch.bool:
        denominator = kept.sum()
    else:
        denominator = reduce.weight_of(torch.where(kept, shares, 0.0), 0, each.dtype)
    return reduce.reduced(each, kept, denominator, each, normalizer=normalizer, reduction=how.reduction)


def chosen(how: TopK, each: Tensor, present: Tensor | None) -> Tensor:
    """Which items are kept, of one loss per item and whether it counts; bool."""
    if how.per == "sample" and not each.dim():
        raise ValueError('per="sample" of TopK keeps items of each sample along axis 0, but the loss is of a single item: leave per out')
    shape = (each.shape[0], math.prod(each.shape[1:])) if how.per == "sample" else (1, each.numel())
    values = each.detach().reshape(shape)
    counts = torch.ones_like(values, dtype=torch.bool) if present is None else present.expand(each.shape).reshape(shape)
    items = counts.sum(1)
    kept = items
    if how.threshold is not None:
        kept = (counts & ~(values <= how.threshold)).sum(1)  # NaN is the largest
    if how.keep is not None:
        kept = torch.minimum(kept, whole(how.keep, items))
    kept = torch.minimum(torch.maximum(kept, whole(how.min_kept, items)), items)
    return largest(values, counts, kept).reshape(each.shape)


def whole(amount: float, items: Tensor) -> Tensor:
    """How many items that is: a share of them, rounded down. 0.29 of 100 are 29, though 0.29 * 100 is less."""
    if isinstance(amount, int):
        return torch.full_like(items, amount)
    from fractions import Fraction  # which brings more modules than whoever imports losskit needs

    share = Fraction(repr(float(amount))).limit_denominator(FINEST)
    return torch.div(items * share.numerator, share.denominator, rounding_mode="floor")


def largest(values: Tensor, counts: Tensor, kept: Tensor) -> Tensor:
    """In each row, the so many largest of the numbers that count; of equal ones the first, and NaN is the largest."""
    least = torch.finfo(values.dtype).min
    keys = torch.where(counts, torch.where(values < least, least, values), -math.inf)  # what does not count comes last
    if not (keys.is_cpu and checks.readable(keys) and type(keys) is Tensor):
        order = torch.sort(keys, dim=1, descending=True, stable=True).indices
        places = torch.arange(keys.shape[1], dtype=torch.long, device=keys.device)
        return torch.zeros_like(counts).scatter(1, order, places < kept.unsqueeze(1))
    found = torch.zeros(keys.shape, dtype=torch.bool, device="cpu")
    for row, into, count in zip(keys.numpy(), found.numpy(), kept.tolist(), strict=True):
        if count:
            into[:] = largest_of_row(row, count)
    return found


def largest_of_row(row: Any, count: int) -> Any:
    """The same of a row in memory, by its edge: nothing is sorted."""
    edge = numpy.partition(row, len(row) - count)[len(row) - count]  # NaN is the largest to NumPy, too
    above, equal = (numpy.zeros_like(row, dtype=bool), row != row) if edge != edge else ((row > edge) | (row != row), row == edge)
    above[numpy.flatnonzero(equal)[: count - int(above.sum())]] = True
    return above
