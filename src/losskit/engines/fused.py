"""Autograd around a fused engine's passes, the same for every fused engine.

What is not a tensor travels as one tuple: `apply` looks at every argument, and a small call feels it.
"""

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from losskit.engines import dispatch
from losskit.engines.call import Call
from losskit.engines.torch import elementwise as plain


def must_be_watched(incoming: Tensor) -> bool:
    """Whether a backward must consist of PyTorch operations: for a graph of its own, under a transform, or for a batch of gradients (`is_grads_batched`)."""
    if torch.is_grad_enabled() or dispatch.watched() is not None:
        return True
    return torch._C._functorch.is_legacy_batchedtensor(incoming) or dispatch.unreadable(incoming) is not None


def kept(call: Call) -> tuple[Tensor, ...]:
    """The tensors of a call, for autograd to watch: changed in place before the backward, they raise there."""
    return call.factors if call.field is None else (*call.factors, call.field)


def restored(call: Call, tensors: tuple[Tensor, ...]) -> Call:
    """The call with the tensors that autograd kept."""
    count = len(call.factors)
    return call._replace(factors=tensors[:count], field=tensors[count] if call.field is not None else None)


class Total(torch.autograd.Function):
    """The scaled sum of the losses, with the gradient from the same pass.

    The gradient is given away by the first backward, not kept: nothing is copied and nothing lives longer than it must. A second backward through the same
    graph computes it again; one that wants a graph of its own (`create_graph=True`), or that `vmap` batches, goes through the torch engine.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, rest: tuple[Call, float | Tensor, ModuleType]) -> Tensor:
        call, scale, engine = rest
        wants_x, wants_t = ctx.needs_input_grad[:2]
        results = engine.run(call, x, t, scale=scale, grad_input=wants_x, grad_target=wants_t)
        ctx.save_for_backward(x, t, *kept(call))
        ctx.rest = rest
        ctx.gradients = results.grad_input, results.grad_target
        return results.total  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        given, ctx.gradients = ctx.gradients, None
        watched = must_be_watched(incoming)
        if given is not None and not watched and incoming.is_cpu and incoming.item() == 1.0:
            return *given, None
        x, t, *tensors = ctx.saved_tensors
        call, scale, engine = ctx.rest
        call = restored(call, tuple(tensors))
        wants_x, wants_t = ctx.needs_input_grad[:2]
        if watched:
            return *plain.gradients(plain.with_scale(call, x, scale), x, t, incoming * scale, wants_x, wants_t), None
        return *engine.rescaled(given, incoming, call, x, t, scale, wants_x, wants_t), None


class Each(torch.autograd.Function):
    """One loss an element; the backward recomputes from the inputs and takes any incoming gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, rest: tuple[Call, ModuleType]) -> Tensor:
        call, engine = rest
        ctx.save_for_backward(x, t, *kept(call))
        ctx.rest = rest
        return engine.run(call, x, t, each=True).value  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        x, t, *tensors = ctx.saved_tensors
        call, engine = ctx.rest
        call = restored(call, tuple(tensors))
        wants_x, wants_t = ctx.needs_input_grad[:2]
        if must_be_watched(incoming):
            return *plain.gradients(call, x, t, incoming, wants_x, wants_t), None
        results = engine.run(call, x, t, incoming=incoming, grad_input=wants_x, grad_target=wants_t)
        return results.grad_input, results.grad_target, None


# `apply` without its preparations for torch.func: dispatch has seen that no transform is active (3 of a small call's 45 microseconds)
_apply: Any = vars(torch._C._FunctionBase)["apply"]
total, each = _apply.__get__(None, Total), _apply.__get__(None, Each)
