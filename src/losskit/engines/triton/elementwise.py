"""The elementwise pattern on a GPU: one pass reads input and target, sums the loss and writes the gradient.

Programs take blocks in turn, in the order of the output's memory. Operands that do not lie in that order are brought into it by PyTorch first.
Every sum is of fixed blocks in a fixed order, in float64: the same bits from run to run, and no overflow short of the result's own. No step waits for the
device: what is only known there (a denominator, the incoming gradient) is passed on as a pointer.
"""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cache, partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from losskit.engines.call import Call, Results, real_dtype, sum_to
from losskit.engines.language import bind, reads
from losskit.engines.layout import is_dense, same_layout
from losskit.engines.protocol import Gradients
from losskit.engines.torch.elementwise import combined
from losskit.engines.triton import gradients
from losskit.engines.triton.math import NAMES

BLOCK = 1024  # elements per step of a program: eight per thread, one 16-byte load of a half-precision operand. Not yet measured on a GPU
LEFT = tl.constexpr(256)  # the same of what is left over, with a mask
NEXT = tl.constexpr(4)  # neighbours in a thread, whose losses are added up before they meet those of other blocks
PROGRAMS = 1056  # at most so many, on every GPU, so that none decides how sums are made: eight for each multiprocessor of an H100, which have room for 64 registers per thread
AT_ONCE = 2048  # so many of their sums are added in one step: all
MAX_PARAMS = 5
NUMBERS_ALONE = ["SCALE", "INCOMING", "PARTS", "TOTAL"]  # pointers to a number or a few: where these begin matters to nobody, and would double the variants
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
    add_part(tl.sum(value.to(tl.float64)), scale, PARTS, TOTAL)


@triton.jit
def add_part(part, scale, PARTS, TOTAL):
    """The same, once it is added up."""
    if tl.num_programs(0) == 1:
        tl.store(TOTAL, scaled(part, scale))
    else:
        tl.store(PARTS + tl.program_id(0), part)


@triton.jit
def loaded(POINTER, i, live, REAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """The numbers at `i`, those that are `live`; without a mask all are, and lie in whole blocks, which are read 16 bytes at a time."""
    return tl.load(POINTER + i).to(REAL) if live is None else tl.load(POINTER + i, live, other=0).to(REAL)


@triton.jit
def one_block(  # type: ignore[no-untyped-def]  # typed by Triton
    OPERANDS, GRADIENTS, FACTOR, VALUE, i, live, weight, parameters, FORMULA: tl.constexpr, COUNT: tl.constexpr, REAL: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Writes what is wanted of the elements at `i`, and returns their losses."""
    arguments = parameters[:0]
    for k in tl.static_range(COUNT):
        y = tl.zeros((BLOCK,), REAL) if OPERANDS[k] is None else loaded(OPERANDS[k], i, live, REAL)
        arguments = arguments + (y,)  # noqa: RUF005  # what Triton can read
    arguments = arguments + parameters
    found = FORMULA(*arguments)
    value = found[0]
    w = weight.to(REAL)
    if FACTOR is not None:
        factor = loaded(FACTOR, i, live, REAL)
        value = tl.where(factor == 0.0, 0.0, value * factor)
        w = factor * w
    if VALUE is not None:
        tl.store(VALUE + i, value, live)
    for k in tl.static_range(COUNT):
        if GRADIENTS[k] is not None:
            tl.store(GRADIENTS[k] + i, tl.where(w == 0.0, 0.0, found[1 + k] * w), live)
    return value


@triton.jit(do_not_specialize=["n"], do_not_specialize_on_alignment=NUMBERS_ALONE)
def pointwise(  # type: ignore[no-untyped-def]  # typed by Triton
    OPERANDS, GRADIENTS, FACTOR, SCALE, INCOMING, VALUE, PARTS, TOTAL,
    n: tl.int64, scale: tl.float64, p0: tl.float64, p1: tl.float64, p2: tl.float64, p3: tl.float64, p4: tl.float64,
    FORMULA: tl.constexpr, COUNT: tl.constexpr, PARAMS: tl.constexpr, REAL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Every so-manieth block. Pointers are None for what is not there or not wanted, and what hangs on them is not compiled.

    With INCOMING, the gradients were written before, for an incoming gradient of 1: they are written again if it is anything else.
    """
    weight = scaling(scale, SCALE)
    if INCOMING is not None:
        incoming = tl.load(INCOMING)
        if incoming == 1.0:
            return
        weight *= incoming.to(tl.float64)
    p = (tl.full((), p0, REAL), tl.full((), p1, REAL), tl.full((), p2, REAL), tl.full((), p3, REAL), tl.full((), p4, REAL))[:PARAMS]
    first, step = tl.program_id(0), tl.num_programs(0)
    blocks = (n // BLOCK).to(tl.int32)
    sums = tl.zeros((BLOCK // NEXT,), tl.float64)
    for block in range(first, blocks, step):
        i = tl.cast(block, tl.int64) * BLOCK + tl.arange(0, BLOCK)
        value = one_block(OPERANDS, GRADIENTS, FACTOR, VALUE, i, None, weight, p, FORMULA, COUNT, REAL, BLOCK)
        sums += tl.sum(tl.reshape(value.to(tl.float64), (BLOCK // NEXT, NEXT)), 1)
    part = tl.sum(sums)
    if first == blocks % step:  # whose turn it is takes what is left
        for start in range(blocks.to(tl.int64) * BLOCK, n, LEFT):
            i = start + tl.arange(0, LEFT)
            value = one_block(OPERANDS, GRADIENTS, FACTOR, VALUE, i, i < n, weight, p, FORMULA, COUNT, REAL, LEFT)
            part += tl.sum(tl.where(i < n, value, 0.0).to(tl.float64))
    if PARTS is not None:
        add_part(part, weight, PARTS, TOTAL)


@triton.jit(do_not_specialize=["parts"], do_not_specialize_on_alignment=NUMBERS_ALONE)
def add_up(PARTS, SCALE, TOTAL, parts: tl.int64, scale: tl.float64, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    """Adds the programs' sums, by one program, in an order that depends on their number only."""
    sums = tl.zeros((BLOCK,), tl.float64)
    for start in range(0, parts, BLOCK):
        i = start + tl.arange(0, BLOCK)
        sums += tl.load(PARTS + i, i < parts, other=0.0)
    tl.store(TOTAL, scaled(tl.sum(sums), scaling(scale, SCALE)))


@triton.jit
def settle(weight, items, SCALE, ITEMS, REAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """Nothing to divide by is 0, for then nothing is left to count; weights too large to add up are no reason for that: NaN."""
    weight = weight.to(REAL).to(tl.float64)  # whose division is exact
    inverse = (1.0 / tl.where(weight == 0.0, 1.0, weight)).to(REAL)
    tl.store(SCALE, tl.where(weight == 0.0, 0.0, tl.where(inverse == 0.0, float("nan"), inverse)))
    if ITEMS is not None:
        tl.store(ITEMS, items.to(tl.int64))


@triton.jit(do_not_specialize_on_alignment=["DENOMINATOR", "SCALE"])
def invert(DENOMINATOR, SCALE, REAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """Of one number that is there already."""
    settle(tl.load(DENOMINATOR).to(tl.float64), 0, SCALE, None, REAL)


def at_home(x: Tensor) -> Any:
    """Kernels start on the tensor's own device; the interpreter needs none."""
    return torch.cuda.device(x.device) if x.is_cuda else nullcontext()


def scale_of(denominator: Tensor, real: torch.dtype) -> Tensor:
    """1 / a number on the device; 0 of 0."""
    scale = torch.empty((), dtype=real, device=denominator.device)
    with at_home(denominator):
        invert[(1,)](denominator.detach(), scale, REAL=REAL[real], **OPTIONS | {"num_warps": 1})
    return scale


@cache
def bound(formula: Callable[..., Any]) -> Any:
    """The formula as a Triton function: the value and the derivatives."""
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
    operands: tuple[Tensor, ...],
    scale: float | Tensor,
    *,
    incoming: Tensor | None = None,
    value: Tensor | None = None,
    written: tuple[Tensor | None, ...] = (),
    total: Tensor | None = None,
) -> None:
    """Runs the kernel for the outputs given; each is dense and has the layout of `torch.empty_like` of the input."""
    x = operands[0]
    n = x.numel()
    if n == 0:
        if total is not None:
            total.zero_()
        return
    number, pointer = (1.0, scale) if isinstance(scale, Tensor) else (scale, None)
    out = next((y for y in (value, *written) if y is not None), None)
    if out is None:
        out = x if is_dense(x) else torch.empty_like(x, device="meta")
    real = real_dtype(x.dtype)
    factor = None
    if call.factors:
        factor = call.factors[0] if len(call.factors) == 1 else combined(call.factors, real)
    programs = min(triton.cdiv(n, BLOCK), PROGRAMS)
    parts = None if total is None else torch.empty(programs, dtype=torch.float64, device=x.device)
    read = tuple(laid_out(y, out) if seen else None for y, seen in zip(operands, reads(call.formula, len(operands)), strict=True))
    with at_home(x):
        pointwise[(programs,)](
            read, written or (None,) * len(operands), laid_out(factor, out), pointer, incoming, value, parts, total,
            n, number, *call.params, *(0.0,) * (MAX_PARAMS - len(call.params)),
            FORMULA=bound(call.formula), COUNT=len(operands), PARAMS=len(call.params), REAL=REAL[real], BLOCK=BLOCK, **OPTIONS,
        )  # fmt: skip
        if total is not None and programs > 1:
            add_up[(1,)](parts, pointer, total, programs, number, BLOCK=AT_ONCE, **OPTIONS)


def run(
    call: Call,
    operands: tuple[Tensor, ...],
    *,
    scale: float | Tensor = 1.0,
    incoming: Tensor | None = None,
    each: bool = False,
    wants: tuple[bool, ...] = (),
) -> Results:
    """One pass: the sum of the losses times `scale`, or the loss of `each` element; and the gradients that are wanted (times `incoming` if given: then no values)."""
    x = operands[0]
    real = real_dtype(x.dtype)
    if incoming is not None:
        if any(incoming.stride()):
            call = call._replace(factors=(*call.factors, incoming))
        elif x.numel():  # one number for all, as from a sum or mean taken outside
            number = incoming[(0,) * incoming.dim()]
            scale = number if not isinstance(scale, Tensor) and scale == 1.0 else number * scale
    value = torch.empty_like(x, dtype=real, requires_grad=False) if each else None
    written = tuple(
        torch.empty_like(x, dtype=y.dtype if y.shape == x.shape else real, requires_grad=False) if wanted else None
        for y, wanted in zip(operands, wants, strict=bool(wants))
    )
    total = torch.empty((), dtype=real, device=x.device) if incoming is None and not each else None
    launch(call, operands, scale, value=value, written=written, total=total)
    return Results(total, value, tuple(g if g is None or g.shape == y.shape else sum_to(g, y) for g, y in zip(written, operands, strict=bool(wants))))


def write_again(call: Call, operands: tuple[Tensor, ...], scale: float | Tensor, incoming: Tensor, given: Gradients) -> None:
    """Writes the gradients anew, times the incoming one, unless the device finds it to be 1; those that are sums over items, already small, are multiplied."""
    whole = tuple(g if y.shape == operands[0].shape else None for g, y in zip(given, operands, strict=True))
    launch(call, operands, scale, incoming=incoming, written=whole)
    summed = [y if g is not None and w is None else None for y, g, w in zip(operands, given, whole, strict=True)]
    for y, g in zip(summed, given, strict=True):
        if y is None or g is None:
            continue
        if g.dtype in (torch.float32, torch.float64):
            g.mul_(incoming)
        else:  # rounded before the product it may have underflowed
            wants = tuple(other is y for other in summed)
            g.copy_(next(again for again in run(call, operands, scale=incoming * scale, wants=wants).gradients if again is not None))


rescaled = partial(gradients.rescaled, run, write_again)
