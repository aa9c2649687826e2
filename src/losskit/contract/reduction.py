"""The one place that knows none / sum / mean, masks, weights, normalizers, and what happens when nothing is left to count."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from losskit.contract import checks, labels, tensors
from losskit.contract.checks import REDUCTIONS, Numbers, Reduction
from losskit.engines import dispatch, fused
from losskit.engines.call import Call, real_dtype
from losskit.engines.dispatch import EngineName
from losskit.engines.torch import elementwise as plain

Normalizer = float | Tensor
NOWHERE: Mapping[str, str] = {}


def elementwise(
    formula: Callable[..., Any],
    input: Tensor,
    target: Tensor,
    params: tuple[float, ...],
    *,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
    weight: Numbers | None = None,
    field: tuple[str, Numbers] | None = None,
    unit: Mapping[str, str] = NOWHERE,
    mass: bool = False,
    ignore_index: int | None = None,
    missing: float | None = None,
) -> Tensor:
    """An elementwise loss under the contract.

    `weight` multiplies the losses but not the denominator (as torch's argument of that name); `field` is a named parameter that varies by element;
    `unit` names the arguments that must lie in [0, 1], with a hint each: the formula gives NaN for what does not, and only a NaN makes anyone look for the reason.
    `mass` makes the sum of the targets, at least 1, the denominator in place of the count. Elements whose target is `ignore_index`, or `missing`, are absent.
    """
    if reduction not in REDUCTIONS:
        checks.one_of("reduction", reduction, REDUCTIONS)
    checks.pair(input, target)
    if ignore_index is not None or missing is not None:
        if mask is not None:
            checks.mask(mask, input)
        mask = labels.present(target, ignore_index, missing, mask)
    factors: tuple[Tensor, ...] = ()
    variable: Tensor | None = None
    if mask is not None or sample_weight is not None or weight is not None or field is not None:
        sample_weight = tensors.widened(sample_weight) if isinstance(sample_weight, Tensor) else sample_weight
        factors, variable = _factors(input, mask, sample_weight, weight, field, reduction == "mean" and normalizer is None)
    if (normalizer is not None or mass) and reduction != "mean":
        raise ValueError(f'normalizer replaces the denominator of reduction="mean", but reduction is {reduction!r}: divide the result instead')
    engine, _ = dispatch.choice((input, target, *factors) if variable is None else (input, target, variable, *factors))
    input, target, call = tensors.all_lasting(input, target, Call(formula, params, variable, factors))
    if reduction == "none":
        result = _each(engine, call, input, target)
    else:
        scale: float | Tensor = 1.0
        if reduction == "mean":
            scale = _scale(engine, input, target, mask, sample_weight, normalizer, mass)
        result = _total(engine, call, input, target, scale)
    if unit and (engine == "cpu" or checks.readable(input)) and math.isnan(result.item() if reduction != "none" else result.detach().sum().item()):
        counts = plain.combined(factors, torch.float64) != 0 if factors else None
        named = {"input": input, "target": target}
        checks.in_unit(unit, [named[name].detach() for name in unit], counts)
    return result


def _factors(
    input: Tensor, mask: Tensor | None, sample_weight: Tensor | None, weight: Numbers | None, field: tuple[str, Numbers] | None, summed: bool
) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """The checked factors, the mask first, and the parameter that varies."""
    if mask is not None:
        checks.mask(mask, input)
    own = None if weight is None else labels.class_vector("weight", weight, input)
    variable = None if field is None else labels.class_vector(*field, input)
    named = (("sample_weight", sample_weight), ("weight", own), ("" if field is None else field[0], variable))
    for name, x in named:
        if x is not None:
            checks.weights(name, x, input, mask, summed=summed and x is sample_weight)
            if x.dtype is torch.float64 and input.dtype is not torch.float64:
                _check_range(name, x)
    if field is not None and variable is not None and variable.requires_grad and torch.is_grad_enabled():
        raise ValueError(f"{field[0]} must not require a gradient, none is defined for it: try {field[0]}.detach()")
    return tuple(x for x in (mask, sample_weight, own) if x is not None), variable


def _check_range(name: str, x: Tensor) -> None:
    """float64 weights of a loss in float32 must still be numbers there."""
    if checks.readable(x):
        narrow = x.detach().float()
        if bool(((narrow == 0) & (x != 0) | narrow.isinf()).any()):
            raise ValueError(f"{name} holds float64 numbers beyond the range of float32, which the loss is computed in: try {name} / {name}.max()")


def _each(engine: EngineName, call: Call, input: Tensor, target: Tensor) -> Tensor:
    """One value an item."""
    if engine == "torch":
        return plain.losses(call, input, target)
    loops = dispatch.pattern(engine, "elementwise")
    if torch.is_grad_enabled() and (input.requires_grad or target.requires_grad):
        return fused.each(input, target, fused.Step(call, 1.0, loops, plain))  # type: ignore[no-any-return]
    return loops.run(call, input, target, each=True).value  # type: ignore[no-any-return]


def _total(engine: EngineName, call: Call, input: Tensor, target: Tensor, scale: float | Tensor) -> Tensor:
    """The scaled sum."""
    if engine == "torch":
        return plain.total(call, input, target, scale)
    loops = dispatch.pattern(engine, "elementwise")
    if torch.is_grad_enabled() and (input.requires_grad or target.requires_grad):
        return fused.total(input, target, fused.Step(call, scale, loops, plain))  # type: ignore[no-any-return]
    return loops.run(call, input, target, scale=scale).total  # type: ignore[no-any-return]


def count(x: Any, t: Any) -> Any:
    """1 an item."""
    return 1.0, 0.0, 0.0


def positives(x: Any, t: Any) -> Any:
    """The target itself: its sum over 0/1 labels is the number of positives."""
    return t, 0.0, 0.0


def _scale(
    engine: EngineName,
    input: Tensor,
    target: Tensor,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    mass: bool,
) -> float | Tensor:
    """One over the denominator of "mean"; 0 where that is 0, for then nothing is left to count."""
    denominator: float | Tensor
    if normalizer is not None:
        denominator = checks.normalizer(normalizer, input)
    elif not mass and mask is None and sample_weight is None:
        return 1.0 / max(input.numel(), 1)  # of no items the sum is 0, whatever it is divided by
    else:
        factors = tuple(x for x in (mask, sample_weight) if x is not None)
        denominator = _denominator(engine, input, target, factors, mass)
    return scale_of(engine, input, denominator)


def scale_of(engine: EngineName, input: Tensor, denominator: float | Tensor) -> float | Tensor:
    """One over a denominator; 0 where that is 0."""
    if isinstance(denominator, Tensor):
        if engine == "cpu":
            denominator = float(denominator)
        else:
            denominator = denominator.to(real_dtype(input.dtype))
            empty = denominator == 0
            inverse = 1.0 / torch.where(empty, 1.0, denominator)
            return torch.where(empty, 0.0, torch.where(inverse == 0, math.nan, inverse))  # weights too large to add up are no reason to count nothing
    if engine == "cpu" and denominator and not 1e-37 < abs(denominator) < 1e37 and input.dtype is not torch.float64:
        raise ValueError(
            f"the weights add up to {denominator:g}, beyond what float32 can divide by: multiply sample_weight by a constant, the mean stays the same"
        )
    if denominator:
        return 1.0 / denominator
    # the compiler looks at tensors only, see `with_scale`
    return torch.zeros((), dtype=real_dtype(input.dtype), device=input.device) if torch.compiler.is_compiling() else 0.0


def _denominator(engine: EngineName, input: Tensor, target: Tensor, factors: tuple[Tensor, ...], mass: bool) -> Tensor:
    """The weights of the items that count, summed; or, weighted likewise, their targets, at least 1."""
    total: Tensor
    if engine != "torch":
        with torch.no_grad():
            total = dispatch.pattern(engine, "elementwise").run(Call(positives if mass else count, (), None, factors), input.detach(), target.detach()).total
    else:  # weights that require a gradient get that of the denominator too
        real = torch.float64 if input.dtype is torch.float64 else torch.float32
        each = torch.ones((), dtype=real, device=input.device) if not mass else target.detach().to(real)
        if factors:
            factor = plain.combined(factors, real)
            each = torch.where(factor != 0, each * factor, 0.0)
        total = each.expand(input.shape).sum()
    return total.clamp(min=1.0) if mass else total
