"""Autograd around an engine's elementwise passes that read the score of an item's label beside each of its other scores.

A loss of x_j - x_y has as much gradient by x_y as by all x_j together, with the other sign: it is added up from theirs, and no pass writes it.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.engines import dispatch, private
from losskit.engines.call import Call, real_dtype
from losskit.engines.fused import must_be_watched, of_sums
from losskit.engines.protocol import ENGINES
from losskit.engines.torch import elementwise


class Labels(NamedTuple):
    """Which class of each item is its label; with the class axis, along which they have the size 1."""

    others: Tensor  # the input's shape: False at the label
    place: Tensor  # the label, some class where there is none
    offset: Tensor  # is added to its score: 0, NaN where the label is no class
    counts: Tensor  # False where an item is absent


class Step(NamedTuple):
    """What a forward and its backward share."""

    formula: Callable[..., Any]
    params: tuple[float, ...]
    axis: int  # of the classes
    loops: ModuleType


def score(x: Tensor, labels: Labels, axis: int) -> Tensor:
    """The label's, one per item, in a shape that broadcasts to the input's."""
    return x.gather(axis, labels.place) + labels.offset


def plain(formula: Callable[..., Any], params: tuple[float, ...], axis: int, x: Tensor, labels: Labels) -> Tensor:
    """One loss per item, in PyTorch operations."""
    x = x.to(real_dtype(x.dtype))
    return elementwise.losses(Call(formula, params, (labels.counts,)), x, labels.others, score(x, labels, axis)).sum(axis)


class Margins(torch.autograd.Function):
    """The same by an engine's pass; the backward adds up the label's gradient from those of the other classes, before anything is rounded to half precision."""

    @staticmethod
    def forward(ctx: Any, step: Step, x: Tensor, *held: Tensor) -> Tensor:
        ctx.step, labels = step, Labels(*held)
        ctx.save_for_backward(x, *held)
        formula, params, axis, loops = step
        values: Tensor = loops.run(Call(formula, params, ()), (x, labels.others, score(x, labels, axis)), each=True).value
        return values.sum(axis)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        x, *held = ctx.saved_tensors
        formula, params, axis, loops = ctx.step
        labels, rest = Labels(*held), (None,) * len(held)
        if must_be_watched(incoming):
            return None, *of_sums(lambda x: plain(formula, params, axis, x, labels), (x,), incoming, (True,)), *rest
        wide = x.to(real_dtype(x.dtype))
        outer, wants = incoming.unsqueeze(axis).expand(x.shape), (True, False, False)
        found = loops.run(Call(formula, params, ()), (wide, labels.others, score(wide, labels, axis)), incoming=outer, wants=wants)
        gradient: Tensor = found.gradients[0]
        gradient.scatter_add_(axis, labels.place, -gradient.sum(axis, keepdim=True))
        return None, gradient.to(x.dtype), *rest


fused = private.quick_apply(Margins)  # dispatch has seen that no transform is active


def margins(formula: Callable[..., Any], params: tuple[float, ...], axis: int, x: Tensor, labels: Labels) -> Tensor:
    """One loss per item: the formula of (x_j, whether j is another class than the label, the label's score, *params), added up over the classes."""
    engine, _ = dispatch.choice((x, labels.others))
    if ENGINES[engine].plain:
        return plain(formula, params, axis, x, labels)
    result: Tensor = fused(Step(formula, params, axis, dispatch.pattern(engine, "elementwise")), x, *labels)
    return result
