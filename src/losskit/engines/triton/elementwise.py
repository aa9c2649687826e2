"""The elementwise pattern on a GPU: one pass reads input and target, sums the loss and writes the gradient.

One program takes one block, in the order of the output's memory. Operands that do not lie in that order are brought into it by PyTorch first.
Every sum is of fixed blocks in a fixed order, in float64: the same bits from run to run, and no overflow short of the result's own. No step waits for the
device: what is only known there (a denominator, the incoming gradient) is passed on as a pointer.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from losskit.engines.call import Call, Results, real_dtype
from losskit.engines.language import bind, reads
from losskit.engines.layout import is_dense, same_layout
from losskit.engines.torch.elementwise import combined
from losskit.engines.triton.math import NAMES

BLOCK = 1024  # elements a program: eight a thread, one 16-byte load of a half-precision operand. Not yet measured on a GPU
MAX_PARAMS = 5
OPTIONS = {"num_warps": 4, "enable_fp_fusion": True}  # fused multiply-adds: fewer roundings, and no formula relies on a product being rounded
REAL = {torch.float32: tl.float32, torch.float64: tl.float64}


@triton.jit
def scaling(scale, SCALE):
    """The number `scale` times, where there is one, the scalar in device memory; in float64, which a division by 2**40 elements does not round away."""
    result = tl.full((), scale, tl.float64)
    if SCALE is not None:
        result *= tl.load(SCALE).to(tl.float64)
    return result


@triton.jit
def scaled(total, scale):
    """A scale of 0 says that nothing is left to count, whatever the sum."""
    return tl.where(scale == 0.0, 0.0, total * scale)


@triton.jit
def add(value, scale, PARTS, TOTAL):
    """This program's part of the sum; all of it if there is no other program."""
    part = tl.sum(value.to(tl.float64))
    if tl.num_programs(0) == 1:
        tl.store(TOTAL, scaled(part, scale))
    else:
        tl.store(PARTS + tl.program_id(0), part)


@triton.jit
def pointwise(  # type: ignore[no-untyped-def]  # typed by Triton
    X, T, FIELD, FACTOR, SCALE, INCOMING, VALUE, GRAD_X, GRAD_T, PARTS, TOTAL,
    n: tl.int64, scale: tl.float64, p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, PARAMS: tl.constexpr, REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One block. Pointers are None for what is not there or not wanted, and what hangs on them is not compiled.

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
    x = tl.zeros((BLOCK,), REAL)
    t = tl.zeros((BLOCK,), REAL)
    if X is not None:
        x = tl.load(X + i, live, other=0).to(REAL)
    if T is not None:
        t = tl.load(T + i, live, other=0).to(REAL)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))
    if FIELD is not None:
        field = tl.load(FIELD + i, live, other=0).to(REAL)
        value, dx, dt = FORMULA(x, t, field, *p[:PARAMS])
    else:
        value, dx, dt = FORMULA(x, t, *p[:PARAMS])
    w = weight.to(REAL)
    if FACTOR is not None:
        factor = tl.load(FACTOR + i, live, other=0).to(REAL)
        value = tl.where(factor == 0.0, 0.0, value * factor)
        w = factor * w
    if VALUE is not None:
        tl.store(VALUE + i, value, live)
    if GRAD_X is not None:
        tl.store(GRAD_X + i, tl.where(w == 0.0, 0.0, dx * w), live)
    if GRAD_T is not None:
        tl.store(GRAD_T + i, tl.where(w == 0.0, 0.0, dt * w), live)
    if PARTS is not None:
        add(tl.where(live, value, 0.0), weight, PARTS, TOTAL)


@triton.jit
def finish(PARTS, SCALE, TOTAL, parts: tl.int64, scale: tl.float64, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Adds the blocks' sums, by one program, in an order that depends on their number only."""
    sums = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, parts, BLOCK):
        i = start + tl.arange(0, BLOCK)
        sums += tl.load(PARTS + i, i < parts, other=0.0)
    tl.store(TOTAL, scaled(tl.sum(sums), scaling(scale, SCALE)))


def at_home(x: Tensor) -> Any:
    """Kernels start on the tensor's own device; the interpreter needs none."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


@cache
def bound(formula: Callable[..., Any]) -> Any:
    """The formula as a Triton function: (value, derivative by input, derivative by target)."""
    return bind(formula, NAMES, triton.jit)


def laid_out(operand: Tensor | None, out: Tensor) -> Tensor | None:
    """The operand with its elements at the offsets they have in `out`: itself where they lie so, else a copy."""
    if operand is None:
        return None
    if operand.shape != out.shape or not same_layout(operand, out):
        operand = torch.empty_like(out, dtype=operand.dtype, device=operand.device).copy_(operand.expand(out.shape))
    return operand.view(torch.uint8) if operand.dtype is torch.bool else operand


def launch(
    call: Call,
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
    """Runs the kernel for the outputs given; each is dense and has the layout of `torch.empty_like(x)`."""
    n = x.numel()
    if n == 0:
        if total is not None:
            total.zero_()
        return
    number, pointer = (1.0, scale) if isinstance(scale, Tensor) else (scale, None)
    out = next((y for y in (value, grad_x, grad_t) if y is not None), None)
    if out is None:
        out = x if is_dense(x) else torch.empty_like(x, device="meta")
    reads_x, reads_t = reads(call.formula)
    real = real_dtype(x.dtype)
    factor = None
    if call.factors:
        factor = call.factors[0] if len(call.factors) == 1 else combined(call.factors, real)
    blocks = triton.cdiv(n, BLOCK)
    parts = None if total is None else torch.empty(blocks, dtype=torch.float64, device=x.device)
    with at_home(x):
        pointwise[(blocks,)](
            laid_out(x, out) if reads_x else None, laid_out(t, out) if reads_t else None, laid_out(call.field, out), laid_out(factor, out),
            pointer, incoming, value, grad_x, grad_t, parts, total,
            n, number, *call.params, *(0.0,) * (MAX_PARAMS - len(call.params)),
            FORMULA=bound(call.formula), PARAMS=len(call.params), REAL=REAL[real], BLOCK=BLOCK, **OPTIONS,
        )  # fmt: skip
        if total is not None and blocks > 1:
            finish[(1,)](parts, pointer, total, blocks, number, BLOCK=BLOCK, **OPTIONS)


def run(
    call: Call,
    x: Tensor,
    t: Tensor,
    *,
    scale: float | Tensor = 1.0,
    incoming: Tensor | None = None,
    each: bool = False,
    grad_input: bool = False,
    grad_target: bool = False,
) -> Results:
    """One pass: the sum of the losses times `scale`, or the loss of `each` element; and gradients (times `incoming` if given: then no values)."""
    real = real_dtype(x.dtype)
    if incoming is not None:
        if any(incoming.stride()):
            call = call._replace(factors=(*call.factors, incoming))
        elif x.numel():  # one number for all, as from a sum or mean taken outside
            number = incoming[(0,) * incoming.dim()]
            scale = number if not isinstance(scale, Tensor) and scale == 1.0 else number * scale
    value = torch.empty_like(x, dtype=real, requires_grad=False) if each else None
    grad_x = torch.empty_like(x, requires_grad=False) if grad_input else None
    grad_t = torch.empty_like(x, dtype=t.dtype, requires_grad=False) if grad_target else None
    total = torch.empty((), dtype=real, device=x.device) if incoming is None and not each else None
    launch(call, x, t, scale, value=value, grad_x=grad_x, grad_t=grad_t, total=total)
    return Results(total, value, grad_x, grad_t)


def rescaled(
    given: tuple[Tensor | None, Tensor | None] | None,
    incoming: Tensor,
    call: Call,
    x: Tensor,
    t: Tensor,
    scale: float | Tensor,
    wants_x: bool,
    wants_t: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of the scaled sum, times the incoming gradient: those `given` (a second backward makes them anew first) if the device finds it to be 1, else
    computed again in their place.

    Nobody waits for the device's answer, and half-precision gradients do not underflow before the product, the very thing loss scaling is there to prevent.
    """
    if given is None:
        results = run(call, x, t, scale=scale, grad_input=wants_x, grad_target=wants_t)
        given = results.grad_input, results.grad_target
    grad_x, grad_t = given
    launch(call, x, t, scale, incoming=incoming, grad_x=grad_x, grad_t=grad_t)
    return given
