"""How rows of class scores lie in a GPU's memory, and what a kernel is handed of items and classes."""

import math
from typing import NamedTuple

import torch
import triton
from torch import Tensor

PROGRAMS = 2112  # that share the items at most: 16 for each of 132 multiprocessors, and as many on every GPU. Not yet measured on a GPU
FEW = 32  # classes that one thread holds. Not yet measured on a GPU
THREADS = 256  # that share a row which is read once; a multiprocessor takes two sets of them. Not yet measured on a GPU
ROOM = 256  # bytes of a row to a thread, with 512 threads on a multiprocessor: so many rows stay in the cache between two reads. Not yet measured on a GPU


class Layout(NamedTuple):
    """Where the scores lie: `outer` times planes of `inner` items, one per class, or `inner` rows."""

    planes: bool
    classes: int
    outer: int
    inner: int

    def align(self) -> int:
        """The largest power of two, 16 at most, that divides what lies between two planes, or two rows."""
        return math.gcd(self.inner if self.planes else self.classes, 16)


class Tiling(NamedTuple):
    """How a program takes items: `rows` of them, `tiles` times `columns` of their classes at a time. One at a time if the threads of several `rows` share one."""

    rows: int
    columns: int
    tiles: int
    warps: int
    whole: bool = True
    items: int = 1


def tiling(where: Layout, size: int, most: int = FEW, few: int = FEW) -> Tiling:
    """Of scores of `size` bytes: `most` to a thread at most, better half as many, in loads of 16 bytes where these start at multiples of 16, or as near to that as
    rows begin. One thread has an item to itself up to `most` classes, or in an image up to `few`.
    """
    classes, width, half = where.classes, 16 // size, most // 2
    each = (most if where.planes else most // 4) // classes  # items to a thread that has them to itself
    rows_of_few = 128 * min(4, 1 << max(each, 1).bit_length() - 1)
    if where.planes:
        if classes <= few:
            rows, columns, tiles, warps = rows_of_few, 1, classes, 4
        else:
            columns, warps = min(triton.next_power_of_2(classes), 64), 8
            rows, tiles = 1024 // columns, triton.cdiv(classes, columns)
            if tiles * 1024 > most * 32 * warps:
                tiles = half * 32 * warps // 1024
        fewer = min(rows, triton.next_power_of_2(where.inner))
        return Tiling(fewer, columns, tiles, max(warps * fewer // rows, 1), columns * tiles >= classes, fewer)
    if classes > most * THREADS:
        threads = min(max(triton.next_power_of_2(classes * size // ROOM) // 2, 128), 512)
        return Tiling(threads, width, max(half // width, 1), threads // 32, False)
    width = math.gcd(classes, width)
    if classes <= most:
        threads, rows, warps = 1, rows_of_few, 4
    else:
        threads = triton.next_power_of_2(triton.cdiv(classes, half))
        if threads > 32:  # rather more scores to a thread than sums across warps
            threads = max(32, triton.next_power_of_2(triton.cdiv(classes, most)))
        rows, warps = max(128 // threads, 1), max(threads // 32, 4)
    fewer = min(rows, triton.next_power_of_2(where.inner))
    return Tiling(fewer, threads * width, triton.cdiv(classes, threads * width), max(warps * fewer // rows, 1), items=fewer)


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
