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

from losskit.engines.call import Distributions, Results, real_dtype
from losskit.engines.language import ROUNDING, identity
from losskit.engines.torch.elementwise import bound, scaled_sum
from losskit.engines.torch.rows import with_scale

__all__ = ["by_products", "gradients", "losses", "total", "with_scale"]


class Settings(NamedTuple):
    """What of a call is no tensor."""

    formula: Callable[..., Any]
    params: tuple[float, ...]
    link: Callable[..., Any]
    link_parameter: float
    shift: bool
    square: float


class Parts(NamedTuple):
    """Of rows with the class axis last: value, log-sum-exp, gradients."""

    value: Tensor
    lse: Tensor
    by_input: Tensor
    by_target: Tensor


def parts(x: Tensor, t: Tensor, weight: Tensor, settings: Settings) -> Parts:
    """The pattern itself; every step is differentiable, the largest score counts as a constant (nothing depends on it)."""
    if settings.shift:
        x = x.clamp(max=torch.finfo(x.dtype).max)
        x = x - x.detach().amax(-1, keepdim=True)
    s, bend = settings.link(x, settings.link_parameter)
    s = s.clamp(max=torch.finfo(x.dtype).max)
    m, place = s.detach().max(-1, keepdim=True)
    top = torch.arange(x.shape[-1], dtype=torch.int64, device=x.device) == place
    e = torch.exp(s - m)
    others = torch.where(top, 0.0, e).sum(-1, keepdim=True)
    below = torch.where(top, s - m, 0.0).sum(-1, keepdim=True)  # 0, with a derivative
    z = others + torch.exp(below)
    level = torch.log1p(others + torch.expm1(below))
    p = e / z
    q = torch.where(top, others / z, 1.0 - p)
    value, by_log, by_target = settings.formula(s - m - level, p, q, t, weight, *settings.params)
    lse = m + level
    rest = torch.where(top, 0.0, by_log).sum(-1, keepdim=True)
    whole = rest + torch.where(top, by_log, 0.0).sum(-1, keepdim=True)
    by_input = torch.where(top, by_log * q - p * rest, by_log - p * whole)
    total = value.sum(-1)
    by_target = by_target + torch.zeros_like(t)
    if settings.square:
        weighted = settings.square * (t * weight).sum(-1, keepdim=True) * lse
        by_input = by_input + 2.0 * weighted * p
        by_target = by_target + settings.square * weight * lse * lse
        total = total + (weighted * lse)[..., 0]
    return Parts(total, lse[..., 0], by_input * bend, by_target)


class Rowwise(torch.autograd.Function):
    """One loss per row, the class axis last."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, t: Tensor, weight: Tensor, settings: Settings) -> Tensor:
        return parts(x, t, weight, settings).value

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.settings = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        x, t, weight = ctx.saved_tensors
        found = parts(x, t, weight, ctx.settings)
        outer = incoming[..., None]
        return outer * found.by_input if ctx.needs_input_grad[0] else None, outer * found.by_target if ctx.needs_input_grad[1] else None, None, None


class RowwiseForwardMode(Rowwise):
    """With forward-mode derivatives: apart, because `torch.compile` refuses a Function that has them."""

    @staticmethod
    def jvp(ctx: Any, x_tangent: Tensor | None, t_tangent: Tensor | None, *_: Any) -> Tensor:
        x, t, weight = ctx.saved_tensors
        found = parts(x, t, weight, ctx.settings)
        total = torch.zeros_like(found.value)
        if x_tangent is not None:
            total = total + (found.by_input * x_tangent).sum(-1)
        if t_tangent is not None:
            total = total + (found.by_target * t_tangent).sum(-1)
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


def prepared(call: Distributions, x: Tensor, t: Tensor) -> Prepared:
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
    settings = Settings(bound(call.formula), call.params, bound(call.link or identity), call.link_parameter, call.shift, call.square)
    return Prepared(x, t, weight, settings, factor, wrong)


def weighed(row: Prepared, value: Tensor) -> Tensor:
    """Values times their factors, 0 where absent, NaN where the label is no class or the position outside."""
    if row.wrong is not None:
        value = torch.where(row.wrong, math.nan, value)
    return value if row.factor is None else torch.where(row.factor != 0, value * row.factor, 0.0)


def losses(call: Distributions, x: Tensor, t: Tensor) -> Tensor:
    """One loss per item, factors multiplied in, in the dtype computed in."""
    row = prepared(call, x, t)
    arguments = (row.x, row.t, row.weight, row.settings)
    if torch.compiler.is_dynamo_compiling():
        differentiable = torch.is_grad_enabled() and (x.requires_grad or t.requires_grad)  # without, it does not trace a Function
        value: Tensor = Rowwise.apply(*arguments) if differentiable else parts(*arguments).value  # type: ignore[no-untyped-call]
    else:
        value = RowwiseForwardMode.apply(*arguments)  # type: ignore[no-untyped-call]
    return weighed(row, value)


def by_products(call: Distributions, x: Tensor, t: Tensor) -> Results:
    """Losses and log-sum-exp of each item."""
    with torch.no_grad():
        row = prepared(call, x, t)
        found = parts(row.x, row.t, row.weight, row.settings)
        return Results(None, weighed(row, found.value), (), found.lse if row.factor is None else torch.where(row.factor != 0, found.lse, 0.0))


def gradients(call: Distributions, operands: tuple[Tensor, ...], incoming: Tensor, wants: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    """The gradients of `losses` times `incoming`, differentiable again in all three."""
    (x, t), (wants_x, wants_t) = operands, wants
    row = prepared(call, x, t)
    found = parts(row.x, row.t, row.weight, row.settings)
    outer = weighed(row, incoming.expand(found.value.shape))[..., None]

    def handed(by: Tensor, like: Tensor) -> Tensor:
        by = outer * by if row.factor is None else torch.where(row.factor[..., None] != 0, outer * by, 0.0)
        return by.to(like.dtype).movedim(-1, call.dim)

    return handed(found.by_input, x) if wants_x else None, handed(found.by_target, t) if wants_t else None


def total(call: Distributions, operands: tuple[Tensor, ...], scale: float | Tensor) -> Tensor:
    """The sum of the losses times `scale`; attached to the graph even when nothing counts."""
    return scaled_sum(losses(with_scale(call, operands[0], scale), *operands), scale)


def sums_to_one(t: Tensor, dim: int) -> Tensor:
    """Of each item, how far its numbers are from a distribution: the distance of their sum from 1, infinite if one lies outside [0, 1]."""
    t = t.detach().double()
    outside = ((t < 0) | (t > 1 + 1e-6)).any(dim)
    return torch.where(outside, math.inf, (t.sum(dim) - 1).abs())
