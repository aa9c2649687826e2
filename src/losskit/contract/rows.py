"""The contract for rows: class scores along one axis, a label for each item. What all patterns share is in `reduce.py`."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.contract import items, labels, reduce, tensors
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.distributions import distributions, of_masses
from losskit.contract.elementwise import Operand
from losskit.contract.passes import asked, census, reduced, weighed
from losskit.contract.reduce import Normalizer
from losskit.contract.together import Offer
from losskit.contract.topk import Shares, tell
from losskit.engines.call import Look, Rows, real_dtype
from losskit.engines.dispatch import EngineName
from losskit.engines.protocol import ENGINES
from losskit.engines.scores import Scores


class Labelled(NamedTuple):
    """What describes a loss on labelled rows, besides its tensors."""

    formula: Callable[..., Any]
    params: tuple[float, ...] = ()
    share: float = 0.0  # of every class in the formula's `spread`, times the class's weight
    link: tuple[Callable[..., Any], float] | None = None  # stands between input and scores
    mean_by_weight: bool = True  # whether "mean" divides by the class weights of the items that count
    operands: tuple[Operand, ...] = ()  # that the formula reads, one number per item
    temperature: tuple[Operand, ...] = ()  # that divides the scores, or none
    spread_by: Tensor | None = None  # what multiplies `spread` in the loss, one number per item
    margin: Callable[..., Any] | None = None  # lowers the label's score; reads `params`
    look: Look | None = None  # what sees the scores, where parts are wanted: they then are what it gives


def rows(
    loss: Labelled,
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
    inplace: bool = False,
    return_parts: bool = False,
) -> Any:
    """A loss of labelled rows under the contract: the loss, or with `return_parts` (loss, `ByProducts`)."""
    offer, normalizer = (normalizer, None) if isinstance(normalizer, Offer) else (None, normalizer)
    if reduction != "mean":
        reduce.check(reduction, normalizer)
    axis = labels.pair(input, target, dim)
    labels.index(ignore_index)
    classes = input.shape[axis]
    own = None if weight is None else labels.class_weights(weight, input, classes, learned=True)
    if own is not None and reduce.needs_gradient(own):
        weighing: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
        return _weighed(loss, tensors.whole(input), target, own, axis, ignore_index, inplace, return_parts, **weighing)
    real = real_dtype(input.dtype)
    factor = None
    if mask is not None or sample_weight is not None:
        factor = reduce.item_factor(target, mask, sample_weight, real, reduce.by_weights(reduction, normalizer))
    shares = None
    if loss.share:
        shares = torch.full((classes,), loss.share, dtype=real, device=input.device) if own is None else own.detach().to(real) * loss.share
    function, parameter = loss.link or (None, 0.0)
    operands = (*loss.temperature, *loss.operands)
    numbers = items.checked(operands, input, axis) if operands else ()
    call = Rows(loss.formula, loss.params, own, shares, function, parameter, ignore_index, axis, factor, bool(loss.temperature), loss.margin)
    if offer is not None and sample_weight is None and not (operands or inplace or return_parts) and call[3:5] == (None, None) and call.margin is None:
        return offer.of_rows(call, loss.mean_by_weight)
    told = asked(call, input, target, loss.mean_by_weight) if isinstance(normalizer, Shares) else None
    if sample_weight is not None and not (inplace or return_parts) and reduce.learned(sample_weight):
        factor = reduce.unless_nothing_counts(factor, normalizer, input, target.shape)
        assert factor is not None
        how: dict[str, Any] = dict(mask=factor != 0, sample_weight=None, normalizer=None, reduction="none")
        each = rows(loss, input, target, dim=dim, ignore_index=ignore_index, weight=weight, **how)
        total = census("torch", call, input, target, loss.mean_by_weight).total
        return reduce.reduced(each, factor, total, input, normalizer=normalizer, reduction=reduction, shares=told)
    engine, given, call = tensors.on_engine((input, target, *numbers), call, products=True)
    if inplace:
        _check_inplace(engine, input, target, axis, reduction)
    counted = census(engine, call, input, target, loss.mean_by_weight, normalizer, reduction, return_parts and loss.look is None)
    result = reduced("rows", engine, call, given, counted, normalizer, reduction, inplace, return_parts, loss.look)
    if told is not None:
        tell(normalizer, told)
    if operands:
        items.refuse(operands, numbers, engine, target, items.counting(target, ignore_index, factor), result[0] if return_parts else result)
    return result


def _weighed(
    loss: Labelled, input: Tensor, target: Tensor, weight: Tensor, axis: int, ignore_index: int, inplace: bool, return_parts: bool,
    *, mask: Tensor | None, sample_weight: Tensor | None, normalizer: Normalizer | None, reduction: Reduction,
) -> Any:  # fmt: skip
    """The same with class weights that require a gradient. Losses are linear in them: passes without weights give what they multiply, PyTorch operations the product."""
    if inplace:
        raise ValueError(
            "inplace=True has one pass for loss and gradient, and a weight that requires a gradient needs more: try weight.detach(), or leave inplace out"
        )
    real = real_dtype(input.dtype)
    factor = reduce.item_factor(target, mask, sample_weight, real, reduce.by_weights(reduction, normalizer))
    factor = reduce.unless_nothing_counts(factor, normalizer, input, target.shape)
    counts = items.counting(target, ignore_index, factor)
    input = input.to(real) if loss.share else input  # two passes, and the gradient of half precision is rounded once
    exact = labels.exact(weight)
    own = labels.of_labels(exact, (target if counts is None else torch.where(counts, target, 0)).long().clamp(0, input.shape[axis] - 1))
    each = rows(
        loss._replace(share=0.0), input, target, dim=axis, ignore_index=ignore_index, weight=None, mask=mask if counts is None else counts, sample_weight=None,
        normalizer=None, reduction="none", return_parts=return_parts,
    )  # fmt: skip
    each, parts = each if return_parts else (each, None)
    each = (torch.where((own == 0.0) & each.isinf(), 0.0, each) * own).to(real)  # a class of weight 0 may be ruled out
    if loss.share:
        shares = labels.along(loss.share * exact, input, axis).to(real).expand(input.shape)
        spread_counts, by = counts, None
        if loss.spread_by is not None:  # an item that is not smoothed may rule classes out
            by = reduce.present(loss.spread_by.to(real), counts, 0.0)
            spread_counts = (by != 0.0) | ~((input == -math.inf) & (shares != 0.0)).any(axis)
            spread_counts = spread_counts if counts is None else spread_counts & counts
        spread = distributions(
            of_masses, input, shares, dim=axis, mask=spread_counts, sample_weight=None, normalizer=None, reduction="none", link=loss.link, target_is="numbers",
            temperature=loss.temperature,
        )  # fmt: skip
        each = each + (spread if by is None else by * spread)
    weights = own if loss.mean_by_weight else torch.ones_like(own)
    weights = weights if factor is None else weights * factor
    shares = weights if counts is None else torch.where(counts, weights, 0.0)
    return weighed(each, parts, factor, counts, shares.sum(), input, normalizer=normalizer, reduction=reduction, shares=shares)


def _check_inplace(engine: EngineName, input: Tensor, target: Tensor, axis: int, reduction: Reduction) -> None:
    """Where the gradient may take the input's memory."""
    if type(input) is Scores:
        raise ValueError(
            "inplace=True is for whole logits; what linear_scores gives is never whole, and its gradient takes its memory anyway. Leave inplace out"
        )
    if reduction == "none":
        raise ValueError('inplace=True needs reduction="mean" or "sum": with "none" the gradient is not known before the backward')
    if input.is_leaf and input.requires_grad and torch.is_grad_enabled():
        raise ValueError("inplace=True would overwrite a leaf, whose value you keep: it is for logits that a layer just computed. Leave inplace out")
    if input.dtype is torch.float16:
        raise ValueError(
            "inplace=True rounds the gradient before loss scaling multiplies it: in float16 much of it would be 0. Leave inplace out, or compute the logits in bfloat16"
        )
    if ENGINES[engine].plain:
        raise ValueError("inplace=True needs a fused engine, and this call runs in PyTorch operations (see losskit.engine_for). Leave inplace out")
    if not (input.is_contiguous() or input.movedim(axis, -1).is_contiguous()):
        raise ValueError("inplace=True needs a contiguous or channels-last input: try input.contiguous()")
