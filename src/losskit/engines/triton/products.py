"""Scores that are a product, on a GPU: its library's products, and the kernels of the other patterns between them. See `engines/chunks.py`."""

import sys
from functools import partial

import torch
from torch import Tensor

from losskit.engines import chunks, dispatch
from losskit.engines.chunks import Same, Sum, Ways

CHUNK = (1 << 28, 1 << 30)  # bytes of a chunk of scores, at least and at most: not yet measured on a GPU


class Widened(Same):
    """A sum in float32 of products in half precision."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__(weight, torch.float32)
        self.narrow = weight.dtype

    def add(self, by_scores: Tensor, rows: Tensor, last: bool) -> None:
        """As of `Sum`."""
        product = torch.mm(by_scores.t(), rows)
        if self.first:
            self.total.copy_(product)
        else:
            self.total += product
        self.first = False

    def result(self) -> Tensor:
        """As of `Sum`."""
        return super().result().to(self.narrow)


def multiplied(dtype: torch.dtype) -> torch.dtype:
    """GPUs multiply every dtype."""
    return dtype


def sum_of(weight: Tensor, dtype: torch.dtype, exact: bool) -> Sum:
    """How the gradient of a weight is added up."""
    return Widened(weight) if exact and dtype.itemsize == 2 else Same(weight, dtype)


def block(dtype: torch.dtype) -> int:
    """All of them."""
    return sys.maxsize


WAYS = Ways(partial(dispatch.pattern, "triton"), multiplied, sum_of, block, CHUNK, False)
run = partial(chunks.run, WAYS)
rescaled = partial(chunks.rescaled, WAYS)
