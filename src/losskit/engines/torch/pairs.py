"""The boxes pattern on all pairs in PyTorch operations: that of aligned boxes on views that repeat them, differentiable to any order, batched by `vmap`, traceable."""

import torch
from torch import Tensor

from losskit.engines.call import Boxes, real_dtype
from losskit.engines.fused import of_sums
from losskit.engines.private import compiling
from losskit.engines.torch import boxes as plain
from losskit.engines.torch.elementwise import bound

PAIRS = 1 << 20  # at a time in `best`: each takes some thirty numbers on the way


def losses(call: Boxes, a: Tensor, b: Tensor) -> Tensor:
    """What the formula gives for each pair, (..., N, M)."""
    real = real_dtype(a.dtype)
    a, b = plain.corners(a.to(real), call.form), plain.corners(b.to(real), call.form)
    shape = (*a.shape[:-1], b.shape[-2], 4)
    return plain.losses(call._replace(form="xyxy"), a.unsqueeze(-2).expand(shape), b.unsqueeze(-3).expand(shape))


def gradients(call: Boxes, operands: tuple[Tensor, ...], incoming: Tensor, wants: tuple[bool, ...]) -> tuple[Tensor | None, ...]:
    """The gradients of `losses` times `incoming`, differentiable again in all three."""
    return of_sums(lambda a, b: losses(call, a, b), operands, incoming, wants)


def best(call: Boxes, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The largest value of each row of the matrix and its column, (..., N), block by block; not differentiable."""
    real = real_dtype(a.dtype)
    a, b = plain.corners(a.detach().to(real), call.form), plain.corners(b.detach().to(real), call.form)
    theirs = b.unsqueeze(-3).unbind(-1)
    formula = bound(call.formula)
    per_row = max(1, b.shape[:-1].numel())
    blocks = (a,) if compiling() else a.split(max(1, PAIRS // per_row), -2)
    found = [formula(*block.unsqueeze(-2).unbind(-1), *theirs, *call.params)[0].max(-1) for block in blocks]
    return torch.cat([f.values for f in found], -1), torch.cat([f.indices for f in found], -1)
