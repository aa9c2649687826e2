"""The rows pattern in PyTorch operations, differentiable to any order, in forward and reverse mode, batched by `vmap`, and traceable.

As in the elementwise pattern, the first derivative is the formula's own: the row's sums go through it and come back as coefficients, so that a confident
item keeps the small gradient that a difference of probabilities would round away, and every engine gives the same one.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from losskit.engines.call import Distributions, Results, Rows, real_dtype, sum_to
from losskit.engines.language import identity
from losskit.engines.private import compiling
from losskit.engines.torch.elementwise import SAFE, bound, scaled_sum

AnyRows = TypeVar("AnyRows", Rows, Distributions)


class Settings(NamedTuple):
    """What of a call is no tensor."""

    formula: Callable[..., Any]
    params: tuple[float, ...]
    link: Callable[..., Any]
    link_parameter: float
    tempered: bool
    margin: Callable[..., Any] | None


class Parts(NamedTuple):
    """Of rows with the class axis last: value, log-sum-exp, and gradients by the input and by numbers of items."""

    value: Tensor
    lse: Tensor
    gradient: Tensor
    by_operands: tuple[Tensor, ...] = ()


def temperatures(given: Tensor) -> Tensor:
    """Temperatures, of which those that are not > 0 are read as NaN."""
    return torch.where(given > 0.0, given, math.nan)


def distance(m: Tensor, s: Tensor, temperature: Tensor | None) -> Tensor:
    """How far scores lie below the largest, in temperatures: divided after the subtraction, for x / T is rounded. A difference of halves does not overflow.

    A class that is ruled out is at no distance that a temperature changes: 0 times an infinite derivative is NaN.
    """
    if temperature is None:
        return m - s
    out = s == -math.inf
    return torch.where(out, math.inf, (0.5 * m - 0.5 * torch.where(out, m, s)) / (0.5 * temperature))


def cooled(m: Tensor, temperature: Tensor | None) -> Tensor:
    """The largest score in temperatures; an infinite one is read as the largest number."""
    return m if temperature is None else (m / temperature).clamp(max=torch.finfo(m.dtype).max)


def level_of(e: Tensor, fall: Tensor) -> Tensor:
    """The sum of exponentials times how far their scores lie below the largest."""
    return (e * torch.where(e == 0.0, 0.0, fall)).sum(-1, keepdim=True)


def labelled(x: Tensor, labels: Tensor) -> Tensor:
    """Which score is the label's."""
    return torch.arange(x.shape[-1], dtype=torch.int64, device=x.device) == labels[..., None]


def scored(x: Tensor, at_label: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """The scores, of which infinite ones are read as the largest number, and their derivatives by the input."""
    s, bend = settings.link(x, settings.link_parameter)
    s = s.clamp(max=torch.finfo(x.dtype).max)
    if settings.margin is not None:
        own, slope = settings.margin(s, *settings.params)
        s, bend = torch.where(at_label, own, s), torch.where(at_label, bend * slope, bend)
    return s, bend


def parts(x: Tensor, labels: Tensor, weight: Tensor, shares: Tensor, settings: Settings, *operands: Tensor) -> Parts:
    """The pattern itself; every step is differentiable, the largest score counts as a constant (nothing depends on it)."""
    total_share = shares.sum()
    big = torch.finfo(x.dtype).max
    operands = tuple(y[..., None] for y in operands)
    temperature = temperatures(operands[0]) if settings.tempered else None
    at_label = labelled(x, labels)
    s, bend = scored(x, at_label, settings)
    own = torch.where(at_label, s, 0.0).sum(-1, keepdim=True)
    m = s.detach().amax(-1, keepdim=True)
    fall = distance(m, s, temperature)
    e = torch.exp(-fall)
    others = torch.where(at_label, 0.0, e).sum(-1, keepdim=True)
    d = torch.where((m == big) & (own < big), math.inf, distance(m, own, temperature))
    m = cooled(m, temperature)
    z = others + torch.exp(-d)
    hit, miss = torch.exp(-d) / z, others / z
    level = torch.log1p(others + torch.expm1(-d))  # exactly `others` where the label has the largest score
    below = torch.where(shares == 0, 0.0, shares * fall).sum(-1, keepdim=True)
    spread = below + total_share * level
    own_weight, own_share = (torch.where(at_label, w, 0.0).sum(-1, keepdim=True) for w in (weight, shares))
    far = torch.where(own_weight == 0.0, 0.0, d + level)  # a class of weight 0 may be ruled out
    item = (far, hit, miss, spread, m + level, own_weight, *operands[int(settings.tempered) :])
    value, by_nll, by_spread, by_lse, *by_operands = settings.formula(*item, *settings.params)
    common = total_share * by_spread + by_lse
    gradient = torch.where(at_label, common * hit - by_nll * miss - own_share * by_spread, (by_nll + common) * (e / z) - shares * by_spread)
    if temperature is not None:  # minus the sum over j of s_j times the derivative by s_j: by differences of scores, so that a sure item keeps its digits
        gap = torch.where(hit == 0.0, 0.0, d)
        apart = level_of(torch.where(at_label, 0.0, e), fall) / z
        mean = hit * gap + apart  # of how far scores lie below the largest, under p
        by_scores = torch.where(by_nll == 0.0, 0.0, by_nll * (d * miss - apart)) + by_spread * (below - total_share * mean) + by_lse * (m - mean)
        by_operands, bend = [-by_scores / temperature, *by_operands], bend / temperature
    return Parts(value[..., 0], (m + level)[..., 0], gradient * bend, tuple([y.expand(value.shape)[..., 0] for y in by_operands]))


def again(ctx: Any) -> Parts:
    """Parts of what was kept, which is asked for once: `torch.utils.checkpoint` gives it no second time."""
    x, labels, weight, shares, *operands = ctx.saved_tensors
    return parts(x, labels, weight, shares, ctx.settings, *operands)


class Rowwise(torch.autograd.Function):
    """One loss per row, the class axis last."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, labels: Tensor, weight: Tensor, shares: Tensor, settings: Settings, *operands: Tensor) -> Tensor:
        return parts(x, labels, weight, shares, settings, *operands).value

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.settings = inputs[:5]
        ctx.save_for_backward(*tensors, *inputs[5:])
        ctx.save_for_forward(*tensors, *inputs[5:])

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        found = again(ctx)
        wanted = zip(found.by_operands, ctx.needs_input_grad[5:], strict=True)
        return incoming[..., None] * found.gradient, None, None, None, None, *(incoming * y if wants else None for y, wants in wanted)


class RowwiseForwardMode(Rowwise):
    """With forward-mode derivatives: apart, because `torch.compile` refuses a Function that has them."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor | None, *others: Any) -> Tensor:
        found = again(ctx)
        total = torch.zeros_like(found.value) if tangent is None else (found.gradient * tangent).sum(-1)
        for by, change in zip(found.by_operands, others[4:], strict=True):
            if change is not None:
                total = total + by * change
        return total


class Prepared(NamedTuple):
    """Rows with the class axis last and harmless where absent; what multiplies each; whether its label is no class."""

    x: Tensor
    labels: Tensor
    weight: Tensor
    shares: Tensor
    settings: Settings
    factor: Tensor | None
    counts: Tensor
    wrong: Tensor
    operands: tuple[Tensor, ...]


def of_items(operands: tuple[Tensor, ...], shape: tuple[int, ...], counts: Tensor | None, real: torch.dtype) -> tuple[Tensor, ...]:
    """Numbers of items in the dtype computed in, harmless where absent."""
    wide = tuple(y.to(real).expand(shape) for y in operands)
    return wide if counts is None else tuple(torch.where(counts, y, SAFE) for y in wide)


def prepared(call: Rows, x: Tensor, t: Tensor, *operands: Tensor) -> Prepared:
    """The call on tensors of the dtype computed in."""
    real = real_dtype(x.dtype)
    classes = x.shape[call.dim]
    x = x.movedim(call.dim, -1).to(real)
    t = t.long()
    counts = t != call.ignore
    factor = None
    if call.factor is not None:
        factor = call.factor.to(real)
        counts = counts & (factor != 0)
    wrong = counts & ((t < 0) | (t >= classes))
    labels = torch.where(counts & ~wrong, t, 0)
    x = torch.where(counts[..., None], x, 0.0)
    weight = torch.ones(classes, dtype=real, device=x.device) if call.weight is None else call.weight.to(real)
    shares = torch.zeros(classes, dtype=real, device=x.device) if call.shares is None else call.shares.to(real)
    margin = None if call.margin is None else bound(call.margin)
    settings = Settings(bound(call.formula), call.params, bound(call.link or identity), call.link_parameter, call.tempered, margin)
    return Prepared(x, labels, weight, shares, settings, factor, counts, wrong, of_items(operands, t.shape, counts, real))


def weighed(row: Prepared, value: Tensor) -> Tensor:
    """Values times their factors, 0 where absent, NaN where the label is no class."""
    value = torch.where(row.wrong, math.nan, value)
    return torch.where(row.counts, value if row.factor is None else value * row.factor, 0.0)


def losses(call: Rows, x: Tensor, t: Tensor, *operands: Tensor) -> Tensor:
    """One loss per item, factors multiplied in, in the dtype computed in."""
    row = prepared(call, x, t, *operands)
    arguments: tuple[Any, ...] = (row.x, row.labels, row.weight, row.shares, row.settings, *row.operands)
    if torch.compiler.is_dynamo_compiling():
        differentiable = torch.is_grad_enabled() and any(y.requires_grad for y in (x, *operands))  # without, it does not trace a Function
        value: Tensor = Rowwise.apply(*arguments) if differentiable else parts(*arguments).value  # type: ignore[no-untyped-call]
    else:
        value = RowwiseForwardMode.apply(*arguments)  # type: ignore[no-untyped-call]
    return weighed(row, value)


def by_products(call: Rows, x: Tensor, t: Tensor, *operands: Tensor) -> Results:
    """Losses and log-sum-exp of each item, and whether its label is the first class with the largest score."""
    with torch.no_grad():
        row = prepared(call, x, t, *operands)
        found = parts(row.x, row.labels, row.weight, row.shares, row.settings, *row.operands)
        scores, _ = scored(row.x, labelled(row.x, row.labels), row.settings)
        right = row.counts & (scores.argmax(-1) == row.labels) & ~row.wrong
        return Results(None, weighed(row, found.value), (), torch.where(row.counts, found.lse, 0.0), right)


def gradients(call: Rows, operands: tuple[Tensor, ...], incoming: Tensor, wants: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    """The gradient of `losses` times `incoming`, differentiable again in both."""
    x, _, *others = operands
    row = prepared(call, *operands)
    found = parts(row.x, row.labels, row.weight, row.shares, row.settings, *row.operands)
    outer = weighed(row, incoming.expand(row.counts.shape))
    by_x = torch.where(row.counts[..., None], outer[..., None] * found.gradient, 0.0).to(x.dtype).movedim(-1, call.dim) if wants[0] else None
    each = zip(found.by_operands, others, wants[2:], strict=True)
    return by_x, None, *(sum_to(torch.where(row.counts, outer * by, 0.0), y) if wanted else None for by, y, wanted in each)


def total(call: Rows, operands: tuple[Tensor, ...], scale: float | Tensor) -> Tensor:
    """The sum of the losses times `scale`; attached to the graph even when nothing counts."""
    return scaled_sum(losses(with_scale(call, operands[0], scale), *operands), scale)


def with_scale(call: AnyRows, x: Tensor, scale: float | Tensor) -> AnyRows:
    """A scale of 0 says that nothing counts."""
    if isinstance(scale, Tensor):
        alive = (scale != 0).to(real_dtype(x.dtype))
        return call._replace(factor=alive.expand(items(call, x)) if call.factor is None else torch.where(alive != 0, call.factor, 0))
    if compiling() or scale != 0.0:
        return call  # while compiling, a number is one over the count of items, perhaps a symbolic one, and never 0
    return call._replace(factor=torch.zeros(items(call, x), dtype=real_dtype(x.dtype), device=x.device))


def items(call: Rows | Distributions, x: Tensor) -> tuple[int, ...]:
    """The shape of the unreduced loss."""
    return (*x.shape[: call.dim], *x.shape[call.dim + 1 :])
