"""Autograd around a fused engine's passes, the same for every fused engine.

What is not a tensor travels as one tuple: `apply` looks at every argument, and a small call feels it.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.engines import dispatch
from losskit.engines.call import Results


def must_be_watched(incoming: Tensor) -> bool:
    """Whether a backward must consist of PyTorch operations: for a graph of its own, under a transform, or for a batch of gradients (`is_grads_batched`)."""
    if torch.is_grad_enabled() or dispatch.watched() is not None:
        return True
    return torch._C._functorch.is_legacy_batchedtensor(incoming) or dispatch.unreadable(incoming) is not None


class Step(NamedTuple):
    """What a forward and its backward share: the call, its scale, the engine's pattern and the torch engine's, options of the run, where by-products go.

    A context keeps its step as long as somebody keeps the loss, long after the backward. So by-products come without gradients, and the context's own step holds
    no tensors: autograd keeps them, and lets go of them.
    """

    call: Any
    scale: float | Tensor
    engine: ModuleType
    plain: ModuleType
    options: Mapping[str, Any] = {}
    by_products: list[Results] | None = None


_KEPT_BY_AUTOGRAD = torch.empty(0, dtype=torch.float32, device="cpu")


def saved(ctx: Any, x: Tensor, t: Tensor, step: Any) -> Any:
    """The step without its call's tensors, which autograd keeps beside input and target; `call.holding` puts them back."""
    tensors = step.call.tensors()
    ctx.save_for_backward(x, t, *tensors)
    return step._replace(call=step.call.holding((_KEPT_BY_AUTOGRAD,) * len(tensors))) if tensors else step


class Total(torch.autograd.Function):
    """The scaled sum of the losses, with the gradient from the same pass.

    The gradient is given away by the first backward, not kept: nothing is copied and nothing lives longer than it must. A second backward through the same
    graph computes it again; one that wants a graph of its own (`create_graph=True`), or that `vmap` batches, goes through the torch engine.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, step: Step) -> Tensor:
        wants_x, wants_t = ctx.needs_input_grad[:2]
        results = step.engine.run(step.call, x, t, scale=step.scale, grad_input=wants_x, grad_target=wants_t, **step.options)
        ctx.step = saved(ctx, x, t, step)
        ctx.gradients = results.grad_input, results.grad_target
        if step.by_products is not None:
            step.by_products.append(results._replace(grad_input=None, grad_target=None))
        return results.total  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        given, ctx.gradients = ctx.gradients, None
        watched = must_be_watched(incoming)
        if given is not None and not watched and incoming.is_cpu and incoming.item() == 1.0:
            return *given, None
        call, scale, engine, plain, options, _ = ctx.step
        if options.get("inplace"):
            if given is None or watched:
                raise RuntimeError("inplace=True has given the input's memory to its gradient: one backward, no second derivatives. Leave inplace out for more")
            return given[0].mul_(incoming), None, None
        x, t, *tensors = ctx.saved_tensors
        call = call.holding(tensors)
        wants_x, wants_t = ctx.needs_input_grad[:2]
        if watched:
            return *plain.gradients(plain.with_scale(call, x, scale), x, t, incoming * scale, wants_x, wants_t), None
        return *engine.rescaled(given, incoming, call, x, t, scale, wants_x, wants_t), None


class Each(torch.autograd.Function):
    """One loss an item; the backward recomputes from the inputs and takes any incoming gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, step: Step) -> Tensor:
        results = step.engine.run(step.call, x, t, each=True, **step.options)
        ctx.step = saved(ctx, x, t, step)
        if step.by_products is not None:
            step.by_products.append(results)
        return results.value  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        x, t, *tensors = ctx.saved_tensors
        call, _, engine, plain, _, _ = ctx.step
        call = call.holding(tensors)
        wants_x, wants_t = ctx.needs_input_grad[:2]
        if must_be_watched(incoming):
            return *plain.gradients(call, x, t, incoming, wants_x, wants_t), None
        results = engine.run(call, x, t, incoming=incoming, grad_input=wants_x, grad_target=wants_t)
        return results.grad_input, results.grad_target, None


class Finishing(NamedTuple):
    """As `Step`, for sums that plain arithmetic turns into a loss: `finish(how, sums, derive)` for autograd to follow, `finish_here` to go without, with
    derivatives that are `spread` over what comes in; `real` is the loss's dtype.
    """

    call: Any
    how: Any
    engine: ModuleType
    plain: ModuleType
    finish: Callable[..., Any]
    finish_here: Callable[..., Any]
    spread: Callable[..., Any]
    real: torch.dtype


def of_sums(value: Callable[..., Tensor], x: Tensor, t: Tensor, incoming: Tensor, wants_x: bool, wants_t: bool) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of `value(x, t)`, PyTorch operations, times `incoming`; differentiable again where a graph is wanted."""
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        found = value(x, t)
    given = iter(torch.autograd.grad(found, [y for y, wants in ((x, wants_x), (t, wants_t)) if wants], incoming, create_graph=graph))
    return next(given) if wants_x else None, next(given) if wants_t else None


class Finished(torch.autograd.Function):
    """A loss of sums: one pass for the sums, a few numbers for the loss and its derivatives by them, one pass for the gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, step: Finishing, found: list[Any]) -> Tensor:
        result = step.finish_here(step.how, step.engine.sums(step.call, x, t), True, step.real)
        ctx.step, ctx.by_sums = saved(ctx, x, t, step), result.by_sums
        found.append(result)
        return result.value  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        x, t, *tensors = ctx.saved_tensors
        step = ctx.step
        call = step.call.holding(tensors)
        wants = ctx.needs_input_grad[:2]
        if must_be_watched(incoming):
            return *of_sums(lambda x, t: step.finish(step.how, step.plain.sums(call, x, t), False).value.to(step.real), x, t, incoming, *wants), None, None
        return *step.engine.gradients(call, x, t, step.spread(step.how, ctx.by_sums, incoming), *wants), None, None


def finished(x: Tensor, t: Tensor, step: Finishing) -> Any:
    """What `step.finish_here` gives, its value attached to the graph."""
    found: list[Any] = []
    value = _finished(x, t, step, found)
    return found[0]._replace(value=value, by_sums=None)


class Sums(torch.autograd.Function):
    """The sums themselves."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, step: Step) -> Tensor:
        ctx.step = saved(ctx, x, t, step)
        return step.engine.sums(step.call, x, t)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        x, t, *tensors = ctx.saved_tensors
        call = ctx.step.call.holding(tensors)
        wants_x, wants_t = ctx.needs_input_grad[:2]
        if must_be_watched(incoming):
            return *of_sums(lambda x, t: ctx.step.plain.sums(call, x, t), x, t, incoming, wants_x, wants_t), None
        return *ctx.step.engine.gradients(call, x, t, incoming, wants_x, wants_t), None


# `apply` without its preparations for torch.func: dispatch has seen that no transform is active (3 of a small call's 45 microseconds)
_apply: Any = vars(torch._C._FunctionBase)["apply"]
total, each, _finished, sums = (_apply.__get__(None, function) for function in (Total, Each, Finished, Sums))
