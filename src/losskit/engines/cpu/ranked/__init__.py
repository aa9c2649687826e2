"""The ranked pattern on the CPU: errors, sorting, and the gradient, in float32.

Floor: the input twice and the gradient three times, two exponentials per number, and sorting what can matter. A segment is sorted by one thread, in room that it
keeps for the next: the same bits for any number of threads.
"""

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from losskit.engines.call import RANKED, Ranked
from losskit.engines.cpu.core import store
from losskit.engines.cpu.core.memory import empty_like
from losskit.engines.cpu.core.threads import BODY, parallel_for
from losskit.engines.cpu.ranked.loops import CONTEXT, MAX_WIDTH, TILE
from losskit.engines.cpu.rows import TASK
from losskit.engines.cpu.rows.loops import LANES

NEAR = 1 << 13  # numbers of a tile, which shares the first-level cache with little else
ONE = torch.ones(1, dtype=torch.bool, device="cpu")


@cache
def kernel(name: str, *variant: Any) -> Any:
    """A loop, as a C function (begin, end, context)."""

    def build() -> store.Code:
        from losskit.engines.cpu.ranked import compile

        if name == "ranks":
            return compile.ranks()
        return compile.points(*variant) if name == "points" else compile.softmax(name == "gradient", *variant)

    return BODY(store.function(f"ranked_{name}", repr(variant).encode(), build))


def takes(call: Ranked, x: Tensor) -> bool:
    """Whether the loops can: no float64, something to sort, a tile must hold the classes, and an item's place in its segment has 31 bits."""
    if x.dtype is torch.float64 or not x.numel():
        return False
    classes = x.shape[call.dim]
    reach = x.numel() if call.joint else x.numel() // (x.shape[0] * classes)
    return reach < 1 << 31 and (call.link != "softmax" or classes <= TILE // (2 * LANES))


class Walk:
    """Where the numbers lie, and how the work is cut."""

    def __init__(self, call: Ranked, x: Tensor, t: Tensor) -> None:
        dim, number = call.dim, call.kind == "number"
        self.call, factor = call, call.factor
        self.x = x.movedim(dim, 1).contiguous()
        self.t = (t.movedim(dim, 1) if number else t).contiguous()
        if factor is not None and factor.dim() == x.dim():
            factor = factor.movedim(dim, 1)
        self.samples, self.classes = self.x.shape[:2]
        self.inner = math.prod(self.x.shape[2:])
        by_class = factor is not None and factor.dim() == x.dim()
        self.factor = ONE if factor is None else factor.contiguous()
        self.steps = (0, 0, 0) if factor is None else (1, self.inner * (self.classes if by_class else 1), self.inner if by_class else 0)
        self.dtypes = x.dtype, t.dtype, self.factor.dtype
        self.segments = self.classes * (1 if call.joint else self.samples)
        self.stretches = self.samples if call.joint else 1
        self.width = min(MAX_WIDTH, max(NEAR // self.classes // LANES * LANES - LANES, LANES))
        self.span = max(TASK // self.classes // self.width, 1) * self.width
        self.spans = (self.inner + self.span - 1) // self.span

    def run(self, name: str, variant: tuple[Any, ...], tasks: int, workers: int, slopes: Tensor, **more: Tensor) -> None:
        """Runs a loop."""
        step, factor_outer, factor_class = self.steps
        context = CONTEXT.pack(
            x=self.x, labels=self.t, slopes=slopes, **more,
            length=self.inner * self.stretches + 1, classes=self.classes, inner=self.inner, x_outer=self.inner * self.classes, x_class=self.inner,
            span=self.span, spans=self.spans, width=self.width, segments=self.segments, stretches=self.stretches, workers=workers,
            ignore=self.call.ignore, factor=self.factor, factor_step=step, factor_outer=factor_outer, factor_class=factor_class,
        )  # fmt: skip
        loop = kernel(name, *variant)
        if tasks == 1 or self.x.numel() < TASK:  # less work than waking a thread
            loop(0, tasks, context)
        else:
            parallel_for(0, tasks, 1, loop, context)


def run(call: Ranked, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(N or 1, C, 3), float64: the numbers of `RANKED`; and the derivatives of each loss by the probabilities, or by the input of a hinge, classes second."""
    walk = Walk(call, x, t)
    slopes = empty_like(walk.x, torch.float32)
    points = () if call.link == "softmax" else (call.link, call.kind == "number", walk.steps[0] != 0)
    walk.run("points" if points else "errors", (*points, *walk.dtypes), walk.samples * walk.spans, 1, slopes)
    parts = torch.empty((walk.segments // walk.classes, walk.classes, len(RANKED)), dtype=torch.float64, device="cpu")
    workers = min(torch.get_num_threads(), walk.segments) if x.numel() >= TASK else 1
    room = torch.empty((workers, 2, walk.inner * walk.stretches + 1), dtype=torch.int64, device="cpu")
    walk.run("ranks", (), workers, workers, slopes, parts=parts, room=room)
    return parts, slopes


def gradient(call: Ranked, x: Tensor, t: Tensor, slopes: Tensor, by: Tensor) -> Tensor:
    """The gradient of the losses times `by`, (N or 1, C); it takes the memory of the slopes where it can."""
    by = by.to(torch.float32).expand(x.shape[0], slopes.shape[1]).contiguous()
    half = x.dtype is not torch.float32
    if call.link == "softmax":
        walk = Walk(call, x, t)
        gx = empty_like(slopes, x.dtype) if half else slopes
        walk.run("gradient", walk.dtypes, walk.samples * walk.spans, 1, slopes, gx=gx, by=by)
    else:
        gx = slopes.mul_(by.reshape(*by.shape, *(1,) * (x.dim() - 2)))
        gx = gx.to(x.dtype) if half else gx
    return gx.movedim(1, call.dim)
