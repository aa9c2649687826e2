"""The laws for losses of overlap, continued: how tensors are read and written, engines, derivatives, and what is refused. All are in `OVERLAP_LAWS`."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from losskit.engines.dispatch import use_engine
from losskit.testing import overlap
from losskit.testing.overlap import OverlapSubject
from losskit.testing.overlap_laws import OVERLAP_LAWS, law, require_near, require_pass
from losskit.testing.row_walks import _require_message
from losskit.testing.subject import LawBroken, NotOffered, gradient, leaf, refusals, require_same_bits

__all__ = ["OVERLAP_LAWS"]


@law("inputs are never changed")
def inputs_unchanged(s: OverlapSubject) -> None:
    """Values and version counters of every tensor handed in, backward included."""
    x, t = s.batch((2, 6))
    a = leaf(x)
    tensors = {"input": a, "target": t}
    extra: dict[str, Any] = {}
    if s.offers("mask"):
        extra["mask"] = tensors["mask"] = torch.arange(x.shape[2]) % 3 > 0
    before = {k: (v.detach().clone(), v._version) for k, v in tensors.items()}
    gradient(s(a, t, **extra), a)
    gradient(s.each(a, t), a)
    for name, tensor in tensors.items():
        old, version = before[name]
        require_same_bits(tensor, old, f"{name} was changed")
        if tensor._version != version:
            raise LawBroken(f"{name} was written to")


@law("half precision: computed in float32, value in float32, gradient in the input's dtype, sums beyond 65504 right")
def half_precision(s: OverlapSubject) -> None:
    """Against the oracle on the very numbers; a loss scale of 65536; 70,000 items, whose sums float16 cannot hold, against float64."""
    for dtype in (torch.bfloat16, torch.float16):
        half = OverlapSubject(s.function, s.loss, s.settings, dtype, s.engine, soft=s.soft)
        for x, t in (half.batch((2, 7)), *overlap.extreme(half)):
            overlap.require_exact(half, [(x, t)])
            a, b = leaf(x), leaf(x)
            value = s(a, t)
            if value.dtype is not torch.float32:
                raise LawBroken(f"{dtype}: the value is {value.dtype}")
            (grad,) = gradient(value, a, incoming=torch.tensor(65536.0))
            (plain,) = gradient(s(b, t), b)
            if grad.dtype is not dtype:
                raise LawBroken(f"{dtype}: the gradient is {grad.dtype}")
            normal = (plain.abs() > torch.finfo(dtype).tiny) & torch.isfinite(grad)
            require_near(grad[normal].double() / 65536, plain[normal], 2 * torch.finfo(dtype).eps, f"{dtype}, gradient under a loss scale of 65536")
        x, t = half.batch((1, 70000), seed=1)
        x = (x.abs() + 3).to(dtype) if s.logits else (1 - x / 8).to(dtype)
        if s.kind == "number":
            t = torch.ones_like(t) if not s.soft else t
        elif s.logits:
            x[:, 1:] -= 8
        if not s.logits and s.task == "multiclass":
            return
        wide = x.double(), t
        with use_engine("torch"):
            expected = s(*wide)
        require_near(s(x, t), expected, 1e-5, f"{dtype}, value of 70,000 items")


@law("labels of every integer dtype and bool work, and 0/1 numbers of every dtype")
def label_dtypes(s: OverlapSubject) -> None:
    """Without a converted copy."""
    x, t = s.batch((2, 6))
    t = t if s.kind == "label" else t.round()
    if s.task == "multiclass" and s.kind == "number":
        t = one_hot(t.argmax(1), s.classes).movedim(-1, 1).to(t.dtype)
    a = leaf(x)
    expected = s(a, t)
    (grad,) = gradient(expected, a)
    others = (torch.float32, torch.float64, torch.float16, torch.bool) if s.kind == "number" else ()
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, *others):
        b = leaf(x)
        require_pass(s, s(b, t.to(dtype)), b, expected, grad, f"for targets of {dtype}")
    if s.kind == "label" and "weight" not in s.settings:
        a, b = leaf(x[:, :2].softmax(1) if not s.logits else x[:, :2]), leaf(x[:, :2].softmax(1) if not s.logits else x[:, :2])
        expected = s(a, t % 2)
        require_pass(s, s(b, (t % 2).bool()), b, expected, gradient(expected, a)[0], "for bool labels of two classes")


@law("any memory layout gives the same")
def layouts(s: OverlapSubject) -> None:
    """Channels-last, transposed, samples last, strided, expanded, every second class; targets likewise; no items' axes at all."""
    x, t = s.batch((2, 4, 6))
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "contiguous": lambda z: z,
        "channels-last": lambda z: z.contiguous(memory_format=torch.channels_last),
        "transposed": lambda z: z.transpose(2, 3),
        "samples last": lambda z: z.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
        "strided": lambda z: z[::2, :, 1:, ::3],
        "expanded": lambda z: z[:1, :, :, :1].expand(3, -1, 4, 6),
        "flat": lambda z: z.flatten(2),
        "one row per sample": lambda z: z[..., 0, 0],
        "every second class": lambda z: torch.stack((z, torch.full_like(z, math.nan)), 2).flatten(1, 2)[:, ::2] if z.is_floating_point() else z,
    }
    for name, change in changes.items():
        p = change(x)
        q = change(t) if s.kind == "number" else change(t.unsqueeze(1)).select(1, 0)
        plain = leaf(p.contiguous())
        reference = s.each(plain, q.contiguous())
        (grad,) = gradient(reference, plain)
        for u, v in ((p, q), (p, q.contiguous()), (p.contiguous(), q)):
            a = u.detach().requires_grad_()
            require_pass(s, s.each(a, v), a, reference, grad, f"of inputs or targets that are {name}")


@law("the class axis may be anywhere but first (dim)")
def class_axis(s: OverlapSubject) -> None:
    """Every place, counted from either end; with a mask."""
    x, t = s.batch((2, 3, 4))
    mask = torch.arange(12).reshape(3, 4) % 5 > 0
    a = leaf(x)
    masked = {"mask": mask} if s.offers("mask") else {}
    expected = s(a, t, **masked)
    (grad,) = gradient(expected, a)
    for dim in (1, 2, 3, -1, -3):
        b = leaf(x)
        u = t.movedim(1, dim) if s.kind == "number" else t
        shaped = {"mask": mask.unsqueeze(0).movedim(0, dim - 1 if dim > 0 else dim)} if masked and s.task != "multiclass" else masked
        for moved in (b.movedim(1, dim), b.movedim(1, dim).contiguous()):
            require_pass(s, s(moved, u, dim=dim, **shaped), b, expected, grad, f"with dim={dim}")


@law("the same bits from run to run and for any number of threads")
def deterministic(s: OverlapSubject) -> None:
    """On enough items for every thread to have some."""
    x, t = s.batch((2, 150, 201))
    a = leaf(x)

    def run(threads: int) -> tuple[Tensor, ...]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            value = s(a, t)
            return value.detach(), *gradient(value, a)
        finally:
            torch.set_num_threads(before)

    first = run(2)
    for threads in (2, 1, 3):
        for what, got, expected in zip(("value", "gradient"), run(threads), first, strict=True):
            require_same_bits(got, expected, f"{what} with {threads} threads and with 2")


@law("the engines agree")
def engines_agree(s: OverlapSubject) -> None:
    """On CPU tensors: the engine that losskit chooses and plain PyTorch operations, on more items than a block holds, with a mask."""
    if s.function is not s.loss.function:
        raise NotOffered("no engines of losskit")
    for shape in ((3, 7), (2, 41, 101)):
        x, t = s.batch(shape)
        mask = torch.arange(shape[-1]) % 5 > 0
        a, b = leaf(x), leaf(x)
        with use_engine("torch"):
            expected = s(a, t, mask=mask)
        require_pass(s, s(b, t, mask=mask), b, expected, gradient(expected, a)[0], "of the engine that losskit chooses, beside the torch engine")


@law("second derivatives are right (create_graph=True)")
def second_derivative(s: OverlapSubject) -> None:
    """Against finite differences of the gradient, in float64."""
    wide = OverlapSubject(s.function, s.loss, s.settings, torch.float64, s.engine, soft=s.soft)
    x, t = wide.batch((2, 3), seed=5)
    extra = {"average": "none"} if s.per_class else {}
    number = s.kind == "number" and not (s.compound and s.task == "multiclass") and "volume_weight" not in s.loss.settings
    pair = (leaf(x), leaf(0.1 + 0.8 * t)) if number else (leaf(x),)  # beside a target of 0 or 1 there are no targets
    try:
        torch.autograd.gradgradcheck(lambda a, b=t: wide(a, b, **extra), pair, atol=1e-5, rtol=1e-4)
    except RuntimeError as error:  # GradcheckError is one
        raise LawBroken(f"in float64: {str(error).strip().splitlines()[0]}") from None


@law("torch.func: grad, vmap, jvp and hessian; batched gradients")
def transforms(s: OverlapSubject) -> None:
    """Against plain backward."""
    x, t = s.batch((3, 5))
    a = leaf(x)
    each = torch.stack([s(a[i : i + 1], t[i : i + 1]) for i in range(3)])
    (grad,) = torch.autograd.grad(each, a, torch.ones_like(each), retain_graph=True)
    one, own = x[:1].detach(), t[:1]
    tangent = torch.linspace(-1, 1, one.numel(), dtype=s.dtype).reshape(one.shape)
    incoming = torch.tensor([[1.0, -2.0, 0.5], [0.0, 3.0, 1.0]], dtype=each.dtype)
    with refusals():
        require_near(torch.func.vmap(torch.func.grad(s))(x[:, None], t[:, None])[:, 0], grad, s.exactness, "vmap(grad)")
        require_near(torch.func.vmap(s)(x[:, None], t[:, None]), each, s.exactness, "vmap")
        slope = torch.func.jvp(lambda z: s(z, own), (one,), (tangent,))[1].double()
        terms = (grad[0] * tangent[0]).double()
        require_near(torch.stack((slope, terms.abs().sum())), torch.stack((terms.sum(), terms.abs().sum())), 1e-4, "jvp")
        hessian = torch.func.hessian(lambda z: s(z, own))(one).reshape(one.numel(), -1)
        batched = torch.autograd.grad(each, a, incoming, is_grads_batched=True)[0]
    require_near(batched, incoming[:, :, None, None] * grad, s.exactness, "is_grads_batched")
    b = leaf(one)
    (first,) = torch.autograd.grad(s(b, own), b, create_graph=True)
    second = torch.stack([torch.autograd.grad(g, b, retain_graph=True)[0].flatten() for g in first.flatten()])
    require_near(hessian, second, 1e-4, "hessian")


@law("autocast changes nothing")
def autocast(s: OverlapSubject) -> None:
    """Losses are computed in float32 in any case."""
    x, t = s.batch()
    a = leaf(x)
    value = s(a, t)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = s(a, t)
    except RuntimeError as error:
        raise LawBroken(f"under autocast: {str(error).splitlines()[0]}") from None
    require_same_bits(inside, value, "value with and without autocast")
    require_same_bits(gradient(inside, a)[0], gradient(value, a)[0], "gradient with and without autocast")


@law("shapes that do not fit are refused, and the message shows them")
def shapes_agree(s: OverlapSubject) -> None:
    """A target too short, one without its last axis, a mask or weights that fit nothing."""
    x, t = s.batch((2, 4, 5))
    _require_message(lambda: s(x, t[:1]), "a target for 1 of 2 samples", "(1, ")
    _require_message(lambda: s(x, t[..., 0]), "a target without the last axis")
    if s.offers("mask"):
        _require_message(lambda: s(x, t, mask=torch.ones(3, dtype=torch.bool)), "a mask of shape (3,)", "mask")
        _require_message(lambda: s(x, t, mask=torch.ones(5)), "a mask of numbers", "mask")
    if s.offers("weight"):
        _require_message(lambda: s(x, t, weight=[1.0] * (s.classes + 1)), "a weight too many", "weight")
        _require_message(lambda: s(x, t, weight=[math.nan] * s.classes), "weights of NaN", "weight")


@law("targets and probabilities that are none are refused, and the message shows them")
def values_checked(s: OverlapSubject) -> None:
    """Labels that are no class; numbers outside [0, 1]; labels that are not integers; inputs that are."""
    x, t = s.batch((2, 6))
    place = torch.arange(t.numel()).reshape(t.shape) == 5
    if s.kind == "label":
        for wrong in (s.classes, 255, -7):
            _require_message(partial(s, x, torch.where(place, wrong, t)), f"the label {wrong}", str(wrong))
        _require_message(lambda: s(x, t.float()), "labels of float32")
    else:
        for outside in (1.5, -0.25):
            _require_message(partial(s, x, torch.where(place, outside, t)), f"a target of {outside}", str(outside))
    if not s.logits or (s.offers("from_logits") and not s.compound):
        p = torch.sigmoid(x)
        p[1, 0, 2] = 1.75
        _require_message(lambda: s(p, t, from_logits=False), "a probability of 1.75", "1.75")
    _require_message(lambda: s(x.long(), t), "an input of int64", "input")
