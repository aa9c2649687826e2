"""The elementwise pattern on the CPU: one pass reads input and target, sums the loss and writes the gradient.

Floor: the bytes of input, target and gradient, each once. Operands that lie in memory as the output does are read in place (the common case: nothing but
the formula stands between load and store); if anything does not, or items carry factors, a block of each operand is first gathered into scratch arrays.

Every sum runs over fixed chunks in a fixed order, in float64: the result has the same bits for any number of threads.
"""

import struct
from collections.abc import Callable
from functools import cache
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
import torch
from llvmlite import ir
from numba import carray, types
from numba.extending import intrinsic
from torch import Tensor

from losskit.engines.call import Call, real_dtype
from losskit.engines.cpu.kernels import NUMPY_REAL, STORED, as_pointer, compile_loop, reader, real_of, writer
from losskit.engines.cpu.math import NAMES, scalar
from losskit.engines.cpu.memory import empty_like
from losskit.engines.cpu.threads import BODY, parallel_for
from losskit.engines.cpu.walk import is_dense, operand_table, same_layout
from losskit.engines.language import bind, fingerprint, reads

CHUNK = 1 << 16  # elements a task: enough to forget the task's own cost, few enough to share out
BLOCK = 1 << 10  # elements of scratch an operand: four of them take half of a 32 KB cache
MAX_PARAMS = 5
CONTEXT = struct.Struct(f"=11q{1 + MAX_PARAMS}d")
X, T, V, GX, GT, PARTS, OUT, N, TABLE, ROWS, WIDTH, SCALE, PARAMS = range(13)  # places in the context
PLACES = PARAMS + MAX_PARAMS
LOOP = types.void(types.int64, types.int64, types.CPointer(types.int64))


@intrinsic
def call_gather(typing_context: Any, kernel: Any, operand: Any, start: Any, count: Any, destination: Any) -> Any:
    """Calls a gather kernel by its address."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        integer = ir.IntType(64)
        pointer = integer.as_pointer()
        function = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [pointer, integer, integer, integer]).as_pointer())
        builder.call(function, [builder.inttoptr(args[1], pointer), *args[2:]])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate


def loop(lo, hi, context):  # type: ignore[no-untyped-def]  # compiled by Numba
    """Chunks lo .. hi. Names in capitals are constants of the instance; what they switch off is not compiled."""
    c = carray(context, PLACES)
    n = c[N]
    v = carray(as_pointer(c[V], REAL), n)
    gx = carray(as_pointer(c[GX], INPUT), n)
    gt = carray(as_pointer(c[GT], TARGET), n)
    parts = carray(as_pointer(c[PARTS], float64), hi)
    scale = REAL(real_of(c[SCALE]))
    p = params(c)
    scratch = new_scratch()
    values = empty(BLOCK, REAL)
    for j in range(lo, hi):
        total = 0.0
        stop = min((j + 1) * CHUNK, n)
        for b in range(j * CHUNK, stop, BLOCK):
            e = min(b + BLOCK, stop)
            xs, ts, ps, fs = blocks(c, scratch, b, e)
            gxs, gts = gx[b:e], gt[b:e]
            vs = v[b:e] if EACH else values[: e - b]
            for i in range(e - b):
                value, dx, dt = point(xs, ts, ps, i, p)
                w = scale
                if FACTORED:
                    f = fs[i]
                    w = f * scale
                    absent = f == REAL(0)
                    value = REAL(0) if absent else value * f
                    dx = REAL(0) if absent else dx
                    dt = REAL(0) if absent else dt
                if FORWARD:
                    vs[i] = value
                if OUT_X:
                    gxs[i] = write_x(dx * w)
                if OUT_T:
                    gts[i] = write_t(dt * w)
            if FORWARD:  # apart from the loop above, which would else run at the vector width of float64, half its own
                part = 0.0
                for i in range(e - b):
                    part += float64(vs[i])
                total += part
        parts[j] = total
    if FORWARD and n <= CHUNK:
        finish(c)


def finish(c):  # type: ignore[no-untyped-def]  # compiled by Numba
    """Adds the chunks' sums, in order, into the scalar that is returned."""
    k = (c[N] + CHUNK - 1) // CHUNK
    parts = carray(as_pointer(c[PARTS], float64), k)
    out = carray(as_pointer(c[OUT], REAL), 1)
    scale = real_of(c[SCALE])
    total = 0.0
    for j in range(k):
        total += parts[j]
    out[0] = REAL(total * scale if scale != 0.0 else 0.0)


def finish_all(lo, hi, context):  # type: ignore[no-untyped-def]  # compiled by Numba
    """`finish` as a kernel of its own, for more than one chunk."""
    finish(carray(context, PLACES))


def in_place(c, scratch, b, e):  # type: ignore[no-untyped-def]  # compiled by Numba
    """Blocks of input and target where they lie; no field, no factors."""
    xs = carray(as_pointer(c[X], INPUT), c[N])[b:e]
    return xs, carray(as_pointer(c[T], TARGET), c[N])[b:e], xs, xs


def gathered(c, scratch, b, e):  # type: ignore[no-untyped-def]  # compiled by Numba
    """Blocks of input, target, field and of the product of the factors, in scratch rows 0 to 3."""
    count = e - b
    width = c[WIDTH]
    table = carray(as_pointer(c[TABLE], int64), c[ROWS] * width)
    product, factor = scratch[3], scratch[4]
    for k in range(c[ROWS]):
        kernel = table[k * width]
        if kernel != 0:
            call_gather(kernel, c[TABLE] + (k * width + 1) * 8, b, count, scratch.ctypes.data + min(k, 4) * BLOCK * scratch.itemsize)
        if k > 3:  # what is absent stays so, whatever it is multiplied by
            for i in range(count):
                product[i] = REAL(0) if product[i] == REAL(0) else product[i] * factor[i]
    return scratch[0, :count], scratch[1, :count], scratch[2, :count], product[:count]


def plain_point(xs, ts, ps, i, p):  # type: ignore[no-untyped-def]  # compiled by Numba
    """The formula on element i."""
    return formula(read_x(xs[i]), read_t(ts[i]), *p)


def field_point(xs, ts, ps, i, p):  # type: ignore[no-untyped-def]  # compiled by Numba
    """The formula on element i, with a parameter of that element."""
    return formula(read_x(xs[i]), read_t(ts[i]), ps[i], *p)


# the formula's parameters out of the context, as a tuple of the right length
PARAMETERS = (
    lambda c: (),
    lambda c: (REAL(real_of(c[PARAMS])),),
    lambda c: (REAL(real_of(c[PARAMS])), REAL(real_of(c[PARAMS + 1]))),
    lambda c: (REAL(real_of(c[PARAMS])), REAL(real_of(c[PARAMS + 1])), REAL(real_of(c[PARAMS + 2]))),
    lambda c: (REAL(real_of(c[PARAMS])), REAL(real_of(c[PARAMS + 1])), REAL(real_of(c[PARAMS + 2])), REAL(real_of(c[PARAMS + 3]))),
    lambda c: (
        REAL(real_of(c[PARAMS])), REAL(real_of(c[PARAMS + 1])), REAL(real_of(c[PARAMS + 2])), REAL(real_of(c[PARAMS + 3])), REAL(real_of(c[PARAMS + 4]))
    ),
)  # fmt: skip


class Kernel(NamedTuple):
    """What distinguishes one instance of the loop from another."""

    formula: Callable[..., Any]
    params: int
    field: bool
    factored: bool
    staged: bool
    input: torch.dtype
    target: torch.dtype
    forward: bool
    each: bool
    grad_input: bool
    grad_target: bool


def _instance(function: Callable[..., Any], names: dict[str, Any]) -> Any:
    """A part of the loop over its table of names, for Numba to inline."""
    assert isinstance(function, FunctionType)
    return scalar(FunctionType(function.__code__, names | {"__name__": __name__}, function.__name__))


def _shared_names(real: Any) -> dict[str, Any]:
    constants = {name: value for name, value in globals().items() if name.isupper() and isinstance(value, int)}
    tools = dict(carray=carray, as_pointer=as_pointer, real_of=real_of, call_gather=call_gather, min=min, range=range, empty=np.empty, float64=np.float64, int64=np.int64)
    names = constants | tools | {"REAL": real}
    return names | {"finish": _instance(finish, names)}


@cache
def kernel(which: Kernel) -> Any:
    """The compiled loop as a C function (begin, end, context)."""
    real = NUMPY_REAL[real_dtype(which.input)]
    names = _shared_names(real) | dict(
        INPUT=STORED[which.input][0], TARGET=STORED[which.target][0], write_x=writer(which.input), write_t=writer(which.target),
        FORWARD=which.forward, EACH=which.each, OUT_X=which.grad_input, OUT_T=which.grad_target, FACTORED=which.factored,
    )  # fmt: skip
    stored = (real_dtype(which.input), real_dtype(which.input)) if which.staged else (which.input, which.target)
    reads = dict(
        formula=bind(which.formula, NAMES[np.dtype(real).name], scalar, literal=real), read_x=reader(stored[0], real), read_t=reader(stored[1], real)
    )
    names["point"] = _instance(field_point if which.field else plain_point, reads)
    names["params"] = _instance(PARAMETERS[which.params], names)
    names["blocks"] = _instance(gathered if which.staged else in_place, names)
    names["new_scratch"] = _instance((lambda: empty((5, BLOCK), REAL)) if which.staged else (lambda: 0), names)
    label = f"elementwise_{which.formula.__module__.rpartition('.')[2]}_{which.formula.__name__}"
    key = repr(which[1:]).encode() + fingerprint(which.formula)
    return BODY(compile_loop(loop, names, label, key, LOOP).address)


@cache
def finish_kernel(dtype: torch.dtype) -> Any:
    """`finish_all` compiled for one dtype."""
    names = _shared_names(NUMPY_REAL[dtype])
    return BODY(compile_loop(finish_all, names, f"finish_{str(dtype)[6:]}", b"", LOOP).address)


class Results(NamedTuple):
    """What a run gives; None where it was not asked for. `total` is the scaled sum of the losses."""

    total: Tensor | None
    value: Tensor | None
    grad_input: Tensor | None
    grad_target: Tensor | None


PADDING = tuple((0.0,) * (MAX_PARAMS - k) for k in range(MAX_PARAMS + 1))


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
    dtype = x.dtype
    real = torch.float64 if dtype is torch.float64 else torch.float32
    forward = incoming is None
    gx = empty_like(x, dtype) if grad_input else None
    gt = empty_like(x, t.dtype) if grad_target else None
    value = empty_like(x, real) if each else None
    anchor = x if gx is gt is value else value if value is not None else gx if gx is not None else gt
    assert anchor is not None
    factors = call.factors if incoming is None else (*call.factors, incoming)
    staged = bool(factors) or call.field is not None or not (same_layout(x, anchor) and same_layout(t, anchor) and (anchor is not x or is_dense(x)))
    table = None
    if staged:
        reads_x, reads_t = reads(call.formula)
        table = operand_table(anchor, (x if reads_x else None, t if reads_t else None, call.field, *factors), real)
    run_loop = kernel(
        Kernel(call.formula, len(call.params), call.field is not None, bool(factors), staged, dtype, t.dtype, forward, each, grad_input, grad_target)
    )
    n = x.numel()
    chunks = (n + CHUNK - 1) // CHUNK
    parts = torch.empty(chunks, dtype=torch.float64)
    total = torch.empty((), dtype=real)
    context = CONTEXT.pack(
        x.data_ptr(), t.data_ptr(), 0 if value is None else value.data_ptr(), 0 if gx is None else gx.data_ptr(), 0 if gt is None else gt.data_ptr(),
        parts.data_ptr(), total.data_ptr(), n, 0 if table is None else table.ctypes.data, 0 if table is None else len(table),
        0 if table is None else table.shape[1], scale, *call.params, *PADDING[len(call.params)],
    )  # fmt: skip
    if n <= CHUNK:
        run_loop(0, chunks, context)
    else:
        parallel_for(0, chunks, 1, run_loop, context)
        if forward:
            finish_kernel(real)(0, 1, context)
    return Results(total if forward else None, value, gx, gt)


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
    factor = float(incoming)
    if given is not None:
        if factor == 1.0:
            return given
        if all(g is None or g.dtype in NUMPY_REAL for g in given):
            for g in given:
                if g is not None:
                    g.mul_(factor)
            return given
    results = run(call, x, t, scale=scale * factor, grad_input=wants_x, grad_target=wants_t)
    return results.grad_input, results.grad_target
