"""Gradients that were computed in the forward pass, when the backward comes."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from losskit.engines.call import Results
from losskit.engines.protocol import Gradients

FULL = (torch.float32, torch.float64)


def zero(*gradients: Tensor | None) -> None:
    """Nothing counts: not the items that are NaN or infinite either, which a product with 0 would leave."""
    for g in gradients:
        if g is not None:
            g.zero_()


def rescaled(
    run: Callable[..., Results],
    given: list[Tensor | None] | None,
    incoming: Tensor,
    call: Any,
    operands: tuple[Tensor, ...],
    scale: float,
    wants: tuple[bool, ...],
) -> Gradients:
    """The gradients of the scaled sum, times the incoming gradient: those `given` if they are still there, else computed again, with the same bits.

    A half-precision gradient is computed again unless the product is exact: rounded before it, it could have underflowed, the very thing loss scaling is there to
    prevent. Those that were given are let go of first.
    """
    factor = incoming.item()
    half = [y.dtype for y, wanted in zip(operands, wants, strict=True) if wanted and y.dtype not in FULL]
    if given is not None and half and not (factor == 0.0 or exact(factor, half)):
        given.clear()
        given = None
    found: Gradients
    if given is None:
        found = run(call, operands, scale=scale * factor if half else scale, wants=wants).gradients
        if half:
            return found
    else:
        found = tuple(given)
    if factor == 0.0:
        zero(*found)
    elif factor != 1.0:
        for g in found:
            if g is not None:
                g.mul_(factor)
    return found


def exact(factor: float, dtypes: list[torch.dtype]) -> bool:
    """Whether rounded numbers may be multiplied: a power of 2 moves a bfloat16 number, which has the range of float32, to one that needs no rounding (unless it is below 1e-38)."""
    return abs(math.frexp(factor)[0]) == 0.5 and 2.0**-32 <= abs(factor) <= 2.0**32 and all(dtype is torch.bfloat16 for dtype in dtypes)
