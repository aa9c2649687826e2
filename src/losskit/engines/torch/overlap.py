"""The overlap pattern in PyTorch operations, differentiable to any order, in forward and reverse mode, batched by `vmap`, and traceable."""

import math

import torch
from torch import Tensor

from losskit.engines.call import Call, Overlap, Rows, real_dtype
from losskit.engines.torch import elementwise, rows
from losskit.engines.torch.names import unit


def exact_dtype(x: Tensor) -> torch.dtype:
    """What sums are made in: float64 where the device has it."""
    return torch.float32 if x.device.type == "mps" else torch.float64


def probabilities(call: Overlap, x: Tensor) -> Tensor:
    """Of inputs with the class axis second."""
    if call.link == "identity":
        return unit(x)
    if call.link == "sigmoid":
        return torch.sigmoid(x)
    big = torch.finfo(x.dtype).max
    return torch.softmax(torch.where(x > big, big, x), 1)  # not clamp, which cuts off the gradient of a NaN


def sums(call: Overlap, x: Tensor, t: Tensor) -> Tensor:
    """(N, C, 7): the sums of `SUM_NAMES`."""
    real = real_dtype(x.dtype)
    x = x.movedim(call.dim, 1).flatten(2).to(real) if x.dim() > 2 else x.movedim(call.dim, 1)[..., None].to(real)
    n, classes, items = x.shape
    factor = call.factor
    if factor is not None:
        factor = factor.reshape(n, 1, items) if factor.dim() == t.dim() - (call.kind == "number") else factor.movedim(call.dim, 1).reshape(x.shape)
    extra = torch.zeros_like(x)
    wrong = torch.zeros((), dtype=torch.bool, device=x.device)
    if call.kind == "label":
        labels = t.reshape(n, 1, items).long()
        counts = labels != call.ignore if factor is None else (labels != call.ignore) & factor
        wrong = (counts & ((labels < 0) | (labels >= classes))).any(2)
        hit = (labels == torch.arange(classes, dtype=torch.int64, device=x.device)[:, None]) & counts
        target = hit.to(real)
        if call.formula is not None:
            own = Rows(call.formula, call.params, ignore=call.ignore, factor=counts[:, 0])
            extra = torch.where(hit, rows.losses(own, x, labels[:, 0])[:, None], 0.0)
    else:
        target = t.movedim(call.dim, 1).reshape(x.shape)
        counts = torch.ones_like(target, dtype=torch.bool) if factor is None else factor.expand(x.shape)
        if call.link != "softmax":
            numbers = target if target.is_floating_point() else target.long()  # in its own dtype -100 would be 156 for uint8
            counts = counts & (numbers != call.ignore)
        target = unit(torch.where(counts, target.to(real), 0.0))
        if call.formula is not None:
            extra = elementwise.losses(Call(call.formula, call.params, (counts,)), x, target)
    p = torch.where(counts, probabilities(call, torch.where(counts, x, 0.0)), 0.0)
    nothing = torch.zeros_like(p)
    parts = (p * target, p, target, p * p if call.squared else nothing, target * target if call.squared else nothing, counts.expand(x.shape).to(real), extra)
    found = torch.stack([part.sum(2, dtype=exact_dtype(x)) for part in parts], 2)
    return torch.where(wrong[..., None], math.nan, found)
