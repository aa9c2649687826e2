"""The ranked pattern in PyTorch operations: the reference for its meaning, differentiable, batched by `vmap`, and traceable."""

import math

import torch
from torch import Tensor

from losskit.engines.call import Ranked, real_dtype
from losskit.engines.torch.names import unit
from losskit.engines.torch.overlap import exact_dtype


def itself(e: Tensor) -> Tensor:
    """1, or NaN for a NaN, whose gradient would end at an absolute value."""
    return torch.where(e == e, 1.0, math.nan)


def errors(call: Ranked, x: Tensor, hit: Tensor) -> Tensor:
    """How far each number is from what it should be, none below 0. A function of the input also in second derivatives, where that of |e| is 0, not missing."""
    if call.link == "softmax":
        largest = torch.finfo(x.dtype).max
        p = torch.softmax(torch.where(x > largest, largest, x), 1)  # (the gradient of a NaN ends at a clamp)
        missed = torch.where(hit, 0.0, p).sum(1, keepdim=True)  # not 1 - p, which rounds where p is near 1
        return torch.where(hit, missed, p)
    if call.link == "identity":
        e = hit.to(x.dtype) - unit(x)
        return e.abs() + torch.where(x == x, 0.0, x) * torch.where(x == x, 0.0, math.nan)
    margin = 1.0 - torch.where(hit, x, -x)
    margin = torch.where(margin < -1.0, -1.0, margin)
    return (0.5 * margin + 0.5 * margin.abs()) * itself(margin)


def to_onnx() -> bool:
    """Whether the call becomes an ONNX graph: its one sort, TopK, keeps the order of equals, but is not found for a sort that asks for that."""
    return torch.compiler.is_exporting() and torch.onnx.is_in_onnx_export()


def increments(found: Tensor, hit: Tensor) -> Tensor:
    """What each item adds to the Jaccard loss of the items with larger errors, (S, C, M).

    With u items of the class or before it, and i of the class still to come: 1 / u for one of the class, i / (u (u - 1)) for another. Not differences of
    successive losses, which in float32 are rounded away where there are many items.
    """
    order = found.argsort(dim=2, descending=True, **({} if to_onnx() else {"stable": True}))
    own = hit.gather(2, order)
    seen, total = own.cumsum(2), hit.sum(2, keepdim=True)
    place = torch.arange(1, found.shape[2] + 1, dtype=torch.int64, device=found.device)
    union, left = (total + place - seen).to(found.dtype), (total - seen).to(found.dtype)
    added = torch.where(own, 1.0 / union, left / (union * (union - 1.0).clamp(min=1.0)))
    added = torch.where(total == 0, (place == 1).to(found.dtype), added)
    added = torch.zeros_like(added).scatter(2, order, added)
    return torch.where(found <= 0, 0.0, added)  # NaN keeps its own


def sums(call: Ranked, x: Tensor, t: Tensor) -> Tensor:
    """(N or 1, C, 3): the numbers of `RANKED`."""
    real = real_dtype(x.dtype)
    x = x.movedim(call.dim, 1).flatten(2).to(real) if x.dim() > 2 else x.movedim(call.dim, 1)[..., None].to(real)
    n, classes, inner = x.shape
    factor = call.factor
    if factor is not None:
        factor = factor.reshape(n, 1, inner) if factor.dim() == t.dim() - (call.kind == "number") else factor.movedim(call.dim, 1).reshape(x.shape)
    if call.kind == "label":
        labels = t.reshape(n, 1, inner).long()
        counts = labels != call.ignore
        wrong, hit = (labels < 0) | (labels >= classes), labels == torch.arange(classes, dtype=torch.int64, device=x.device)[:, None]
    else:
        target = t.movedim(call.dim, 1).reshape(x.shape)
        target = target if target.dtype is torch.float64 else target.to(real)  # in float32 a number next to 1 would be 1
        counts = target != float(call.ignore)
        hit = target == 1
        wrong = ~hit & (target != 0)
    if factor is not None:
        counts = counts & factor
    counts = counts.expand(x.shape)
    wrong, hit = wrong & counts, hit & counts
    found = torch.where(counts, errors(call, torch.where(counts, x, 0.0), hit), 0.0)
    if call.joint:
        found, wrong, hit, counts = (y.transpose(0, 1).reshape(1, classes, n * inner) for y in (found, wrong, hit, counts))
    added = increments(found.detach(), hit)
    exact = exact_dtype(x)
    loss = torch.where(added != 0, found * added, 0.0).sum(2, dtype=exact)  # an infinite error after the last item of the class adds nothing
    return torch.stack((torch.where(wrong.any(2), math.nan, loss), hit.sum(2).to(exact), counts.sum(2).to(exact)), 2)
