"""Autograd around an engine's elementwise passes that read the score of an item's label beside each of its other scores.

An item has one label, or several in columns beside each other: a pass for each. A loss of x_j - x_y has as much gradient by x_y as by all x_j together, with the
other sign: it is added up from theirs, and no pass writes it.
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


class Columns(NamedTuple):
    """Which classes the labels are."""

    others: Tensor  # the input's shape: False for classes that are labels of their item
    places: Tensor  # one label per column, some class where there is none
    missing: Tensor  # what an absent label's score is: infinite, NaN where it is no class; 0 beside labels
    counts: Tensor  # the items' shape: False where one is absent


class Step(NamedTuple):
    """What a forward and its backward share."""

    formula: Callable[..., Any]
    params: tuple[float, ...]
    axis: int  # of the classes
    loops: ModuleType


def scores(x: Tensor, columns: Columns, axis: int) -> list[Tensor]:
    """Of each column the labels' scores, one per item, in a shape that broadcasts to the input's."""
    return list((x.gather(axis, columns.places) + columns.missing).split(1, axis))


def plain(formula: Callable[..., Any], params: tuple[float, ...], axis: int, x: Tensor, columns: Columns) -> Tensor:
    """One loss per item, in PyTorch operations."""
    x = x.to(real_dtype(x.dtype))
    call = Call(formula, params, (columns.counts.unsqueeze(axis),))
    parts = [elementwise.losses(call, x, columns.others, own).sum(axis) for own in scores(x, columns, axis)]
    return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)


class Margins(torch.autograd.Function):
    """The same by an engine's passes; the backward adds up each label's gradient from those of the other classes, before anything is rounded to half precision."""

    @staticmethod
    def forward(ctx: Any, step: Step, x: Tensor, *held: Tensor) -> Tensor:
        ctx.step, columns = step, Columns(*held)
        ctx.save_for_backward(x, *held)
        formula, params, axis, loops = step
        parts = [loops.run(Call(formula, params, ()), (x, columns.others, own), each=True).value.sum(axis) for own in scores(x, columns, axis)]
        return parts[0] if len(parts) == 1 else torch.stack(parts).sum(0)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        x, *held = ctx.saved_tensors
        formula, params, axis, loops = ctx.step
        columns, rest = Columns(*held), (None,) * len(held)
        if must_be_watched(incoming):
            return None, *of_sums(lambda x: plain(formula, params, axis, x, columns), (x,), incoming, (True,)), *rest
        wide = x.to(real_dtype(x.dtype))
        outer, wants = incoming.unsqueeze(axis).expand(x.shape), (True, False, False)
        total: Tensor | None = None
        for own, place in zip(scores(wide, columns, axis), columns.places.split(1, axis), strict=True):
            (g, *_) = loops.run(Call(formula, params, ()), (wide, columns.others, own), incoming=outer, wants=wants).gradients
            g.scatter_add_(axis, place, -g.sum(axis, keepdim=True))
            total = g if total is None else total.add_(g)
        assert total is not None
        return None, total.to(x.dtype), *rest


fused = private.quick_apply(Margins)  # dispatch has seen that no transform is active


def margins(formula: Callable[..., Any], params: tuple[float, ...], axis: int, x: Tensor, columns: Columns) -> Tensor:
    """One loss per item: the formula of (x_j, whether j is no label, x_y, *params), added up over classes and labels."""
    engine, _ = dispatch.choice((x, columns.others))
    if ENGINES[engine].plain:
        return plain(formula, params, axis, x, columns)
    result: Tensor = fused(Step(formula, params, axis, dispatch.pattern(engine, "elementwise")), x, *columns)
    return result
