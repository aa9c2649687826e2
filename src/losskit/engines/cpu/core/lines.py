"""Cache lines: prefetched, and written by streaming stores, past the caches."""

from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from losskit.engines.cpu.rows.loops import LINE

INTO_L2 = 2  # prefetch into the second level: the first holds the data in use

byte, integer = ir.IntType(8).as_pointer(), ir.IntType(32)


@intrinsic
def prefetch(typing_context: Any, address: Any) -> Any:
    """Prefetches the line at an address, which need not be valid; nothing waits for it."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        function = builder.module.declare_intrinsic("llvm.prefetch", (byte,), ir.FunctionType(ir.VoidType(), [byte, integer, integer, integer]))
        reading, data = ir.Constant(integer, 0), ir.Constant(integer, 1)
        builder.call(function, [builder.inttoptr(args[0], byte), reading, ir.Constant(integer, INTO_L2), data])
        return context.get_dummy_value()

    return types.void(types.int64), generate


@cache
def stream_line(real: Any) -> Any:
    """(source, destination): one line, past the caches; the destination starts a line."""
    item = np.dtype(real).itemsize
    vector = ir.VectorType(ir.FloatType() if item == 4 else ir.DoubleType(), LINE // item)

    @intrinsic
    def stream(typing_context: Any, source: Any, destination: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            line = builder.load(builder.inttoptr(args[0], vector.as_pointer()), align=item)
            store = builder.store(line, builder.inttoptr(args[1], vector.as_pointer()), align=LINE)
            store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(integer, 1)]))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return stream


@intrinsic
def settle(typing_context: Any) -> Any:
    """Waits until what was written past the caches is seen by all."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate
