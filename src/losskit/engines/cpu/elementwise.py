"""The elementwise pattern on the CPU: one pass reads input and target, sums the loss and writes the gradient.

Floor: the bytes of input, target and gradient, each once. Operands that lie in memory as the output does are read in place (the common case: nothing but
the formula stands between load and store); if anything does not, or items carry factors, a block of each operand is first gathered into scratch arrays.

Every sum runs over fixed chunks in a fixed order, in float64: the result has the same bits for any number of threads.
"""

import struct
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any

import numpy as np
import torch
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic
from torch import Tensor

from losskit.engines.call import Call, Results, real_dtype
from losskit.engines.cpu import loops
from losskit.engines.cpu.fission import split
from losskit.engines.cpu.kernels import NUMPY_REAL, STORED, as_pointer, compile_loop, reader, real_of, writer
from losskit.engines.cpu.loops import CHUNK, MAX_PARAMS
from losskit.engines.cpu.math import NAMES, scalar
from losskit.engines.cpu.memory import empty_like
from losskit.engines.cpu.threads import BODY, parallel_for
from losskit.engines.cpu.walk import operand_table
from losskit.engines.language import bind, fingerprint, reads
from losskit.engines.layout import is_dense, same_layout

CONTEXT = struct.Struct(f"=11q{1 + MAX_PARAMS}d")
LOOP = types.void(types.int64, types.int64, types.CPointer(types.int64))


@intrinsic  # type: ignore[untyped-decorator]
def call_gather(typing_context: Any, kernel: Any, operand: Any, start: Any, count: Any, destination: Any) -> Any:
    """Calls a gather kernel by its address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = ir.IntType(64)
        pointer = integer.as_pointer()
        function = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [pointer, integer, integer, integer]).as_pointer())
        builder.call(function, [builder.inttoptr(args[1], pointer), *args[2:]])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


def _instance(function: Callable[..., Any], names: dict[str, Any]) -> Any:
    """A part of the loop over its table of names, for Numba to inline."""
    assert isinstance(function, FunctionType)
    return scalar(FunctionType(function.__code__, names | {"__name__": __name__}, function.__name__))


def _shared_names(real: Any) -> dict[str, Any]:
    constants = {name: value for name, value in vars(loops).items() if name.isupper() and isinstance(value, int)}
    tools = dict(carray=carray, as_pointer=as_pointer, real_of=real_of, call_gather=call_gather, min=min, range=range, empty=np.empty)
    return constants | tools | dict(float64=np.float64, int64=np.int64, REAL=real)


@cache
def kernel(
    formula: Callable[..., Any],
    params: int,
    field: bool,
    factored: bool,
    staged: bool,
    input: torch.dtype,
    target: torch.dtype,
    forward: bool,
    each: bool,
    grad_input: bool,
    grad_target: bool,
) -> Any:
    """The loop compiled for one formula, one pair of dtypes and one set of outputs: a C function (begin, end, context)."""
    dtype = real_dtype(input)
    real = NUMPY_REAL[dtype]
    names = _shared_names(real) | dict(
        INPUT=STORED[input][0], TARGET=STORED[target][0], write_x=writer(input), write_t=writer(target),
        FORWARD=forward, EACH=each, OUT_X=grad_input, OUT_T=grad_target, FACTORED=factored,
    )  # fmt: skip
    stored = (dtype, dtype) if staged else (input, target)
    reads = dict(read_x=reader(stored[0], real), read_t=reader(stored[1], real), FIELD=field)
    parts = split(formula)
    names["SPLIT"] = parts is not None
    head, tail = parts or (formula, formula)
    for name, part, late in (("head", head, False), ("point", tail, parts is not None)):
        names[name] = _instance(loops.point, reads | dict(formula=bind(part, NAMES[np.dtype(real).name], scalar, literal=real), AHEAD=late))
    names["params"] = _instance(loops.PARAMETERS[params], names)
    names["blocks"] = _instance(loops.gathered if staged else loops.in_place, names)
    names["new_scratch"] = _instance(loops.scratch_rows if staged else loops.no_scratch, names)
    variant = (params, field, factored, staged, input, target, forward, each, grad_input, grad_target)
    label = f"elementwise_{formula.__module__.rpartition('.')[2]}_{formula.__name__}"
    return BODY(compile_loop(loops.loop, names, label, repr(variant).encode() + fingerprint(formula), LOOP).address)


@cache
def finish_kernel(dtype: torch.dtype) -> Any:
    """`loops.finish` compiled for one dtype."""
    return BODY(compile_loop(loops.finish, _shared_names(NUMPY_REAL[dtype]), f"finish_{str(dtype)[6:]}", b"", LOOP).address)


PADDING = tuple((0.0,) * (MAX_PARAMS - k) for k in range(MAX_PARAMS + 1))
SCALARS = {dtype: torch.empty((), dtype=dtype) for dtype in NUMPY_REAL}  # empty_like of these costs a third of torch.empty


def run(
    call: Call,
    x: Tensor,
    t: Tensor,
    *,
    scale: float = 1.0,
    incoming: Tensor | None = None,
    each: bool = False,
    grad_input: bool = False,
    grad_target: bool = False,
) -> Results:
    """One pass: the sum of the losses times `scale`, the loss of `each` element if asked, and gradients (times `incoming` if given: then no values)."""
    formula, params, field, factors = call
    dtype, target_dtype, forward = x.dtype, t.dtype, incoming is None
    real = torch.float64 if dtype is torch.float64 else torch.float32
    if incoming is not None:
        factors = (*factors, incoming)
    gx = empty_like(x, dtype) if grad_input else None
    gt = empty_like(x, target_dtype) if grad_target else None
    value = empty_like(x, real) if each else None
    total = torch.empty_like(SCALARS[real])
    staged, table, shape = bool(factors) or field is not None or not (x.is_contiguous() and t.is_contiguous()), None, (0, 0)
    if staged:
        anchor = value if value is not None else gx if gx is not None else gt if gt is not None else x
        staged = bool(factors) or field is not None or not (same_layout(x, anchor) and same_layout(t, anchor) and is_dense(anchor))
        if staged:
            reads_x, reads_t = reads(formula)
            table = operand_table(anchor, (x if reads_x else None, t if reads_t else None, field, *factors), real)
            shape = table.shape
    run_loop = kernel(formula, len(params), field is not None, bool(factors), staged, dtype, target_dtype, forward, each, grad_input, grad_target)
    n = x.numel()
    chunks = (n + CHUNK - 1) // CHUNK
    parts = torch.empty(chunks, dtype=torch.float64) if chunks > 1 else None
    context = CONTEXT.pack(
        x.data_ptr(), t.data_ptr(), 0 if value is None else value.data_ptr(), 0 if gx is None else gx.data_ptr(), 0 if gt is None else gt.data_ptr(),
        0 if parts is None else parts.data_ptr(), total.data_ptr(), n, 0 if table is None else table.ctypes.data, *shape,
        scale, *params, *PADDING[len(params)],
    )  # fmt: skip
    if parts is None:
        run_loop(0, 1, context)  # of no elements, too: the sum is 0
    else:
        parallel_for(0, chunks, 1, run_loop, context)
        if forward:
            finish_kernel(real)(0, chunks, context)
    if scale == 0.0:
        zero(gx, gt)
    return Results(total if forward else None, value, gx, gt)


def zero(*gradients: Tensor | None) -> None:
    """Nothing counts: not the items that are NaN or infinite either, which a product with 0 would leave."""
    for g in gradients:
        if g is not None:
            g.zero_()


def rescaled(
    given: tuple[Tensor | None, Tensor | None] | None,
    incoming: Tensor,
    call: Call,
    x: Tensor,
    t: Tensor,
    scale: float,
    wants_x: bool,
    wants_t: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of the scaled sum, times the incoming gradient: those `given` where they are still there and lose nothing by the product.

    A half-precision gradient is computed again: rounded before the product it could have underflowed, the very thing loss scaling is there to prevent.
    """
    factor = incoming.item()
    if given is not None and factor == 0.0:
        zero(*given)
        return given
    if given is not None and all(g is None or g.dtype in NUMPY_REAL for g in given):
        for g in given:
            if g is not None:
                g.mul_(factor)
        return given
    results = run(call, x, t, scale=scale * factor, grad_input=wants_x, grad_target=wants_t)
    return results.grad_input, results.grad_target
