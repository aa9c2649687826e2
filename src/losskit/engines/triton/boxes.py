"""The boxes pattern on a GPU: one pass reads both boxes, sums the loss and writes the gradient. Sums, scales and incoming gradients as in `elementwise.py`.

Floor: the bytes of both boxes, eight numbers (turned ten, in space twelve), and of the gradient, half as many, each once. A thread reads whole boxes and takes them apart in
its registers.
"""

from functools import partial

import torch
import triton
import triton.language as tl
from torch import Tensor

from losskit.engines.call import Boxes, Results, real_dtype
from losskit.engines.protocol import Gradients
from losskit.engines.triton import gradients
from losskit.engines.triton.elementwise import AT_ONCE, NUMBERS_ALONE, OPTIONS, REAL, add_part, add_up, at_home, bound, scaling
from losskit.engines.triton.layout import multiplied, readable

BLOCK = 256  # boxes per step of a program: two per thread, for a formula holds some forty numbers. Not yet measured on a GPU
LEFT = tl.constexpr(128)  # the same of what is left over, with a mask
PROGRAMS = 660  # as of elements, but five for each multiprocessor of an H100: no more have room for 96 registers per thread
MAX_PARAMS = 4


@triton.jit
def read(BOXES, at, live):
    """The numbers `at` some places, those that are `live`; without a mask all."""
    return tl.load(BOXES + at) if live is None else tl.load(BOXES + at, live, other=0)


@triton.jit
def low_and_high(low, high, FORM: tl.constexpr):  # type: ignore[no-untyped-def]
    """Both corners along one axis, from what a format has of it."""
    if FORM == "cxcywh":
        low -= 0.5 * high
    if FORM != "xyxy":
        high += low
    return low, high


@triton.jit
def corners_2(BOXES, first, boxes, REAL: tl.constexpr, FORM: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The corners of so many boxes from the `first` on, of all or of `boxes` that there are; read in one piece, 16 bytes at a time."""
    at = 4 * first + tl.arange(0, 4 * BLOCK)
    numbers = read(BOXES, at, None if boxes is None else at < 4 * boxes).to(REAL)
    x, y = tl.split(tl.reshape(numbers, (BLOCK, 2, 2)))
    x0, x1 = tl.split(x)
    y0, y1 = tl.split(y)
    x0, x1 = low_and_high(x0, x1, FORM)
    y0, y1 = low_and_high(y0, y1, FORM)
    return x0, y0, x1, y1


@triton.jit
def corners_3(BOXES, first, boxes, REAL: tl.constexpr, FORM: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """As `corners_2`, in space: three pairs of numbers each, for six are no power of two."""
    i = (first + tl.arange(0, BLOCK))[:, None]
    at = 6 * i + tl.arange(0, 2)[None, :]
    live = None if boxes is None else i < boxes
    x0, y0 = tl.split(read(BOXES, at, live).to(REAL))
    z0, x1 = tl.split(read(BOXES, at + 2, live).to(REAL))
    y1, z1 = tl.split(read(BOXES, at + 4, live).to(REAL))
    x0, x1 = low_and_high(x0, x1, FORM)
    y0, y1 = low_and_high(y0, y1, FORM)
    z0, z1 = low_and_high(z0, z1, FORM)
    return x0, y0, z0, x1, y1, z1


@triton.jit
def numbers_5(BOXES, first, boxes, REAL: tl.constexpr, FORM: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The numbers of turned boxes, one by one, for five are no power of two."""
    i = first + tl.arange(0, BLOCK)
    live = None if boxes is None else i < boxes
    at = 5 * i
    x, y, width = read(BOXES, at, live), read(BOXES, at + 1, live), read(BOXES, at + 2, live)
    return x.to(REAL), y.to(REAL), width.to(REAL), read(BOXES, at + 3, live).to(REAL), read(BOXES, at + 4, live).to(REAL)


@triton.jit
def by_given(low, high, w, FORM: tl.constexpr):  # type: ignore[no-untyped-def]
    """The derivatives by both corners along one axis, times `w`, as those by what was given; 0 where w is, whatever they are."""
    low = tl.where(w == 0.0, 0.0, low * w)
    high = tl.where(w == 0.0, 0.0, high * w)
    if FORM == "xyxy":
        return low, high
    return low + high, high if FORM == "xywh" else 0.5 * (high - low)


@triton.jit
def store_2(GRAD, first, boxes, w, x0, y0, x1, y1, FORM: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """The gradient of boxes, from the derivatives by their corners."""
    at = 4 * first + tl.arange(0, 4 * BLOCK)
    x0, x1 = by_given(x0, x1, w, FORM)
    y0, y1 = by_given(y0, y1, w, FORM)
    numbers = tl.join(tl.join(x0, x1), tl.join(y0, y1))
    tl.store(GRAD + at, tl.reshape(numbers, (4 * BLOCK,)), None if boxes is None else at < 4 * boxes)


@triton.jit
def store_3(GRAD, first, boxes, w, x0, y0, z0, x1, y1, z1, FORM: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """As `store_2`, in space."""
    i = (first + tl.arange(0, BLOCK))[:, None]
    at = GRAD + (6 * i + tl.arange(0, 2)[None, :])
    live = None if boxes is None else i < boxes
    x0, x1 = by_given(x0, x1, w, FORM)
    y0, y1 = by_given(y0, y1, w, FORM)
    z0, z1 = by_given(z0, z1, w, FORM)
    tl.store(at, tl.join(x0, y0), live)
    tl.store(at + 2, tl.join(z0, x1), live)
    tl.store(at + 4, tl.join(y1, z1), live)


@triton.jit
def store_5(GRAD, first, boxes, w, x, y, width, height, angle, FORM: tl.constexpr, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """As `store_2`, of turned boxes."""
    i = first + tl.arange(0, BLOCK)
    live = None if boxes is None else i < boxes
    at = GRAD + 5 * i
    tl.store(at, tl.where(w == 0.0, 0.0, x * w), live)
    tl.store(at + 1, tl.where(w == 0.0, 0.0, y * w), live)
    tl.store(at + 2, tl.where(w == 0.0, 0.0, width * w), live)
    tl.store(at + 3, tl.where(w == 0.0, 0.0, height * w), live)
    tl.store(at + 4, tl.where(w == 0.0, 0.0, angle * w), live)


@triton.jit
def one_block(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, FACTOR, VALUE, GRAD_X, GRAD_T, first, boxes, weight, parameters,
    FORMULA: tl.constexpr, FORM: tl.constexpr, CORNERS: tl.constexpr, STORE: tl.constexpr, REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Writes what is wanted of so many boxes from the `first` on, and returns their losses; those beyond `boxes`, if it is given, are none."""
    found = FORMULA(*CORNERS(X, first, boxes, REAL, FORM, BLOCK), *CORNERS(T, first, boxes, REAL, FORM, BLOCK), *parameters)
    value = found[0]
    i = first + tl.arange(0, BLOCK)
    live = None if boxes is None else i < boxes
    w = tl.zeros((BLOCK,), REAL) + weight.to(REAL)
    if FACTOR is not None:
        factor = read(FACTOR, i, live).to(REAL)
        value = tl.where(factor == 0.0, 0.0, value * factor)
        w *= factor
    if VALUE is not None:
        tl.store(VALUE + i, value, live)
    half: tl.constexpr = (len(found) - 1) // 2
    if GRAD_X is not None:
        STORE(GRAD_X, first, boxes, w, *found[1 : 1 + half], FORM, BLOCK)
    if GRAD_T is not None:
        STORE(GRAD_T, first, boxes, w, *found[1 + half :], FORM, BLOCK)
    return value if live is None else tl.where(live, value, 0.0)


@triton.jit(do_not_specialize=["n"], do_not_specialize_on_alignment=NUMBERS_ALONE)
def boxwise(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, FACTOR, SCALE, INCOMING, VALUE, GRAD_X, GRAD_T, PARTS, TOTAL,
    n: tl.int64, scale: tl.float64, p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64,
    FORMULA: tl.constexpr, PARAMS: tl.constexpr, FORM: tl.constexpr, CORNERS: tl.constexpr, STORE: tl.constexpr, REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Every so-manieth block of boxes, in the plane or in space. Pointers are None for what is not there or not wanted, and what hangs on them is not compiled.

    With INCOMING, the gradients were written before, for an incoming gradient of 1: they are written again if it is anything else.
    """
    weight = scaling(scale, SCALE)
    if INCOMING is not None:
        incoming = tl.load(INCOMING)
        if incoming == 1.0:
            return
        weight *= incoming.to(tl.float64)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL))[:PARAMS]
    program, step = tl.program_id(0), tl.num_programs(0)
    blocks = (n // BLOCK).to(tl.int32)
    sums = tl.zeros((BLOCK,), tl.float64)
    for block in range(program, blocks, step):
        first = tl.cast(block, tl.int64) * BLOCK
        sums += one_block(X, T, FACTOR, VALUE, GRAD_X, GRAD_T, first, None, weight, p, FORMULA, FORM, CORNERS, STORE, REAL, BLOCK).to(tl.float64)
    part = tl.sum(sums)
    if program == blocks % step:  # whose turn it is takes what is left
        for first in range(blocks.to(tl.int64) * BLOCK, n, LEFT):
            part += tl.sum(one_block(X, T, FACTOR, VALUE, GRAD_X, GRAD_T, first, n, weight, p, FORMULA, FORM, CORNERS, STORE, REAL, LEFT).to(tl.float64))
    if PARTS is not None:
        add_part(part, weight, PARTS, TOTAL)


CORNERS, STORE = {4: corners_2, 5: numbers_5, 6: corners_3}, {4: store_2, 5: store_5, 6: store_3}


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
    numbers = x.shape[-1]
    n = x.numel() // numbers
    if n == 0:
        if total is not None:
            total.zero_()
        return
    number, pointer = (1.0, scale) if isinstance(scale, Tensor) else (scale, None)
    programs = min(triton.cdiv(n, BLOCK), PROGRAMS)
    parts = None if total is None else torch.empty(programs, dtype=torch.float64, device=x.device)
    with at_home(x):
        boxwise[(programs,)](
            x.contiguous(), t.contiguous(), readable(call.factor), pointer, incoming, value, grad_x, grad_t, parts, total,
            n, number, *call.params, *(0.0,) * (MAX_PARAMS - len(call.params)),
            FORMULA=bound(call.formula), PARAMS=len(call.params), FORM=call.form, CORNERS=CORNERS[numbers], STORE=STORE[numbers], REAL=REAL[real_dtype(x.dtype)],
            BLOCK=BLOCK, **OPTIONS,
        )  # fmt: skip
        if total is not None and programs > 1:
            add_up[(1,)](parts, pointer, total, programs, number, BLOCK=AT_ONCE, **OPTIONS)


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
