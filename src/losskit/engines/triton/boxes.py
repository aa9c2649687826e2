"""The boxes pattern on a GPU: one pass reads both boxes, sums the loss and writes the gradient. Sums, scales and incoming gradients as in `elementwise.py`.

Floor: the bytes of both boxes, eight numbers, and of the gradient, four, each once. A coordinate is read with stride 4, but the four of a box lie in one
sector of memory: what the first read fetches, the others find in the cache.
"""

from contextlib import nullcontext

import torch
import triton
import triton.language as tl
from torch import Tensor

from losskit.engines.call import Boxes, Results, real_dtype
from losskit.engines.triton.elementwise import OPTIONS, REAL, add, bound, finish, scaling
from losskit.engines.triton.rows import multiplied, readable

BLOCK = 256  # boxes a program: two a thread, for a formula holds some forty numbers at once. Not yet measured on a GPU
FINISH_BLOCK = 1024
MAX_PARAMS = 4


@triton.jit
def corners(BOXES, first, live, REAL: tl.constexpr, FORM: tl.constexpr):  # type: ignore[no-untyped-def]
    """The corners of the boxes whose numbers begin at `first`."""
    a = tl.load(BOXES + first, live, other=0).to(REAL)
    b = tl.load(BOXES + first + 1, live, other=0).to(REAL)
    c = tl.load(BOXES + first + 2, live, other=0).to(REAL)
    d = tl.load(BOXES + first + 3, live, other=0).to(REAL)
    if FORM == "cxcywh":
        a -= 0.5 * c
        b -= 0.5 * d
    if FORM != "xyxy":
        c += a
        d += b
    return a, b, c, d


@triton.jit
def store_gradient(GRAD, first, live, w, a, b, c, d, FORM: tl.constexpr):  # type: ignore[no-untyped-def]
    """The derivatives by the corners, times `w`, as those by what was given; 0 where w is, whatever they are."""
    a = tl.where(w == 0.0, 0.0, a * w)
    b = tl.where(w == 0.0, 0.0, b * w)
    c = tl.where(w == 0.0, 0.0, c * w)
    d = tl.where(w == 0.0, 0.0, d * w)
    if FORM == "xyxy":
        tl.store(GRAD + first, a, live)
        tl.store(GRAD + first + 1, b, live)
        tl.store(GRAD + first + 2, c, live)
        tl.store(GRAD + first + 3, d, live)
    else:
        tl.store(GRAD + first, a + c, live)
        tl.store(GRAD + first + 1, b + d, live)
        tl.store(GRAD + first + 2, c if FORM == "xywh" else 0.5 * (c - a), live)
        tl.store(GRAD + first + 3, d if FORM == "xywh" else 0.5 * (d - b), live)


@triton.jit
def boxwise(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, FACTOR, SCALE, INCOMING, VALUE, GRAD_X, GRAD_T, PARTS, TOTAL,
    n: tl.int64, scale: tl.float64, p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64,
    FORMULA: tl.constexpr, PARAMS: tl.constexpr, FORM: tl.constexpr, REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One block of boxes. Pointers are None for what is not there or not wanted, and what hangs on them is not compiled.

    With INCOMING, the gradients were written before, for an incoming gradient of 1: they are written again if it is anything else.
    """
    weight = scaling(scale, SCALE)
    if INCOMING is not None:
        incoming = tl.load(INCOMING)
        if incoming == 1.0:
            return
        weight *= incoming.to(tl.float64)
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    live = i < n
    first = 4 * i
    ax0, ay0, ax1, ay1 = corners(X, first, live, REAL, FORM)
    bx0, by0, bx1, by1 = corners(T, first, live, REAL, FORM)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL))
    value, gax0, gay0, gax1, gay1, gbx0, gby0, gbx1, gby1 = FORMULA(ax0, ay0, ax1, ay1, bx0, by0, bx1, by1, *p[:PARAMS])
    w = weight.to(REAL)
    if FACTOR is not None:
        factor = tl.load(FACTOR + i, live, other=0).to(REAL)
        value = tl.where(factor == 0.0, 0.0, value * factor)
        w = factor * w
    if VALUE is not None:
        tl.store(VALUE + i, value, live)
    if GRAD_X is not None:
        store_gradient(GRAD_X, first, live, w, gax0, gay0, gax1, gay1, FORM)
    if GRAD_T is not None:
        store_gradient(GRAD_T, first, live, w, gbx0, gby0, gbx1, gby1, FORM)
    if PARTS is not None:
        add(tl.where(live, value, 0.0), weight, PARTS, TOTAL)


def launch(
    call: Boxes,
    x: Tensor,
    t: Tensor,
    scale: float | Tensor,
    *,
    incoming: Tensor | None = None,
    value: Tensor | None = None,
    grad_x: Tensor | None = None,
    grad_t: Tensor | None = None,
    total: Tensor | None = None,
) -> None:
    """Runs the kernel for the outputs given, which are contiguous."""
    n = x.numel() // 4
    if n == 0:
        if total is not None:
            total.zero_()
        return
    number, pointer = (1.0, scale) if isinstance(scale, Tensor) else (scale, None)
    blocks = triton.cdiv(n, BLOCK)
    parts = None if total is None else torch.empty(blocks, dtype=torch.float64, device=x.device)
    with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
        boxwise[(blocks,)](
            x.contiguous(), t.contiguous(), readable(call.factor), pointer, incoming, value, grad_x, grad_t, parts, total,
            n, number, *call.params, *(0.0,) * (MAX_PARAMS - len(call.params)),
            FORMULA=bound(call.formula), PARAMS=len(call.params), FORM=call.form, REAL=REAL[real_dtype(x.dtype)], BLOCK=BLOCK, **OPTIONS,
        )  # fmt: skip
        if total is not None and blocks > 1:
            finish[(1,)](parts, pointer, total, blocks, number, BLOCK=FINISH_BLOCK, **OPTIONS)


def run(
    call: Boxes,
    x: Tensor,
    t: Tensor,
    *,
    scale: float | Tensor = 1.0,
    incoming: Tensor | None = None,
    each: bool = False,
    grad_input: bool = False,
    grad_target: bool = False,
) -> Results:
    """One pass: the sum of the losses times `scale`, or the loss of `each` pair; and gradients (times `incoming` if given: then no values)."""
    real = real_dtype(x.dtype)
    factor, scale = multiplied(call.factor, scale, incoming)
    call = call._replace(factor=factor)
    value = torch.empty(x.shape[:-1], dtype=real, device=x.device) if each else None
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device) if grad_input else None
    grad_t = torch.empty(t.shape, dtype=t.dtype, device=x.device) if grad_target else None
    total = torch.empty((), dtype=real, device=x.device) if incoming is None and not each else None
    launch(call, x, t, scale, value=value, grad_x=grad_x, grad_t=grad_t, total=total)
    return Results(total, value, grad_x, grad_t)


def rescaled(
    given: tuple[Tensor | None, Tensor | None] | None,
    incoming: Tensor,
    call: Boxes,
    x: Tensor,
    t: Tensor,
    scale: float | Tensor,
    wants_x: bool,
    wants_t: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """As in the elementwise pattern: the gradients `given` if the device finds `incoming` to be 1, else computed again in their place."""
    if given is None:
        results = run(call, x, t, scale=scale, incoming=incoming.expand(x.shape[:-1]), grad_input=wants_x, grad_target=wants_t)
        return results.grad_input, results.grad_target
    grad_x, grad_t = given
    launch(call, x, t, scale, incoming=incoming, grad_x=grad_x, grad_t=grad_t)
    return given
