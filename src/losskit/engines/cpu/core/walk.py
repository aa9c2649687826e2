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
from torch import Tensor

from losskit.engines.cpu.core import store


@cache
def gather_kernel(dtype: torch.dtype, real: torch.dtype) -> int:
    """The address of the loop that gathers a stored dtype."""

    def build() -> store.Code:
        from losskit.engines.cpu.core import compiler

        return compiler.gather(dtype, real)

    label = f"gather_{str(dtype)[6:]}_{str(real)[6:]}"
    return store.function(label, label.encode(), build)


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
        row[:3] = gather_kernel(x.dtype, real), x.data_ptr(), len(merged)
        row[3 : 3 + 2 * len(merged)] = [size for size, _ in merged] + [stride for _, stride in merged]
    return table
