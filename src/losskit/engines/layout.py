"""How tensors lie in memory, for engines that walk it straight through."""

import torch
from torch import Tensor


def same_layout(a: Tensor, b: Tensor) -> bool:
    """Whether equal indices lie at equal offsets."""
    return a.stride() == b.stride() or all(n == 1 or i == j for n, i, j in zip(a.shape, a.stride(), b.stride(), strict=True))


def is_dense(x: Tensor) -> bool:
    """Whether the elements fill one stretch of memory, in whatever order."""
    return x.is_contiguous() or torch.empty_like(x, device="meta").stride() == x.stride()
