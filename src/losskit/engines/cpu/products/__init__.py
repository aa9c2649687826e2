"""Scores that are a product, on the CPU: PyTorch's products, and the loops of the other patterns between them. See `engines/chunks.py`.

Processors differ in what they multiply at full speed: float16 none of them, bfloat16 those with instructions for it. What is not is widened to float32.
"""

import sys
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from losskit.engines import chunks, dispatch, private
from losskit.engines.chunks import COLUMNS, Same, Sum, Ways
from losskit.engines.cpu.core import store
from losskit.engines.cpu.core.threads import BODY, parallel_for
from losskit.engines.cpu.products.loops import CONTEXT, SPAN
from losskit.engines.laid import CHUNK


@cache
def multiplied(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which factors of this one are multiplied."""
    return torch.float32 if dtype is torch.float16 or (dtype is torch.bfloat16 and not private.multiplies_bfloat16()) else dtype


@cache
def carry_kernel(dtype: torch.dtype) -> Any:
    """The loop that adds to a sum in two planes."""

    def build() -> store.Code:
        from losskit.engines.cpu.products import compile

        return compile.carry(dtype)

    label = f"carry_{str(dtype)[6:]}"
    return BODY(store.function(label, label.encode(), build))


class Blocks:
    """A bfloat16 gradient, some classes at a time, so that the product of a chunk is never whole beside it. `exact`: added up in float32, see `loops.py`."""

    def __init__(self, weight: Tensor, dtype: torch.dtype, exact: bool) -> None:
        self.total = torch.empty_like(weight, memory_format=torch.contiguous_format)
        self.lower = torch.empty(weight.shape if exact else 0, dtype=torch.int16, device="cpu")
        self.product = torch.empty((min(COLUMNS, weight.shape[0]), weight.shape[1]), dtype=dtype, device="cpu")
        self.exact, self.first = exact, True

    def add(self, by_scores: Tensor, rows: Tensor, last: bool) -> None:
        """As of `Sum`."""
        for begin in range(0, self.total.shape[0], COLUMNS):
            part = slice(begin, begin + COLUMNS)
            upper = self.total[part]
            product = torch.mm(by_scores[:, part].t(), rows, out=self.product[: upper.shape[0]])
            if self.exact:
                n = product.numel()
                context = CONTEXT.pack(upper=upper, lower=self.lower[part], x=product, n=n, span=SPAN, first=self.first, last=last)
                parallel_for(0, -(-n // SPAN), 1, carry_kernel(product.dtype), context)
            elif self.first:
                upper.copy_(product)
            else:
                upper += product
        self.first = False

    def result(self) -> Tensor:
        """As of `Sum`."""
        return self.total.zero_() if self.first else self.total


def sum_of(weight: Tensor, dtype: torch.dtype, exact: bool) -> Sum:
    """How the gradient of a weight is added up."""
    plain = weight.dtype is dtype and (not exact or dtype is not torch.bfloat16)
    return Same(weight, dtype) if plain or weight.dtype is torch.float16 else Blocks(weight, dtype, exact)


def block(dtype: torch.dtype) -> int:
    """MKL packs a weight anew for each product; packed a part at a time it stays in the caches."""
    return 1 << 9 if dtype is not torch.bfloat16 else sys.maxsize


WAYS = Ways(partial(dispatch.pattern, "cpu"), multiplied, sum_of, block, CHUNK, True)
run = partial(chunks.run, WAYS)
rescaled = partial(chunks.rescaled, WAYS)
