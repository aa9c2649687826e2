"""Adding up what the tasks of a pass found, in order: the same bits for any number of threads."""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from losskit.engines.cpu.core import store
from losskit.engines.cpu.core.context import ADD_UP
from losskit.engines.cpu.core.threads import BODY

SCALARS = {dtype: torch.empty((), dtype=dtype, device="cpu") for dtype in (torch.float32, torch.float64)}  # empty_like of these costs a third of torch.empty


@cache
def kernel(dtype: torch.dtype) -> Any:
    """The loop that adds."""

    def build() -> store.Code:
        from losskit.engines.cpu.core import compiler

        return compiler.add_up(dtype)

    label = f"add_up_{str(dtype)[6:]}"
    return BODY(store.function(label, label.encode(), build))


def add_up(parts: Tensor, scale: float, out: Tensor) -> None:
    """Writes `scale` times the sum of `parts`, one number of float64 per task, to `out`."""
    kernel(out.dtype)(0, parts.numel(), ADD_UP.pack(parts=parts, out=out, scale=scale))
