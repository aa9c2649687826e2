"""Labelled rows whose classes are spread over the ranks of a group: each rank holds the scores of some classes of every item, and all labels.

A rank's pass over its scores needs to know of the others the log-sum-exp of theirs, one number per item. So there are two passes and three small collectives: sizes, and
whether a rank has refused its input; the log-sum-exps; what each rank adds to the loss. What is not needed is one for the gradient: each rank has that of its own scores.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from losskit.contract import checks, labels, reduce, tensors
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.groups import Refused, gathered, joined, meet, refusals_told
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


class Told(NamedTuple):
    """What a rank tells the others first: whether it refuses its input, how many items and classes it has, their weights added up, its least and its largest label."""

    refuses: float = 1.0
    items: float = 0.0
    classes: float = 0.0
    weights: float = 0.0
    least: float = 0.0
    largest: float = 0.0


def shard_of(told: list[Told], group: ProcessGroup) -> Shard:
    """This rank's classes; raised on all ranks is what one of them has refused, what does not go together, and a label that is no class."""
    rank, counts, total = torch.distributed.get_rank(group), [int(each.items) for each in told], sum(int(each.classes) for each in told)
    for other, each in enumerate(told):
        if each.refuses:
            raise Refused(f"rank {other} of class_group has refused its input: see what it raises")
    if len(set(counts)) > 1:
        raise ValueError(f"the ranks of class_group hold {', '.join(map(str, counts))} items: each must hold scores of all items, for some of the classes")
    for other, each in enumerate(told):
        if other != rank and not (each.least >= 0 and each.largest < total) and told[rank].least >= 0 and told[rank].largest < total:
            raise Refused(f"rank {other} of class_group has a label that is none of the {total} classes: see what it raises")
    return Shard(group, sum(int(each.classes) for each in told[:rank]), int(told[rank].classes), total, told[rank].weights, sum(each.weights for each in told))


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
    with refusals_told(group, input, Told()):
        axis, own, factor = _checked(input, target, dim, ignore_index, weight, mask, sample_weight, normalizer, reduction)
        kept, real, classes = labels.kept(target, ignore_index), real_dtype(input.dtype), input.shape[axis]
        counts = kept if factor is None else kept & (factor != 0)
        named = torch.where(counts, target.long(), 0)
        least, largest = (float(named.min()), float(named.max())) if named.numel() else (0.0, 0.0)
        weights = float(classes) if own is None else float(own.sum(dtype=torch.float64))
    shard = shard_of(meet(group, input, Told(0.0, target.numel(), classes, weights, least, largest)), group)
    labels.refuse(target, shard.all, ignore_index, factor)
    here = counts & (named >= shard.first) & (named < shard.first + shard.own)
    place = torch.where(here, named - shard.first, 0)
    label = torch.where(counts, place, IGNORED)
    whole_weight = torch.ones((), dtype=real, device=input.device).expand(target.shape)
    if own is not None:
        mine = torch.where(here, labels.of_labels(own.to(real), place), 0.0) if shard.own else torch.zeros(target.shape, dtype=real, device=input.device)
        whole_weight = gathered(mine, group).sum(0)
    share = loss.smoothing / shard.all
    shares = None if not share else torch.full((shard.own,), share, dtype=real, device=input.device) * (1.0 if own is None else own.to(real))
    function, parameter = loss.link or (None, 0.0)
    heat = torch.full((), loss.temperature, dtype=real, device=input.device)
    call = Rows(loss.formula, (*loss.params, share * shard.here, share * shard.whole), None, shares, function, parameter, IGNORED, axis, None, True)
    engine, _ = dispatch.choice(memory_of((input, label)), () if shares is None else (shares,))
    operands = (input, label, heat, torch.where(counts, _rest(engine, call, (input, label, heat), shard), 0.0), torch.where(here, whole_weight, -whole_weight))
    total = torch.where(counts, whole_weight if factor is None else whole_weight * factor, 0.0).sum()
    factor = counts if factor is None else torch.where(counts, factor, torch.zeros((), dtype=factor.dtype, device=factor.device))
    scale: float | Tensor | None = None
    if reduction != "none" and not reduce.needs_gradient(factor):  # the gradients are made in the forward
        scale = 1.0
        if reduction == "mean":
            scale = reduce.scale_of(engine, input, reduce.denominator_of(total, normalizer, input))
        call = call._replace(factor=factor.detach())
    if shard.own:
        part = reduce.run("rows", engine, call, operands, scale)[0]
    else:  # attached, and nothing
        part = 0.0 * tensors.whole(input).sum() + (0.0 if scale is not None else torch.zeros(label.shape, dtype=real, device=input.device))
    value = once(joined(part, group))
    return value if scale is not None else reduce.reduced(value, factor, total, input, normalizer=normalizer, reduction=reduction)


class Once(torch.autograd.Function):
    """The loss itself. Its gradient has no derivatives: what the other ranks' scores do to it is a number here."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("second derivatives cannot be had with class_group, for they would need those of the other ranks: leave create_graph out")
        return incoming


def once(x: Tensor) -> Tensor:
    """`x`, of which there are first derivatives."""
    return Once.apply(x)  # type: ignore[no-any-return, no-untyped-call]


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
    if labels.soft(input, target):
        raise ValueError(
            "target must hold class labels beside class_group, got probabilities: they would be spread over the ranks, too, which is not known here"
        )
    axis = labels.class_axis(input, dim)
    labels.aligned(input, target, axis, dim, "labels")
    labels.index(ignore_index)
    own = None if weight is None else labels.class_weights(weight, input, input.shape[axis])
    factor = reduce.item_factor(target, mask, sample_weight, real_dtype(input.dtype), reduce.by_weights(reduction, normalizer))
    return axis, own, reduce.unless_nothing_counts(factor, normalizer, input, target.shape)
