"""The boxes pattern in PyTorch operations, differentiable to any order, in forward and reverse mode, batched by `vmap`, and traceable.

As in the elementwise pattern, the first derivative is the formula's own.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from losskit.engines.call import Boxes, real_dtype
from losskit.engines.private import compiling
from losskit.engines.torch.elementwise import bound, scaled_sum


def corners(x: Tensor, form: str) -> Tensor:
    """Boxes as two corners; turned ones as they are."""
    if form in ("xyxy", "cxcywha"):
        return x
    place, size = x.chunk(2, -1)
    if form == "cxcywh":
        place = place - 0.5 * size
    return torch.cat((place, place + size), -1)


class Boxwise(torch.autograd.Function):
    """One loss per pair of boxes, as corners."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor, formula: Callable[..., Any], *params: float) -> Tensor:
        return formula(*a.unbind(-1), *b.unbind(-1), *params)[0]  # type: ignore[no-any-return]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        a, b, ctx.formula, *ctx.params = inputs
        ctx.save_for_backward(a, b)
        ctx.save_for_forward(a, b)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        by_a, by_b = slopes(ctx.formula, ctx.params, *ctx.saved_tensors)
        wants_a, wants_b = ctx.needs_input_grad[:2]
        outer = incoming[..., None]
        return outer * by_a if wants_a else None, outer * by_b if wants_b else None, None, *((None,) * len(ctx.params))


class BoxwiseForwardMode(Boxwise):
    """With forward-mode derivatives: apart, because `torch.compile` refuses a Function that has them."""

    @staticmethod
    def jvp(ctx: Any, a_tangent: Tensor | None, b_tangent: Tensor | None, *_: Any) -> Tensor:
        a, b = ctx.saved_tensors
        by_a, by_b = slopes(ctx.formula, ctx.params, a, b)
        total = torch.zeros_like(by_a[..., 0])
        if a_tangent is not None:
            total = total + (by_a * a_tangent).sum(-1)
        if b_tangent is not None:
            total = total + (by_b * b_tangent).sum(-1)
        return total


def slopes(formula: Callable[..., Any], params: tuple[float, ...], a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The derivatives by the corners of both."""
    _, *by = formula(*a.unbind(-1), *b.unbind(-1), *params)
    zero = torch.zeros_like(a[..., 0])
    by = [g + zero for g in by]
    numbers = a.shape[-1]
    return torch.stack(by[:numbers], -1), torch.stack(by[numbers:], -1)


def prepared(call: Boxes, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Corners in the dtype computed in, harmless where absent; the factor."""
    real = real_dtype(x.dtype)
    a, b = corners(x.to(real), call.form), corners(t.to(real), call.form)
    if call.factor is None:
        return a, b, None
    factor = call.factor.to(real)
    counts = (factor != 0)[..., None]
    place = torch.arange(x.shape[-1], dtype=torch.int64, device=x.device)
    safe = ((place == 2) | (place == 3) if x.shape[-1] == 5 else place >= x.shape[-1] // 2).to(real)
    return torch.where(counts, a, safe), torch.where(counts, b, safe), factor


def losses(call: Boxes, x: Tensor, t: Tensor) -> Tensor:
    """One loss per pair, factors multiplied in, in the dtype computed in."""
    a, b, factor = prepared(call, x, t)
    formula = bound(call.formula)
    if torch.compiler.is_dynamo_compiling():
        differentiable = torch.is_grad_enabled() and (x.requires_grad or t.requires_grad)  # without, it does not trace a Function
        value: Tensor = Boxwise.apply(a, b, formula, *call.params) if differentiable else formula(*a.unbind(-1), *b.unbind(-1), *call.params)[0]  # type: ignore[no-untyped-call]
    else:
        value = BoxwiseForwardMode.apply(a, b, formula, *call.params)  # type: ignore[no-untyped-call]
    return value if factor is None else torch.where(factor != 0, value * factor, 0.0)


def gradients(call: Boxes, operands: tuple[Tensor, ...], incoming: Tensor, wants: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    """The gradients of `losses` times `incoming`, differentiable again in all three."""
    (x, t), (wants_x, wants_t) = operands, wants
    a, b, factor = prepared(call, x, t)
    outer = incoming if factor is None else torch.where(factor != 0, incoming * factor, 0.0)
    by = (outer[..., None] * g for g in slopes(bound(call.formula), call.params, a, b))
    gx, gt = (back(g, call.form) for g in by)
    return gx.to(x.dtype) if wants_x else None, gt.to(t.dtype) if wants_t else None


def back(g: Tensor, form: str) -> Tensor:
    """Gradients by corners to gradients by what was given."""
    if form in ("xyxy", "cxcywha"):
        return g
    first, second = g.chunk(2, -1)
    return torch.cat((first + second, second if form == "xywh" else 0.5 * (second - first)), -1)


def total(call: Boxes, operands: tuple[Tensor, ...], scale: float | Tensor) -> Tensor:
    """The sum of the losses times `scale`; attached to the graph even when nothing counts."""
    return scaled_sum(losses(with_scale(call, operands[0], scale), *operands), scale)


def with_scale(call: Boxes, x: Tensor, scale: float | Tensor) -> Boxes:
    """A scale of 0 says that nothing counts."""
    if isinstance(scale, Tensor):
        alive = (scale != 0).to(real_dtype(x.dtype))
        return call._replace(factor=alive.expand(x.shape[:-1]) if call.factor is None else torch.where(alive != 0, call.factor, 0))
    if compiling() or scale != 0.0:
        return call
    return call._replace(factor=torch.zeros(x.shape[:-1], dtype=real_dtype(x.dtype), device=x.device))
