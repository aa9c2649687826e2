"""The one place for none / sum / mean, denominators, and what happens when nothing is left to count; and how a call runs on an engine.

A loss made of PyTorch operations obeys the contract with `items`: it computes one loss per item, and everything else is here.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from losskit.contract import checks, tensors
from losskit.contract.checks import REDUCTIONS, Reduction
from losskit.contract.groups import POSITIVES, Ranks
from losskit.contract.topk import Shares, tell
from losskit.engines import dispatch, fused, laid, operators
from losskit.engines.call import Look, Results, real_dtype
from losskit.engines.dispatch import EngineName
from losskit.engines.private import compiling
from losskit.engines.protocol import ENGINES, PatternName
from losskit.engines.scores import Scores
from losskit.engines.torch import boxes, distributions, elementwise, pairs, products, rows
from losskit.engines.torch.elementwise import combined

Normalizer = float | Tensor | Ranks
PLAIN: dict[PatternName, ModuleType] = {
    "elementwise": elementwise,
    "rows": rows,
    "distributions": distributions,
    "boxes": boxes,
    "pairs": pairs,
    "products": products,
}


def check(reduction: Reduction, normalizer: Normalizer | None) -> None:
    """The two arguments that say what becomes of the items' losses, and whether they go together."""
    if reduction not in REDUCTIONS:
        checks.one_of("reduction", reduction, REDUCTIONS)
    if normalizer is not None and reduction != "mean" and not isinstance(normalizer, Shares):
        raise ValueError(f'normalizer replaces the denominator of reduction="mean", but reduction is {reduction!r}: divide the result instead')


def item_factor(target: Tensor, mask: Tensor | None, sample_weight: Tensor | None, real: torch.dtype, summed: bool, to: str = "target") -> Tensor | None:
    """The checked mask, the weights, or their product, of the target's shape; None if there are none. `summed`: "mean" divides by the weights.

    `to` names what they belong to, where there is no target.
    """
    if mask is None and sample_weight is None:
        return None
    if mask is not None:
        checks.mask(mask, target, to)
    if sample_weight is not None:
        checks.weights("sample_weight", sample_weight, target, mask, to, summed)
        sample_weight = tensors.widened(sample_weight)
    given = tuple(tensors.lasting(x) for x in (mask, sample_weight) if x is not None)
    return (given[0] if len(given) == 1 else combined(given, real)).expand(target.shape)


def by_weights(reduction: Reduction, normalizer: Normalizer | None) -> bool:
    """Whether "mean" divides by the weights of items, which then must not be negative; now, or once it is known which are kept."""
    if isinstance(normalizer, Shares):
        return normalizer.divides
    return reduction == "mean" and (normalizer.normalizer is None if isinstance(normalizer, Ranks) else normalizer is None)


def divisor(x: Any, input: Tensor) -> float | Tensor:
    """A number or 0-d tensor that replaces the denominator of "mean": 0, or far enough from it to divide by."""
    if isinstance(x, Tensor):
        tensors.check("normalizer", x)
        if x.dim():
            raise ValueError(
                f"normalizer must be a number or a 0-d tensor, got shape {checks.shown(x.shape)} and {x.dtype}: try normalizer.{'squeeze' if x.numel() == 1 else 'sum'}()"
            )
        if x.requires_grad:
            raise ValueError("normalizer must not require a gradient, it is a count: try normalizer.detach()")
        if x.device != input.device:
            fix = "normalizer=input.numel(), or its own count" if x.is_meta else "normalizer.to(input.device)"
            raise ValueError(f"normalizer is on {x.device}, but input is on {input.device}: try {fix}")
        if not checks.readable(x):
            return tensors.lasting(x)
        x = float(x)
    if isinstance(x, Ranks):
        raise TypeError(
            "normalizer must be a number or a 0-d tensor here, got losskit.Ranks: what is averaged is no mean of items; losses with process_group= join sums by it"
        )
    x = checks.number("normalizer", x, low=0.0)
    return checks.number("normalizer", x, above=0.0) if x else x


def denominator_of(own: float | Tensor, normalizer: Normalizer | None, input: Tensor, least: float = 0.0) -> float | Tensor:
    """What "mean" divides by: the items' own count or weight, at `least` so much, that of all ranks, or what the caller gives."""
    if isinstance(normalizer, Ranks):
        return normalizer.denominator(own if normalizer.normalizer is None else divisor(normalizer.normalizer, input), input.device, least)
    if normalizer is not None:
        return divisor(normalizer, input)
    return own if not least else own.clamp(min=least) if isinstance(own, Tensor) else max(own, least)


def positives(normalizer: Normalizer | str | None) -> tuple[bool, Normalizer | None]:
    """Whether "mean" divides by how many targets are positive; and the normalizer without that word."""
    if isinstance(normalizer, str):
        checks.one_of("normalizer", normalizer, (POSITIVES,))
        return True, None
    if isinstance(normalizer, Ranks) and isinstance(normalizer.normalizer, str):
        return True, replace(normalizer, normalizer=None)
    return False, normalizer


def times(normalizer: Normalizer | None, number: int, input: Tensor) -> Normalizer:
    """The normalizer of a mean over so many numbers per item; without one, of a sum."""
    if isinstance(normalizer, Ranks):
        assert normalizer.normalizer is not None
        return replace(normalizer, normalizer=number * divisor(normalizer.normalizer, input))
    return number * (1 if normalizer is None else divisor(normalizer, input))


def weight_of(factor: Tensor | None, count: int | Tensor, real: torch.dtype) -> float | Tensor:
    """The denominator of "mean": how many items count, or their weights added up."""
    return count if factor is None else combined((factor,), real).sum()


def scale_of(engine: EngineName, input: Tensor, denominator: float | Tensor) -> float | Tensor:
    """One over a denominator; 0 where that is 0, for then nothing is left to count."""
    if isinstance(denominator, Tensor):
        if ENGINES[engine].on_host:
            denominator = float(denominator)
        elif not ENGINES[engine].plain:
            return dispatch.pattern(engine, "elementwise").scale_of(denominator, real_dtype(input.dtype))  # type: ignore[no-any-return]
        else:
            exact = input.is_cpu and not denominator.requires_grad  # as the number that a loop takes
            denominator = denominator.to(torch.float64 if exact else real_dtype(input.dtype))
            empty = denominator == 0
            inverse = 1.0 / torch.where(empty, 1.0, denominator)
            return torch.where(empty, 0.0, torch.where(inverse == 0, math.nan, inverse))  # weights too large to add up are no reason to count nothing
    if ENGINES[engine].on_host and denominator and not 1e-37 < abs(denominator) < 1e37 and input.dtype is not torch.float64:
        raise ValueError(
            f"the weights add up to {denominator:g}, beyond what float32 can divide by: multiply sample_weight by a constant, the mean stays the same"
        )
    if denominator:
        return 1.0 / denominator
    # the compiler looks at tensors only, see `with_scale`
    return torch.zeros((), dtype=real_dtype(input.dtype), device=input.device) if compiling() else 0.0


NO_OPTIONS: Mapping[str, Any] = {}


def run(
    pattern: PatternName,
    engine: EngineName,
    call: Any,
    operands: tuple[Tensor, ...],
    scale: float | Tensor | None,
    options: Mapping[str, Any] = NO_OPTIONS,
    by_products: bool = False,
    look: Look | None = None,
) -> tuple[Tensor, Results | None]:
    """One pass: the scaled sum, or without a scale one value per item, attached to the graph; and what else the pass found, if it was asked for.

    `look` sees the scores: with the pass where they are never whole, after it where they are.
    """
    if type(operands[0]) is Scores:
        call, operands = laid.product(pattern, call, operands)
        pattern, options, by_products = "products", options if look is None else {**options, "look": look}, by_products or look is not None
    elif look is not None:
        given = operators.looked(pattern, call, operands, look) if ENGINES[engine].plain and scale is None else None
        if given is not None:
            return given
        result, _ = run(pattern, engine, call, operands, scale, options)
        with torch.no_grad():
            return result, Results(None, None, seen=look.seen(lambda pattern, call, operands: run(pattern, engine, call, operands, None)[0], call, operands))
    plain = PLAIN[pattern]
    if ENGINES[engine].plain:
        operator = operators.run(pattern, call, operands, scale, by_products)
        if operator is not None:
            return operator
        result = plain.losses(call, *operands) if scale is None else plain.total(call, operands, scale)
        return result, plain.by_products(call, *operands, **({} if look is None else {"look": look})) if by_products else None
    loops = dispatch.pattern(engine, pattern)
    wanted = False
    for x in operands:
        wanted = wanted or x.requires_grad
    if wanted and torch.is_grad_enabled():
        found: list[Results] | None = [] if by_products else None
        step = fused.Step(call, 1.0 if scale is None else scale, loops, plain, options, found)
        result = fused.each(step, *operands) if scale is None else fused.total(step, *operands)
        return result, found[0] if found else None
    results = loops.run(call, operands, each=True, **options) if scale is None else loops.run(call, operands, scale=scale, **options)
    return results.value if scale is None else results.total, results


def needs_gradient(value: object) -> bool:
    """Whether a tensor requires a gradient, and gradients are recorded."""
    return isinstance(value, Tensor) and value.requires_grad and torch.is_grad_enabled()


def followed() -> bool:
    """Whether the compiler looks on and nothing can become an operator: through PyTorch operations it follows gradients to weights itself."""
    return compiling() and not operators.compiled()


def learned(sample_weight: Tensor | None) -> bool:
    """Whether the weights of items require a gradient that is better taken apart: one fused pass gives each item's loss, and PyTorch operations weigh them."""
    return needs_gradient(sample_weight) and not followed()


def nan_seen(engine: EngineName, input: Tensor, result: Tensor) -> bool:
    """Whether a NaN came out, where looking forces no synchronisation: only then is an argument outside its range searched for."""
    if not ENGINES[engine].on_host and not checks.readable(input):
        return False
    return math.isnan(result.item() if not result.dim() else result.detach().sum().item())


def items(
    each: Tensor,
    input: Tensor,
    *,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
    absent: Tensor | None = None,
    to: str = "target",
) -> Tensor:
    """A loss made of PyTorch operations, under the contract: `each` holds one loss per item, with its graph; mask and weights broadcast to its shape.

    An absent item (mask False, weight 0, or False in `absent`) adds exactly 0 to the value. Its gradient is 0 as well if `each` does not depend on what only absent
    items hold: put a harmless number there first (`present`), for 0 times an infinite derivative is NaN.
    """
    check(reduction, normalizer)
    if absent is not None and mask is None and sample_weight is not None:  # whose numbers need be finite only where they count
        mask, absent = absent, None
    factor = item_factor(each, mask, sample_weight, each.dtype, by_weights(reduction, normalizer), to)
    if absent is not None:
        factor = absent if factor is None else torch.where(absent, factor, torch.zeros((), dtype=factor.dtype, device=factor.device))
    return reduced(each, factor, weight_of(factor, each.numel(), each.dtype), input, normalizer=normalizer, reduction=reduction)


def unless_nothing_counts(factor: Tensor | None, normalizer: Normalizer | None, input: Tensor, shape: torch.Size) -> Tensor | None:
    """The factor of items, 0 where a normalizer of 0 says that nothing counts: then every item is absent, and made harmless before a loss is computed."""
    if normalizer is None or isinstance(normalizer, (Ranks, Shares)):
        return factor
    given = divisor(normalizer, input)
    if not isinstance(given, Tensor):
        if given:
            return factor
        some = torch.zeros(shape, dtype=torch.bool, device=input.device)
    else:
        some = (given != 0).expand(shape)
    return some if factor is None else torch.where(some, factor, torch.zeros((), dtype=factor.dtype, device=factor.device))


def reduced(
    each: Tensor,
    factor: Tensor | None,
    denominator: float | Tensor,
    input: Tensor,
    *,
    normalizer: Normalizer | None,
    reduction: Reduction,
    engine: EngineName = "torch",
    shares: Tensor | None = None,
) -> Tensor:
    """none / sum / mean of items times their factor, which knows of a normalizer of 0 (`unless_nothing_counts`); "mean" divides by `denominator`, or by the normalizer.
    What an absent item holds reaches no gradient. `shares`: what each item adds to the denominator, where that is not its factor.
    """
    tell(normalizer, factor if shares is None else shares)
    if factor is not None:
        each = (torch.where(factor != 0, each, 0.0) * factor).to(each.dtype)
    if reduction == "none":
        return each
    if reduction == "sum":
        return elementwise.scaled_sum(each, 1.0)
    scale = scale_of(engine, input, denominator_of(denominator, normalizer, input))
    if isinstance(scale, Tensor):
        each = torch.where(scale != 0, each, 0.0)
    elif not scale:
        each = torch.where(torch.zeros((), dtype=torch.bool, device=each.device), each, 0.0)
    return elementwise.scaled_sum(each, scale)


def present(x: Tensor, counts: Tensor | None, instead: float) -> Tensor:
    """`x` with a harmless number where an item is absent, so that no gradient reaches what it held."""
    return x if counts is None else torch.where(counts, x, instead)
