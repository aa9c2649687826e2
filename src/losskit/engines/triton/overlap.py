"""The overlap pattern on a GPU: one pass over input and target for the sums of each sample and class, one for the gradients; see `torch/overlap.py`.

A program adds up a stretch of items in registers, number by number, and only then across its items; what the stretches leave is added in float64 in a fixed
order: the same bits every time, no atomics, and no step waits for the device. The gradient's pass computes the probabilities again. With more classes than a
block holds, each pass first walks over the classes for what a softmax needs of all of them.
"""

from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from losskit.engines.call import SUM_NAMES, Overlap, real_dtype
from losskit.engines.triton import elementwise
from losskit.engines.triton.elementwise import MAX_PARAMS, OPTIONS, REAL, at_home, bound
from losskit.engines.triton.layout import FEW, Layout, Tiling, laid_out, readable, tiling
from losskit.engines.triton.overlap_gradients import point_gradients, softmax_gradients
from losskit.engines.triton.overlap_kernels import levels, totals
from losskit.engines.triton.scores import score as score

PROGRAMS = 2048  # more of them leave more to add up, fewer leave a GPU idle. Not yet measured on a GPU
STRETCH = 64  # blocks of items per program at most: float32 adds that many numbers one after the other. Not yet measured on a GPU
NUMBERS = 112  # sums that a thread holds at most, of all its classes. Not yet measured on a GPU


class Walk(NamedTuple):
    """Operands as the kernels read them, how they lie, and what of a launch is the same for all kernels."""

    x: Tensor
    t: Tensor | None
    labels: Tensor | None
    factor: Tensor | None
    where: Layout  # `outer` goes sample by sample
    planes: int  # of a class in a sample
    shape: Tiling
    blocks: int  # of classes
    spans: int  # stretches of a plane
    span: int  # items of a stretch
    params: tuple[float, ...]
    options: dict[str, Any]  # known when a kernel is compiled
    points: dict[str, Any]  # those only of kernels of points


def shape_of(call: Overlap, where: Layout, size: int) -> Tiling:
    """The more sums there are of each class, the fewer classes a thread takes."""
    kinds = 3 + 2 * call.squared + 2 * (call.formula is not None)
    shape = tiling(where, size, 16 if kinds == 3 else 8, min(FEW, NUMBERS // kinds))
    return shape if shape.whole or where.planes else Tiling(4, 256, 1, 8, False)


def walk(call: Overlap, x: Tensor, t: Tensor) -> Walk:
    """Of numbers that are there."""
    x, where = laid_out(x, call.dim)
    if not where.planes:
        where = where._replace(outer=x.shape[0], inner=where.inner // x.shape[0])
    numbers = call.kind == "number"
    by_class = call.factor is not None and call.factor.dim() > t.dim() - numbers
    factor = elementwise.laid_out(call.factor, x) if by_class else readable(call.factor)
    shape = shape_of(call, where, max(x.element_size(), t.element_size() if numbers else 1))
    blocks, tiles = triton.cdiv(where.classes, shape.columns * shape.tiles), triton.cdiv(where.inner, shape.rows)
    span = triton.cdiv(tiles, triton.cdiv(tiles, min(max(where.outer * tiles * blocks // PROGRAMS, 1), STRETCH))) * shape.rows
    options = OPTIONS | dict(
        FORMULA=None if call.formula is None else bound(call.formula), PARAMS=len(call.params), REAL=REAL[real_dtype(x.dtype)], PLANES=where.planes,
        ALIGN=where.align(), FULL=shape.columns * shape.tiles == where.classes, ROWS=shape.rows, COLUMNS=shape.columns, TILES=shape.tiles,
        num_warps=shape.warps,
    )  # fmt: skip
    return Walk(
        x, elementwise.laid_out(t, x) if numbers else None, None if numbers else readable(t), factor,
        where, where.outer // x.shape[0], shape, blocks, triton.cdiv(where.inner, span), span, (*call.params, *(0.0,) * (MAX_PARAMS - len(call.params))),
        options, dict(LINK=call.link, BY_CLASS=by_class),
    )  # fmt: skip


def sums(call: Overlap, x: Tensor, t: Tensor) -> Tensor:
    """(N, C, 7), float64."""
    samples, classes = x.shape[0], x.shape[call.dim]
    if x.numel() == 0:
        return torch.zeros(samples, classes, len(SUM_NAMES), dtype=torch.float64, device=x.device)
    w = walk(call, x, t)
    where, programs = w.where, w.where.outer * w.spans
    parts = torch.empty((samples, w.planes * w.spans, classes, len(SUM_NAMES)), dtype=torch.float64, device=x.device)
    level: tuple[Tensor | None, ...] = (None, None, None)
    with at_home(x):
        if call.link == "softmax" and not w.shape.whole:
            level = torch.empty((3, where.outer * where.inner), dtype=real_dtype(x.dtype), device=x.device).unbind()
            levels[(programs,)](w.x, w.labels, w.factor, *level, classes, where.inner, w.span, call.ignore, *w.params, **w.options)
        totals[(programs, w.blocks)](
            w.x, w.t, w.labels, w.factor, *level, parts, classes, where.inner, w.span, call.ignore, *w.params, SQUARED=call.squared, **w.options, **w.points
        )
    return parts[:, 0] if parts.shape[1] == 1 else parts.sum(1)


def gradients(
    call: Overlap, x: Tensor, t: Tensor, by_sums: Any, wants_x: bool, wants_t: bool, times: Tensor | None = None
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of the sums times `by_sums`, which broadcasts to their shape, and `times` one number."""
    if x.numel() == 0:
        return torch.zeros_like(x) if wants_x else None, torch.zeros_like(t) if wants_t else None
    w = walk(call, x, t)
    where = w.where
    by = torch.as_tensor(by_sums, dtype=real_dtype(x.dtype), device=x.device).expand(x.shape[0], where.classes, len(SUM_NAMES))
    if not by[0].is_contiguous():
        by = by.contiguous()
    grad_x = torch.empty_like(w.x, requires_grad=False) if wants_x else None
    grad_t = torch.empty_like(w.x, dtype=t.dtype, requires_grad=False) if wants_t else None
    of_sample = by.stride(0)  # 0 where all have the same
    arguments = w.x, w.t, w.labels, w.factor, by, times, grad_x, grad_t, where.classes, where.inner, w.span, w.planes, of_sample, call.ignore, *w.params
    programs = where.outer * w.spans
    with at_home(x):
        if call.link == "softmax":
            softmax_gradients[(programs,)](*arguments, SQUARED=call.squared, WHOLE=w.shape.whole, **w.options)
        else:
            point_gradients[(programs, w.blocks)](*arguments, SQUARED=call.squared, **w.options, **w.points)
    return grad_x, grad_t
