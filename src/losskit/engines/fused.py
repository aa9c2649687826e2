"""Autograd around a fused engine's passes, the same for every fused engine.

What is not a tensor travels as one tuple: `apply` looks at every argument, which costs a small call noticeable time.
"""

from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.engines import private
from losskit.engines.call import Results
from losskit.engines.dispatch import unreadable, watched
from losskit.engines.private import is_batched


def must_be_watched(incoming: Tensor) -> bool:
    """Whether a backward must consist of PyTorch operations: for a graph of its own, under a transform, or for a batch of gradients (`is_grads_batched`)."""
    return torch.is_grad_enabled() or is_batched(incoming) or watched() is not None or unreadable(incoming) is not None


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


def saved(ctx: Any, operands: tuple[Tensor, ...], step: Any) -> Any:
    """The step without its call's tensors, which autograd keeps beside the operands; `call.holding` puts them back."""
    tensors = step.call.tensors()
    ctx.save_for_backward(*operands, *tensors)
    return step._replace(call=step.call.holding((_KEPT_BY_AUTOGRAD,) * len(tensors))) if tensors else step


def told(step: Step, results: Results) -> Step:
    """Hands the by-products over; the step that a context keeps is without them: a context that knows its own output is a circle, which nobody frees."""
    assert step.by_products is not None
    step.by_products.append(results._replace(gradients=()))
    return step._replace(by_products=None)


def kept(ctx: Any) -> tuple[Any, tuple[Tensor, ...], tuple[bool, ...]]:
    """The call with its tensors again, its operands, and which of them want a gradient."""
    wants = ctx.needs_input_grad[1:]
    tensors = ctx.saved_tensors
    return ctx.step.call.holding(tensors[len(wants) :]), tensors[: len(wants)], wants


class Total(torch.autograd.Function):
    """The scaled sum of the losses, with the gradients from the same pass.

    The first backward hands the gradients over to autograd; they are not kept: nothing is copied and nothing lives longer than it must. A second backward through
    the same graph computes them again; one that wants a graph of its own (`create_graph=True`), or that `vmap` batches, goes through the torch engine.
    """

    @staticmethod
    def forward(ctx: Any, step: Step, *operands: Tensor) -> Tensor:
        results = step.engine.run(step.call, operands, scale=step.scale, wants=ctx.needs_input_grad[1:], **step.options)
        ctx.step = saved(ctx, operands, step if step.by_products is None else told(step, results))
        ctx.gradients = list(results.gradients)
        return results.total  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        given, ctx.gradients = ctx.gradients, None
        watched = must_be_watched(incoming)
        if given is not None and not watched and incoming.is_cpu and incoming.item() == 1.0:
            return None, *given
        _, scale, engine, plain, options, _ = ctx.step
        if options.get("inplace"):
            if given is None or watched:
                raise RuntimeError("inplace=True has given the input's memory to its gradient: one backward, no second derivatives. Leave inplace out for more")
            return None, *(None if g is None else g.mul_(incoming) for g in given)
        call, operands, wants = kept(ctx)
        if watched:
            return None, *plain.gradients(plain.with_scale(call, operands[0], scale), operands, incoming * scale, wants)
        return None, *engine.rescaled(given, incoming, call, operands, scale, wants)


class Each(torch.autograd.Function):
    """One loss per item; the backward recomputes from the operands and takes any incoming gradient."""

    @staticmethod
    def forward(ctx: Any, step: Step, *operands: Tensor) -> Tensor:
        results = step.engine.run(step.call, operands, each=True, **step.options)
        ctx.step = saved(ctx, operands, step if step.by_products is None else told(step, results))
        return results.value  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        call, operands, wants = kept(ctx)
        if must_be_watched(incoming):
            return None, *ctx.step.plain.gradients(call, operands, incoming, wants)
        return None, *ctx.step.engine.run(call, operands, incoming=incoming, wants=wants).gradients


class Finishing(NamedTuple):
    """As `Step`, for sums that plain arithmetic turns into a loss: `loss_of_sums(how, sums, derive)` for autograd to follow, `loss_without_graph` to go without, with
    derivatives that are `spread` over what comes in; `real` is the loss's dtype.
    """

    call: Any
    how: Any
    engine: ModuleType
    plain: ModuleType
    loss_of_sums: Callable[..., Any]
    loss_without_graph: Callable[..., Any]
    spread: Callable[..., Any]
    real: torch.dtype
    found: list[Any] | None = None


def of_sums(value: Callable[..., Tensor], operands: tuple[Tensor, ...], incoming: Tensor, wants: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    """The gradients of `value(*operands)`, PyTorch operations, times `incoming`; differentiable again where a graph is wanted."""
    graph = torch.is_grad_enabled()
    with torch.enable_grad():
        operands = tuple(y.view_as(y) for y in operands)  # one tensor may be several of them, and each has a gradient of its own
        found = value(*operands)
    given = iter(torch.autograd.grad(found, [y for y, wanted in zip(operands, wants, strict=True) if wanted], incoming.expand(found.shape), create_graph=graph))
    return tuple(next(given) if wanted else None for wanted in wants)


class Finished(torch.autograd.Function):
    """A loss of sums: one pass for the sums, a few numbers for the loss and its derivatives by them, one pass for the gradient."""

    @staticmethod
    def forward(ctx: Any, step: Finishing, x: Tensor, t: Tensor) -> Tensor:
        result = step.loss_without_graph(step.how, step.engine.sums(step.call, x, t), True, step.real, step.engine)
        ctx.step, ctx.by_sums = saved(ctx, (x, t), step._replace(found=None)), result.by_sums
        assert step.found is not None
        step.found.append(result)
        return result.value  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        call, operands, wants = kept(ctx)
        step = ctx.step
        if must_be_watched(incoming):
            return None, *of_sums(lambda x, t: step.loss_of_sums(step.how, step.plain.sums(call, x, t), False).value.to(step.real), operands, incoming, wants)
        by_sums, times = step.spread(step.how, ctx.by_sums, incoming)
        return None, *step.engine.gradients(call, *operands, by_sums, *wants, times)


def finished(step: Finishing, x: Tensor, t: Tensor) -> Any:
    """What `step.loss_without_graph` gives, its value attached to the graph."""
    found: list[Any] = []
    value = _finished(step._replace(found=found), x, t)
    return found[0]._replace(value=value, by_sums=None)


class Sums(torch.autograd.Function):
    """The sums themselves."""

    @staticmethod
    def forward(ctx: Any, step: Step, x: Tensor, t: Tensor) -> Tensor:
        ctx.step = saved(ctx, (x, t), step)
        return step.engine.sums(step.call, x, t)  # type: ignore[no-any-return]

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        call, operands, wants = kept(ctx)
        if must_be_watched(incoming):
            return None, *of_sums(lambda x, t: ctx.step.plain.sums(call, x, t), operands, incoming, wants)
        return None, *ctx.step.engine.gradients(call, *operands, incoming, *wants)


total, each, _finished, sums = map(private.quick_apply, (Total, Each, Finished, Sums))  # dispatch has seen that no transform is active
