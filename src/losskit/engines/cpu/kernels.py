"""Compiling a loop around a formula, once per machine: the on-disk cache and the dtypes a loop reads and writes.

Numba keys its cache on a function's file and qualified name, not on what the function calls, and never for closures. So each instance of a loop is the
same code object over its own table of names, under a qualified name that carries a digest of everything compiled in: the formula, this package's
kernel sources and the processor. A second process then loads machine code in milliseconds, and a stale or foreign entry cannot be picked up.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite.binding as llvm
import numba as nb
import numpy as np
import torch
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from losskit.engines.cpu.math import EXACT, bitcast, scalar

SUMS = EXACT | {"reassoc"}  # only for loops that accumulate; their formulas keep the flags they were compiled with
u16, u32, f32, i32 = np.uint16, np.uint32, np.float32, np.int32

u32_of = bitcast(types.float32, types.uint32, ir.IntType(32))
f32_of = bitcast(types.uint32, types.float32, ir.FloatType())
real_of = bitcast(types.int64, types.float64, ir.DoubleType())


@intrinsic
def as_pointer(typing_context: Any, address: Any, like: Any) -> Any:
    """An integer address as a pointer to the type of `like`."""
    pointer = types.CPointer(like.dtype if isinstance(like, types.NumberClass) else like)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.inttoptr(args[0], context.get_value_type(signature.return_type))

    return pointer(types.int64, like), generate


@scalar
def widen_bfloat16(h):
    """The upper half of a float32."""
    return f32_of(u32(h) << u32(16))


@scalar
def narrow_bfloat16(x):
    """Rounded to nearest, ties to even; NaN stays NaN."""
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
    """Rounded to nearest, ties to even; overflow to infinity, NaN stays NaN."""
    b = u32_of(f32(x))
    sign = u16((b >> u32(16)) & u32(0x8000))
    a = b & u32(0x7FFFFFFF)
    normal = (a - u32(0x38000000) + u32(0xFFF) + ((a >> u32(13)) & u32(1))) >> u32(13)
    tiny = u32_of(f32_of(a) + f32(0.5)) - u32(0x3F000000)  # the addition rounds at 2**-24, float16's last place
    h = tiny if a < u32(0x38800000) else (normal if a < u32(0x477FF000) else u32(0x7C00))
    return u16(u16(h if a <= u32(0x7F800000) else u32(0x7E00)) | sign)


def converter(real: Any) -> Callable[..., Any]:
    """Any number to the dtype computed in."""

    @scalar
    def convert(x):
        return real(x)

    return convert  # type: ignore[no-any-return]


# torch dtype -> (numpy dtype of its storage, how to read it, how to write it)
STORED: dict[torch.dtype, tuple[Any, Any, Any]] = {
    torch.float32: (np.float32, None, None),
    torch.float64: (np.float64, None, None),
    torch.bfloat16: (np.uint16, widen_bfloat16, narrow_bfloat16),
    torch.float16: (np.uint16, widen_float16, narrow_float16),
} | {
    dtype: (getattr(np, "uint8" if dtype is torch.bool else str(dtype).removeprefix("torch.")), None, None)
    for dtype in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32, torch.uint64)
}
NUMPY_REAL: dict[torch.dtype, Any] = {torch.float32: np.float32, torch.float64: np.float64}


def reader(dtype: torch.dtype, real: Any) -> Any:
    """Reads one stored element as the dtype computed in."""
    read: Any = STORED[dtype][1]
    return read or converter(real)


def writer(dtype: torch.dtype) -> Any:
    """Writes one computed element as it is stored."""
    return STORED[dtype][2] or converter(STORED[dtype][0])


@cache
def package_digest() -> bytes:
    """What, besides the formula, decides the machine code."""
    folder = Path(__file__).parent
    sources = [*sorted(folder.glob("*.py")), folder.parent / "language.py"]
    text = b"".join(p.read_bytes() for p in sources)
    machine = f"{nb.__version__} {llvm.get_host_cpu_name()} {sorted(llvm.get_host_cpu_features().items())}"
    return hashlib.sha256(text + machine.encode()).digest()


def compile_loop(loop: Callable[..., Any], names: dict[str, Any], name: str, key: bytes, signature: Any = None) -> Any:
    """The loop over a table of names, as a C callback (with `signature`); from the disk cache where it has it.

    No writable cache folder, or a full disk, only costs the compile time.
    """
    assert isinstance(loop, FunctionType)
    digest = hashlib.sha256(package_digest() + key).hexdigest()[:16]
    bound = FunctionType(loop.__code__, names | {"__name__": loop.__module__}, loop.__name__)
    bound.__module__, bound.__qualname__ = loop.__module__, f"{name}_{digest}"
    options: dict[str, Any] = dict(fastmath=SUMS, error_model="numpy")
    try:
        return nb.cfunc(signature, cache=True, **options)(bound)
    except (OSError, RuntimeError):
        return nb.cfunc(signature, **options)(bound)
