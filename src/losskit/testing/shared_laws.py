"""The laws that do not depend on what an item is: each is stated once, over any subject, and entered into the table of each kind of loss that it speaks of."""

import math
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from losskit.engines.dispatch import use_engine
from losskit.testing.subject import (
    LawBroken,
    NotOffered,
    Pair,
    Result,
    Subject,
    attached,
    gradient,
    leaf,
    refusals,
    require_close,
    require_message,
    require_same_bits,
    result,
)
from losskit.testing.tables import BOX_LAWS, LAWS, OVERLAP_LAWS, ROW_LAWS, VECTOR_LAWS, WINDOW_LAWS, law

ITEMS = (
    LAWS,
    ROW_LAWS,
    BOX_LAWS,
    VECTOR_LAWS,
    WINDOW_LAWS,
)  # losses with a value of each item: of overlap there is none, and what they say of masks and reductions is another claim
EVERY = (*ITEMS, OVERLAP_LAWS)


@law('"none", "sum" and "mean" agree', *ITEMS)
def reductions_agree(s: Subject) -> None:
    """The sum is that of the items, the mean divides it by their number (by the class weights of their labels: torch's rule), and so are the gradients."""
    pair = s.fresh(*s.batch(s.items))
    each = s.each(*pair)
    if each.shape != s.items:
        raise LawBroken(f'reduction="none" has shape {tuple(each.shape)} for an input of {tuple(pair[0].shape)}')
    own = result(each, pair).gradients
    for reduction, denominator in (("sum", 1.0), ("mean", s.denominator(pair[-1]))):
        value = s(*pair, reduction=reduction)
        if value.shape != ():
            raise LawBroken(f'reduction="{reduction}" has shape {tuple(value.shape)}')
        expected = Result(each.double().sum() / denominator, [g.double() / denominator for g in own])
        s.require(result(value, pair), expected, f'of "{reduction}"')


def masks(s: Subject) -> Iterator[Tensor]:
    """Of the items' shape, of a row's, of a column's."""
    first, last = s.items[0], s.items[-1]
    yield torch.rand(s.items, generator=torch.Generator().manual_seed(1)) < 0.6
    yield torch.arange(last) % 3 != 1
    yield torch.arange(first)[:, None] % 3 != 1


@law("masking an item equals deleting it, whatever lies under the mask", *ITEMS)
def mask_deletes(s: Subject) -> None:
    """Inputs and targets under the mask are NaN, infinite or out of domain, labels no class at all."""
    pair = s.batch(s.items)
    for mask in masks(s):
        keep = mask.expand(s.items)
        s.require_deleted(pair, s.spoil(pair, keep), keep, {"mask": s.mask(mask)}, f"a mask of shape {tuple(mask.shape)}")


@law("weights under the mask do not matter either, and a mask works beside weights", *ITEMS)
def mask_beside_weights(s: Subject) -> None:
    """NaN weights under the mask."""
    pair = s.batch(s.items)
    keep = next(masks(s))
    weight = torch.rand(s.items, generator=torch.Generator().manual_seed(2)) + 0.1
    extra = {"mask": s.mask(keep), "sample_weight": torch.where(keep, weight, math.nan)}
    s.require_deleted(pair, s.spoil(pair, keep), keep, extra, "a mask over NaN weights", {"sample_weight": s.chosen(weight, keep)})


@law("the weighted mean is sum(w l) / sum(w), class weights multiplied in, and an item of weight 0 is absent", *ITEMS)
def weighted_mean(s: Subject) -> None:
    """Weights of the items' shape, a row's, a column's, one for all; 0 hides garbage."""
    batch = s.batch(s.items)
    pair = s.fresh(*batch)
    each = s.each(*pair)
    draw = torch.Generator().manual_seed(3)
    for shape in (s.items, s.items[1:], (s.items[0], 1), ()):
        weight = torch.rand(shape, generator=draw) + 0.1
        if shape == s.items:
            weight[1:2] = 0
        full = weight.double().expand(s.items)
        for reduction, denominator in (("mean", s.masses(batch[-1], full).sum()), ("sum", 1.0), ("none", 1.0)):
            other = s.fresh(*s.spoil(batch, full != 0))
            got = s(*other, sample_weight=weight, reduction=reduction)
            share = full / denominator
            expected = share * each.detach().double()
            own = gradient(each, *attached(pair), incoming=share.to(each.dtype), keep=True)
            wanted = Result(expected if reduction == "none" else expected.sum(), own)
            s.require(result(got, other), wanted, f'of "{reduction}" with weights of shape {shape}')


@law("weights that are not finite are refused", *ITEMS)
def weights_finite(s: Subject) -> None:
    """A NaN or infinite weight is a bug upstream."""
    pair = s.batch(s.items)
    if not s.offers("sample_weight"):
        raise NotOffered("no argument sample_weight")
    for value in (math.nan, math.inf):
        weight = torch.ones(s.items[-1]).index_fill(0, torch.tensor(2), value)
        require_message(partial(s, *pair, sample_weight=weight), f"a weight of {value}", "sample_weight")


@law("a big batch equals accumulated small ones (normalizer)", *EVERY)
def accumulation(s: Subject) -> None:
    """With a number and with a 0-d tensor; the gradients add up as well."""
    batch = s.batch(s.long)
    count = s.denominator(batch[-1])
    pair = s.fresh(*batch)
    expected = result(s.mean(*pair), pair)
    whole = (int(count), torch.tensor(int(count))) if count.is_integer() else ()
    for normalizer in (*whole, count, torch.tensor(count), torch.tensor(count, dtype=torch.float64)):
        other = s.fresh(*batch)
        parts = zip(*(z.split(-(-len(z) // 3)) for z in other), strict=True)
        total = torch.stack([s.mean(*part, normalizer=normalizer) for part in parts]).double().sum()
        s.require(result(total, other), expected, f"accumulated with normalizer={normalizer!r}")


@law("nothing left to count gives 0, attached to the graph, with zero gradients", *EVERY)
def nothing_left(s: Subject) -> None:
    """An empty batch; everything masked, ignored, of weight 0 or under a normalizer of 0, over NaN; with a gradient to weights that require one, too."""
    for what, batch, extra in s.nothing():
        for how in s.ways():
            if "normalizer" in extra and how.get("reduction") != "mean":
                continue
            pair = s.fresh(*batch)
            value = s(*pair, **(how | extra))
            shape = s.shape_of(batch[0]) if how.get("reduction") == "none" else ()
            if bool((value != 0).any()) or ("reduction" in how and value.shape != shape):
                raise LawBroken(f"{what}, {how}: {value.tolist()}, expected 0")
            for g in result(value, (*pair, *(z for z in extra.values() if isinstance(z, Tensor)))).gradients:
                require_close(g, torch.zeros_like(g), 0.0, f"gradient of {what}, {how}")


@law("any incoming gradient is multiplied in", *ITEMS)
def incoming_gradient(s: Subject) -> None:
    """Not uniform for "none", and 0 for some; other than 1 for "mean"; and a second backward gives the same."""
    pair = s.fresh(*s.batch(s.items))
    leaves = attached(pair)
    each = s.each(*pair)
    plain = [g.double() for g in gradient(each, *leaves, keep=True)]
    incoming = torch.randn(s.items, generator=torch.Generator().manual_seed(4)).to(each.dtype)
    incoming[1:2, :2] = 0
    expected = s.superposed(each, leaves, incoming)
    for _ in range(2):
        got = gradient(each, *leaves, incoming=incoming, keep=True)
        s.require_gradients(got, expected, "for a non-uniform incoming one")
    if not s.offers("reduction"):
        return
    value, count = s(*pair, reduction="mean"), s.denominator(pair[-1])
    for factor in (0.5, -3.0, 1.0, 1.0, 0.0):
        got = gradient(value, *leaves, incoming=torch.tensor(factor, dtype=value.dtype), keep=True)
        s.require_gradients(got, [g * (factor / count) for g in plain], f'of "mean" for an incoming {factor}')


@law("inputs are never changed", *EVERY)
def inputs_unchanged(s: Subject) -> None:
    """Values and version counters of every tensor handed in, backward included."""
    pair = s.fresh(*s.batch(s.items))
    keep = torch.arange(s.items[-1]) % 3 > 0
    handed = {"mask": s.mask(keep.expand(s.items)).clone(), "sample_weight": torch.linspace(0, 1, s.items[-1])}
    extra: dict[str, Any] = {k: v for k, v in handed.items() if s.offers(k)}
    tensors = {**dict(zip(("input", "target") if len(pair) == 2 else s.loss.tensors, pair, strict=True)), **extra}
    before = {k: (v.detach().clone(), v._version) for k, v in tensors.items()}
    if s.offers("box_format"):  # to be converted
        extra["box_format"] = "cxcywh"
    result(s(*pair, **extra), pair)
    if s.offers("reduction"):
        result(s.each(*pair, **extra), pair)
    for name, tensor in tensors.items():
        old, version = before[name]
        require_same_bits(tensor, old, f"{name} was changed")
        if tensor._version != version:
            raise LawBroken(f"{name} was written to")


@law("half precision: computed in float32, value in float32, gradients in the dtypes of the inputs", LAWS, BOX_LAWS, VECTOR_LAWS, WINDOW_LAWS)
def half_precision(s: Subject) -> None:
    """And a loss scale of 65536 keeps tiny gradients: they do not underflow on the way."""
    for dtype in (torch.bfloat16, torch.float16):
        half = s.batch(s.items, seed=5, dtype=dtype)
        for reduction in ("none", "mean") if s.offers("reduction") else (None,):
            how: dict[str, Any] = {} if reduction is None else {"reduction": reduction}
            pair, wide = s.fresh(*half), s.fresh(*(z.float() if z.is_floating_point() else z for z in half))
            value, expected = (s(*z, **how) if how else s.each(*z) for z in (pair, wide))
            if value.dtype is not torch.float32:
                raise LawBroken(f"{dtype}: the value is {value.dtype}")
            require_close(value, expected, s.tolerance, f"{dtype}, value {how}")
            scale = torch.full_like(expected, 65536.0)
            for got, wanted in zip(result(value, pair, scale).gradients, result(expected, wide, scale).gradients, strict=True):
                if got.dtype is not dtype:
                    raise LawBroken(f"{dtype}: the gradient is {got.dtype}")
                fits = wanted.abs() < torch.finfo(dtype).max
                require_close(got[fits], wanted[fits].to(dtype), torch.finfo(dtype).eps, f"{dtype}, gradient {how} under a loss scale of 65536")


@law("any memory layout and any number of axes give the same", *EVERY)
def layouts(s: Subject) -> None:
    """Transposed, strided, expanded, channels-last, part of longer memory; one item alone: as the same items in a list in plain memory."""
    (x, *rest), changes = s.layouts()
    for name, change in changes.items():
        p, others = change(x), [s.relaid(change, z) for z in rest]
        near = [z.contiguous() for z in others]
        plain = s.fresh(p.contiguous(), *near)
        each = s.each(*s.flat(*plain))
        expected = result(each, plain)
        for laid in ((p, *others), (p, *near), (p.contiguous(), *others)):
            pair = s.fresh(*laid)
            value = s.each(*pair)
            found = result(value, pair)
            s.require(found._replace(value=value.reshape(each.shape)), expected, f"of inputs or targets that are {name}")
            if s.offers("reduction"):
                s.require(result(s(*pair, reduction="sum"), pair), expected._replace(value=each.double().sum()), f'of "sum", of what is {name}')
                if value.shape != s.shape_of(p):
                    raise LawBroken(f"what is {name}: shape {tuple(value.shape)} for an input of shape {tuple(p.shape)}")


@law("the same bits from run to run and for any number of threads", *EVERY)
def deterministic(s: Subject) -> None:
    """On enough items for every thread to have some. PyTorch's matrix products add up in parts on some processors, a part per thread: up to rounding, then."""
    for shape in s.many:
        pair = s.fresh(*s.batch(shape, seed=7))

        def run(threads: int, pair: Pair = pair) -> tuple[Tensor, ...]:
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            try:
                value = s.mean(*pair)
                return value.detach(), *result(value, pair).gradients
            finally:
                torch.set_num_threads(before)

        first = run(2)
        for threads in (2, 1, 3):
            for what, got, expected in zip(("value", "gradient", "gradient to the target"), run(threads), first, strict=False):
                words = f"{what} with {threads} threads and with 2"
                if threads == 2 or not s.multiplies:
                    require_same_bits(got, expected, words)
                elif what == "value":
                    require_close(got, expected, s.tolerance, words)
                else:
                    s.require_gradients((got,), (expected,), words)


@law("the engines agree", *EVERY)
def engines_agree(s: Subject) -> None:
    """On CPU tensors: the engine that losskit chooses and plain PyTorch operations, with a mask and weights, on few items and on more than a block holds."""
    if s.function is not s.loss.function:
        raise NotOffered("no engines of losskit")
    for shape in s.blocks:
        batch = s.batch(shape)
        handed = {"mask": s.mask((torch.arange(shape[-1]) % 5 > 0).expand(shape)), "sample_weight": torch.linspace(0, 2, shape[-1])}
        extra = {k: v for k, v in handed.items() if s.offers(k)}
        one, other = s.fresh(*batch), s.fresh(*batch)
        with use_engine("torch"):
            expected = result(s(*one, **extra), one)
        s.require(result(s(*other, **extra), other), expected, "of the engine that losskit chooses, beside the torch engine")


@law("second derivatives are right (create_graph=True)", *EVERY)
def second_derivative(s: Subject) -> None:
    """Against finite differences of the gradient, in float64; those by the incoming gradient, too. The gradient itself is the same with a graph of its own."""
    s = s.with_dtype(torch.float64)
    batch, both = s.smooth()
    varied = [k for k, z in enumerate(batch) if not k or (both and z.is_floating_point())]

    def each(*leaves: Tensor) -> Tensor:
        return s.each(*(leaves[varied.index(k)] if k in varied else z for k, z in enumerate(batch)))

    leaves = tuple(leaf(batch[k]) for k in varied)
    value = each(*leaves)
    plain, watched = (
        torch.autograd.grad(value, leaves, torch.ones_like(value), retain_graph=True, create_graph=graph, materialize_grads=True) for graph in (False, True)
    )
    s.require_gradients([g.detach() for g in watched], plain, "with create_graph=True")
    try:
        torch.autograd.gradgradcheck(each, leaves, atol=1e-5, rtol=1e-4)
    except RuntimeError as error:  # GradcheckError is one
        raise LawBroken(f"in float64: {str(error).strip().splitlines()[0]}") from None


@law("torch.func: grad, vmap, jvp and hessian; batched gradients", *EVERY)
def transforms(s: Subject) -> None:
    """Against plain backward; in float32 if the dtype is narrower, whose gradients are rounded before they could be compared."""
    s = s.with_dtype(s.real)
    x, *rest = s.batch(s.slices)
    a = leaf(x)
    each = torch.stack([s.one(*slices) for slices in zip(a, *rest, strict=True)])
    (grad,) = gradient(each, a, keep=True)
    row, own = x[0], [z[0] for z in rest]
    tangent = torch.linspace(-1, 1, row.numel(), dtype=s.dtype).reshape(row.shape)
    incoming = torch.eye(len(x), dtype=each.dtype)[:3] * 2 - 0.5

    def total(*tensors: Tensor) -> Tensor:
        return s.one(*tensors).sum()

    with refusals():
        s.require_value(torch.func.vmap(s.one)(x, *rest), each, "under vmap")
        beside = torch.stack([s.one(p, *own) for p in x])
        s.require_value(torch.func.vmap(s.one, (0, *(None for _ in own)))(x, *own), beside, "under vmap over one side")
        s.require_gradients([torch.func.vmap(torch.func.grad(total))(x, *rest)], [grad], "by vmap(grad)")
        slope = torch.func.jvp(lambda z: total(z, *own), (row,), (tangent,))[1]
        terms = (grad[0] * tangent).double()
        if not abs(slope.double() - terms.sum()) <= 1e-5 * terms.abs().sum():  # the sum may be a small difference
            raise LawBroken(f"jvp: {slope.item()}, expected {terms.sum().item()}")
        hessian = torch.func.hessian(lambda z: total(z, *own))(row).reshape(row.numel(), -1)
        weights = incoming.reshape(3, len(x), *[1] * (each.dim() - 1)).expand(3, *each.shape)
        batched = torch.autograd.grad(each, a, weights, is_grads_batched=True)[0]
    s.require_gradients([batched], [incoming.reshape(3, len(x), *[1] * (x.dim() - 1)) * grad], "of a batch of incoming ones")
    b = leaf(row)
    (first,) = torch.autograd.grad(total(b, *own), b, create_graph=True)
    second = [torch.autograd.grad(g, b, retain_graph=True)[0].flatten() if g.requires_grad else torch.zeros(row.numel()) for g in first.flatten()]
    wanted = torch.stack(second)
    off = ~((hessian - wanted).abs() <= 1e-5 * wanted.abs().max() + 1e-4 * wanted.abs() + torch.finfo(s.dtype).tiny)
    if bool(off.any()):
        raise LawBroken(f"hessian {hessian[off][0].item()!r}, by two backwards {wanted[off][0].item()!r} at {tuple(off.nonzero()[0].tolist())}")


@law("autocast changes nothing", *EVERY)
def autocast(s: Subject) -> None:
    """Losses are computed in float32 in any case."""
    for engine in (nullcontext(), use_engine("torch")):
        pair = s.fresh(*s.batch())
        with engine:
            value = s(*pair)
            try:
                with torch.autocast("cpu", dtype=torch.bfloat16):
                    inside = s(*pair)
            except RuntimeError as error:
                raise LawBroken(f"under autocast: {str(error).splitlines()[0]}") from None
            require_same_bits(inside, value, "value with and without autocast")
            for got, expected in zip(result(inside, pair).gradients, result(value, pair).gradients, strict=True):
                require_same_bits(got, expected, "gradient with and without autocast")


@law("shapes that do not fit are refused, and the message shows them", *EVERY)
def shapes_agree(s: Subject) -> None:
    """A target or mask that is too short, or broadcasts: (N, 1) against (N,), in silence, trains on N x N pairs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns; a warning is no refusal
        for what, tensors, extra, words in s.misfits():
            require_message(partial(s, *tensors, **extra), what, *words)
