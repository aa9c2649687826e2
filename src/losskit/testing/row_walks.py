"""The laws for losses of rows, continued: how tensors are read and written, engines, derivatives, by-products, and what is refused. All are in `ROW_LAWS`."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from losskit.engines.dispatch import use_engine
from losskit.testing.row_laws import ROW_LAWS, law, require_pass, spoil
from losskit.testing.row_oracle import exact_rows, listed, logs_in_target
from losskit.testing.rows import RowSubject
from losskit.testing.subject import LawBroken, NotOffered, gradient, leaf, refusals, require_close, require_raises, require_same_bits

__all__ = ["ROW_LAWS"]


@law("inputs are never changed")
def inputs_unchanged(s: RowSubject) -> None:
    """Values and version counters of every tensor handed in, backward included."""
    x, t = s.batch((4, 3))
    a = leaf(x)
    handed: dict[str, Tensor] = {}
    if s.offers("mask"):
        handed["mask"] = torch.arange(12).reshape(4, 3) % 3 > 0
    if s.offers("sample_weight"):
        handed["sample_weight"] = torch.linspace(0, 1, 3)
    tensors = {"input": a, "target": t, **handed}
    before = {k: (v.detach().clone(), v._version) for k, v in tensors.items()}
    gradient(s(a, t, **handed), a)
    if s.offers("reduction"):
        gradient(s.each(a, t, **handed), a)
    for name, tensor in tensors.items():
        old, version = before[name]
        require_same_bits(tensor, old, f"{name} was changed")
        if tensor._version != version:
            raise LawBroken(f"{name} was written to")


@law("half precision: computed in float32, value in float32, gradient in the input's dtype")
def half_precision(s: RowSubject) -> None:
    """Against the oracle on the very numbers; a loss scale of 65536 keeps gradients that would underflow without it."""
    for dtype in (torch.bfloat16, torch.float16):
        x, t = s.batch(dtype=dtype)
        if s.kind == "label" and s.form == "logit":
            x[0, t[0]] += 14  # a millionth is left to the others
        exact = exact_rows(s.loss, s.settings, x, None if s.kind == "none" else t)
        values = torch.tensor([float(e.value) for e in exact])
        slopes = torch.tensor([[float(g) for g in e.gradient] for e in exact], dtype=torch.float64)
        count = float(s.masses(t).sum())
        for reduction, expected, scaled in (("none", values, slopes), ("mean", values.double().sum().float() / count, slopes / count)):
            a = leaf(x)
            value = s(a, t, reduction=reduction)
            if value.dtype is not torch.float32:
                raise LawBroken(f"{dtype}: the value is {value.dtype}")
            require_close(value, expected, 1e-5, f'{dtype}, value of "{reduction}"')
            (grad,) = gradient(value, a, incoming=torch.full_like(value, 65536.0))
            if grad.dtype is not dtype:
                raise LawBroken(f"{dtype}: the gradient is {grad.dtype}")
            fits = (scaled * 65536).abs() < torch.finfo(dtype).max
            require_close(grad[fits], (scaled * 65536)[fits].to(dtype), torch.finfo(dtype).eps, f"{dtype}, gradient under a loss scale of 65536")


@law("labels of every integer dtype and bool work")
def label_dtypes(s: RowSubject) -> None:
    """Without a converted copy."""
    s.needs("label")
    x, t = s.batch((4, 3))
    a = leaf(x)
    expected = s.each(a, t)
    (grad,) = gradient(expected, a)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32):
        b = leaf(x)
        require_pass(s, s.each(b, t.to(dtype)), b, expected, grad, f"for labels of {dtype}")
    if listed(s.settings) is None:
        pair, a = t % 2, leaf(x[:, :2].softmax(1) if s.form == "probability" else x[:, :2].log_softmax(1))
        b = leaf(a)
        expected = s.each(a, pair)
        require_pass(s, s.each(b, pair.bool()), b, expected, gradient(expected, a)[0], "for bool labels of two classes")


@law("any memory layout gives the same")
def layouts(s: RowSubject) -> None:
    """Channels-last, transposed, strided, expanded, a slice of the classes, no batch; labels likewise."""
    x, t = s.batch((4, 3, 6))
    changes: dict[str, Callable[[Tensor], Tensor]] = {
        "contiguous": lambda z: z,
        "channels-last": lambda z: z.contiguous(memory_format=torch.channels_last),
        "transposed": lambda z: z.transpose(2, 3),
        "samples last": lambda z: z.permute(1, 2, 3, 0).contiguous().permute(3, 0, 1, 2),
        "strided": lambda z: z[::2, :, 1:, ::3],
        "expanded": lambda z: z[:1, :, :, :1].expand(4, -1, 3, 6),
        "one item": lambda z: z[1:2, :, 2:, 3:4],
        "flat rows": lambda z: z.movedim(1, -1).reshape(-1, z.shape[1]),
        "every second class": lambda z: torch.stack((z, torch.full_like(z, math.nan)), 2).flatten(1, 2)[:, ::2] if z.is_floating_point() else z,
    }
    for name, change in changes.items():
        p = change(x)
        q = change(t) if s.kind == "distribution" else change(t.unsqueeze(1)).select(1, 0)
        plain = leaf(p.contiguous())
        reference = s.each(plain, q.contiguous())
        (grad,) = gradient(reference, plain)
        for u, v in ((p, q), (p, q.contiguous()), (p.contiguous(), q)):
            a = u.detach().requires_grad_()
            require_pass(s, s.each(a, v), a, reference, grad, f"of scores or labels that are {name}")
            if s.offers("reduction"):
                total = s(a, v, reduction="sum")
                require_pass(s, total, a, reference.double().sum(), grad, f'of "sum" for scores or labels that are {name}')
    a, row = leaf(x[1, :, 2, 3]), leaf(x[1:2, :, 2, 3])
    u = t[1, :, 2, 3] if s.kind == "distribution" else t[1, 2, 3]
    expected = s.each(row, u[None])
    require_pass(s, s(a, u, **({"reduction": "none"} if s.offers("reduction") else {})), a, expected[0], gradient(expected, row)[0][0], "without a batch")


@law("the class axis may be anywhere (dim)")
def class_axis(s: RowSubject) -> None:
    """Every place, counted from either end; "mean" too."""
    x, t = s.batch((2, 3, 4))
    a = leaf(x)
    expected = s.each(a, t)
    (grad,) = gradient(expected, a)
    for dim in (0, 1, 2, 3, -1, -4):
        b = leaf(x)
        u = t.movedim(1, dim) if s.kind == "distribution" else t
        for moved in (b.movedim(1, dim), b.movedim(1, dim).contiguous()):
            require_pass(s, s.each(moved, u, dim=dim), b, expected, grad, f"with dim={dim}")
            require_close(s(moved, u, dim=dim), s(x, t), s.tolerance, f"mean with dim={dim}")


@law("the same bits from run to run and for any number of threads")
def deterministic(s: RowSubject) -> None:
    """With enough items for every thread to get some; as rows and as images."""
    for shape in ((30001,), (2, 150, 101)):
        x, t = s.batch(shape)
        a = leaf(x)

        def run(threads: int, a: Tensor = a, t: Tensor = t) -> tuple[Tensor, ...]:
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            try:
                value = s(a, t, reduction="mean") if s.offers("reduction") else s(a, t)
                return value.detach(), *gradient(value, a)
            finally:
                torch.set_num_threads(before)

        first = run(2)
        for threads in (2, 1, 3):
            for what, got, expected in zip(("value", "gradient"), run(threads), first, strict=True):
                require_same_bits(got, expected, f"{what} with {threads} threads and with 2")


@law("the engines agree")
def engines_agree(s: RowSubject) -> None:
    """On CPU tensors: the fused engine and plain PyTorch operations, with a mask and weights."""
    if s.function is not s.loss.function:
        raise NotOffered("no engines of losskit")
    x, t = s.batch((4, 3))
    extra = {"mask": torch.arange(12).reshape(4, 3) % 5 > 0, "sample_weight": torch.linspace(0, 2, 3)}

    a, b = leaf(x), leaf(x)
    with use_engine("torch"):
        expected = s(a, t, **extra)
    require_pass(s, s(b, t, **extra), b, expected, gradient(expected, a)[0], "of the engine that losskit chooses, beside the torch engine")


@law("second derivatives are right (create_graph=True)")
def second_derivative(s: RowSubject) -> None:
    """Against finite differences of the gradient, in float64."""
    x, t = s.with_dtype(torch.float64).batch((3,), seed=5)
    try:
        if s.kind == "distribution":
            torch.autograd.gradgradcheck(lambda a, b: s.each(a, b), (leaf(x), leaf(t)), atol=1e-5, rtol=1e-4)
        else:
            torch.autograd.gradgradcheck(lambda a: s.each(a, t), (leaf(x),), atol=1e-5, rtol=1e-4)
    except RuntimeError as error:  # GradcheckError is one
        raise LawBroken(f"in float64: {str(error).strip().splitlines()[0]}") from None


@law("torch.func: grad, vmap, jvp and hessian")
def transforms(s: RowSubject) -> None:
    """Against plain backward."""
    x, t = s.batch((4,))
    a = leaf(x)
    each = s.each(a, t)
    (grad,) = gradient(each, a)

    def total(z: Tensor, target: Tensor) -> Tensor:
        return s(z, target, reduction="sum")

    one = x[0].detach()
    with refusals():
        require_close(torch.func.vmap(torch.func.grad(total))(x, t), grad, s.loose, "vmap(grad)")
        require_close(torch.func.vmap(total)(x, t), each, s.tolerance, "vmap")
        tangent = torch.linspace(-1, 1, len(one), dtype=s.dtype)
        require_close(torch.func.jvp(lambda z: total(z, t[0]), (one,), (tangent,))[1], (grad[0] * tangent).sum(), 1e-4, "jvp")
        hessian = torch.func.hessian(lambda z: total(z, t[0]))(one)
    b = leaf(one)
    (first,) = torch.autograd.grad(total(b, t[0]), b, create_graph=True)
    second = [torch.autograd.grad(g, b, retain_graph=True)[0] if g.requires_grad else torch.zeros_like(b) for g in first]
    if bool(((hessian - torch.stack(second)).abs() > 1e-5 + 1e-4 * hessian.abs()).any()):
        raise LawBroken(f"hessian {hessian.tolist()}, by two backwards {torch.stack(second).tolist()}")


@law("autocast changes nothing")
def autocast(s: RowSubject) -> None:
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


@law("the by-products are right, and detached (return_parts)")
def by_products(s: RowSubject) -> None:
    """Losses, log-sum-exp, accuracy and count; of items that are absent, nothing."""
    if s.form != "logit":
        raise NotOffered("only of logits")
    x, t = s.batch((4, 3))
    keep = torch.arange(12).reshape(4, 3) % 4 > 0
    x[0, :, 1] = 1.0  # a tie: the first class counts as the largest
    if s.kind == "label":
        t[0, 1], t[1, 1] = 0, int(x[1, :, 1].argmax())
    each = torch.where(keep, s.each(x, t), 0.0)
    a = leaf(x)
    bad_x, bad_t = spoil(s, x, t, keep)
    result: Any = s(bad_x.requires_grad_(), bad_t, mask=keep, return_parts=True)
    value, parts = result
    require_close(value, s(a, t, mask=keep), s.tolerance, "value beside the by-products")
    cap = s.settings.get("softcap")
    scores = x if cap is None else cap * torch.tanh(x / cap)
    require_close(parts.losses, each, s.tolerance, "losses")
    require_close(parts.lse, torch.where(keep, scores.double().logsumexp(1), 0.0), 1e-5, "log-sum-exp")
    if int(parts.items) != int(keep.sum()):
        raise LawBroken(f"items {parts.items}, expected {int(keep.sum())}")
    if s.kind == "label":
        require_close(parts.accuracy, (x.argmax(1) == t)[keep].double().mean(), 1e-6, "accuracy")
    if any(z is not None and z.requires_grad for z in parts):
        raise LawBroken("a by-product requires a gradient")


@law("with inplace=True the gradient takes the memory of the scores")
def in_place(s: RowSubject) -> None:
    """Same value and gradient; a leaf, whose value the user keeps, is refused."""
    x, t = s.batch((4, 3))
    if not s.offers("inplace") or s.form != "logit" or s.kind != "label" or s.engine == "torch":
        raise NotOffered("no argument inplace here")
    a, b = leaf(x), leaf(x)
    expected = s(a, t)
    copy = b * 1.0
    place = copy.data_ptr()
    grads: list[Tensor] = []
    copy.register_hook(grads.append)
    value = s(copy, t, inplace=True)
    require_pass(s, value, b, expected, gradient(expected, a)[0], "with inplace=True")
    if grads[0].data_ptr() != place:
        raise LawBroken("the gradient has memory of its own")
    require_raises(lambda: s(leaf(x), t, inplace=True), "a leaf with inplace=True")


def _require_message(call: Callable[[], Any], what: str, *words: str) -> None:
    """Refused, with a message that shows what came."""
    require_raises(call, what)
    try:
        call()
    except (ValueError, TypeError, RuntimeError, IndexError) as error:
        missing = [w for w in words if w not in str(error)]
        if missing:
            raise LawBroken(f"{what}: the message does not show {', '.join(missing)}: {str(error).strip().splitlines()[0]}") from None


@law("shapes that do not fit are refused, and the message shows them")
def shapes_agree(s: RowSubject) -> None:
    """A target too short, one with an axis too many, scores without classes."""
    x, t = s.batch((4, 3))
    if s.kind == "none":
        raise NotOffered("no target")
    _require_message(lambda: s(x, t[:3]), "a target for 3 of 4 items", "3")
    _require_message(lambda: s(x, t[..., 0]), "a target without the last axis")
    if s.kind == "label":
        _require_message(lambda: s(x, t.unsqueeze(1)), "labels with a class axis of 1")
        _require_message(lambda: s(x, one_hot(t, s.classes).movedim(-1, 1)), "one-hot integers")
    else:
        _require_message(lambda: s(x, t[:, :1]), "a distribution of one class")
    for name in ("mask", "sample_weight"):
        if s.offers(name):
            extra = {name: torch.ones(4, dtype=torch.bool if name == "mask" else torch.float32)}
            _require_message(partial(s, x, t, **extra), f"a {name} of shape (4,) for items (4, 3)", name)


@law("labels that are no class are refused, and the message shows the label")
def labels_checked(s: RowSubject) -> None:
    """Too large, negative, not integers."""
    s.needs("label")
    x, t = s.batch((4, 3))
    for wrong in (s.classes, 255, -7):
        _require_message(partial(s, x, torch.where(torch.arange(12).reshape(4, 3) == 5, wrong, t)), f"the label {wrong}", str(wrong))
    _require_message(lambda: s(x, t.float()), "labels of float32")
    _require_message(lambda: s(x.long(), t), "scores of int64")


@law("positions outside the classes are refused, and the message shows them")
def positions_checked(s: RowSubject) -> None:
    """Too large, negative, NaN; rounding just outside is accepted."""
    s.needs("position")
    x, t = s.batch((4, 3))
    last = s.classes - 1.0
    for wrong in (last + 0.01, -0.01, 1e30, math.inf, math.nan):
        shown = f"{torch.tensor(wrong, dtype=t.dtype).item():.7g}"
        _require_message(partial(s, x, torch.where(torch.arange(12).reshape(4, 3) == 5, wrong, t)), f"the position {wrong}", shown, "(1, 2)")
    for edge, near in ((last, last * (1 + 1e-6)), (0.0, -1e-7)):
        require_close(s.each(x, torch.full_like(t, near)), s.each(x, torch.full_like(t, edge)), 1e-5, f"loss at {near}")
    _require_message(lambda: s(x, leaf(t)), "a position that requires a gradient", "detach")
    _require_message(lambda: s(x.long(), t), "scores of int64")


@law("what is no distribution is refused, and the message says what it sums to")
def distributions_checked(s: RowSubject) -> None:
    """Training on scores taken for probabilities goes wrong silently."""
    x, t = s.batch()
    soft = s.kind == "distribution"
    if not soft and s.form == "logit":
        raise NotOffered("neither input nor target is a distribution")
    logs = logs_in_target(s.settings) if soft else s.form == "log-probability"
    row = torch.tensor([0.7, 0.2, 0.1, 0.1] + [0.0] * (s.classes - 4) if s.classes >= 4 else [0.7, 0.2, 0.2][: s.classes])
    total = f"{row.sum().item():.4g}"
    row = (row.log() if logs else row).to(s.dtype).expand(6, s.classes)
    _require_message((lambda: s(x, row)) if soft else (lambda: s(row, t)), f"a row that sums to {total}", total)
    scores = torch.randn(6, s.classes, generator=torch.Generator().manual_seed(6)).to(s.dtype) * 3
    _require_message((lambda: s(x, scores)) if soft else (lambda: s(scores, t)), "scores in place of a distribution")


@law("weights that are not finite are refused")
def weights_finite(s: RowSubject) -> None:
    """A NaN or infinite weight is a bug upstream; one number per class too."""
    x, t = s.batch((4, 3))
    if not s.offers("sample_weight"):
        raise NotOffered("no argument sample_weight")
    for value in (math.nan, math.inf):
        _require_message(partial(s, x, t, sample_weight=torch.tensor([1.0, 1.0, value])), f"a weight of {value}", "sample_weight")
    for name in ("weight", "alpha"):
        if isinstance(s.settings.get(name), list):
            bad = RowSubject(s.function, s.loss, {**s.settings, name: [1.0] * (s.classes - 1) + [math.nan]}, s.dtype, soft=s.soft)
            _require_message(partial(bad, x, t), f"{name} of NaN", name)
            bad = RowSubject(s.function, s.loss, {**s.settings, name: [1.0] * (s.classes + 1)}, s.dtype, soft=s.soft)
            _require_message(partial(bad, x, t), f"{name} for a class too many", name)
