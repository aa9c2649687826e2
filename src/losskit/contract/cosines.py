"""The contract for rows of cosines: the angles between an embedding and the centres of all classes, of which the label's gets a margin."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from losskit.contract import checks, items, labels, reduce, tensors
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand
from losskit.contract.reduce import Normalizer
from losskit.contract.rows import Labelled, rows
from losskit.engines import dispatch
from losskit.engines.call import real_dtype
from losskit.engines.language import absolute, maximum, minimum, positive
from losskit.engines.scores import Made, Scores, largest, made_of, memory_of, remembered, scores_of

ROUNDING = 0.02  # how far beyond 1 a cosine may lie: vectors normalised in bfloat16 have lengths that are off by 1/256, and cosines are rounded once more


def cosine_of(c):  # type: ignore[no-untyped-def]
    """A cosine, clipped if outside [-1, 1] by rounding, NaN if further out (the contract turns that NaN into an error)."""
    return minimum(maximum(c, -1.0), 1.0) + 0.0 * positive(1.02 - absolute(c))


def with_margin(
    loss: Callable[..., Any],
    margin: Callable[..., Any],
    params: tuple[float, ...],
    input: Tensor,
    target: Tensor,
    *,
    scale: float,
    sub_centers: int,
    weight: Numbers | None,
    ignore_index: int,
    dim: int,
    return_parts: bool,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
) -> Any:
    """Cross-entropy of `scale` times cosines, of which `margin` lowers the label's."""
    scale = checks.number("scale", scale, above=0.0)
    checks.flag("return_parts", return_parts)
    heat = () if scale == 1.0 else (Operand("temperature", 1.0 / scale, "> 0"),)
    input = best_of(input, dim, sub_centers)
    described = Labelled(loss, params, temperature=heat, margin=margin)
    common: dict[str, Any] = dict(dim=dim, ignore_index=ignore_index, weight=weight, mask=mask, sample_weight=sample_weight)
    result = rows(described, input, target, normalizer=normalizer, reduction=reduction, return_parts=return_parts, **common)
    engine, _ = dispatch.choice(memory_of((input, target)))
    if reduce.nan_seen(engine, target, result[0] if return_parts else result):
        refuse(input, target, labels.class_axis(input, dim), ignore_index, mask, sample_weight)
    return result


def best_of(input: Tensor, dim: int, sub_centers: int) -> Tensor:
    """The largest of the scores of each class's centres; of equal ones the first counts."""
    if isinstance(sub_centers, bool) or not isinstance(sub_centers, int):
        raise TypeError(f"sub_centers must be a whole number of centres, got {type(sub_centers).__name__}: {sub_centers!r}")
    if sub_centers < 1:
        raise ValueError(f"sub_centers must be at least 1 centre, got {sub_centers}")
    if sub_centers == 1:
        return input
    axis = input.dim() - 1 if type(input) is Scores else labels.class_axis(input, dim)
    scores = input.shape[axis]
    if scores % sub_centers:
        raise ValueError(
            f"input has {scores} scores along dim={axis}, which is no multiple of sub_centers={sub_centers}: each class needs as many scores, next to each other"
        )
    made = made_of(input)
    if isinstance(made, Made):
        made = made._replace(centers=sub_centers)
    if type(input) is Scores:
        assert isinstance(made, Made)
        return scores_of(made)
    best, _ = largest(tensors.lasting(input), sub_centers, axis)
    return best if made is None else remembered(best, made)


def refuse(input: Tensor, target: Tensor, axis: int, ignore_index: int, mask: Tensor | None, sample_weight: Tensor | None) -> None:
    """Raises for the first label's score that is no cosine, among the items that count; called only after a NaN has been seen."""
    real = real_dtype(input.dtype)
    counts = items.counting(target, ignore_index, reduce.item_factor(target, mask, sample_weight, real, False))
    label = torch.where(labels.kept(target, ignore_index) if counts is None else counts, target, 0).long()
    with torch.no_grad():
        own = own_scores(input, label, axis)
    bad = own.abs() > 1.0 + ROUNDING
    bad = bad if counts is None else bad & counts
    if bool(bad.any()):
        place = tuple(bad.nonzero()[0].tolist())
        fix = "linear_scores(F.normalize(x, dim=-1), F.normalize(weight, dim=-1))"
        raise ValueError(
            f"input must hold cosines, from -1 to 1 (rounding up to {ROUNDING} is accepted), got {own[place].item():.6g} for the label at index {place}: "
            f"embeddings and centres must have length 1, try {fix if type(input) is Scores else fix.replace('linear_scores', 'F.linear')}"
        )


def own_scores(input: Tensor, label: Tensor, axis: int) -> Tensor:
    """The labels' scores; of a product they are made anew."""
    if type(input) is not Scores:
        return input.detach().gather(axis, label.unsqueeze(axis)).squeeze(axis)
    made = input.made
    assert isinstance(made, Made)
    x, *rest = (y.detach() for y in made.factors)
    weight, *bias = (y.unflatten(0, (-1, made.centers))[label] for y in rest)
    own: Tensor = (x.unsqueeze(-2) * weight).sum(-1)
    return (own + bias[0] if bias else own).amax(-1)


def edge_of(dtype: torch.dtype) -> float:
    """The square of the sine of the angle up to which a cosine rounds to 1: where it is 1, its derivative is taken there."""
    return 0.5 * torch.finfo(dtype).eps


def angle(name: str, value: float) -> float:
    """A margin of angles, in radians."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and math.pi / 2 < value <= 90:
        raise ValueError(f"{name} is an angle in radians, from 0 to pi / 2, got {value!r}: if these are degrees, try math.radians({value!r})")
    return checks.number(name, value, low=0.0, high=math.pi / 2)
