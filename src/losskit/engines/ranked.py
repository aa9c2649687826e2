"""Autograd around a fused engine's ranked pass.

The slopes of the sorted errors are known as soon as the loss is, and lie where the gradient will be: the backward sorts nothing. As in `fused.py` they are
handed over to autograd by the first backward; a second one computes them again.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.engines.call import Ranked
from losskit.engines.fused import must_be_watched, of_sums, saved


class Step(NamedTuple):
    """What a forward and its backward share: the call, what its losses become (`averaged(how, sums)`: value, derivatives by the losses), the dtype of that."""

    call: Ranked
    how: Any
    engine: ModuleType
    plain: ModuleType
    averaged: Callable[..., tuple[Tensor, Tensor]]
    real: torch.dtype


class Sorted(torch.autograd.Function):
    """A loss of sorted errors."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor, step: Step) -> Tensor:
        sums, ctx.slopes = step.engine.run(step.call, x, t)
        value, ctx.by = step.averaged(step.how, sums)
        ctx.step = saved(ctx, (x, t), step)
        return value.to(step.real)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor | None, ...]:
        slopes, ctx.slopes = ctx.slopes, None
        x, t, *tensors = ctx.saved_tensors
        step = ctx.step
        call = step.call.holding(tensors)
        if must_be_watched(incoming):
            return *of_sums(lambda x, t: step.averaged(step.how, step.plain.sums(call, x, t))[0].to(step.real), (x, t), incoming, (True, False)), None
        if slopes is None:
            _, slopes = step.engine.run(call, x, t)
        return step.engine.gradient(call, x, t, slopes, ctx.by * incoming), None, None


def ranked(x: Tensor, t: Tensor, step: Step) -> Tensor:
    """The loss, attached to the graph."""
    value: Tensor = Sorted.apply(x, t, step)  # type: ignore[no-untyped-call]
    return value
