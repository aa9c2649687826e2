"""The ranked pattern on a GPU: errors in one pass, PyTorch's stable sort, and one pass over what is sorted; see `torch/ranked.py` for the mathematics.

Where a segment, a class of a sample or of the batch, has more errors than a program holds, one more pass counts what of the class is in each block. Counts are whole
numbers and sums are in float64, in fixed blocks: the same bits every time. The slopes of the errors lie where the gradient will be, so the backward sorts nothing.
"""

import math
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from losskit.engines.call import Ranked, real_dtype
from losskit.engines.triton.elementwise import OPTIONS, REAL, at_home
from losskit.engines.triton.layout import readable
from losskit.engines.triton.ranked_kernels import errors, gradients, slopes, tally

BLOCK = 512  # items, whose classes a program goes over: four to a thread. Not yet measured on a GPU
SORTED = 1024  # sorted errors to a program: four to a thread. Not yet measured on a GPU
LONGEST = 1 << 31  # errors: more than PyTorch sorts together


class Lying(NamedTuple):
    """Operands with their classes second, as the kernels read them."""

    x: Tensor
    t: Tensor | None
    labels: Tensor | None
    factor: Tensor | None
    samples: int
    classes: int
    inner: int
    blocks: int
    factor_steps: tuple[int, int]  # from sample to sample, from class to class


def lying(call: Ranked, x: Tensor, t: Tensor) -> Lying:
    """Where the numbers lie."""
    dim, number, factor = call.dim, call.kind == "number", call.factor
    by_class = factor is not None and factor.dim() == x.dim()
    x = x.movedim(dim, 1).contiguous()
    samples, classes = x.shape[:2]
    inner = math.prod(x.shape[2:])
    if factor is not None and by_class:
        factor = factor.movedim(dim, 1)
    steps = (inner * classes, inner) if by_class else (inner, 0)
    t = readable(t.movedim(dim, 1) if number else t)  # type: ignore[assignment]
    return Lying(x, t if number else None, None if number else t, readable(factor), samples, classes, inner, triton.cdiv(inner, BLOCK), steps)


def few(call: Ranked, x: Tensor) -> bool:
    """Whether samples that are sorted together have few items each (none but one where all items lie along one axis): most threads of a program would have none."""
    return call.joint and x.shape[0] > 1 and 4 * x.numel() <= BLOCK * x.shape[0] * x.shape[call.dim]


def as_one(y: Tensor, dim: int) -> Tensor:
    """Numbers of samples, classes along `dim`, and items, as those of one sample."""
    return y.movedim(dim, 0).reshape(1, y.shape[dim], -1)


def in_one(call: Ranked, x: Tensor, t: Tensor) -> tuple[Ranked, Tensor, Tensor]:
    """A call, an input and a target, likewise."""
    factor = call.factor
    if factor is not None:
        factor = as_one(factor, call.dim) if factor.dim() == x.dim() else factor.reshape(1, -1)
    t = as_one(t, call.dim) if call.kind == "number" else t.reshape(1, -1)
    return call._replace(dim=1, joint=False, factor=factor), as_one(x, call.dim), t


def apart(y: Tensor, like: Tensor) -> Tensor:
    """Numbers of one sample as those of the samples of `like`, classes second in both."""
    return y.reshape(like.shape[1], like.shape[0], *like.shape[2:]).movedim(0, 1)


def takes(call: Ranked, x: Tensor) -> bool:
    """Whether there is something to sort, and PyTorch can."""
    return x.numel() > 0 and (x.numel() if call.joint else x.numel() // (x.shape[0] * x.shape[call.dim])) < LONGEST


def run(call: Ranked, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """(N or 1, C, 3), float64: the numbers of `RANKED`; and the derivatives of each loss by the probabilities, or by the input of a hinge, classes second."""
    if few(call, x):
        found, slope = run(*in_one(call, x, t))
        return found, apart(slope, x.movedim(call.dim, 1))
    at = lying(call, x, t)
    real, device = real_dtype(x.dtype), x.device
    together = at.samples if call.joint else 1
    segments, length = at.samples // together * at.classes, at.inner * together
    found = torch.empty((segments, length), dtype=real, device=device)
    hits = torch.empty((segments, length), dtype=torch.uint8, device=device)
    parts = torch.empty((at.samples, at.classes, at.blocks, 2), dtype=torch.float64, device=device)
    of_sample, of_class = (at.inner, length) if call.joint else (at.classes * at.inner, at.inner)
    with at_home(x):
        errors[(at.samples * at.blocks,)](
            at.x, at.t, at.labels, at.factor, found, hits, parts, at.classes, at.inner, at.blocks, of_sample, of_class, *at.factor_steps, call.ignore,
            LINK=call.link, REAL=REAL[real], BLOCK=BLOCK, **OPTIONS,
        )  # fmt: skip
        found, order = found.sort(dim=1, descending=True, stable=True)
        blocks, seen = triton.cdiv(length, SORTED), None
        how = OPTIONS | {"BLOCK": SORTED, "num_warps": 8}
        if blocks > 1:
            seen = torch.empty((segments, blocks), dtype=torch.int64, device=device)
            tally[(segments * blocks,)](order, hits, seen, length, blocks, **how)
            seen = seen.cumsum(1)
        slope = torch.empty(at.x.shape, dtype=real, device=device)
        targets, losses = (torch.empty(shape, dtype=torch.float64, device=device) for shape in (segments, (segments, blocks)))
        slopes[(segments * blocks,)](found, order, hits, seen, targets, slope, losses, length, blocks, at.classes, at.inner, together, REAL=REAL[real], **how)
    counts, wrong = parts.sum((0, 2) if call.joint else 2).reshape(segments, 2).unbind(1)
    loss = torch.where(wrong != 0, math.nan, losses.sum(1))
    return torch.stack((loss, targets, counts), 1).reshape(-1, at.classes, 3), slope


def gradient(call: Ranked, x: Tensor, t: Tensor, slopes: Tensor, by: Tensor) -> Tensor:
    """The gradient of the losses times `by`, (N or 1, C)."""
    by = by.to(slopes.dtype).expand(x.shape[0], slopes.shape[1])
    if call.link != "softmax":
        by = by.reshape(*by.shape, *(1,) * (x.dim() - 2))
        return torch.where(by != 0, slopes * by, 0.0).to(x.dtype).movedim(1, call.dim)  # a class that counts for nothing may hold anything
    if few(call, x):
        return apart(gradient(*in_one(call, x, t), as_one(slopes, 1), by[:1]), x.movedim(call.dim, 1)).movedim(1, call.dim)
    at = lying(call, x, t)
    by = by if by[0].is_contiguous() else by.contiguous()
    grad = torch.empty_like(at.x, requires_grad=False)
    with at_home(x):
        gradients[(at.samples * at.blocks,)](
            at.x, at.labels, at.factor, slopes, by, grad, at.classes, at.inner, at.blocks, by.stride(0), at.factor_steps[0], call.ignore,
            REAL=REAL[slopes.dtype], BLOCK=BLOCK, **OPTIONS,
        )  # fmt: skip
    return grad.movedim(1, call.dim)
