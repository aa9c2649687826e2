"""The contract for an overlap loss with the mean of a second loss added: in one pass where the second has a formula for it, else one after the other."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed import ProcessGroup

from losskit.contract import checks, groups, labels, tensors
from losskit.contract.groups import joined
from losskit.contract.overlap import Prepared, Task, overlap, prepare, scoring
from losskit.contract.scores import Extra
from losskit.contract.together import unasked
from losskit.engines.call import Overlap, real_dtype

# the second loss on its own, of input, target, mask and class axis: its sum over the items that count (softmax), or over the numbers
Apart = Callable[[Tensor, Tensor, Tensor | None, int], Tensor]


class Compound(NamedTuple):
    """The loss, and without a graph the overlap loss and the mean that it is the weighted sum of."""

    value: Tensor
    overlap: Tensor
    second: Tensor


def compound(
    formula: Callable[..., Any],
    params: tuple[float, ...],
    input: Tensor,
    target: Tensor,
    *,
    extra: Extra,
    apart: Apart,
    task: Task,
    from_logits: bool,
    dim: int,
    ignore_index: int,
    mask: Tensor | None,
    **how: Any,
) -> Compound:
    """`extra.overlap_share` of the overlap loss and `extra.share` of the mean of the second; `how` as in `scoring`."""
    if how["average"] == "none":
        raise ValueError('average="none" gives one overlap loss per class, and the second loss has no classes to give one for: use the two losses apart')
    group = how["process_group"]
    how["normalizer"] = unasked(how["normalizer"])
    arguments: dict[str, Any] = dict(task=task, from_logits=from_logits, dim=dim, ignore_index=ignore_index, mask=mask)
    checks.both(input, target)
    soft = task == "multiclass" and target.shape == input.shape
    if from_logits and not soft and extra.formula is not None:
        found = overlap(scoring(formula, params, input, task=task, dim=dim, extra=extra, **how), input, target, **arguments)
        assert found.parts is not None
        return Compound(groups.finished(found.value, group), *(settled(part, found.value) for part in found.parts))
    input, target = (tensors.widened(x) if isinstance(x, Tensor) else x for x in (input, target))
    joins = groups.group_of("process_group", group)
    if joins is not None and (here := groups.meeting.get()) is not None:
        here.due = 2  # once for each of the two
    first = overlap(scoring(formula, params, input, task=task, dim=dim, **how), input, target, **arguments).value
    ready = prepare(input, target, **arguments)
    counts = counted(ready, task)
    t = ready.target.to(real_dtype(input.dtype)) if soft and not ready.target.is_floating_point() else ready.target
    total = apart(ready.input, t, counts, ready.call.dim)
    by_weight = extra.weight if extra.by_weight and ready.call.kind == "label" else None
    if joins is not None:
        groups.agree(joins, input)
    second = mean(total, bottom(ready.call, ready.target, counts, by_weight), joins)
    return Compound(groups.finished(extra.overlap_share * first + extra.share * second, group), first.detach(), second.detach())


def settled(part: Any, like: Tensor) -> Tensor:
    """A part, a tensor or a NumPy number, without a graph, in the loss's dtype."""
    return part.detach().to(like.dtype) if isinstance(part, Tensor) else torch.full((), float(part), dtype=like.dtype, device=like.device)


def counted(ready: Prepared, task: Task) -> Tensor | None:
    """The items that count, those of an ignored number left out as well; None for all. (Labels know by themselves which are ignored.)"""
    call, factor = ready.call, ready.call.factor
    if task == "multiclass":
        return factor
    kept = labels.kept(ready.target, call.ignore)
    if factor is None:
        return kept
    return kept & (factor if factor.dim() == kept.dim() else factor.unsqueeze(call.dim))


def bottom(call: Overlap, target: Tensor, counts: Tensor | None, weight: Tensor | None) -> Tensor:
    """What the mean divides by: the items that count, or the weights of their labels."""
    if call.kind == "label":
        kept = labels.kept(target, call.ignore)
        kept = kept if counts is None else kept & counts
        if weight is None:
            return kept.sum()
        own = labels.of_labels(weight, torch.where(kept, target, 0).long().clamp(0, len(weight) - 1))
        return torch.where(kept, own, 0.0).sum(dtype=torch.float32 if target.device.type == "mps" else torch.float64)
    if counts is not None:
        return counts.sum()
    return torch.full((), target.numel() // max(target.shape[call.dim], 1), dtype=torch.int64, device=target.device)


def mean(total: Tensor, count: Tensor, group: ProcessGroup | None) -> Tensor:
    """Over the ranks of a group, if there is one; 0 of nothing."""
    count = count.to(total.dtype)  # one over a whole number would be float32, whatever the total is
    if group is not None:
        total, count = joined(torch.stack((total, count)), group).unbind()
    inverse = torch.where(count != 0, 1.0 / torch.where(count != 0, count, 1.0), 0.0)
    return total * inverse
