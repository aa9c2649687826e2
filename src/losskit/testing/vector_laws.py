"""The laws of losses of vectors, beside those that all kinds share: the formula, sizes and directions, what is refused. An item is a pair or a triplet of vectors."""

import math
from functools import partial

import torch

from losskit.testing import inputs, vectors
from losskit.testing.subject import LawBroken, NotOffered, Result, attached, gradient, require_close, require_raises
from losskit.testing.tables import VECTOR_LAWS, law
from losskit.testing.vectors import VectorSubject, is_mined, require_exact


@law("the value and every gradient are those of the textbook formula", VECTOR_LAWS)
def textbook(s: VectorSubject) -> None:
    """On ordinary vectors; a loose tolerance, for `error_budget` is the strict one."""
    require_exact(s, s.batch((2, 8)), tolerance=max(1e-4, s.tolerance) if s.real is torch.float32 else 1e-9)


@law("value and gradients keep their digits whatever the size of the vectors, however near or far", VECTOR_LAWS)
def error_budget(s: VectorSubject) -> None:
    """Within the registry's tolerance: sizes from 1e-30 to 1e30, far from the origin, a few units in the last place apart, nearly of one direction."""
    require_exact(s, vectors.extreme(s))


@law("vectors that are the same have finite losses and gradients, to any order", VECTOR_LAWS)
def same_vectors(s: VectorSubject) -> None:
    """Equal ones, and vectors of zeros: where a norm has no derivative."""
    x, *rest = s.batch((4, 6))
    labels = rest[s.count - 1 :]
    for what, same in (("equal vectors", x[:1, :1].expand_as(x)), ("vectors of zeros", torch.zeros_like(x))):
        batch = s.fresh(*(same.clone() for _ in range(s.count)), *labels)
        leaves = attached(batch)
        value = s.each(*batch)
        grads = torch.autograd.grad(value.sum(), leaves, create_graph=True)
        second = (
            torch.autograd.grad(torch.stack([g.square().sum() + g.sum() for g in grads]).sum(), leaves, allow_unused=True) if grads[0].requires_grad else ()
        )
        for name, numbers in (("value", (value,)), ("gradient", grads), ("second derivative", second)):
            if not all(bool(z.isfinite().all()) for z in numbers if z is not None):
                raise LawBroken(f"{name} of {what} is not finite: {[z.tolist() for z in numbers if z is not None]}")


@law("a NaN stays in its item", VECTOR_LAWS)
def nan_stays(s: VectorSubject) -> None:
    """NaN in gives NaN out, there and nowhere else, in value and gradient."""
    if is_mined(s.loss):
        raise NotOffered("what another item holds counts, too")
    batch = s.batch(s.items)
    whole = s.fresh(*batch)
    each = s.each(*whole)
    grads = gradient(each, *attached(whole))
    for k in range(s.count):
        for value in (math.nan, math.inf):
            broken = list(batch)
            broken[k] = batch[k].clone()
            broken[k][2, 3, 1] = value
            bad = torch.zeros(s.items, dtype=torch.bool)
            bad[2, 3] = True
            other = s.fresh(*broken)
            got = s.each(*other)
            name = f"{value} in {s.loss.tensors[k]}"
            require_close(got[~bad], each[~bad], 0.0, f"value with {name}")
            if math.isnan(value) and not bool(got[bad].isnan().all()):
                raise LawBroken(f"value with {name}: {got[bad].tolist()}")
            for g, plain in zip(gradient(got, *attached(other)), grads, strict=True):
                require_close(g[~bad], plain[~bad], 0.0, f"gradient with {name}")


@law("the order of the items does not matter", VECTOR_LAWS)
def order(s: VectorSubject) -> None:
    """Of items by themselves, and of vectors that are searched."""
    batch = s.fresh(*s.batch((3, 8)))
    places = torch.randperm(8, generator=torch.Generator().manual_seed(8))
    each = s.each(*batch)
    expected = Result(each[:, places], [g[:, places] for g in gradient(each, *attached(batch))])
    other = s.fresh(*(z.detach()[:, places] for z in batch))
    got = s.each(*other)
    s.require(Result(got, gradient(got, *attached(other))), expected, "of items in another order")


@law("labels of every dtype work", VECTOR_LAWS)
def labels(s: VectorSubject) -> None:
    """As they come, without a converted copy."""
    if s.loss.target == "none":
        raise NotOffered("no labels")
    *tensors, t = s.batch(s.items)
    expected = s.each(*tensors, t)
    for dtype in (torch.int8, torch.int16, torch.int32, torch.int64, torch.float32):
        require_close(s.each(*tensors, t.to(dtype)), expected, s.tolerance, f"labels of {dtype}")


@law("labels outside the range are refused", VECTOR_LAWS)
def domain_checked(s: VectorSubject) -> None:
    """What lies outside the registry's ranges."""
    if not s.loss.ranges:
        raise NotOffered("every label is in range")
    for span, _ in s.loss.ranges.values():
        for value in inputs.BESIDE[span]:
            *tensors, t = s.batch((7,))
            require_raises(partial(s, *tensors, t.to(s.dtype).index_fill(0, torch.tensor(3), value)), f"a label of {value}")
