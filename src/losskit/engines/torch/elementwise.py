"""The elementwise pattern in PyTorch operations, differentiable to any order, in forward and reverse mode, batched by `vmap`, and traceable.

The first derivative is the formula's own, not autograd's of its value: a branch not taken, `0 * inf`, never reaches the gradient, and every engine
gives the same one. The derivative is itself made of PyTorch operations, so autograd takes over from the second on.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from losskit.engines.call import Call, real_dtype
from losskit.engines.language import bind
from losskit.engines.torch.names import NAMES

SAFE = 0.5  # stands in for the inputs of absent items: inside every loss's domain


@cache
def bound(formula: Callable[..., Any]) -> Callable[..., Any]:
    """The formula on tensors: (value, derivative by input, derivative by target)."""
    return bind(formula, NAMES)  # type: ignore[no-any-return]


class Pointwise(torch.autograd.Function):
    """One loss an element."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, t: Tensor, formula: Callable[..., Any], *arguments: Any) -> Tensor:
        return formula(x, t, *arguments)[0]  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        x, t, ctx.formula, *arguments = inputs
        ctx.field = bool(arguments) and isinstance(arguments[0], Tensor)
        tensors = (x, t, arguments[0]) if ctx.field else (x, t)
        ctx.numbers = arguments[ctx.field :]
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        _, dx, dt = ctx.formula(*ctx.saved_tensors, *ctx.numbers)
        blanks = (None,) * (1 + ctx.field + len(ctx.numbers))
        return incoming * dx if ctx.needs_input_grad[0] else None, incoming * dt if ctx.needs_input_grad[1] else None, *blanks


class PointwiseForwardMode(Pointwise):
    """With forward-mode derivatives: apart, because `torch.compile` refuses a Function that has them."""

    @staticmethod
    def jvp(ctx: Any, x_tangent: Tensor | None, t_tangent: Tensor | None, *_: Any) -> Tensor:
        value, dx, dt = ctx.formula(*ctx.saved_tensors, *ctx.numbers)
        total = torch.zeros_like(value)
        if x_tangent is not None:
            total = total + dx * x_tangent
        if t_tangent is not None:
            total = total + dt * t_tangent
        return total


def combined(factors: tuple[Tensor, ...], real: torch.dtype) -> Tensor:
    """The product of the factors; 0 stays 0 whatever follows."""
    product = factors[0].to(real)
    for factor in factors[1:]:
        product = torch.where(product == 0, 0.0, product * factor)
    return product


def losses(call: Call, x: Tensor, t: Tensor) -> Tensor:
    """One loss an element, factors multiplied in, in the dtype computed in."""
    real = real_dtype(x.dtype)
    x, t = x.to(real), t.to(real)
    factor = None
    if call.factors:
        factor = combined(call.factors, real)
        counts = factor != 0
        x, t = torch.where(counts, x, SAFE), torch.where(counts, t, SAFE)
    function = Pointwise if torch.compiler.is_dynamo_compiling() else PointwiseForwardMode
    fields = () if call.field is None else (call.field.to(real).expand(x.shape),)
    value: Tensor = function.apply(x, t, bound(call.formula), *fields, *call.params)  # type: ignore[no-untyped-call]
    return value if factor is None else torch.where(factor != 0, value * factor, 0.0)


def total(call: Call, x: Tensor, t: Tensor, scale: float | Tensor) -> Tensor:
    """The sum of the losses times `scale`; attached to the graph even when nothing counts, which a scale of 0 says."""
    if isinstance(scale, Tensor):
        call = call._replace(factors=(*call.factors, scale != 0))
    elif scale == 0.0:
        call = call._replace(factors=(*call.factors, torch.zeros((), device=x.device)))
    return losses(call, x, t).sum() * scale
