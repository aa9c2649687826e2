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
from losskit.engines.call import Call, real_dtype
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
    """What a forward and its backward share."""

    formula: Callable[..., Any]
    params: tuple[float, ...]
    axis: int  # of the classes
    loops: ModuleType


def operands(x: Tensor, labels: Labels, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """What the formula reads: the scores, whether each is of another class than the label, and the label's score."""
    others = torch.ones(x.shape, dtype=torch.bool, device=x.device).scatter(axis, labels.place, False)
    return x, others, x.gather(axis, labels.place) + labels.offset


def plain(formula: Callable[..., Any], params: tuple[float, ...], axis: int, x: Tensor, labels: Labels) -> Tensor:
    """One loss per item, in PyTorch operations."""
    return elementwise.losses(Call(formula, params, (labels.counts,)), *operands(x.to(real_dtype(x.dtype)), labels, axis)).sum(axis)


def pieces(axis: int, *tensors: Tensor, size: int = 0) -> Iterator[tuple[Tensor, ...]]:
    """The same items of all tensors, few at a time: along the longest axis of items of the first."""
    size = size or PIECE
    x = tensors[0]
    along = max((d for d in range(x.dim()) if d != axis), key=lambda d: x.shape[d], default=axis)
    if x.is_cuda or along == axis or x.numel() <= size:
        yield tensors
        return
    yield from zip(*(y.split(max(1, size * x.shape[along] // x.numel()), along) for y in tensors), strict=True)


class Margins(torch.autograd.Function):
    """The same by an engine's pass; the backward adds up the label's gradient from those of the other classes, before anything is rounded to half precision."""

    @staticmethod
    def forward(ctx: Any, step: Step, x: Tensor, *held: Tensor) -> Tensor:
        ctx.step = step
        ctx.save_for_backward(x, *held)
        formula, params, axis, loops = step
        result = torch.empty(held[0].shape, dtype=real_dtype(x.dtype), device=x.device)
        for scores, into, *labels in pieces(axis, x, result, *held):
            values: Tensor = loops.run(Call(formula, params, ()), operands(scores, Labels(*labels), axis), each=True).value
            torch.sum(values, axis, keepdim=True, out=into)
        return result.squeeze(axis)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        x, *held = ctx.saved_tensors
        formula, params, axis, loops = ctx.step
        rest = (None,) * len(held)
        if must_be_watched(incoming):
            return None, *of_sums(lambda x: plain(formula, params, axis, x, Labels(*held)), (x,), incoming, (True,)), *rest
        result = torch.empty_like(x)
        for scores, into, outer, *labels in pieces(axis, x, result, incoming.unsqueeze(axis), *held):
            numbers = operands(scores.to(real_dtype(x.dtype)), told := Labels(*labels), axis)
            found = loops.run(Call(formula, params, ()), numbers, incoming=outer.expand(scores.shape), wants=(True, False, False))
            gradient: Tensor = found.gradients[0]
            into.copy_(gradient.scatter_add_(axis, told.place, -gradient.sum(axis, keepdim=True)))
        return None, result, *rest


fused = private.quick_apply(Margins)  # dispatch has seen that no transform is active


def margins(formula: Callable[..., Any], params: tuple[float, ...], axis: int, x: Tensor, labels: Labels) -> Tensor:
    """One loss per item: the formula of (x_j, whether j is another class than the label, the label's score, *params), added up over the classes."""
    engine, _ = dispatch.choice((x, labels.place))
    operators.plain_alone()
    if ENGINES[engine].plain:
        return plain(formula, params, axis, x, labels)
    result: Tensor = fused(Step(formula, params, axis, dispatch.pattern(engine, "elementwise")), x, *labels)
    return result
