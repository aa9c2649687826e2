"""The overlap pattern on the CPU: one pass for the sums of each sample and class, one for the gradient.

Floor: the bytes of the input twice, of the gradient and twice the target once, and two exponentials per number. Partial sums are of fixed stretches of items,
added in a fixed order in float64: the same bits for any number of threads.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy
import torch
from torch import Tensor

from losskit.engines.call import Overlap
from losskit.engines.cpu.core import store
from losskit.engines.cpu.core.memory import empty_like
from losskit.engines.cpu.core.threads import BODY, parallel_for
from losskit.engines.cpu.overlap.loops import CONTEXT, KINDS, MAX_WIDTH, TILE
from losskit.engines.cpu.rows import PAST_CACHES, TASK
from losskit.engines.cpu.rows.loops import FEW, LANES, LINE, ROW_WIDTH
from losskit.engines.language import fingerprint
from losskit.engines.torch import overlap as plain

STRETCHES = 64  # of a sample at most: what they leave is added up afterwards
NUMBERS = {torch.float32: numpy.float32, torch.float64: numpy.float64}  # of those whose gradients are stored as they are computed
NEAR = 1 << 13  # numbers of a tile, which shares the first-level cache with little else
ONE = torch.ones(1, dtype=torch.bool, device="cpu")


@cache
def kernel(link: str, gradients: bool, planes: bool, number: bool, formula: Callable[..., Any] | None, params: int, *rest: Any) -> Any:
    """A loop, as a C function (begin, end, context)."""

    def build() -> store.Code:
        from losskit.engines.cpu.overlap import compile

        squared, factored, *dtypes = rest
        if link == "softmax":
            return compile.softmax(gradients, planes, number, formula, params, squared, *dtypes)
        return compile.points(gradients, link == "sigmoid", number, formula, params, squared, factored, *dtypes)

    label = f"overlap_{link}" + (f"_{formula.__module__.rpartition('.')[2]}" if formula is not None else "")
    variant = repr((link, gradients, planes, number, params, rest)).encode() + (b"" if formula is None else fingerprint(formula))
    return BODY(store.function(label, variant, build))


class Walk:
    """Where the numbers lie, and how the work is cut; made once for the sums and once for the gradients of a call."""

    def __init__(self, call: Overlap, x: Tensor, t: Tensor) -> None:
        dim = call.dim
        labelled, softmax = call.kind == "label", call.link == "softmax"
        self.dim, self.planes, factor = 1, True, call.factor
        if dim == 1 and x.is_contiguous():
            pass
        elif softmax and labelled and x.shape[dim] < FEW and x.movedim(dim, -1).is_contiguous():
            self.planes, self.dim = False, dim
        else:
            x, self.dim = x.movedim(dim, 1).contiguous(), dim
            t = t if labelled else t.movedim(dim, 1)
            factor = factor if factor is None or factor.dim() < x.dim() else factor.movedim(dim, 1)
        self.x, self.t = x, t.contiguous()
        self.samples, self.classes = x.shape[0], x.shape[1 if self.planes else dim]
        self.inner = math.prod(x.shape) // max(self.samples * self.classes, 1)
        self.call = call
        by_class = factor is not None and factor.dim() == x.dim()
        self.factor = ONE if factor is None else factor.contiguous()
        self.steps = (0, 0, 0) if factor is None else (1, self.inner * (self.classes if by_class else 1), self.inner if by_class else 0)
        width = MAX_WIDTH
        if softmax:
            width = min(MAX_WIDTH if self.planes else ROW_WIDTH, max(NEAR // self.classes // LANES * LANES - LANES, LANES))
        span = max(TASK // self.classes // width, 1) * width
        stretches = (self.inner + span - 1) // span
        if stretches > STRETCHES:
            span = ((self.inner + STRETCHES - 1) // STRETCHES + width - 1) // width * width
        self.width, self.span, self.spans = width, span, (self.inner + span - 1) // span

    def run(self, gx: Tensor | None, gt: Tensor | None, parts: Tensor | None, by: Any) -> None:
        """Runs the loop for the sums (`parts`), or that for the gradients."""
        call, x = self.call, self.x
        past = gx is not None and x.dtype in NUMBERS and gx.nbytes >= PAST_CACHES and gx.data_ptr() % LINE == 0
        past = past and (not self.planes or self.inner * x.itemsize % LINE == 0)
        outer, by_class, by_item = (self.classes * self.inner, self.inner, 1) if self.planes else (self.classes * self.inner, 1, self.classes)
        step, factor_outer, factor_class = self.steps
        context = CONTEXT.pack(
            x=x, labels=self.t, gx=gx, gt=gt, parts=parts, by=0 if by is None else by.__array_interface__["data"][0],
            classes=self.classes, outer=self.samples, inner=self.inner, x_outer=outer, x_class=by_class, x_item=by_item,
            span=self.span, spans=self.spans, width=self.width, past=past, ignore=call.ignore, params=call.params,
            factor=self.factor, factor_step=step, factor_outer=factor_outer, factor_class=factor_class,
        )  # fmt: skip
        loop = kernel(
            call.link, parts is None, self.planes, call.kind == "number", call.formula, len(call.params),
            call.squared, step != 0, x.dtype, self.t.dtype, self.factor.dtype,
        )  # fmt: skip
        tasks = self.samples * self.spans
        if tasks == 1 or x.numel() < TASK:  # less work than waking a thread
            loop(0, tasks, context)
        elif tasks:
            parallel_for(0, tasks, 1, loop, context)


def too_wide(call: Overlap, x: Tensor) -> bool:
    """More classes than a tile holds: PyTorch operations then."""
    return call.link == "softmax" and x.shape[call.dim] > TILE // (2 * LANES)


def sums(call: Overlap, x: Tensor, t: Tensor) -> Tensor:
    """(N, C, 7), float64."""
    if too_wide(call, x):
        return plain.sums(call, x, t)
    walk = Walk(call, x, t)
    parts = torch.empty((walk.samples, walk.spans, walk.classes, KINDS), dtype=torch.float64, device="cpu")
    walk.run(None, None, parts, None)
    return parts[:, 0] if walk.spans == 1 else parts.sum(1)


def gradients(
    call: Overlap, x: Tensor, t: Tensor, by_sums: Any, wants_x: bool, wants_t: bool, times: Tensor | None = None
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of the sums times `by_sums`, which broadcasts to their shape, and `times` one number."""
    if times is not None:
        by_sums = by_sums * times.item()
    if too_wide(call, x):
        with torch.enable_grad():
            leaves = x.detach().requires_grad_(wants_x), t.detach().requires_grad_(wants_t) if wants_t else t
            found = plain.sums(call, *leaves)
            by_sums = torch.as_tensor(by_sums, dtype=found.dtype, device=found.device).expand_as(found)
            given = iter(torch.autograd.grad(found, [y for y in leaves if y.requires_grad], by_sums))
        return next(given) if wants_x else None, next(given) if wants_t else None
    walk = Walk(call, x, t)
    number = NUMBERS.get(x.dtype, numpy.float32)
    by = numpy.ascontiguousarray(numpy.broadcast_to(numpy.asarray(by_sums), (walk.samples, walk.classes, KINDS)), number)
    gx = empty_like(walk.x, x.dtype) if wants_x else None
    gt = empty_like(walk.t, t.dtype) if wants_t else None
    walk.run(gx, gt, None, by)
    if walk.planes and walk.dim != 1:
        return None if gx is None else gx.movedim(1, walk.dim), None if gt is None else gt.movedim(1, walk.dim)
    return gx, gt
