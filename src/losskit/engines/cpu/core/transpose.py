"""Squares of numbers transposed in registers: as many rows as a vector has lanes, by two-source shuffles."""

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from losskit.engines.cpu.rows.loops import LINE


@cache
def turn_square(real: Any, capped: bool = False) -> Any:
    """(source, step, destination, step) in bytes: reads a square of `real` numbers, writes its transpose. Both may lie anywhere; all is read before a write.

    `capped`: infinity is read as the largest number. For side d = half the lanes, a quarter, ..., 1: rows i and i + d exchange their off-diagonal blocks of d by d.
    """
    item = np.dtype(real).itemsize
    lanes = LINE // item  # narrower processors take a row in parts
    number = ir.FloatType() if item == 4 else ir.DoubleType()
    vector = ir.VectorType(number, lanes)

    @intrinsic
    def turn(typing_context: Any, source: Any, source_step: Any, destination: Any, destination_step: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            def place(start: Any, step: Any, i: int) -> Any:
                return builder.inttoptr(builder.add(start, builder.mul(step, ir.Constant(ir.IntType(64), i))), vector.as_pointer())

            def shuffled(a: Any, b: Any, mask: list[int]) -> Any:
                return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(ir.IntType(32), lanes), mask))

            rows = [builder.load(place(args[0], args[1], i), align=item) for i in range(lanes)]
            if capped:
                largest = ir.Constant(vector, [float(np.finfo(real).max)] * lanes)
                rows = [builder.select(builder.fcmp_ordered(">", row, largest), largest, row) for row in rows]
            side = lanes // 2
            while side:
                for i in range(lanes):
                    if not i & side:
                        a, b = rows[i], rows[i + side]
                        rows[i] = shuffled(a, b, [lanes + k - side if k & side else k for k in range(lanes)])
                        rows[i + side] = shuffled(a, b, [lanes + k if k & side else k + side for k in range(lanes)])
                side //= 2
            for i, row in enumerate(rows):
                builder.store(row, place(args[2], args[3], i), align=item)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4), generate

    return turn
