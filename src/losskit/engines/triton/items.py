"""Numbers of items in kernels of rows: positions between classes, and operands, with the gradients made of what a kernel writes."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from losskit.engines.call import real_dtype, sum_to
from losskit.engines.language import ROUNDING
from losskit.engines.protocol import Gradients

ROOM = tl.constexpr(ROUNDING)


@triton.jit
def operands_of(OPERANDS, item, live, COUNT: tl.constexpr, REAL: tl.constexpr, ROWS: tl.constexpr):  # type: ignore[no-untyped-def]
    """The numbers of this program's items."""
    one = tl.full((ROWS,), 1.0, REAL)
    numbers = (one,)[:0]
    for k in tl.static_range(COUNT):
        numbers = numbers + (tl.load(OPERANDS[k] + item, live, other=1.0),)  # type: ignore[assignment]  # noqa: RUF005  # what Triton can read
    return numbers


@triton.jit
def temperature_of(numbers):
    """The temperatures, NaN where they are not > 0."""
    return tl.where(numbers[0] > 0.0, numbers[0], float("nan"))


@triton.jit
def gap(e, below):
    """How far scores lie below the largest, times their exponentials."""
    return tl.where(e == 0.0, 0.0, e * below)


@triton.jit
def store_by(BY, item, live, found, w, counts):
    """Derivatives by a number of items."""
    if BY is not None:
        tl.store(BY + item, tl.where(counts, found * w, 0.0), live)


@triton.jit
def placed(POSITIONS, item, live, classes, REAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """The items' positions, put back if outside by rounding, and which of them lie further out."""
    y = tl.load(POSITIONS + item, live, other=0).to(REAL)
    room = tl.full((), classes, REAL) * ROOM
    last = tl.full((), classes, REAL) - 1.0
    wrong = ~((y >= -room) & (y <= last + room))
    y = tl.where(y > last, last, y)
    return tl.where(y > 0.0, y, 0.0), wrong


@triton.jit
def mass_of_position(y, j, REAL: tl.constexpr):  # type: ignore[no-untyped-def]
    """max(0, 1 - |j - y|): the upper class's share is y - (j - 1), so that a small one keeps its digits."""
    place = j.to(REAL)
    below = y[:, None] - (place - 1.0)
    here = 1.0 - (y[:, None] - place)
    least = tl.where(below < here, below, here)
    return tl.where(least > 0.0, least, 0.0)


def read(operands: Sequence[Tensor], shape: tuple[int, ...], real: torch.dtype) -> tuple[Tensor, ...]:
    """Operands as the kernel reads them: one number per item, in their order."""
    return tuple(y.to(real).expand(shape).contiguous() for y in operands)


def room(operands: Sequence[Tensor], shape: tuple[int, ...], real: torch.dtype, wants: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    """Where the kernel writes the derivatives that are wanted."""
    wants = wants[2:] or (False,) * len(operands)
    return tuple(torch.empty(shape, dtype=real, device=y.device) if wanted else None for y, wanted in zip(operands, wants, strict=True))


def summed(found: Sequence[Tensor | None], operands: Sequence[Tensor]) -> tuple[Tensor | None, ...]:
    """The gradients of the operands."""
    return tuple(None if by is None else sum_to(by, y) for by, y in zip(found, operands, strict=True))


def write_again(run: Callable[..., Any], call: Any, operands: tuple[Tensor, ...], scale: float | Tensor, incoming: Tensor, given: Gradients) -> None:
    """Gradients of operands times the incoming one, in their memory: small as they are, they are multiplied; in half precision, they are computed again."""
    half = tuple(k > 1 and g is not None and g.dtype is not real_dtype(g.dtype) for k, g in enumerate(given))
    for g, narrow in zip(given[2:], half[2:], strict=True):
        if g is not None and not narrow:
            g.mul_(incoming)
    if any(half):
        for g, again in zip(given, run(call, operands, scale=incoming * scale, wants=half).gradients, strict=True):
            if g is not None and again is not None:
                g.copy_(again)
