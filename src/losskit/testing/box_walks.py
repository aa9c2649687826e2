"""The laws for losses of boxes, continued: reductions, masks and weights, how tensors are read and written, engines, derivatives. All are in `BOX_LAWS`."""

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from losskit.engines.dispatch import use_engine
from losskit.testing.box_laws import BOX_LAWS, Outcome, law, outcome, require_outcome, require_slopes
from losskit.testing.boxes import BoxSubject
from losskit.testing.subject import LawBroken, NotOffered, gradient, leaf, refusals, require_close, require_raises, require_same_bits

__all__ = ["BOX_LAWS"]


@law('"none", "sum" and "mean" agree')
def reductions_agree(s: BoxSubject) -> None:
    """The sum is the sum of the pairs, the mean that over their number, and so are the gradients."""
    x, t = s.batch((8, 5))
    a, b = leaf(x), leaf(t)
    each = s.each(a, b)
    grads = gradient(each, a, b)
    for reduction, denominator in (("sum", 1), ("mean", 40)):
        value = s(a, b, reduction=reduction)
        if value.shape != ():
            raise LawBroken(f'reduction="{reduction}" has shape {tuple(value.shape)}')
        require_close(value, each.double().sum() / denominator, s.tolerance, f'value of "{reduction}"')
        expected = [g.double() / denominator for g in grads]
        require_slopes(gradient(value, a, b), expected, max(s.tolerance, torch.finfo(s.dtype).eps), f'of "{reduction}"')


@law("any incoming gradient is multiplied in")
def incoming_gradient(s: BoxSubject) -> None:
    """Not uniform for "none", and 0 for some; other than 1 for "mean"; and a second backward gives the same."""
    x, t = s.batch((40,), seed=1)
    a, b = leaf(x), leaf(t)
    each = s.each(a, b)
    plain = torch.autograd.grad(each, (a, b), torch.ones_like(each), retain_graph=True)
    incoming = torch.linspace(-2, 3, 40).to(each.dtype)
    incoming[7:9] = 0
    allowed = max(s.tolerance, 2 * torch.finfo(s.dtype).eps)
    for _ in range(2):
        got = torch.autograd.grad(each, (a, b), incoming, retain_graph=True)
        require_slopes(got, [g.double() * incoming[:, None].double() for g in plain], allowed, "for a non-uniform incoming one")
    if not s.offers("reduction"):
        return
    value = s(a, b, reduction="mean")
    for factor in (0.5, -3.0, 1.0, 1.0):
        got = torch.autograd.grad(value, (a, b), torch.tensor(factor, dtype=value.dtype), retain_graph=True)
        require_slopes(got, [g.double() * (factor / 40) for g in plain], allowed, f'of "mean" for an incoming {factor}')


def spoil(x: Tensor, keep: Tensor) -> Tensor:
    """Garbage where nothing counts."""
    junk = torch.tensor([math.nan, math.inf, -math.inf, 1e38, -7.0]).repeat(x.numel())[: x.numel()].reshape(x.shape).to(x.dtype)
    return torch.where(keep[..., None], x, junk)


@law("masking a pair equals deleting it, whatever lies under the mask")
def mask_deletes(s: BoxSubject) -> None:
    """Boxes and weights under the mask are NaN, infinite or nonsense; also beside weights."""
    x, t = s.batch((5, 7), seed=2)
    draw = torch.Generator().manual_seed(1)
    weight = torch.rand(5, 7, generator=draw) + 0.1
    whole, row = torch.rand(5, 7, generator=draw) < 0.6, torch.rand(7, generator=draw) < 0.6
    for mask, weighted in ((whole, False), (row, False), (whole, True)):
        if weighted and not s.offers("sample_weight"):
            continue
        keep = mask.expand(5, 7)
        extra: dict[str, Any] = {"sample_weight": torch.where(keep, weight, math.nan)} if weighted else {}
        extra_kept = {"sample_weight": weight[keep]} if weighted else {}
        for reduction in ("mean", "sum", "none"):
            a, b, p, q = leaf(spoil(x, keep)), leaf(spoil(t, keep)), leaf(x[keep]), leaf(t[keep])
            got, expected = s(a, b, mask=mask, reduction=reduction, **extra), s(p, q, reduction=reduction, **extra_kept)
            grads = gradient(got, a, b)
            if reduction == "none":
                require_close(got[~keep], torch.zeros(int((~keep).sum())), 0.0, 'loss of masked pairs with "none"')
                got = got[keep]
            what = f'with reduction="{reduction}" and a mask of shape {tuple(mask.shape)}' + (" beside weights" if weighted else "")
            require_outcome(s, Outcome(got, *(g[keep] for g in grads)), Outcome(expected, *gradient(expected, p, q)), what)
            for g in grads:
                require_close(g[~keep], torch.zeros_like(g[~keep]), 0.0, f"gradient of masked pairs {what}")


@law("the weighted mean is sum(w l) / sum(w), and a pair of weight 0 is absent")
def weighted_mean(s: BoxSubject) -> None:
    """Weights of the shape of the pairs, a row's, a column's; 0 hides garbage."""
    if not s.offers("sample_weight"):
        raise NotOffered("no argument sample_weight")
    x, t = s.batch((5, 7), seed=3)
    a, b = leaf(x), leaf(t)
    each = s.each(a, b)
    plain = gradient(each, a, b)
    draw = torch.Generator().manual_seed(3)
    for shape in ((5, 7), (7,), (5, 1)):
        weight = torch.rand(shape, generator=draw) + 0.1
        if shape == (5, 7):
            weight[1, :] = 0
        full = weight.expand(5, 7).double()
        for reduction, denominator in (("mean", full.sum()), ("sum", 1.0), ("none", 1.0)):
            p, q = leaf(spoil(x, full != 0)), leaf(spoil(t, full != 0))
            got = s(p, q, sample_weight=weight, reduction=reduction)
            expected = full * each.double() / denominator
            what = f'of "{reduction}" with weights of shape {shape}'
            require_close(got, expected if reduction == "none" else expected.sum(), s.tolerance, f"value {what}")
            scaled = [g.double() * (full / denominator)[..., None] for g in plain]
            require_slopes(gradient(got, p, q), scaled, max(s.tolerance, 2 * torch.finfo(s.dtype).eps), what)
    for value in (math.nan, math.inf):
        require_raises(partial(s, x, t, sample_weight=torch.tensor([1.0] * 6 + [value])), f"a weight of {value}")


@law("a big batch equals accumulated small ones (normalizer)")
def accumulation(s: BoxSubject) -> None:
    """With a number and with a 0-d tensor; the gradients add up as well."""
    x, t = s.batch((12,), seed=4)
    a, b = leaf(x), leaf(t)
    whole = s(a, b, reduction="mean")
    expected = Outcome(whole, *gradient(whole, a, b))
    for normalizer in (12, 12.0, torch.tensor(12), torch.tensor(12.0)):
        p, q = leaf(x), leaf(t)
        parts = torch.stack([s(i, j, normalizer=normalizer, reduction="mean") for i, j in zip(p.split(5), q.split(5), strict=True)])
        require_outcome(s, Outcome(parts.sum(), *gradient(parts.sum(), p, q)), expected, f"accumulated with normalizer={normalizer!r}")


@law("nothing left to count gives 0, attached to the graph, with zero gradients")
def nothing_left(s: BoxSubject) -> None:
    """No boxes at all; then everything masked (over NaN); then weights that are all 0; a normalizer of 0."""
    x, t = s.batch((4, 3))
    bad = torch.full_like(x, math.nan)
    cases: list[tuple[str, Tensor, Tensor, dict[str, Any]]] = [("no boxes", x[:0], t[:0], {}), ("no boxes in a row", x[:, :0], t[:, :0], {})]
    if s.offers("mask"):
        cases.append(("everything masked", bad, bad, {"mask": torch.zeros(4, 3, dtype=torch.bool)}))
    if s.offers("sample_weight"):
        cases.append(("weights all 0", bad, t, {"sample_weight": torch.zeros(3)}))
    if s.offers("normalizer"):
        cases.append(("a normalizer of 0", bad, t, {"normalizer": 0}))
    for what, p, q, extra in cases:
        for reduction in ("mean", "sum", "none") if s.offers("reduction") else (None,):
            if reduction != "mean" and "normalizer" in extra:
                continue
            a, b = leaf(p), leaf(q)
            value = s(a, b, **extra, **({} if reduction is None else {"reduction": reduction}))
            if value.shape != (p.shape[:-1] if reduction == "none" else ()) or bool((value != 0).any()):
                raise LawBroken(f'{what}, reduction="{reduction}": {value.tolist()}, expected 0')
            for grad, z in zip(gradient(value, a, b), (p, q), strict=True):
                require_close(grad, torch.zeros_like(z), 0.0, f'gradient of {what}, reduction="{reduction}"')


@law("inputs are never changed")
def inputs_unchanged(s: BoxSubject) -> None:
    """Values and version counters of every tensor handed in, backward included; boxes written as centre and size, too."""
    x, t = s.batch((5, 7))
    handed: dict[str, Tensor] = {}
    if s.offers("mask"):
        handed["mask"] = torch.arange(35).reshape(5, 7) % 3 > 0
    if s.offers("sample_weight"):
        handed["sample_weight"] = torch.linspace(0, 1, 7)
    tensors = {"input": leaf(x), "target": leaf(t), **handed}
    before = {k: (v.detach().clone(), v._version) for k, v in tensors.items()}
    extra: dict[str, Any] = {"box_format": "cxcywh"} if s.offers("box_format") else {}
    gradient(s(tensors["input"], tensors["target"], **handed, **extra), tensors["input"], tensors["target"])
    for name, tensor in tensors.items():
        old, version = before[name]
        require_same_bits(tensor, old, f"{name} was changed")
        if tensor._version != version:
            raise LawBroken(f"{name} was written to")


@law("half precision: computed in float32, value in float32, gradients in the dtypes of the boxes")
def half_precision(s: BoxSubject) -> None:
    """Under a loss scale of 65536, too; boxes too small for a product of their sides in that dtype; one side in float32."""
    for dtype in (torch.bfloat16, torch.float16):
        x, t = s.batch((40,), seed=5, dtype=dtype)
        x[:20], t[:20] = x[:20] / 512, t[:20] / 512
        each, expected = s.each(x, t), s.each(x.float(), t.float())
        if each.dtype is not torch.float32:
            raise LawBroken(f"{dtype}: the value is {each.dtype}")
        require_close(each, expected, s.tolerance, f"{dtype}, value")
        a, b, p, q = leaf(x), leaf(t), leaf(x.float()), leaf(t.float())
        value, reference = s.total(a, b), s.total(p, q)
        scale = torch.full_like(reference, 65536.0)
        for got, wanted in zip(gradient(value, a, b, incoming=scale), gradient(reference, p, q, incoming=scale), strict=True):
            if got.dtype is not dtype:
                raise LawBroken(f"{dtype}: the gradient is {got.dtype}")
            fits = wanted.abs() < torch.finfo(dtype).max
            require_close(got[fits], wanted[fits].to(dtype), torch.finfo(dtype).eps, f"{dtype}, gradient under a loss scale of 65536")
    mixed = outcome(s, x, t.float())
    if mixed.by_input.dtype is not dtype or mixed.by_target.dtype is not torch.float32:
        raise LawBroken(f"boxes of {dtype} and of float32: gradients of {mixed.by_input.dtype} and {mixed.by_target.dtype}")
    require_close(mixed.value, s.each(x.float(), t.float()), s.tolerance, f"value of boxes of {dtype} and of float32")


@law("any memory layout and any number of axes give the same")
def layouts(s: BoxSubject) -> None:
    """Coordinates apart in memory, every other box, part of a longer row, expanded, transposed; one box alone, boxes along three axes."""
    x, t = s.batch((6, 4), seed=6)
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "with their coordinates apart in memory": lambda z: z.permute(2, 0, 1).contiguous().permute(1, 2, 0),
        "transposed": lambda z: z.transpose(0, 1),
        "every other one": lambda z: z[::2, 1:],
        "that are part of longer rows": lambda z: torch.cat((z, z[..., :1]), -1)[..., :4],
        "expanded": lambda z: z[:1, 1:2].expand(5, 3, 4),
        "along three axes": lambda z: z.reshape(2, 3, 4, 4),
        "alone": lambda z: z[2, 3],
    }
    for name, change in changes.items():
        p, q = change(x), change(t)
        expected = outcome(s, p.reshape(-1, 4).contiguous(), q.reshape(-1, 4).contiguous())
        for u, v in ((p, q), (p, q.contiguous()), (p.contiguous(), q)):
            a, b = u.detach().requires_grad_(), v.detach().requires_grad_()
            value = s.each(a, b)
            if value.shape != p.shape[:-1]:
                raise LawBroken(f"boxes {name}: shape {tuple(value.shape)} for boxes of shape {tuple(p.shape)}")
            found = Outcome(value.reshape(-1), *(g.reshape(-1, 4) for g in gradient(value, a, b)))
            require_outcome(s, found, expected, f"of boxes {name}")


@law("the same bits from run to run and for any number of threads")
def deterministic(s: BoxSubject) -> None:
    """On enough boxes for every thread to have some."""
    x, t = s.batch((50_000,), seed=7)
    a, b = leaf(x), leaf(t)

    def run(threads: int) -> tuple[Tensor, ...]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            value = s(a, b, reduction="mean") if s.offers("reduction") else s(a, b)
            return value.detach(), *gradient(value, a, b)
        finally:
            torch.set_num_threads(before)

    first = run(2)
    for threads in (2, 1, 3):
        for what, got, expected in zip(("value", "gradient", "gradient to the target"), run(threads), first, strict=True):
            require_same_bits(got, expected, f"{what} with {threads} threads and with 2")


@law("the engines agree")
def engines_agree(s: BoxSubject) -> None:
    """On CPU tensors: the engine that losskit chooses and plain PyTorch operations, on more boxes than a block holds, and on few."""
    if s.function is not s.loss.function:
        raise NotOffered("no engines of losskit")
    for shape in ((3,), (11, 91)):
        x, t = s.batch(shape, seed=8)
        with use_engine("torch"):
            expected = outcome(s, x, t)
        require_outcome(s, outcome(s, x, t), expected, f"of {shape} boxes by the engine that losskit chooses, beside the torch engine")


@law("second derivatives are right (create_graph=True)")
def second_derivative(s: BoxSubject) -> None:
    """All of a pair's 64, and those by the incoming gradient, against differences of the gradient, in float64."""
    wide = replace(s, dtype=torch.float64)
    x, t = wide.batch((6,), seed=9, dtype=torch.float64)
    a, b = leaf(x), leaf(t)
    incoming = leaf(torch.linspace(-1, 2, 6, dtype=torch.float64))
    value = wide.each(a, b)
    try:
        slopes = torch.cat(torch.autograd.grad(value, (a, b), incoming, create_graph=True), -1)
        rows = [torch.autograd.grad(slopes[:, i].sum(), (a, b, incoming), retain_graph=True) for i in range(8)]
    except RuntimeError as error:
        raise LawBroken(f"in float64: {str(error).strip().splitlines()[0]}") from None
    found = torch.stack([torch.cat(row[:2], -1) for row in rows], 1)  # (pair, of, by)
    outer = torch.stack([row[2] for row in rows], 1)

    def moved(i: int, step: float) -> Tensor:
        p, q = leaf(x), leaf(t)
        with torch.no_grad():
            (p if i < 4 else q)[:, i % 4] += step
        return torch.cat(gradient(wide.each(p, q), p, q, incoming=incoming.detach()), -1)

    step = 1e-5
    expected = torch.stack([(moved(i, step) - moved(i, -step)) / (2 * step) for i in range(8)], 2)
    plain = torch.cat(gradient(wide.each(a, b), a, b), -1)
    for what, got, wanted in (("second derivative", found, expected), ("derivative by the incoming gradient", outer, plain)):
        off = ~((got - wanted).abs() <= 1e-5 + 1e-4 * wanted.abs())
        if bool(off.any()):
            i = tuple(off.nonzero()[0].tolist())
            raise LawBroken(f"{what} in float64: {got[i].item()!r}, expected {wanted[i].item()!r} at (pair, of, by) {i}")


@law("torch.func: grad, vmap, jvp and hessian; batched gradients")
def transforms(s: BoxSubject) -> None:
    """Against plain backward; in float32 if the dtype is narrower."""
    s = replace(s, dtype=s.real)
    x, t = s.batch((6,), seed=10)
    expected = outcome(s, x, t)
    direction = torch.linspace(-1, 1, 24, dtype=s.dtype).reshape(6, 4)

    def one(p: Tensor, q: Tensor) -> Tensor:
        return s.each(p[None], q[None])[0]

    a, b = leaf(x), leaf(t)
    with refusals():
        require_close(torch.func.vmap(one)(x, t), expected.value, s.tolerance, "vmap")
        require_close(torch.func.vmap(one, (0, None))(x, t[0]), s.each(x, t[:1].expand_as(x).contiguous()), s.tolerance, "vmap over one side")
        require_slopes(torch.func.vmap(torch.func.grad(one, (0, 1)))(x, t), expected[1:], s.tolerance, "of vmap(grad)")
        slope = torch.func.jvp(lambda p, q: s.each(p, q), (x, t), (direction, -direction))[1]
        terms = expected.by_input * direction - expected.by_target * direction
        size = terms.abs().sum(-1)
        require_close(slope + size, terms.sum(-1) + size, 1e-5, "jvp")
        hessian = torch.func.hessian(one)(x[1], t[1])
        each = s.each(a, b)
        many = torch.eye(6, dtype=each.dtype)[:3] * 2
        batched = torch.autograd.grad(each, (a, b), many, is_grads_batched=True)
    require_slopes(batched, [many[..., None] * g for g in expected[1:]], s.tolerance, "of a batch of incoming ones")
    p = leaf(x[1])
    (first,) = torch.autograd.grad(one(p, t[1]), p, create_graph=True)
    second = torch.stack([torch.autograd.grad(g, p, retain_graph=True)[0] for g in first])
    require_slopes([hessian], [second], 1e-4, "of the gradient (hessian)")


@law("autocast changes nothing")
def autocast(s: BoxSubject) -> None:
    """Losses are computed in float32 in any case."""
    x, t = s.batch()
    plain = outcome(s, x, t)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = outcome(s, x, t)
    except RuntimeError as error:
        raise LawBroken(f"under autocast: {str(error).splitlines()[0]}") from None
    for what, got, expected in zip(("value", "gradient", "gradient to the target"), inside, plain, strict=True):
        require_same_bits(got, expected, f"{what} with and without autocast")


@law("shapes that do not fit are refused")
def shapes_agree(s: BoxSubject) -> None:
    """One target for all boxes, broadcast in silence, is a bug upstream; so are boxes of three numbers, and a mask of coordinates."""
    x, t = s.batch((5,))
    require_raises(lambda: s(x, t[:1]), "a target of shape (1, 4) for an input of (5, 4)")
    require_raises(lambda: s(x[:, None], t), "a target of shape (5, 4) for an input of (5, 1, 4)")
    require_raises(lambda: s(x[:, :3], t[:, :3]), "boxes of three numbers")
    if s.offers("mask"):
        require_raises(lambda: s(x, t, mask=torch.ones(5, 4, dtype=torch.bool)), "a mask of shape (5, 4) for boxes of (5, 4)")
        require_raises(lambda: s(x, t, mask=torch.ones(3, dtype=torch.bool)), "a mask of shape (3,) for boxes of (5, 4)")
