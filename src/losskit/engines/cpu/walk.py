"""The order in which the fused loops visit elements, and blocks of operands that do not lie in that order.

The order is that of the output's memory (the output has the input's layout), so outputs are always written straight through. An operand that lies the
same way is read in place. Any other (another layout, a broadcast weight, a dtype without a kernel of its own) is gathered, a block at a time, into a
small scratch array that stays in the first-level cache: the loop itself only ever sees contiguous blocks.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from numba import carray, types
from torch import Tensor

from losskit.engines.cpu.kernels import NUMPY_REAL, STORED, as_pointer, compile_loop, reader

GATHER = types.void(types.CPointer(types.int64), types.int64, types.int64, types.int64)


def gather(operand, start, count, destination):  # type: ignore[no-untyped-def]  # compiled by Numba
    """Elements start .. start + count of an operand, in walking order, to a contiguous scratch array."""
    head = carray(operand, 2)
    n = head[1]
    shape_strides = carray(operand, 2 + 2 * n)[2:]
    source = carray(as_pointer(head[0], STORAGE), 1 << 60)
    out = carray(as_pointer(destination, REAL), count)
    inner = shape_strides[n - 1]
    step = shape_strides[2 * n - 1]
    done = 0
    while done < count:
        offset = 0
        rest = start + done
        column = rest % inner
        rest = rest // inner
        for k in range(n - 2, -1, -1):
            offset += (rest % shape_strides[k]) * shape_strides[n + k]
            rest = rest // shape_strides[k]
        run = min(inner - column, count - done)
        o = out[done : done + run]
        first = offset + column * step
        if step == 1:
            s = source[first : first + run]
            for i in range(run):
                o[i] = read(s[i])
        elif step == 0:
            value = read(source[first])
            for i in range(run):
                o[i] = value
        else:
            for i in range(run):
                o[i] = read(source[first + i * step])
        done += run


@cache
def gather_kernel(dtype: torch.dtype, real: torch.dtype) -> Any:
    """The compiled `gather` for one stored dtype."""
    number = NUMPY_REAL[real]
    names = dict(carray=carray, as_pointer=as_pointer, min=min, range=range, STORAGE=STORED[dtype][0], REAL=number, read=reader(dtype, number))
    return compile_loop(gather, names, f"gather_{str(dtype)[6:]}_{str(real)[6:]}", b"gather", GATHER)


def same_layout(a: Tensor, b: Tensor) -> bool:
    """Whether equal indices lie at equal offsets."""
    return a.stride() == b.stride() or all(n == 1 or i == j for n, i, j in zip(a.shape, a.stride(), b.stride(), strict=True))


def is_dense(x: Tensor) -> bool:
    """Whether the elements fill one stretch of memory, in whatever order."""
    return x.is_contiguous() or torch.empty_like(x, device="meta").stride() == x.stride()


def walking_order(out: Tensor) -> list[int]:
    """The dimensions of a dense tensor from slowest to fastest in memory."""
    return sorted(range(out.dim()), key=lambda d: (out.stride(d), out.shape[d]), reverse=True)


def operand_table(out: Tensor, operands: Sequence[Tensor | None], real: torch.dtype) -> np.ndarray[Any, Any]:
    """A row an operand: [gather kernel, address, dimensions, sizes.., strides..], in walking order, dimensions merged where memory allows.

    None stands for an operand the formula does not read; its kernel is 0.
    """
    order = walking_order(out)
    table = np.zeros((len(operands), 3 + 2 * max(out.dim(), 1)), np.int64)
    for row, operand in zip(table, operands, strict=True):
        if operand is None:
            continue
        x = operand.expand(out.shape)
        merged: list[tuple[int, int]] = []
        for d in order:
            size, stride = x.shape[d], x.stride(d)
            if size == 1:
                continue
            if merged and merged[-1][1] == size * stride:
                merged[-1] = (merged[-1][0] * size, stride)
            else:
                merged.append((size, stride))
        merged = merged or [(1, 1)]
        row[:3] = gather_kernel(x.dtype, real).address, x.data_ptr(), len(merged)
        row[3 : 3 + 2 * len(merged)] = [size for size, _ in merged] + [stride for _, stride in merged]
    return table
