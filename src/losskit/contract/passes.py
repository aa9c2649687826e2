"""A pass over rows: the denominator of "mean", none / sum / mean, and what else it finds. For rows with labels and for rows with distributions."""

from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from losskit.contract import checks, labels, reduce
from losskit.contract.checks import Reduction
from losskit.contract.groups import Ranks
from losskit.contract.reduce import Normalizer
from losskit.engines import dispatch
from losskit.engines.call import Distributions, Look, Rows, real_dtype
from losskit.engines.dispatch import EngineName
from losskit.engines.protocol import ENGINES


class ByProducts(NamedTuple):
    """What a pass over rows returns besides the loss: tensors without a graph, made without synchronising the device."""

    losses: Tensor  # one per item, weights multiplied in; 0 for an absent item
    lse: Tensor  # log-sum-exp of each item's scores; 0 for an absent item
    accuracy: Tensor | None  # the share of the items that count whose label is the first class with the largest score; 0 if none counts; None without labels
    items: Tensor  # how many items count


class Counted(NamedTuple):
    """What "mean" divides by, how many items count, and 1 / the former where that is all that the engine gives; 0 of what nobody asked for."""

    total: float | Tensor = 0.0
    items: int | Tensor = 0
    scale: Tensor | None = None


def reduced(
    pattern: Literal["rows", "distributions"],
    engine: EngineName,
    call: Rows | Distributions,
    operands: tuple[Tensor, ...],
    counted: Counted,
    normalizer: Normalizer | None,
    reduction: Reduction,
    inplace: bool,
    return_parts: bool,
    look: Look | None = None,
) -> Any:
    """The pass over rows: none / sum / mean, what `counted` in "mean"; the by-products if asked for; or what `look` sees."""
    input = operands[0]
    scale: float | Tensor | None = None if reduction == "none" else 1.0
    if reduction == "mean":
        scale = counted.scale
        if scale is None:
            scale = reduce.scale_of(engine, input, reduce.denominator_of(counted.total, normalizer, input))
    options = {"by_products": True} if return_parts and look is None else {}
    overwritten = inplace and torch.is_grad_enabled() and input.requires_grad
    result, found = reduce.run(pattern, engine, call, operands, scale, options | {"inplace": True} if overwritten else options, return_parts, look)
    if overwritten:
        torch.autograd.graph.increment_version(input)
    if not return_parts:
        return result
    if look is not None:
        assert found is not None
        return result, found.seen
    assert found is not None and found.value is not None and found.lse is not None
    items = counted.items
    count = items.to(torch.int64) if isinstance(items, Tensor) else torch.full((), items, dtype=torch.int64, device=input.device)
    accuracy = None if found.right is None else found.right.sum().to(found.lse.dtype) / count.clamp(min=1)
    return result, ByProducts(found.value.detach(), found.lse, accuracy, count)


def weighed(
    each: Tensor,
    parts: ByProducts | None,
    factor: Tensor | None,
    counts: Tensor | None,
    total: float | Tensor,
    input: Tensor,
    *,
    normalizer: Normalizer | None,
    reduction: Reduction,
    shares: Tensor | None = None,
) -> Any:
    """The same of items whose losses are known already, in PyTorch operations: those that count, times their factor; the by-products, if there are, with them."""
    result = reduce.reduced(each, counts if factor is None else factor, total, input, normalizer=normalizer, reduction=reduction, shares=shares)
    if parts is None:
        return result
    losses = each if factor is None else torch.where(factor != 0, each * factor, 0.0)
    return result, parts._replace(losses=losses.detach())


def census(
    engine: EngineName,
    call: Rows | Distributions,
    input: Tensor,
    target: Tensor,
    by_weight: bool,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
    items: bool = True,
) -> Counted:
    """The denominator of "mean" and the number of items that count, as far as they are asked for; on CPU, and under `validate`, labels that are no class raise."""
    if not by_weight:
        call = call._replace(weight=None)
    classes = input.shape[call.dim]
    if ENGINES[engine].on_host:
        found = dispatch.pattern(engine, "rows").census(call, input, target)
        if found.wrong:
            labels.refuse(target, classes, call.ignore, call.factor)
        return Counted(found.weight, found.items)
    if checks.readable(target):
        labels.refuse(target, classes, call.ignore, call.factor)
    own = reduction == "mean" and (normalizer is None or isinstance(normalizer, Ranks))
    if not (own or items):
        return Counted()
    if not ENGINES[engine].plain and not isinstance(normalizer, Ranks):
        found = dispatch.pattern(engine, "rows").census(call, input, target, items)
        return Counted(0.0, found.items, found.scale if own else None)
    counts, each = shares(call, input, target)
    if each is None:
        count = counts.sum()
        return Counted(count, count)
    return Counted(each.sum(dtype=torch.float64 if input.is_cpu else each.dtype), counts.sum())


def shares(call: Rows | Distributions, input: Tensor, target: Tensor) -> tuple[Tensor, Tensor | None]:
    """Which items with a label count, and how much in the denominator of "mean"; None for once each."""
    counts = labels.kept(target, call.ignore)
    if call.factor is None and call.weight is None:
        return counts, None
    real = real_dtype(input.dtype)
    each = torch.ones((), dtype=real, device=input.device) if call.factor is None else call.factor.to(real)
    counts = counts & (each != 0)
    if call.weight is not None:
        each = each * labels.of_labels(call.weight.to(real), torch.where(counts, target, 0).long().clamp(0, input.shape[call.dim] - 1))
    return counts, torch.where(counts, each, 0.0)


def asked(call: Rows | Distributions, input: Tensor, target: Tensor, by_weight: bool) -> Tensor:
    """How much each item with a label counts in the denominator of "mean", as a bool or a number."""
    counts, each = shares(call if by_weight else call._replace(weight=None), input, target)
    return counts if each is None else each
