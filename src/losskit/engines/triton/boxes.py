"""The boxes pattern on a GPU: one pass reads both boxes, sums the loss and writes the gradient. Sums, scales and incoming gradients as in `elementwise.py`.

Floor: the bytes of both boxes, eight numbers (in space twelve), and of the gradient, four (six), each once. A coordinate is read with stride 4, but the four of
a box lie in one sector of memory: what the first read fetches, the others find in the cache.
"""

from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from losskit.engines.call import Boxes, Results, real_dtype
from losskit.engines.protocol import Gradients
from losskit.engines.triton import gradients
from losskit.engines.triton.elementwise import OPTIONS, REAL, add, add_up, at_home, bound, scaling
from losskit.engines.triton.layout import multiplied, readable

BLOCK = 256  # boxes per program: two per thread, for a formula holds some forty numbers at once. Not yet measured on a GPU
FINISH_BLOCK = 1024
MAX_PARAMS = 4


@triton.jit
def place_and_size(BOXES, at, live, REAL: tl.constexpr, FORM: tl.constexpr, AXES: tl.constexpr):  # type: ignore[no-untyped-def]
    """Both corners of boxes along one axis, whose first number lies `at`."""
    low = tl.load(BOXES + at, live, other=0).to(REAL)
    high = tl.load(BOXES + at + AXES, live, other=0).to(REAL)
    if FORM == "cxcywh":
        low -= 0.5 * high
    if FORM != "xyxy":
        high += low
    return low, high


@triton.jit
def corners_2(BOXES, first, live, REAL: tl.constexpr, FORM: tl.constexpr):  # type: ignore[no-untyped-def]
    """The corners of the boxes whose numbers begin at `first`."""
    x0, x1 = place_and_size(BOXES, first, live, REAL, FORM, 2)
    y0, y1 = place_and_size(BOXES, first + 1, live, REAL, FORM, 2)
    return x0, y0, x1, y1


@triton.jit
def corners_3(BOXES, first, live, REAL: tl.constexpr, FORM: tl.constexpr):  # type: ignore[no-untyped-def]
    """As `corners_2`, in space."""
    x0, x1 = place_and_size(BOXES, first, live, REAL, FORM, 3)
    y0, y1 = place_and_size(BOXES, first + 1, live, REAL, FORM, 3)
    z0, z1 = place_and_size(BOXES, first + 2, live, REAL, FORM, 3)
    return x0, y0, z0, x1, y1, z1


@triton.jit
def store_gradient(GRAD, at, live, w, low, high, FORM: tl.constexpr, AXES: tl.constexpr):  # type: ignore[no-untyped-def]
    """The derivatives by both corners along one axis, times `w`, as those by what was given; 0 where w is, whatever they are."""
    low = tl.where(w == 0.0, 0.0, low * w)
    high = tl.where(w == 0.0, 0.0, high * w)
    if FORM == "xyxy":
        tl.store(GRAD + at, low, live)
        tl.store(GRAD + at + AXES, high, live)
    else:
        tl.store(GRAD + at, low + high, live)
        tl.store(GRAD + at + AXES, high if FORM == "xywh" else 0.5 * (high - low), live)


@triton.jit
def boxwise(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, FACTOR, SCALE, INCOMING, VALUE, GRAD_X, GRAD_T, PARTS, TOTAL,
    n: tl.int64, scale: tl.float64, p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64,
    FORMULA: tl.constexpr, PARAMS: tl.constexpr, FORM: tl.constexpr, CORNERS: tl.constexpr, AXES: tl.constexpr, REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One block of boxes, in the plane or in space. Pointers are None for what is not there or not wanted, and what hangs on them is not compiled.

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
    first = 2 * AXES * i
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL))
    found = FORMULA(*CORNERS(X, first, live, REAL, FORM), *CORNERS(T, first, live, REAL, FORM), *p[:PARAMS])
    value = found[0]
    w = weight.to(REAL)
    if FACTOR is not None:
        factor = tl.load(FACTOR + i, live, other=0).to(REAL)
        value = tl.where(factor == 0.0, 0.0, value * factor)
        w = factor * w
    if VALUE is not None:
        tl.store(VALUE + i, value, live)
    for axis in tl.static_range(AXES):
        if GRAD_X is not None:
            store_gradient(GRAD_X, first + axis, live, w, found[1 + axis], found[1 + AXES + axis], FORM, AXES)
        if GRAD_T is not None:
            store_gradient(GRAD_T, first + axis, live, w, found[1 + 2 * AXES + axis], found[1 + 3 * AXES + axis], FORM, AXES)
    if PARTS is not None:
        add(tl.where(live, value, 0.0), weight, PARTS, TOTAL)


CORNERS = {2: corners_2, 3: corners_3}


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
    axes = x.shape[-1] // 2
    n = x.numel() // (2 * axes)
    if n == 0:
        if total is not None:
            total.zero_()
        return
    number, pointer = (1.0, scale) if isinstance(scale, Tensor) else (scale, None)
    blocks = triton.cdiv(n, BLOCK)
    parts = None if total is None else torch.empty(blocks, dtype=torch.float64, device=x.device)
    with at_home(x):
        boxwise[(blocks,)](
            x.contiguous(), t.contiguous(), readable(call.factor), pointer, incoming, value, grad_x, grad_t, parts, total,
            n, number, *call.params, *(0.0,) * (MAX_PARAMS - len(call.params)),
            FORMULA=bound(call.formula), PARAMS=len(call.params), FORM=call.form, CORNERS=CORNERS[axes], AXES=axes, REAL=REAL[real_dtype(x.dtype)],
            BLOCK=BLOCK, **OPTIONS,
        )  # fmt: skip
        if total is not None and blocks > 1:
            add_up[(1,)](parts, pointer, total, blocks, number, BLOCK=FINISH_BLOCK, **OPTIONS)


def run(
    call: Boxes,
    operands: tuple[Tensor, ...],
    *,
    scale: float | Tensor = 1.0,
    incoming: Tensor | None = None,
    each: bool = False,
    wants: tuple[bool, ...] = (),
) -> Results:
    """One pass: the sum of the losses times `scale`, or the loss of `each` pair; and gradients (times `incoming` if given: then no values)."""
    (x, t), (grad_input, grad_target) = operands, wants or (False, False)
    real = real_dtype(x.dtype)
    factor, scale = multiplied(call.factor, scale, incoming)
    call = call._replace(factor=factor)
    value = torch.empty(x.shape[:-1], dtype=real, device=x.device) if each else None
    grad_x = torch.empty(x.shape, dtype=x.dtype, device=x.device) if grad_input else None
    grad_t = torch.empty(t.shape, dtype=t.dtype, device=x.device) if grad_target else None
    total = torch.empty((), dtype=real, device=x.device) if incoming is None and not each else None
    launch(call, x, t, scale, value=value, grad_x=grad_x, grad_t=grad_t, total=total)
    return Results(total, value, (grad_x, grad_t))


def write_again(call: Boxes, operands: tuple[Tensor, ...], scale: float | Tensor, incoming: Tensor, given: Gradients) -> None:
    """Writes the gradients anew, times the incoming one, unless the device finds it to be 1."""
    x, t = operands
    launch(call, x, t, scale, incoming=incoming, grad_x=given[0], grad_t=given[1])


rescaled = partial(gradients.rescaled, run, write_again)
