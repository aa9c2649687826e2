"""The rows pattern in PyTorch operations, differentiable to any order, in forward and reverse mode, batched by `vmap`, and traceable.

As in the elementwise pattern, the first derivative is the formula's own: the row's sums go through it and come back as coefficients, so that a confident
item keeps the small gradient that a difference of probabilities would round away, and every engine gives the same one.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from losskit.engines.call import Distributions, Results, Rows, real_dtype
from losskit.engines.language import identity
from losskit.engines.torch.elementwise import bound, scaled_sum

AnyRows = TypeVar("AnyRows", Rows, Distributions)


class Settings(NamedTuple):
    """What of a call is no tensor."""

    formula: Callable[..., Any]
    params: tuple[float, ...]
    link: Callable[..., Any]
    link_parameter: float


class Parts(NamedTuple):
    """Of rows with the class axis last: value, log-sum-exp, and gradient by the input."""

    value: Tensor
    lse: Tensor
    gradient: Tensor


def parts(x: Tensor, labels: Tensor, weight: Tensor, shares: Tensor, settings: Settings) -> Parts:
    """The pattern itself; every step is differentiable, the largest score counts as a constant (nothing depends on it)."""
    total_share = shares.sum()
    s, bend = settings.link(x, settings.link_parameter)
    big = torch.finfo(x.dtype).max
    s = s.clamp(max=big)
    at_label = torch.arange(x.shape[-1], dtype=torch.int64, device=x.device) == labels[..., None]
    own = torch.where(at_label, s, 0.0).sum(-1, keepdim=True)
    m = s.detach().amax(-1, keepdim=True)
    e = torch.exp(s - m)
    others = torch.where(at_label, 0.0, e).sum(-1, keepdim=True)
    d = torch.where((m == big) & (own < big), math.inf, m - own)
    z = others + torch.exp(-d)
    hit, miss = torch.exp(-d) / z, others / z
    level = torch.log1p(others + torch.expm1(-d))  # exactly `others` where the label has the largest score
    spread = torch.where(shares == 0, 0.0, shares * (m - s)).sum(-1, keepdim=True) + total_share * level
    own_weight, own_share = (torch.where(at_label, w, 0.0).sum(-1, keepdim=True) for w in (weight, shares))
    far = torch.where(own_weight == 0.0, 0.0, d + level)  # a class of weight 0 may be ruled out
    value, by_nll, by_spread, by_lse = settings.formula(far, hit, miss, spread, m + level, own_weight, *settings.params)
    common = total_share * by_spread + by_lse
    gradient = torch.where(at_label, common * hit - by_nll * miss - own_share * by_spread, (by_nll + common) * (e / z) - shares * by_spread)
    return Parts(value[..., 0], (m + level)[..., 0], gradient * bend)


class Rowwise(torch.autograd.Function):
    """One loss per row, the class axis last."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, labels: Tensor, weight: Tensor, shares: Tensor, settings: Settings) -> Tensor:
        return parts(x, labels, weight, shares, settings).value

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.settings = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        x, labels, weight, shares = ctx.saved_tensors
        return incoming[..., None] * parts(x, labels, weight, shares, ctx.settings).gradient, None, None, None, None


class RowwiseForwardMode(Rowwise):
    """With forward-mode derivatives: apart, because `torch.compile` refuses a Function that has them."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor | None, *_: Any) -> Tensor:
        x, labels, weight, shares = ctx.saved_tensors
        found = parts(x, labels, weight, shares, ctx.settings)
        return torch.zeros_like(found.value) if tangent is None else (found.gradient * tangent).sum(-1)


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


def prepared(call: Rows, x: Tensor, t: Tensor) -> Prepared:
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
    settings = Settings(bound(call.formula), call.params, bound(call.link or identity), call.link_parameter)
    return Prepared(x, labels, weight, shares, settings, factor, counts, wrong)


def weighed(row: Prepared, value: Tensor) -> Tensor:
    """Values times their factors, 0 where absent, NaN where the label is no class."""
    value = torch.where(row.wrong, math.nan, value)
    return torch.where(row.counts, value if row.factor is None else value * row.factor, 0.0)


def losses(call: Rows, x: Tensor, t: Tensor) -> Tensor:
    """One loss per item, factors multiplied in, in the dtype computed in."""
    row = prepared(call, x, t)
    arguments = (row.x, row.labels, row.weight, row.shares, row.settings)
    if torch.compiler.is_dynamo_compiling():
        differentiable = torch.is_grad_enabled() and x.requires_grad  # without, it does not trace a Function
        value: Tensor = Rowwise.apply(*arguments) if differentiable else parts(*arguments).value  # type: ignore[no-untyped-call]
    else:
        value = RowwiseForwardMode.apply(*arguments)  # type: ignore[no-untyped-call]
    return weighed(row, value)


def by_products(call: Rows, x: Tensor, t: Tensor) -> Results:
    """Losses and log-sum-exp of each item, and whether its label is the first class with the largest score."""
    with torch.no_grad():
        row = prepared(call, x, t)
        found = parts(row.x, row.labels, row.weight, row.shares, row.settings)
        scores = row.settings.link(row.x, row.settings.link_parameter)[0]
        right = row.counts & (scores.argmax(-1) == row.labels) & ~row.wrong
        return Results(None, weighed(row, found.value), (), torch.where(row.counts, found.lse, 0.0), right)


def gradients(call: Rows, operands: tuple[Tensor, ...], incoming: Tensor, wants: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    """The gradient of `losses` times `incoming`, differentiable again in both."""
    (x, t), wants_x = operands, any(wants)
    row = prepared(call, x, t)
    gradient = parts(row.x, row.labels, row.weight, row.shares, row.settings).gradient
    outer = weighed(row, incoming.expand(row.counts.shape))[..., None]
    return torch.where(row.counts[..., None], outer * gradient, 0.0).to(x.dtype).movedim(-1, call.dim) if wants_x else None, None


def total(call: Rows, operands: tuple[Tensor, ...], scale: float | Tensor) -> Tensor:
    """The sum of the losses times `scale`; attached to the graph even when nothing counts."""
    return scaled_sum(losses(with_scale(call, operands[0], scale), *operands), scale)


def with_scale(call: AnyRows, x: Tensor, scale: float | Tensor) -> AnyRows:
    """A scale of 0 says that nothing counts."""
    if isinstance(scale, Tensor):
        alive = (scale != 0).to(real_dtype(x.dtype))
        return call._replace(factor=alive.expand(items(call, x)) if call.factor is None else torch.where(alive != 0, call.factor, 0))
    if torch.compiler.is_compiling() or scale != 0.0:
        return call  # while compiling, a number is one over the count of items, perhaps a symbolic one, and never 0
    return call._replace(factor=torch.zeros(items(call, x), dtype=real_dtype(x.dtype), device=x.device))


def items(call: Rows | Distributions, x: Tensor) -> tuple[int, ...]:
    """The shape of the unreduced loss."""
    return (*x.shape[: call.dim], *x.shape[call.dim + 1 :])
