"""The elementwise pattern in PyTorch operations, differentiable to any order, in forward and reverse mode, batched by `vmap`, and traceable.

The first derivative is the formula's own, not autograd's of its value: a branch not taken, `0 * inf`, never reaches the gradient, and every engine
gives the same one. The derivative is itself made of PyTorch operations, so autograd takes over from the second on.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from losskit.engines.call import Call, real_dtype
from losskit.engines.language import bind
from losskit.engines.torch.names import NAMES

SAFE = 0.5  # stands in for the inputs of absent items: inside every loss's domain


def bound(formula: Callable[..., Any]) -> Callable[..., Any]:
    """The formula on tensors: (value, derivative by input, derivative by target); kept as an attribute of the formula, where the compiler can find it."""
    keep_bound(formula)
    return formula.on_tensors  # type: ignore[attr-defined, no-any-return]


def keep_bound(formula: Callable[..., Any]) -> None:
    """Bind a formula the first time it is met."""
    if not hasattr(formula, "on_tensors"):
        formula.on_tensors = bind(formula, NAMES)  # type: ignore[attr-defined]


# The compiler cannot trace the making of a function. This has it call `keep_bound` while it traces, so that no formula need be bound ahead of that: it is
# torch.compiler.assume_constant_result without the import of the compiler, which takes longer than all of losskit.
keep_bound._dynamo_marked_constant = True  # type: ignore[attr-defined]


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
        product = torch.where(product == 0, 0.0, product * factor.to(real))
    return product


def prepared(call: Call, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor | None, tuple[Any, ...]]:
    """Input and target in the dtype computed in, absent items made harmless; the product of the factors; the formula's other arguments."""
    real = real_dtype(x.dtype)
    x, t = x.to(real), t.to(real)
    fields = () if call.field is None else (call.field.to(real).expand(x.shape),)
    factor = None
    if call.factors:
        factor = combined(call.factors, real)
        counts = factor != 0
        x, t = torch.where(counts, x, SAFE), torch.where(counts, t, SAFE)
    return x, t, factor, (*fields, *call.params)


def losses(call: Call, x: Tensor, t: Tensor) -> Tensor:
    """One loss an element, factors multiplied in, in the dtype computed in."""
    x, t, factor, arguments = prepared(call, x, t)
    formula = bound(call.formula)
    if torch.compiler.is_dynamo_compiling():
        differentiable = torch.is_grad_enabled() and (x.requires_grad or t.requires_grad)  # without, it does not trace a Function
        value: Tensor = Pointwise.apply(x, t, formula, *arguments) if differentiable else formula(x, t, *arguments)[0]  # type: ignore[no-untyped-call]
    else:
        value = PointwiseForwardMode.apply(x, t, formula, *arguments)  # type: ignore[no-untyped-call]
    return value if factor is None else torch.where(factor != 0, value * factor, 0.0)


def gradients(call: Call, x: Tensor, t: Tensor, incoming: Tensor, wants_x: bool, wants_t: bool) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of `losses` times `incoming`, differentiable again in all three."""
    real_x, real_t, factor, arguments = prepared(call, x, t)
    _, dx, dt = bound(call.formula)(real_x, real_t, *arguments)
    outer = incoming if factor is None else torch.where(factor != 0, incoming * factor, 0.0)
    return (outer * dx).to(x.dtype) if wants_x else None, (outer * dt).to(t.dtype) if wants_t else None


def total(call: Call, x: Tensor, t: Tensor, scale: float | Tensor) -> Tensor:
    """The sum of the losses times `scale`; attached to the graph even when nothing counts."""
    return scaled_sum(losses(with_scale(call, x, scale), x, t), scale)


def scaled_sum(each: Tensor, scale: float | Tensor) -> Tensor:
    """The sum times `scale`, in float64 where the device has it: a mean does not overflow before it is divided, and in forward mode its dtype stays."""
    exact = torch.float32 if each.device.type == "mps" else torch.float64
    return (each.sum(dtype=exact) * scale).to(each.dtype)


def with_scale(call: Call, x: Tensor, scale: float | Tensor) -> Call:
    """A scale of 0 says that nothing counts: items that are NaN or infinite do not either."""
    if isinstance(scale, Tensor):
        return call._replace(factors=(*call.factors, scale != 0))
    if torch.compiler.is_compiling():
        return call  # a number is then one over the count of items, perhaps a symbolic one, and never 0
    return call._replace(factors=(*call.factors, torch.zeros((), dtype=real_dtype(x.dtype), device=x.device))) if scale == 0.0 else call
