"""Half precision in and out of registers: by the processor's own instructions where LLVM knows them, by integer arithmetic elsewhere.

Rounded to nearest, ties to even, either way. One difference: AVX-512's bfloat16 instruction writes 0 for what is below 1.2e-38, the smallest normal number.
(One instruction in place of seven: a bfloat16 binary cross-entropy is a tenth faster for it, AMD Zen 4.)
"""

from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from losskit.engines.cpu.core.math import bitcast, scalar

u16, u32, f32 = np.uint16, np.uint32, np.float32

u32_of = bitcast(types.float32, types.uint32, ir.IntType(32))
f32_of = bitcast(types.uint32, types.float32, ir.FloatType())


@scalar
def widen_bfloat16(h):
    """The upper half of a float32."""
    return f32_of(u32(h) << u32(16))


@scalar
def narrow_bfloat16(x):
    """NaN stays NaN."""
    b = u32_of(f32(x))
    rounded = u16((b + u32(0x7FFF) + ((b >> u32(16)) & u32(1))) >> u32(16))
    return rounded if x == x else u16(0x7FC0)


@scalar
def widen_float16(h):
    """Exact, denormals included."""
    sign = (u32(h) & u32(0x8000)) << u32(16)
    rest = (u32(h) & u32(0x7FFF)) << u32(13)
    value = f32_of(rest) * f32(2.0**112)  # moves the exponent's bias; denormals come out right
    special = f32_of(rest | u32(0x7F800000))  # infinities and NaN
    return f32_of(u32_of(special if rest >= u32(0x0F800000) else value) | sign)


@scalar
def narrow_float16(x):
    """Overflow to infinity, NaN stays NaN."""
    b = u32_of(f32(x))
    sign = u16((b >> u32(16)) & u32(0x8000))
    a = b & u32(0x7FFFFFFF)
    normal = (a - u32(0x38000000) + u32(0xFFF) + ((a >> u32(13)) & u32(1))) >> u32(13)
    tiny = u32_of(f32_of(a) + f32(0.5)) - u32(0x3F000000)  # the addition rounds at 2**-24, float16's last place
    h = tiny if a < u32(0x38800000) else (normal if a < u32(0x477FF000) else u32(0x7C00))
    return u16(u16(h if a <= u32(0x7F800000) else u32(0x7E00)) | sign)


class BFloat(ir.Type):  # type: ignore[misc]
    """LLVM's bfloat, which llvmlite has no name for."""

    def _to_string(self) -> str:
        return "bfloat"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BFloat)

    def __hash__(self) -> int:
        return hash(BFloat)


def instructions(number: Any) -> tuple[Any, Any]:
    """Reading and writing a 16-bit number by LLVM's conversions."""

    @intrinsic
    def to_float(typing_context: Any, h: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.fpext(builder.bitcast(args[0], number), ir.FloatType())

        return types.float32(types.uint16), generate

    @intrinsic
    def from_float(typing_context: Any, x: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
            return builder.bitcast(builder.fptrunc(args[0], number), ir.IntType(16))

        return types.uint16(types.float32), generate

    @scalar
    def widen(h):
        return to_float(h)

    @scalar
    def narrow(x):
        return from_float(f32(x))

    return widen, narrow


def conversions(features: dict[str, bool], version: int) -> dict[str, tuple[Any, Any]]:
    """(read, write) for both formats, on a processor with these features and an LLVM of this version."""
    return {
        "float16": instructions(ir.HalfType()) if features.get("f16c") else (widen_float16, narrow_float16),
        # older LLVMs call a library function for bfloat16
        "bfloat16": (widen_bfloat16, instructions(BFloat())[1] if features.get("avx512bf16") and version >= 18 else narrow_bfloat16),
    }


HALF = conversions(llvm.get_host_cpu_features(), llvm.llvm_version_info[0])
