"""Autograd around an engine's elementwise passes that read the score of an item's label beside each of its other scores.

A loss of x_j - x_y has as much gradient by x_y as by all x_j together, with the other sign: it is added up from theirs, and no pass writes it.
On a CPU the pass goes over the items piece by piece, so that what it writes for single scores stays small.
"""

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.engines import dispatch, operators, private
from losskit.engines.call import Beside, Call, Results, real_dtype
from losskit.engines.fused import must_be_watched, of_sums
from losskit.engines.protocol import ENGINES
from losskit.engines.torch import elementwise

PIECE = 1 << 20  # scores


class Labels(NamedTuple):
    """Which class of each item is its label; with the class axis, along which they have the size 1."""

    place: Tensor  # the label, some class where there is none
    offset: Tensor  # is added to its score: 0, NaN where the label is no class
    counts: Tensor  # False where an item is absent


class Step(NamedTuple):
    """What a forward and its backward share: no tensors."""

    formula: Callable[..., Any]
    params: tuple[float, ...]
    axis: int  # of the classes
    loops: ModuleType


def step_of(call: Beside, loops: ModuleType) -> Step:
    """Of a call, on an engine's elementwise pattern."""
    return Step(call.formula, call.params, call.dim, loops)


def labels_of(call: Beside, x: Tensor, target: Tensor) -> Labels:
    """The labels of a call."""
    label = torch.where(call.factor, target, 0).long()
    known = (label >= 0) & (label < x.shape[call.dim])
    offset = torch.where(known, 0.0, torch.nan).to(real_dtype(x.dtype))
    return Labels(*(y.unsqueeze(call.dim) for y in (torch.where(known, label, 0), offset, call.factor)))


def operands(x: Tensor, labels: Labels, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the formula reads: the scores, whether each is of another class than the label, and the label's score."""
    others = torch.ones(x.shape, dtype=torch.bool, device=x.device).scatter(axis, labels.place, False)
    return x, others, x.gather(axis, labels.place) + labels.offset


def plain(step: Step, x: Tensor, labels: Labels) -> Tensor:
    """One loss per item, in PyTorch operations."""
    each = elementwise.losses(Call(step.formula, step.params, (labels.counts,)), *operands(x.to(real_dtype(x.dtype)), labels, step.axis))
    return each.sum(step.axis)


def pieces(axis: int, *tensors: Tensor, size: int = 0) -> Iterator[tuple[Tensor, ...]]:
    """The same items of all tensors, few at a time: along the longest axis of items of the first."""
    size = size or PIECE
    x = tensors[0]
    along = max((d for d in range(x.dim()) if d != axis), key=lambda d: x.shape[d], default=axis)
    if x.is_cuda or along == axis or x.numel() <= size:
        yield tensors
        return
    yield from zip(*(y.split(max(1, size * x.shape[along] // x.numel()), along) for y in tensors), strict=True)


def losses(step: Step, x: Tensor, labels: Labels) -> Tensor:
    """One loss per item, by an engine's pass."""
    formula, params, axis, loops = step
    result = torch.empty(labels.place.shape, dtype=real_dtype(x.dtype), device=x.device)
    for scores, into, *told in pieces(axis, x, result, *labels):
        values: Tensor = loops.run(Call(formula, params), operands(scores, Labels(*told), axis), each=True).value
        torch.sum(values, axis, keepdim=True, out=into)
    return result.squeeze(axis)


def gradient(step: Step, x: Tensor, labels: Labels, incoming: Tensor) -> Tensor:
    """That of the losses times what comes in. The label's is added up from those of the other classes, before anything is rounded to half precision."""
    formula, params, axis, loops = step
    result = torch.empty_like(x)
    for scores, into, outer, *told in pieces(axis, x, result, incoming.unsqueeze(axis), *labels):
        numbers = operands(scores.to(real_dtype(x.dtype)), own := Labels(*told), axis)
        found = loops.run(Call(formula, params), numbers, incoming=outer.expand(scores.shape), wants=(True, False, False))
        by: Tensor = found.gradients[0]
        into.copy_(by.scatter_add_(axis, own.place, -by.sum(axis, keepdim=True)))
    return result


class Margins(torch.autograd.Function):
    """The losses, attached to the graph."""

    @staticmethod
    def forward(ctx: Any, step: Step, x: Tensor, *held: Tensor) -> Tensor:
        ctx.step = step
        ctx.save_for_backward(x, *held)
        return losses(step, x, Labels(*held))

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        x, *held = ctx.saved_tensors
        labels, rest = Labels(*held), (None,) * len(held)
        if must_be_watched(incoming):
            return None, *of_sums(lambda x: plain(ctx.step, x, labels), (x,), incoming, (True,)), *rest
        return None, gradient(ctx.step, x, labels, incoming), *rest


fused = private.quick_apply(Margins)  # dispatch has seen that no transform is active


def run(call: Beside, given: tuple[Tensor, ...], *, each: bool = True, incoming: Tensor | None = None, wants: tuple[bool, ...] = ()) -> Results:
    """The pass on the CPU, as operators call it: as of any pattern with one loss per item."""
    x, target = given
    step, labels = step_of(call, dispatch.pattern("cpu", "elementwise")), labels_of(call, x, target)
    if incoming is None:
        return Results(None, losses(step, x, labels))
    return Results(None, None, (gradient(step, x, labels, incoming) if wants[0] else None, None))


def gradients(call: Beside, given: tuple[Tensor, ...], incoming: Tensor, wants: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    """The gradients of the losses times what comes in, differentiable again."""
    return of_sums(lambda x, target: plain(step_of(call, elementwise), x, labels_of(call, x, target)), given, incoming, wants)


def margins(call: Beside, x: Tensor, target: Tensor) -> Tensor:
    """One loss per item: the formula of (x_j, whether j is another class than the label, the label's score, *params), added up over the classes."""
    engine, _ = dispatch.choice((x, target))
    if ENGINES[engine].plain:
        found = operators.values("margins", call, (x, target), x.numel())
        return plain(step_of(call, elementwise), x, labels_of(call, x, target)) if found is None else found[0]
    result: Tensor = fused(step_of(call, dispatch.pattern(engine, "elementwise")), x, *labels_of(call, x, target))
    return result
