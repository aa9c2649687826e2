"""From the sums of a pass over input and target to a loss of overlap: arithmetic on a few numbers, in float64.

Joining samples, classes or ranks, the formula (of intersection, prediction, target, count), what an empty target means, averages, a second loss computed
in the same pass. `loss_of_sums` gives value and derivatives by the sums, so that the gradient costs one more pass and nothing else is kept.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy
import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from losskit.contract.groups import joined
from losskit.engines.call import COUNT, EXTRA, INTERSECTION, PREDICTION, PREDICTION_SQUARED, SUM_NAMES, TARGET, TARGET_SQUARED
from losskit.engines.numpy_names import in_numpy
from losskit.engines.torch.elementwise import bound

Over = Literal["sample", "batch"]
Average = Literal["macro", "micro", "weighted", "nested", "none"]
Empty = Literal["smooth", "skip", "zero", "mass"]
Volume = Literal["square", "simple", "uniform"]


class Extra(NamedTuple):
    """A second loss, of each item, computed in the same pass: its formula, how much of it and of the overlap is taken, weights of classes, and what it is divided by."""

    formula: Callable[..., Any] | None  # None: the second loss is computed apart, in a pass of its own
    params: tuple[float, ...] = ()
    share: float = 1.0
    overlap_share: float = 1.0
    weight: Tensor | None = None
    by_weight: bool = True  # the mean divides by the weights of the labels, else by the count
    apart: bool = False  # both losses are given, (2,), not their weighted sum


class Scoring(NamedTuple):
    """How sums become a loss."""

    formula: Callable[..., Any]
    params: tuple[float, ...] = ()
    over: Over = "sample"
    average: Average = "macro"
    squared: bool = False
    background: bool = True
    empty: Empty = "smooth"
    weight: Tensor | None = None
    volume: Volume | None = None  # classes weighted by the inverse of their target's mass, before they are joined
    normalizer: float | Tensor | None = None
    group: ProcessGroup | None = None
    score: bool = False  # 1 - loss
    extra: Extra | None = None
    labelled: bool = True  # the extra loss is one of items with a label


class Finished(NamedTuple):
    """The loss; its derivatives by the sums, (N or 1, C, 7), where they were wanted; the two losses it is made of."""

    value: Any
    by_sums: Any
    parts: Any


def loss_of_sums(how: Scoring, sums: Any, derive: bool) -> Finished:
    """From the sums to the loss: a few numbers, as a tensor that autograd may follow, or, where no graph is needed, as a NumPy array, which costs less.

    With `derive` also the derivatives by the sums, which are the formula's own.
    """
    xp, formula, settled = (torch, bound(how.formula), torch.Tensor.detach) if isinstance(sums, Tensor) else (numpy, in_numpy(how.formula), same)
    cells = sums if how.background else sums[:, 1:]
    if how.over == "batch":
        cells = joined(cells.sum(0)[None], how.group)
    micro = how.average == "micro" or how.volume is not None
    weight = None if how.weight is None and how.volume is None else class_weight(how, xp, settled(cells))
    if micro:
        cells = (cells if weight is None else cells * weight[..., None]).sum(1)[:, None]
    i, k = cells[..., INTERSECTION], cells[..., COUNT]
    p, t = (cells[..., PREDICTION_SQUARED], cells[..., TARGET_SQUARED]) if how.squared else (cells[..., PREDICTION], cells[..., TARGET])
    loss, by_i, by_p, by_t = formula(i, p, t, k, *how.params)
    counts = k != 0
    if how.empty == "skip":
        counts = counts & (t != 0)
    elif how.empty != "smooth":
        absent, each = t == 0, 1.0 / xp.where(counts, k, 1.0) if how.empty == "mass" else k * 0.0
        loss, by_p = xp.where(absent, p * each, loss), xp.where(absent, each, by_p)
        by_i, by_t = xp.where(absent, 0.0, by_i), xp.where(absent, 0.0, by_t)
    if how.score:
        loss = 1.0 - loss
    kept = counting(xp, counts, settled(t) if how.average == "weighted" else xp.ones_like(k), None if micro else weight, how.average == "nested")
    loss = xp.where(kept != 0, loss, 0.0)
    if how.average == "none":
        value, share = loss[0] if how.over == "batch" else loss, (kept != 0) * 1.0
    else:
        top, bottom = (kept * loss).sum(), kept.sum()
        if how.over == "sample" and how.group is not None:
            top, bottom = joined(torch.stack((top, bottom)), how.group).unbind()
        scale = inverse(xp, bottom if how.normalizer is None else how.normalizer)
        value, share = top * scale, kept * scale
    parts, extra, by_extra = None, how.extra, None
    if extra is not None:
        second, by_extra = extra_mean(extra, how.labelled, xp, sums, how.group)
        parts = value, second
        if extra.apart:
            value = xp.stack(parts)
        else:
            value, share = extra.overlap_share * value + extra.share * second, share * extra.overlap_share
    if not derive:
        return Finished(value, None, parts)
    if how.score:
        share = -share
    shape = (cells.shape[0], sums.shape[1], len(SUM_NAMES))
    by = sums.new_zeros(shape) if isinstance(sums, Tensor) else numpy.zeros(shape)
    own = by if how.background else by[:, 1:]
    own[..., INTERSECTION] = share * by_i
    own[..., PREDICTION_SQUARED if how.squared else PREDICTION] = share * by_p
    own[..., TARGET_SQUARED if how.squared else TARGET] = share * by_t
    if micro and weight is not None:
        own *= weight[..., None]
    if by_extra is not None:
        by[..., EXTRA] = by_extra
    return Finished(value, by, parts)


def counting(xp: Any, counts: Any, mass: Any, weight: Any, nested: bool) -> Any:
    """How much each sample's class counts in an average: its mass, times its weight; `nested`: the classes of a sample together as much as those of any other."""
    kept = xp.where(counts, mass, 0.0)
    if weight is not None:
        kept = kept * weight
    return kept * inverse(xp, kept.sum(1))[:, None] if nested else kept


def same(x: Any) -> Any:
    """An array, which has no graph to leave."""
    return x


def inverse(xp: Any, x: Any) -> Any:
    """1 / x; 0 where x is 0, for then nothing is left to count."""
    if isinstance(x, float):
        return 1.0 / x if x else 0.0
    if isinstance(x, Tensor) and not x.is_floating_point():
        x = x.to(torch.float32 if x.device.type == "mps" else torch.float64)  # a quotient of integers would be of the default dtype
    return xp.where(x != 0, 1.0 / xp.where(x != 0, x, 1.0), 0.0)


def class_weight(how: Scoring, xp: Any, cells: Any) -> Any:
    """One number per class, (C,) or (N, C): as given, or the inverse of its target's mass; an absent class has that of the rarest that is there."""
    weight = None if how.weight is None else numbers(xp, how.weight, cells)
    if weight is not None and not how.background:
        weight = weight[1:]
    if how.volume is None or how.volume == "uniform":
        return weight
    mass = cells[..., TARGET]
    rare = inverse(xp, mass * mass if how.volume == "square" else mass)
    rarest = rare.max(-1)[0][..., None] if xp is torch else rare.max(-1)[..., None]
    rare = xp.where(mass > 0, rare, xp.where(rarest > 0, rarest, 1.0))
    return rare if weight is None else rare * weight


def numbers(xp: Any, weight: Tensor, like: Any) -> Any:
    """Weights in the kind and dtype of the sums."""
    return weight.detach().to(like) if xp is torch else weight.detach().double().numpy()


def extra_mean(extra: Extra, labelled: bool, xp: Any, sums: Any, group: ProcessGroup | None) -> tuple[Any, Any]:
    """The mean of the second loss, and what multiplies each class's sum of it (its share included)."""
    losses, counts = sums[..., EXTRA], sums[..., COUNT]
    weight = None if extra.weight is None else numbers(xp, extra.weight, sums)
    if not labelled:
        bottom = counts.sum()
    elif weight is not None and extra.by_weight:
        bottom = (sums[..., TARGET] * weight).sum()
    else:
        bottom = counts[:, 0].sum()
    top = (losses if weight is None else xp.where(weight == 0, 0.0, losses * weight)).sum()
    if group is not None:
        top, bottom = joined(torch.stack((top, bottom)), group).unbind()
    scale = inverse(xp, bottom)
    return top * scale, extra.share * scale if weight is None else extra.share * scale * weight


def loss_without_graph(how: Scoring, sums: Tensor, derive: bool, real: torch.dtype, engine: ModuleType) -> Finished:
    """`loss_of_sums` without a graph, the value in the dtype that a loss is returned in; by the engine, if it has a step for that."""
    score = getattr(engine, "score", None)
    given = None if score is None else score(how, sums, derive, real)
    if given is not None:
        return Finished(*given)
    if sums.is_cpu and how.group is None:
        with numpy.errstate(all="ignore"):
            found = loss_of_sums(how, sums.numpy(), derive)
        return found._replace(value=torch.tensor(found.value, dtype=real, device="cpu"))
    found = loss_of_sums(how, sums, derive)
    return found._replace(value=found.value.to(real))


def spread(how: Scoring, by: Any, incoming: Tensor) -> tuple[Any, Tensor | None]:
    """The derivatives by the sums, times the incoming gradient of each value; and, if it is one number, what is left to multiply by."""
    if not incoming.dim():
        return by, incoming
    given: Any = incoming if isinstance(by, Tensor) else incoming.numpy()
    if how.extra is not None:  # of two losses, the second of which has the last of the sums
        return by * (torch.cat((given[:1].expand(EXTRA), given[1:])) if isinstance(by, Tensor) else numpy.repeat(given, (EXTRA, 1))), None
    if how.average == "none" and how.volume is None:
        if not how.background:
            given = torch.nn.functional.pad(incoming, (1, 0)) if isinstance(by, Tensor) else numpy.pad(given, ((0, 0),) * (given.ndim - 1) + ((1, 0),))
        given = given[..., None]
    return by * given, None
