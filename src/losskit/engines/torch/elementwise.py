"""The elementwise pattern in PyTorch operations, differentiable to any order, in forward and reverse mode, batched by `vmap`, and traceable.

The first derivative is the formula's own, not autograd's of its value: a branch not taken, `0 * inf`, never reaches the gradient, and every engine
gives the same one. The derivative is itself made of PyTorch operations, so autograd takes over from the second on.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from losskit.engines import private
from losskit.engines.call import Call, real_dtype, sum_to
from losskit.engines.language import bind
from losskit.engines.private import compiling
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


private.constant_to_the_compiler(keep_bound)  # it cannot trace the making of a function, and no formula need be bound ahead of that


class Pointwise(torch.autograd.Function):
    """One loss per element."""

    generate_vmap_rule = True

    @staticmethod
    def forward(formula: Callable[..., Any], params: tuple[float, ...], *operands: Tensor) -> Tensor:
        return formula(*operands, *params)[0]  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.formula, ctx.params, *operands = inputs
        ctx.save_for_backward(*operands)
        ctx.save_for_forward(*operands)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        _, *slopes = ctx.formula(*ctx.saved_tensors, *ctx.params)
        wants = ctx.needs_input_grad[2:]
        return None, None, *(incoming * slopes[k] if wanted else None for k, wanted in enumerate(wants))


class PointwiseForwardMode(Pointwise):
    """With forward-mode derivatives: apart, because `torch.compile` refuses a Function that has them."""

    @staticmethod
    def jvp(ctx: Any, _: None, __: None, *tangents: Tensor | None) -> Tensor:
        value, *slopes = ctx.formula(*ctx.saved_tensors, *ctx.params)
        total = torch.zeros_like(value)
        for slope, tangent in zip(slopes, tangents, strict=False):  # an operand without a derivative has no tangent
            if tangent is not None:
                total = total + slope * tangent
        return total


def combined(factors: tuple[Tensor, ...], real: torch.dtype) -> Tensor:
    """The product of the factors; 0 stays 0 whatever follows."""
    product = factors[0].to(real)
    for factor in factors[1:]:
        product = torch.where(product == 0, 0.0, product * factor.to(real))
    return product


def prepared(call: Call, operands: tuple[Tensor, ...]) -> tuple[tuple[Tensor, ...], Tensor | None]:
    """The operands in the dtype computed in and of the input's shape, those of absent items made harmless; the product of the factors."""
    real, shape = real_dtype(operands[0].dtype), operands[0].shape
    operands = tuple(y.to(real).expand(shape) for y in operands)
    if not call.factors:
        return operands, None
    factor = combined(call.factors, real)
    counts = factor != 0
    return tuple(torch.where(counts, y, SAFE) for y in operands), factor


def losses(call: Call, *operands: Tensor) -> Tensor:
    """One loss per element, factors multiplied in, in the dtype computed in."""
    numbers, factor = prepared(call, operands)
    formula = bound(call.formula)
    if torch.compiler.is_dynamo_compiling():
        differentiable = torch.is_grad_enabled() and any(y.requires_grad for y in operands)  # without, it does not trace a Function
        value: Tensor = Pointwise.apply(formula, call.params, *numbers) if differentiable else formula(*numbers, *call.params)[0]  # type: ignore[no-untyped-call]
    else:
        value = PointwiseForwardMode.apply(formula, call.params, *numbers)  # type: ignore[no-untyped-call]
    return value if factor is None else torch.where(factor != 0, value * factor, 0.0)


def gradients(call: Call, operands: tuple[Tensor, ...], incoming: Tensor, wants: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    """The gradients of `losses` times `incoming`, differentiable again in all of them."""
    numbers, factor = prepared(call, operands)
    _, *slopes = bound(call.formula)(*numbers, *call.params)
    outer = incoming if factor is None else torch.where(factor != 0, incoming * factor, 0.0)
    found: list[Tensor | None] = []
    for k, y in enumerate(operands):
        by = outer * slopes[k] if wants[k] else None
        found.append(None if by is None else sum_to(by if by.shape == numbers[0].shape else by.expand(numbers[0].shape), y))
    return tuple(found)


def total(call: Call, operands: tuple[Tensor, ...], scale: float | Tensor) -> Tensor:
    """The sum of the losses times `scale`; attached to the graph even when nothing counts."""
    return scaled_sum(losses(with_scale(call, operands[0], scale), *operands), scale)


def scaled_sum(each: Tensor, scale: float | Tensor) -> Tensor:
    """The sum times `scale`, in float64 where the device has it: a mean does not overflow before it is divided, and in forward mode its dtype stays."""
    exact = torch.float32 if each.device.type == "mps" else torch.float64
    return (each.sum(dtype=exact) * scale).to(each.dtype)


def with_scale(call: Call, x: Tensor, scale: float | Tensor) -> Call:
    """A scale of 0 says that nothing counts: items that are NaN or infinite do not either."""
    if isinstance(scale, Tensor):
        return call._replace(factors=(*call.factors, scale != 0))
    if compiling():
        return call  # a number is then one over the count of items, perhaps a symbolic one, and never 0
    return call._replace(factors=(*call.factors, torch.zeros((), dtype=real_dtype(x.dtype), device=x.device))) if scale == 0.0 else call
