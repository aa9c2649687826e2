"""Rows with a distribution each for a target (or none: entropy), in PyTorch operations. As `rows.py`, with one formula per class in place of one per row.

The formula takes (log p, p, 1 - p, t, weight, *params) of a class and returns its value, its derivative by log p, and that by t. A row's loss is the sum over
its classes; by the scores its gradient is v_j - p_j sum(v), where v is the derivative by log p. For the class with the largest score 1 - p and the sum over
the others are known without a subtraction, so a confident item keeps its digits.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.engines.call import Distributions, Results, real_dtype, sum_to
from losskit.engines.language import ROUNDING, identity
from losskit.engines.torch.elementwise import bound, scaled_sum
from losskit.engines.torch.rows import cooled, distance, level_of, of_items, temperatures, with_scale

__all__ = ["by_products", "gradients", "losses", "total", "with_scale"]


class Settings(NamedTuple):
    """What of a call is no tensor."""

    formula: Callable[..., Any]
    params: tuple[float, ...]
    link: Callable[..., Any]
    link_parameter: float
    shift: bool
    square: float
    tempered: bool


class Parts(NamedTuple):
    """Of rows with the class axis last: value, log-sum-exp, gradients."""

    value: Tensor
    lse: Tensor
    by_input: Tensor
    by_target: Tensor
    by_operands: tuple[Tensor, ...] = ()


def parts(x: Tensor, t: Tensor, weight: Tensor, settings: Settings, *operands: Tensor) -> Parts:
    """The pattern itself; every step is differentiable, the largest score counts as a constant (nothing depends on it)."""
    if settings.shift:
        x = x.clamp(max=torch.finfo(x.dtype).max)
        x = x - x.detach().amax(-1, keepdim=True)
    s, bend = settings.link(x, settings.link_parameter)
    s = s.clamp(max=torch.finfo(x.dtype).max)
    operands = tuple(y[..., None] for y in operands)
    temperature = temperatures(operands[0]) if settings.tempered else None
    m, place = s.detach().max(-1, keepdim=True)
    top = torch.arange(x.shape[-1], dtype=torch.int64, device=x.device) == place
    fall = distance(m, s, temperature)
    e = torch.exp(-fall)
    others = torch.where(top, 0.0, e).sum(-1, keepdim=True)
    below = torch.where(top, -fall, 0.0).sum(-1, keepdim=True)  # 0, with a derivative
    z = others + torch.exp(below)
    level = torch.log1p(others + torch.expm1(below))
    p = e / z
    q = torch.where(top, others / z, 1.0 - p)
    classes = (-fall - level, p, q, t, weight, *operands[int(settings.tempered) :])
    value, by_log, by_target, *by_operands = settings.formula(*classes, *settings.params)
    by_operands = [y.expand(p.shape).sum(-1) for y in by_operands]
    m = cooled(m, temperature)
    lse = m + level
    rest = torch.where(top, 0.0, by_log).sum(-1, keepdim=True)
    whole = rest + torch.where(top, by_log, 0.0).sum(-1, keepdim=True)
    by_input = torch.where(top, by_log * q - p * rest, by_log - p * whole)
    total = value.sum(-1)
    if temperature is not None:  # the sum over j of s_j times the derivative by s_j: by differences of scores, so that a sure item keeps its digits
        mean = level_of(e, fall) / z  # of how far scores lie below the largest, under p
        by_scores = whole * mean - torch.where(by_log == 0.0, 0.0, by_log * torch.where(by_log == 0.0, 0.0, fall)).sum(-1, keepdim=True)
    by_target = by_target + torch.zeros_like(t)
    if settings.square:
        weighted = settings.square * (t * weight).sum(-1, keepdim=True) * lse
        by_input = by_input + 2.0 * weighted * p
        by_target = by_target + settings.square * weight * lse * lse
        total = total + (weighted * lse)[..., 0]
        if temperature is not None:
            by_scores = by_scores + 2.0 * weighted * (m - mean)
    if temperature is not None:
        by_operands, bend = [(-by_scores / temperature)[..., 0], *by_operands], bend / temperature
    return Parts(total, lse[..., 0], by_input * bend, by_target, tuple(by_operands))


class Rowwise(torch.autograd.Function):
    """One loss per row, the class axis last."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, t: Tensor, weight: Tensor, settings: Settings, *operands: Tensor) -> Tensor:
        return parts(x, t, weight, settings, *operands).value

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.settings = inputs[:4]
        ctx.save_for_backward(*tensors, *inputs[4:])
        ctx.save_for_forward(*tensors, *inputs[4:])

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        x, t, weight, *operands = ctx.saved_tensors
        found = parts(x, t, weight, ctx.settings, *operands)
        outer, wants = incoming[..., None], ctx.needs_input_grad
        by_operands = [incoming * y if wanted else None for y, wanted in zip(found.by_operands, wants[4:], strict=True)]
        return outer * found.by_input if wants[0] else None, outer * found.by_target if wants[1] else None, None, None, *by_operands


class RowwiseForwardMode(Rowwise):
    """With forward-mode derivatives: apart, because `torch.compile` refuses a Function that has them."""

    @staticmethod
    def jvp(ctx: Any, x_tangent: Tensor | None, t_tangent: Tensor | None, *others: Any) -> Tensor:
        x, t, weight, *operands = ctx.saved_tensors
        found = parts(x, t, weight, ctx.settings, *operands)
        total = torch.zeros_like(found.value)
        if x_tangent is not None:
            total = total + (found.by_input * x_tangent).sum(-1)
        if t_tangent is not None:
            total = total + torch.where(t_tangent == 0.0, 0.0, found.by_target * t_tangent).sum(-1)  # of a class that is ruled out it is infinite
        for by, tangent in zip(found.by_operands, others[2:], strict=True):
            if tangent is not None:
                total = total + by * tangent
        return total


def mass_of_position(y: Tensor, classes: int) -> Tensor:
    """max(0, 1 - |j - y|) for each class j along a new last axis. A small share of the upper class keeps its digits: it is y - (j - 1), not 1 - (j - y)."""
    y, j = y[..., None], torch.arange(classes, dtype=torch.int64, device=y.device)
    return torch.minimum(y - (j - 1), 1.0 - (y - j)).clamp(min=0.0)


class Prepared(NamedTuple):
    """Rows with the class axis last and harmless where absent; what multiplies each, if anything does; whether its label is no class, or its position outside."""

    x: Tensor
    t: Tensor
    weight: Tensor
    settings: Settings
    factor: Tensor | None
    wrong: Tensor | None
    operands: tuple[Tensor, ...]


def prepared(call: Distributions, x: Tensor, t: Tensor, *operands: Tensor) -> Prepared:
    """The call on tensors of the dtype computed in."""
    real = real_dtype(x.dtype)
    classes = x.shape[call.dim]
    x = x.movedim(call.dim, -1).to(real)
    factor = None if call.factor is None else call.factor.to(real)
    wrong = None
    if call.kind == "label":
        t = t.long()
        counts = t != call.ignore
        factor = counts.to(real) if factor is None else torch.where(counts, factor, 0.0)
        wrong = (factor != 0) & ((t < 0) | (t >= classes))
        t = (torch.arange(classes, dtype=torch.int64, device=x.device) == t[..., None]).to(real)
    elif call.kind == "position":
        t, last, room = t.to(real), classes - 1.0, ROUNDING * classes
        wrong = ~((t >= -room) & (t <= last + room))
        t = mass_of_position(t.clamp(0.0, last), classes)
    elif call.kind == "none":
        t = torch.zeros_like(x)
    else:
        t = t.movedim(call.dim, -1).to(real)
    if factor is not None:
        alive = (factor != 0)[..., None]
        x, t = torch.where(alive, x, 0.0), torch.where(alive, t, 1.0 / classes)
    weight = torch.ones(classes, dtype=real, device=x.device) if call.weight is None else call.weight.to(real)
    settings = Settings(bound(call.formula), call.params, bound(call.link or identity), call.link_parameter, call.shift, call.square, call.tempered)
    return Prepared(x, t, weight, settings, factor, wrong, of_items(operands, x.shape[:-1], None if factor is None else factor != 0, real))


def weighed(row: Prepared, value: Tensor) -> Tensor:
    """Values times their factors, 0 where absent, NaN where the label is no class or the position outside."""
    if row.wrong is not None:
        value = torch.where(row.wrong, math.nan, value)
    return value if row.factor is None else torch.where(row.factor != 0, value * row.factor, 0.0)


def losses(call: Distributions, x: Tensor, t: Tensor, *operands: Tensor) -> Tensor:
    """One loss per item, factors multiplied in, in the dtype computed in."""
    row = prepared(call, x, t, *operands)
    arguments: tuple[Any, ...] = (row.x, row.t, row.weight, row.settings, *row.operands)
    if torch.compiler.is_dynamo_compiling():
        differentiable = torch.is_grad_enabled() and any(y.requires_grad for y in (x, t, *operands))  # without, it does not trace a Function
        value: Tensor = Rowwise.apply(*arguments) if differentiable else parts(*arguments).value  # type: ignore[no-untyped-call]
    else:
        value = RowwiseForwardMode.apply(*arguments)  # type: ignore[no-untyped-call]
    return weighed(row, value)


def by_products(call: Distributions, x: Tensor, t: Tensor, *operands: Tensor) -> Results:
    """Losses and log-sum-exp of each item."""
    with torch.no_grad():
        row = prepared(call, x, t, *operands)
        found = parts(row.x, row.t, row.weight, row.settings, *row.operands)
        return Results(None, weighed(row, found.value), (), found.lse if row.factor is None else torch.where(row.factor != 0, found.lse, 0.0))


def gradients(call: Distributions, operands: tuple[Tensor, ...], incoming: Tensor, wants: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    """The gradients of `losses` times `incoming`, differentiable again in all of them."""
    x, t, *others = operands
    row = prepared(call, *operands)
    found = parts(row.x, row.t, row.weight, row.settings, *row.operands)
    each = weighed(row, incoming.expand(found.value.shape))
    outer = each[..., None]

    def handed(by: Tensor, like: Tensor) -> Tensor:
        by = outer * by if row.factor is None else torch.where(row.factor[..., None] != 0, outer * by, 0.0)
        return by.to(like.dtype).movedim(-1, call.dim)

    def summed(by: Tensor, like: Tensor) -> Tensor:
        return sum_to(each * by if row.factor is None else torch.where(row.factor != 0, each * by, 0.0), like)

    by_operands = [summed(by, y) if wanted else None for by, y, wanted in zip(found.by_operands, others, wants[2:], strict=True)]
    return handed(found.by_input, x) if wants[0] else None, handed(found.by_target, t) if wants[1] else None, *by_operands


def total(call: Distributions, operands: tuple[Tensor, ...], scale: float | Tensor) -> Tensor:
    """The sum of the losses times `scale`; attached to the graph even when nothing counts."""
    return scaled_sum(losses(with_scale(call, operands[0], scale), *operands), scale)


def sums_to_one(t: Tensor, dim: int) -> Tensor:
    """Of each item, how far its numbers are from a distribution: the distance of their sum from 1, infinite if one lies outside [0, 1]."""
    t = t.detach().double()
    outside = ((t < 0) | (t > 1 + 1e-6)).any(dim)
    return torch.where(outside, math.inf, (t.sum(dim) - 1).abs())
