"""Autograd around a fused engine's passes, the same for every fused engine."""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from losskit.engines.call import Call
from losskit.engines.torch import elementwise as plain


class Total(torch.autograd.Function):
    """The scaled sum of the losses, with the gradient from the same pass.

    The gradient is given away by the first backward, not kept: nothing is copied and nothing lives longer than it must. A second backward through the same
    graph computes it again; one that wants a graph of its own (`create_graph=True`) goes through the torch engine.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, call: Call, scale: float | Tensor, engine: ModuleType) -> Tensor:
        wants_x, wants_t = ctx.needs_input_grad[:2]
        results = engine.run(call, x, t, scale=scale, grad_input=wants_x, grad_target=wants_t)
        ctx.save_for_backward(x, t)
        ctx.rest = call, scale, engine
        ctx.gradients = results.grad_input, results.grad_target
        return results.total  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        x, t = ctx.saved_tensors
        call, scale, engine = ctx.rest
        wants_x, wants_t = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            return *_through_graph(plain.total(call, x, t, scale), x, t, wants_x, wants_t, incoming), None, None, None
        given, ctx.gradients = ctx.gradients, None
        grad_x, grad_t = engine.rescaled(given, incoming, call, x, t, scale, wants_x, wants_t)
        return grad_x, grad_t, None, None, None


class Each(torch.autograd.Function):
    """One loss an element; the backward recomputes from the inputs and takes any incoming gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, call: Call, engine: ModuleType) -> Tensor:
        ctx.save_for_backward(x, t)
        ctx.rest = call, engine
        return engine.run(call, x, t, each=True).value  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        x, t = ctx.saved_tensors
        call, engine = ctx.rest
        wants_x, wants_t = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            return *_through_graph(plain.losses(call, x, t), x, t, wants_x, wants_t, incoming), None, None
        results = engine.run(call, x, t, incoming=incoming, grad_input=wants_x, grad_target=wants_t)
        return results.grad_input, results.grad_target, None, None


def _through_graph(value: Tensor, x: Tensor, t: Tensor, wants_x: bool, wants_t: bool, incoming: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """Gradients that can be differentiated again."""
    wanted = [tensor for tensor, wants in ((x, wants_x), (t, wants_t)) if wants]
    gradients = iter(torch.autograd.grad(value, wanted, incoming, create_graph=True))
    return next(gradients) if wants_x else None, next(gradients) if wants_t else None
