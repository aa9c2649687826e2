"""The contract for rows that add up a loss per class, without a softmax: a score beside that of the label, or of each of several, or a label for each class."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from losskit.contract import checks, labels, reduce, sets, tensors
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.sets import Sets
from losskit.contract.together import unasked
from losskit.contract.topk import tell
from losskit.engines import dispatch, margins
from losskit.engines.call import Beside, Call, real_dtype
from losskit.engines.language import where
from losskit.engines.torch import elementwise as plain

PIECE = 1 << 18  # scores beside sets of labels that are looked at together: of 2**17 to 2**19 a pass took the least time, a third less than of all


def beside_label(
    formula: Callable[..., Any],
    params: tuple[float, ...],
    input: Tensor,
    target: Tensor,
    *,
    dim: int,
    ignore_index: int,
    weight: Numbers | None,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
) -> Tensor:
    """The mean over classes of the formula of (x_j, whether j is another class than the label y, x_y, *params, 1 / C), times the weight of y."""
    normalizer = unasked(normalizer)
    reduce.check(reduction, normalizer)
    axis = labels.pair(input, target, dim)
    labels.index(ignore_index)
    classes, real = input.shape[axis], real_dtype(input.dtype)
    own = None if weight is None else labels.class_weights(weight, input, classes, learned=True)
    factor = reduce.item_factor(target, mask, sample_weight, real, reduce.by_weights(reduction, normalizer))
    if checks.readable(target):
        labels.refuse(target, classes, ignore_index, factor)
    kept = labels.kept(target, ignore_index)
    factor = kept if factor is None else torch.where(kept, factor, torch.zeros((), dtype=factor.dtype, device=factor.device))
    factor = reduce.unless_nothing_counts(factor, normalizer, input, target.shape)
    assert factor is not None
    call = Beside(formula, (*params, 1.0 / classes), factor != 0, ignore_index, axis)
    each = margins.margins(call, tensors.lasting(input), target)
    if own is not None:
        label = torch.where(call.factor, target, 0).long().clamp(0, classes - 1)
        each = (each * labels.of_labels(labels.exact(own) if reduce.needs_gradient(own) else own.to(real), label)).to(real)
    return reduce.reduced(each, factor, reduce.weight_of(factor, 0, real), input, normalizer=normalizer, reduction=reduction)


def label_for_each(
    formula: Callable[..., Any],
    input: Tensor,
    target: Tensor,
    *,
    dim: int,
    weight: Numbers | None,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
) -> Tensor:
    """The mean over classes of an elementwise formula, times a weight per class: an elementwise pass whose denominator counts items."""
    normalizer = unasked(normalizer)
    reduce.check(reduction, normalizer)
    checks.pair(input, target)
    axis = labels.axis_of(input, dim)
    classes = input.shape[axis] or labels.several(input, axis, "")
    summed = reduce.by_weights(reduction, normalizer)
    factor = reduce.item_factor(input.select(axis, 0), mask, sample_weight, real_dtype(input.dtype), summed, "unreduced loss")
    tell(normalizer, factor)
    factor = None if factor is None else factor.unsqueeze(axis)
    divisor = normalizer if summed and reduction == "mean" else None
    if not summed and reduction != "none":
        divisor = reduce.times(normalizer, classes, input)
    result = elementwise(
        formula,
        input,
        target,
        (),
        weight=None if weight is None else labels.along(labels.class_weights(weight, input, classes, learned=True), input, axis),
        unit=checks.UNIT_TARGET,
        mask=None if sample_weight is not None else factor,
        sample_weight=None if sample_weight is None else factor,
        normalizer=divisor,
        reduction="none" if reduction == "none" else "mean",
    )
    return result.sum(axis) / classes if reduction == "none" else result


def beside_set(
    passed: Callable[[Tensor, Sets], tuple[Tensor, Tensor]],
    input: Tensor,
    target: Tensor,
    *,
    dim: int,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
) -> Tensor:
    """A loss of scores beside the set of an item's labels; `passed` gives the loss of each item and, finished, its derivative by each score, the class axis last."""
    normalizer = unasked(normalizer)
    reduce.check(reduction, normalizer)
    axis = sets.pair(input, target, dim)
    real, items = real_dtype(input.dtype), input.select(axis, 0)
    factor = reduce.item_factor(items, mask, sample_weight, real, reduce.by_weights(reduction, normalizer), "unreduced loss")
    factor = reduce.unless_nothing_counts(factor, normalizer, input, items.shape)
    counts = None if factor is None else (factor != 0).unsqueeze(-1)
    dispatch.choice((input, target), plain="beside a set of labels scores are read in order, by PyTorch operations")
    x = reduce.present(tensors.lasting(input).movedim(axis, -1).to(real), counts, 0.0)
    value, slope = in_pieces(passed, x.detach().contiguous(), sets.sets(target, axis, counts, real))
    each = value + plain.losses(Call(finished, (), ()), x, slope).sum(-1)
    return reduce.reduced(each, factor, reduce.weight_of(factor, each.numel(), real), input, normalizer=normalizer, reduction=reduction)


def in_pieces(passed: Callable[[Tensor, Sets], tuple[Tensor, Tensor]], x: Tensor, told: Sets) -> tuple[Tensor, Tensor]:
    """The same of few items at a time where memory is a CPU's: what is written on the way stays in its caches."""
    if not checks.readable(x):
        return passed(x, told)
    value, slope = x.new_empty((*x.shape[:-1], 1)), torch.empty_like(x)
    for scores, into, by, *held in margins.pieces(x.dim() - 1, x, value, slope, *told[:3], size=PIECE):
        found, found_by = passed(scores, told._replace(places=held[0], listed=held[1], others=held[2]))
        into.copy_(found.unsqueeze(-1))
        by.copy_(found_by)
    return value.squeeze(-1), slope


def finished(x: Any, slope: Any) -> tuple[Any, Any, float]:
    """0, with a derivative that is known; NaN where the score is."""
    return where(x == x, 0.0, x), where(x == x, slope, x), 0.0
