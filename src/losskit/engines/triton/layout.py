"""How rows of class scores lie in a GPU's memory, and what a kernel is handed of items and classes."""

import math
from typing import NamedTuple

import torch
import triton
from torch import Tensor

TILE = 4096  # scores per program: a row of as many classes is read once. Not yet measured on a GPU
LINE = 16  # items side by side in an image at least: 64 bytes of float32, whole sectors of memory for every dtype. Not yet measured on a GPU


class Layout(NamedTuple):
    """Where the scores lie: `outer` times planes of `inner` items, one per class, or `inner` rows."""

    planes: bool
    classes: int
    outer: int
    inner: int

    def block(self) -> tuple[int, int]:
        """Items and classes of a program."""
        padded = triton.next_power_of_2(self.classes)
        rows = min(max(TILE // padded, LINE if self.planes else 1), triton.next_power_of_2(self.inner))
        return rows, min(padded, TILE // rows)


def laid_out(x: Tensor, dim: int) -> tuple[Tensor, Layout]:
    """The scores, copied if they lie neither in planes nor in rows, and how they lie."""
    classes = x.shape[dim]
    inner = math.prod(x.shape[dim + 1 :])
    if inner > 1 and x.is_contiguous():
        return x, Layout(True, classes, math.prod(x.shape[:dim]), inner)
    if not x.movedim(dim, -1).is_contiguous():
        x = x.movedim(dim, -1).contiguous().movedim(-1, dim)
    return x, Layout(False, classes, 1, x.numel() // classes)


def readable(operand: Tensor | None) -> Tensor | None:
    """An operand of items or classes in their order, as Triton reads it."""
    if operand is None:
        return None
    operand = operand.contiguous()
    return operand.view(torch.uint8) if operand.dtype is torch.bool else operand


def multiplied(factor: Tensor | None, scale: float | Tensor, incoming: Tensor | None) -> tuple[Tensor | None, float | Tensor]:
    """Factor and scale with the incoming gradient in one of them."""
    if incoming is None or not incoming.numel():
        return factor, scale
    if any(incoming.stride()):
        return incoming if factor is None else torch.where(factor != 0, factor * incoming, 0.0), scale
    number = incoming[(0,) * incoming.dim()]  # one for all, as from a sum or mean taken outside
    return factor, number if not isinstance(scale, Tensor) and scale == 1.0 else number * scale
