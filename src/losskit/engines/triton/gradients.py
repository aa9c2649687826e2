"""Gradients that were computed in the forward pass, when the backward comes."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from losskit.engines.call import Results
from losskit.engines.protocol import Gradients


def rescaled(
    run: Callable[..., Results],
    write_again: Callable[..., None],
    given: list[Tensor | None] | None,
    incoming: Tensor,
    call: Any,
    operands: tuple[Tensor, ...],
    scale: float | Tensor,
    wants: tuple[bool, ...],
) -> Gradients:
    """The gradients of the scaled sum, times the incoming gradient: those `given` (a second backward makes them anew first) if the device finds it to be 1, else
    computed again in their place.

    The host does not wait for the device, and half-precision gradients do not underflow before the product, the very thing loss scaling is there to prevent.
    """
    if given is None:
        given = list(run(call, operands, scale=scale, wants=wants).gradients)
    found = tuple(given)
    write_again(call, operands, scale, incoming, found)
    return found
