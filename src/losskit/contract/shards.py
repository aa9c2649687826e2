"""Labelled rows whose classes are spread over the ranks of a group: each rank holds the scores of some classes of every item, and all labels.

A rank's pass over its scores needs to know of the others the log-sum-exp of theirs, one number per item. So there are two passes and three small collectives: sizes, and
whether a rank has refused its input; the log-sum-exps; what each rank adds to the loss. What is not needed is one for the gradient: each rank has that of its own scores.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from losskit.contract import checks, labels, reduce, tensors
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.groups import gathered, joined
from losskit.contract.reduce import Normalizer
from losskit.engines import dispatch
from losskit.engines.call import Rows, real_dtype
from losskit.engines.dispatch import EngineName
from losskit.engines.scores import memory_of

IGNORED = -100  # the label of absent items on every rank


class Spread(NamedTuple):
    """What describes the loss besides its tensors: `formula` takes (nll, hit, miss, spread, lse, weight, rest, own, *params, here, all)."""

    formula: Callable[..., Any]
    params: tuple[float, ...]
    smoothing: float
    link: tuple[Callable[..., Any], float] | None
    temperature: float


class Shard(NamedTuple):
    """The classes of this rank among all."""

    group: ProcessGroup
    first: int
    own: int
    all: int
    here: float  # the weights of this rank's classes, added up; of all ranks'
    whole: float


class Refused(RuntimeError):
    """Another rank has refused its input: raised here, so that nobody waits for it."""


@contextmanager
def refusals_told(group: ProcessGroup | None, input: Tensor) -> Iterator[None]:
    """What is raised here, before the ranks have met, is told to the others."""
    try:
        yield
    except (TypeError, ValueError, RuntimeError) as error:
        if group is not None:
            meet(group, input, 0, 0, 0.0, error)
        raise


def meet(group: ProcessGroup, input: Tensor, items: int, classes: int, weights: float, error: Exception | None) -> Shard:
    """What the ranks tell each other first; an error on one of them is one on all."""
    device = input.device if isinstance(input, Tensor) else torch.device("cpu")
    real = torch.float32 if device.type == "mps" else torch.float64
    mine = torch.tensor([float(error is not None), items, classes, weights], dtype=real, device=device)
    told = gathered(mine, group).tolist()
    if error is not None:
        raise error
    bad = [rank for rank, (wrong, *_) in enumerate(told) if wrong]
    if bad:
        raise Refused(f"rank {bad[0]} of class_group has refused its input: see what it raises")
    counts = [int(count) for _, count, *_ in told]
    if len(set(counts)) > 1:
        raise ValueError(f"the ranks of class_group hold {', '.join(map(str, counts))} items: each must hold scores of all items, for some of the classes")
    sizes, rank = [int(size) for *_, size, _ in told], torch.distributed.get_rank(group)
    return Shard(group, sum(sizes[:rank]), sizes[rank], sum(sizes), told[rank][3], sum(weight for *_, weight in told))


def spread_rows(
    loss: Spread,
    input: Tensor,
    target: Tensor,
    group: ProcessGroup,
    *,
    dim: int,
    ignore_index: int,
    weight: Numbers | None,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
) -> Tensor:
    """The loss of all classes, the same on every rank, with the gradient of this rank's scores."""
    error, axis, factor, own = None, 0, None, None
    try:
        axis, own, factor = _checked(input, target, dim, ignore_index, weight, mask, sample_weight, normalizer, reduction)
    except (TypeError, ValueError, RuntimeError) as found:
        error = found
    size, classes = (0, 0) if error is not None else (target.numel(), input.shape[axis])
    shard = meet(group, input, size, classes, float(classes) if own is None else float(own.sum(dtype=torch.float64)), error)
    if checks.readable(target):
        labels.refuse(target, shard.all, ignore_index, factor)
    real = real_dtype(input.dtype)
    kept = labels.kept(target, ignore_index)
    counts = kept if factor is None else kept & (factor != 0)
    label = torch.where(counts, target.long() - shard.first, IGNORED)
    here = (label >= 0) & (label < shard.own)
    label = torch.where(counts, torch.where(here, label, 0), IGNORED)
    whole_weight = torch.ones((), dtype=real, device=input.device).expand(target.shape)
    if own is not None:
        mine = (
            torch.where(here, labels.of_labels(own.to(real), torch.where(here, label, 0).clamp(min=0)), 0.0)
            if shard.own
            else torch.zeros_like(here, dtype=real)
        )
        whole_weight = gathered(mine, group).sum(0)
    share = loss.smoothing / shard.all
    shares = None if not share else torch.full((shard.own,), share, dtype=real, device=input.device) * (1.0 if own is None else own.to(real))
    function, parameter = loss.link or (None, 0.0)
    heat = torch.tensor(loss.temperature, dtype=real, device=input.device)
    call = Rows(loss.formula, (*loss.params, share * shard.here, share * shard.whole), None, shares, function, parameter, IGNORED, axis, None, True)
    engine, _ = dispatch.choice(memory_of((input, label)), () if shares is None else (shares,))
    operands = (input, label, heat, torch.where(counts, _rest(engine, call, (input, label, heat), shard), 0.0), torch.where(here, whole_weight, -whole_weight))
    total = torch.where(counts, whole_weight if factor is None else whole_weight * factor, 0.0).sum()
    factor = counts if factor is None else torch.where(counts, factor, torch.zeros((), dtype=factor.dtype, device=factor.device))
    scale: float | Tensor | None = None
    if reduction != "none" and not reduce.needs_gradient(factor):  # the gradients are made in the forward
        scale = 1.0
        if reduction == "mean":
            scale = reduce.scale_of(engine, input, total if normalizer is None else checks.normalizer(normalizer, input))
        call = call._replace(factor=factor.detach())
    if shard.own:
        part = reduce.run("rows", engine, call, operands, scale)[0]
    else:  # attached, and nothing
        part = 0.0 * tensors.whole(input).sum() + (0.0 if scale is not None else torch.zeros(label.shape, dtype=real, device=input.device))
    value = joined(part, group)
    return value if scale is not None else reduce.reduced(value, factor, total, input, normalizer=normalizer, reduction=reduction)


def _rest(engine: EngineName, call: Rows, operands: tuple[Tensor, ...], shard: Shard) -> Tensor:
    """The log-sum-exp of the other ranks' scores, of each item."""
    input, label, heat = operands
    lse: Tensor | None = torch.full(label.shape, -torch.inf, dtype=heat.dtype, device=input.device)
    if shard.own:
        with torch.no_grad():
            found = reduce.run("rows", engine, call._replace(formula=lse_alone, params=(), shares=None), operands, None, {"by_products": True}, True)[1]
        assert found is not None
        lse = found.lse
    assert lse is not None
    told, rank = gathered(lse, shard.group), torch.distributed.get_rank(shard.group)
    others = torch.cat((told[:rank], told[rank + 1 :]))
    return others.logsumexp(0) if len(others) else torch.full_like(lse, -torch.inf)


def lse_alone(nll, hit, miss, spread, lse, weight):  # type: ignore[no-untyped-def]
    """A loss of nothing, of a pass that is after the log-sum-exp."""
    return 0.0 * hit, 0.0 * hit, 0.0 * hit, 0.0 * hit


def _checked(
    input: Tensor, target: Tensor, dim: int, ignore_index: int, weight: Numbers | None, mask: Tensor | None, sample_weight: Tensor | None,
    normalizer: Normalizer | None, reduction: Reduction,
) -> tuple[int, Tensor | None, Tensor | None]:  # fmt: skip
    """The class axis, this rank's class weights, and what multiplies items."""
    reduce.check(reduction, normalizer)
    checks.both(input, target)
    axis = labels.class_axis(input, dim)
    labels.of_items(input, target, axis, dim)
    labels.index(ignore_index)
    own = None if weight is None else labels.class_weights(weight, input, input.shape[axis])
    factor = reduce.item_factor(target, mask, sample_weight, real_dtype(input.dtype), reduction == "mean" and normalizer is None)
    return axis, own, reduce.unless_nothing_counts(factor, normalizer, input, target.shape)
