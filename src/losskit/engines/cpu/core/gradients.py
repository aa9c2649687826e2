"""Gradients that were computed in the forward pass, when the backward comes."""

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
    given: Gradients | None,
    incoming: Tensor,
    call: Any,
    operands: tuple[Tensor, ...],
    scale: float,
    wants: tuple[bool, ...],
) -> Gradients:
    """The gradients of the scaled sum, times the incoming gradient: those `given` if they are still there, else computed again, with the same bits.

    A half-precision gradient is computed again in any case: rounded before the product it could have underflowed, the very thing loss scaling is there to prevent.
    """
    factor = incoming.item()
    full = all([not wanted or y.dtype in FULL for y, wanted in zip(operands, wants, strict=True)])
    if given is None or not (full or factor == 0.0):
        given = run(call, operands, scale=scale if full else scale * factor, wants=wants).gradients
        if not full:
            return given
    if factor == 0.0:
        zero(*given)
    elif factor != 1.0:
        for g in given:
            if g is not None:
                g.mul_(factor)
    return given
