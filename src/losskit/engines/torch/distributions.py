"""Rows with a distribution each for a target (or none: entropy), in PyTorch operations. As `rows.py`, with a formula a class in place of one a row.

The formula takes (log p, p, 1 - p, t, weight, *params) of a class and returns its value, its derivative by log p, and that by t. A row's loss is the sum over
its classes; by the scores its gradient is v_j - p_j sum(v), where v is the derivative by log p. For the class with the largest score 1 - p and the sum over
the others are known without a subtraction, so a confident item keeps its digits.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.engines.call import real_dtype
from losskit.engines.language import identity
from losskit.engines.torch.elementwise import bound


class Distributions(NamedTuple):
    """One loss of rows of class scores and distributions, ready to run. `square` multiplies the squared log-sum-exp, which is added."""

    formula: Callable[..., Any]
    params: tuple[float, ...] = ()
    weight: Tensor | None = None  # (classes,)
    link: Callable[..., Any] | None = None
    link_parameter: float = 0.0
    shift: bool = False
    square: float = 0.0
    dim: int = 1
    factor: Tensor | None = None  # the shape without the classes


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
    top = torch.arange(x.shape[-1], device=x.device) == place
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
    """One loss a row, the class axis last."""

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


def losses(call: Distributions, x: Tensor, t: Tensor) -> Tensor:
    """One loss an item, factors multiplied in, in the dtype computed in. Absent items are made harmless first."""
    real = real_dtype(x.dtype)
    classes = x.shape[call.dim]
    x, t = x.movedim(call.dim, -1).to(real), t.movedim(call.dim, -1).to(real)
    factor = None
    if call.factor is not None:
        factor = call.factor.to(real)
        counts = (factor != 0)[..., None]
        x, t = torch.where(counts, x, 0.0), torch.where(counts, t, 1.0 / classes)
    weight = torch.ones(classes, dtype=real, device=x.device) if call.weight is None else call.weight.to(real)
    settings = Settings(bound(call.formula), call.params, bound(call.link or identity), call.link_parameter, call.shift, call.square)
    arguments = (x, t, weight, settings)
    if torch.compiler.is_dynamo_compiling():
        differentiable = torch.is_grad_enabled() and (x.requires_grad or t.requires_grad)  # without, it does not trace a Function
        value: Tensor = Rowwise.apply(*arguments) if differentiable else parts(*arguments).value  # type: ignore[no-untyped-call]
    else:
        value = RowwiseForwardMode.apply(*arguments)  # type: ignore[no-untyped-call]
    return value if factor is None else torch.where(factor != 0, value * factor, 0.0)


def lse(call: Distributions, x: Tensor) -> Tensor:
    """Log-sum-exp of each item's scores."""
    with torch.no_grad():
        s = bound(call.link or identity)(x.to(real_dtype(x.dtype)), call.link_parameter)[0]
        found = torch.logsumexp(s, call.dim)
        return found if call.factor is None else torch.where(call.factor != 0, found, 0.0)


def sums_to_one(t: Tensor, dim: int) -> Tensor:
    """Of each item, how far its numbers are from a distribution: the distance of their sum from 1, infinite if one lies outside [0, 1]."""
    t = t.detach().double()
    outside = ((t < 0) | (t > 1 + 1e-6)).any(dim)
    return torch.where(outside, math.inf, (t.sum(dim) - 1).abs())
