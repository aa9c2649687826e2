"""The laws of losses of overlap, beside those that all kinds share. An item is a place with a number for each class, and its target."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from losskit.engines.dispatch import use_engine
from losskit.testing import overlap
from losskit.testing.overlap import OverlapSubject, require_near
from losskit.testing.overlap_oracle import exact_overlap
from losskit.testing.subject import LawBroken, Pair, gradient, leaf, require_close, require_message
from losskit.testing.tables import OVERLAP_LAWS, law


def require_pass(s: OverlapSubject, got: Tensor, x: Tensor, expected: Tensor, reference: Tensor, what: str) -> None:
    """A value and its gradient to x equal those of a reference."""
    require_near(got, expected, s.exactness, f"value {what}")
    require_near(gradient(got, x)[0], reference, s.exactness, f"gradient {what}")


@law("the value and the gradient are those of the textbook formula, for every way to sum and to average", OVERLAP_LAWS)
def textbook(s: OverlapSubject) -> None:
    """On ordinary batches; with weights, one of them 0, without the background, or with both."""
    weight = [0.0, 2.0, 0.5] if s.classes > 1 else [2.0]
    options: list[dict[str, Any]] = [{}, {"weight": weight} if s.offers("weight") else {}]
    if s.offers("background") and s.task == "multiclass":
        options += [{"background": False}, {**options[1], "background": False}]
    for i, how in enumerate(s.ways()):
        overlap.require_exact(s, [s.batch((2, 5), i)], **how, **options[(3 * i + 2) % len(options)])


@law("value and gradient keep their digits over the whole range of inputs", OVERLAP_LAWS)
def error_budget(s: OverlapSubject) -> None:
    """Sure and right, sure and wrong, ties, +-1e4, denormals, a class ruled out by minus infinity, a class hardly seen."""
    overlap.require_exact(s, overlap.extreme(s))


@law("the gradient to targets that are numbers is exact", OVERLAP_LAWS)
def target_gradient(s: OverlapSubject) -> None:
    """Distillation and learned targets need it."""
    s.needs(s.kind == "number", "the target is a label")
    overlap.require_exact(s, [*overlap.extreme(s), s.batch((2, 7))], only=("gradient to the target",))


@law("a soft prediction that equals the target has loss 0 with power=2 and without smoothing", OVERLAP_LAWS)
def perfect_soft(s: OverlapSubject) -> None:
    """With power=1 it has not: sum p^2 < sum p."""
    s.needs(s.kind == "number" and s.offers("power") and s.offers("from_logits"), "no soft targets, power or probabilities")
    s.needs(not s.compound and s.settings.get("alpha", 0.5) == s.settings.get("beta", 0.5), "the loss is not 0 there")
    x, _ = s.given(from_logits=False).batch((2, 50))
    for how in s.ways():
        value = s(x, x.clone(), from_logits=False, power=2, smooth=0.0, **how)
        if not bool((value.abs() < 1e-6).all()):
            raise LawBroken(f"{value.tolist()} for a prediction that equals its soft target, with {how}")


@law("infinite scores are certain: value and gradient are finite, and those of very large scores", OVERLAP_LAWS)
def infinite_inputs(s: OverlapSubject) -> None:
    """-inf beside the label and at it, +inf at the label and beside it."""
    s.needs(s.logits and not s.compound, "probabilities are never infinite, and a second loss may be")
    x, t = s.batch((2, 6))
    x[0, 0, :2], x[1, -1, :2] = torch.tensor([-math.inf, math.inf]), torch.tensor([math.inf, -math.inf])
    a, b = leaf(x), leaf(x.nan_to_num(posinf=1e4, neginf=-1e4))
    expected = s(b, t)
    require_pass(s, s(a, t), a, expected, gradient(expected, b)[0], "with infinite scores")


def _same_count(shape: tuple[int, ...], count: int, seed: int) -> Tensor:
    """A random mask that keeps as many along the last axis everywhere, so that what is left is a batch."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).argsort(-1) < count


def _require_deleted(s: OverlapSubject, batch: Pair, bad: Pair, keep: Tensor, extra: Mapping[str, Any], what: str) -> None:
    """What is not kept is as good as deleted, for every way to sum and to average."""
    (x, t), (bad_x, bad_t) = batch, bad
    numbers = s.spread(keep, x)
    left = x[numbers].reshape(*x.shape[:2], -1)
    targets = t[keep].reshape(len(t), -1) if s.kind == "label" else t[numbers].reshape(left.shape)
    for how in s.ways():
        a, b = leaf(bad_x), leaf(left)
        expected = s(b, targets, **how)
        (grad,), (reference,) = gradient(s(a, bad_t, **how, **extra), a), gradient(expected, b)
        require_near(s(bad_x, bad_t, **how, **extra), expected, s.exactness, f"value with {what}, {how}")
        require_near(grad[numbers].reshape(left.shape), reference, s.exactness, f"gradient of what is kept by {what}, {how}")
        require_close(grad[~numbers], torch.zeros_like(grad[~numbers]), 0.0, f"gradient of what is left out by {what}, {how}")


@law("masking an item equals deleting it, whatever lies under the mask", OVERLAP_LAWS)
def mask_deletes(s: OverlapSubject) -> None:
    """Inputs and targets under the mask are NaN, infinite or no class at all. A sample of which nothing is left is deleted itself."""
    x, t = s.batch((3, 7))
    for keep, mask in ((_same_count((3, 7), 4, 0), None), (_same_count((1, 7), 5, 1).expand(3, 7), _same_count((1, 7), 5, 1)[0])):
        _require_deleted(s, (x, t), s.spoil((x, t), keep), keep, {"mask": s.mask(keep) if mask is None else mask}, "a mask")
    if s.kind == "number" and s.task == "multilabel":
        keep = _same_count(tuple(x.shape), 4, 2)
        _require_deleted(s, (x, t), s.spoil((x, t), keep), keep, {"mask": keep}, "a mask of the input's shape")
    keep = torch.tensor([[True], [False], [True]]).expand(3, 7)
    a, b = leaf(s.spoil((x, t), keep)[0]), leaf(x[::2])
    expected = s(b, t[::2])
    got = s(a, s.spoil((x, t), keep)[1], mask=s.mask(keep[:, :1]))
    (left,) = gradient(expected, b)
    require_pass(s, got, a, expected, torch.stack((left[0], torch.zeros_like(left[0]), left[1])), "with a sample masked")


@law("an ignored target equals deleting its item, or its number", OVERLAP_LAWS)
def ignore_deletes(s: OverlapSubject) -> None:
    """-100 by default, any other number, a class's own label too; unsigned integers with 255; beside a mask."""
    s.needs(s.offers("ignore_index"), "no argument ignore_index")
    s.needs(s.task != "multiclass" or s.kind == "label", "distributions have no label to ignore")
    x, t = s.batch((3, 7))
    keep = _same_count(tuple(t.shape), 4, 3)
    bad_x, _ = s.spoil((x, t), keep)
    if s.kind == "number":
        bad_x, t = torch.where(keep, x, math.nan), t.round()
    for index, dtype in ((-100, t.dtype), (-1, t.dtype), (255, torch.uint8)):
        extra = {} if index == -100 else {"ignore_index": index}
        _require_deleted(s, (x, t), (bad_x, torch.where(keep, t, index).to(dtype)), keep, extra, f"ignore_index={index}")
    if s.offers("mask"):
        mask = keep | (torch.arange(7) % 2 == 0)
        items = mask if s.kind == "label" or s.task == "multilabel" else mask[:, :1]
        _require_deleted(s, (x, t), (bad_x, torch.where(keep, t, torch.where(mask, -100, 99))), keep, {"mask": items}, "ignore_index and a mask")
    if s.kind == "label":
        t = torch.tensor([[0, 1, 2, 0, 1, 2, 0], [2, 1, 0, 0, 1, 2, 0], [1, 1, 2, 0, 0, 2, 0]])
        _require_deleted(s, (x, t), (x, t), t != 1, {"ignore_index": 1}, "ignore_index=1, which is a class")


POLICIES = ("smooth", "skip", "zero", "mass")


@law("a class without target is what `empty` says, in value and gradient", OVERLAP_LAWS)
def empties(s: OverlapSubject) -> None:
    """Target empty or not, prediction empty or not; smoothed or not; for every way to sum and to average."""
    s.needs(s.offers("empty") and s.offers("from_logits"), "no argument empty, or no probabilities")
    x, t = s.given(from_logits=False).batch((4, 4), 3)
    k = s.classes - 1
    x[:2, k] = 0.25
    if s.kind == "label":
        t[:2] = torch.where(t[:2] == k, 0, t[:2])
        t[2:, 0] = k
    else:
        t = t.clone()
        t[:2, k], t[2:, k, 0] = 0, 1
    if not s.compound:  # which would find nothing at all infinitely wrong
        x[0, k], x[2, k] = 0.0, 0.0
    elif s.task == "multiclass":
        x = x / x.sum(1, keepdim=True)
        t = t if s.kind == "label" else t / t.sum(1, keepdim=True)
    ways = s.ways()
    for i, empty in enumerate(POLICIES):
        for how in (ways[0], ways[(2 * i + 1) % len(ways)]):
            overlap.require_exact(s, [(x, t)], empty=empty, from_logits=False, **how)
        if s.offers("smooth"):
            overlap.require_exact(s, [(x, t)], empty=empty, from_logits=False, smooth=0.0)


@law("the averages are those of the losses of each sample and class", OVERLAP_LAWS)
def averages_agree(s: OverlapSubject) -> None:
    """The mean; weighted by the target's mass; one sample over the batch; one class summed up; the background left out."""
    s.needs(s.per_class, "no loss of each sample and class")
    x, t = s.batch((3, 6))
    a = leaf(x)
    each = s.each(a, t)
    if each.shape != (3, s.classes):
        raise LawBroken(f'average="none" has shape {tuple(each.shape)} for 3 samples and {s.classes} classes')
    one_hot = torch.nn.functional.one_hot(t, s.classes).movedim(-1, 1) if s.kind == "label" else t
    mass = one_hot.double().pow(s.settings.get("power", 1)).sum(2)
    for what, extra, weight in (
        ("macro", {}, torch.ones(3, s.classes, dtype=torch.float64)),
        ("weighted", {}, mass),
        ("macro", {"weight": [1.0, 0.0, 2.5][: s.classes]}, torch.tensor([1.0, 0.0, 2.5], dtype=torch.float64)[: s.classes].expand(3, s.classes)),
    ):
        b = leaf(x)
        share = weight / weight.sum()
        reference = torch.autograd.grad(each, a, share.to(each.dtype), retain_graph=True)[0]
        require_pass(s, s(b, t, average=what, **extra), b, (each.double() * share).sum(), reference, f'of "{what}" with {extra}')
    require_near(s(x[:1], t[:1], over="batch", average="none"), each[0], s.exactness, "of one sample over the batch")
    flat = x.movedim(1, 0).flatten(1)[None], (t.reshape(1, -1) if s.kind == "label" else t.movedim(1, 0).flatten(1)[None])
    require_near(s(x, t, over="batch", average="none"), s.each(*flat)[0], s.exactness, "over the batch, beside one sample of all items")
    if s.task == "multiclass":
        require_near(s(x, t, average="none", background=False), each[:, 1:], s.exactness, "without the background")
    else:
        first = x[:, :1], t[:, :1]
        require_near(s(*first, average="micro"), s(*first), s.exactness, 'of "micro" with one class')


@law("any incoming gradient is multiplied in", OVERLAP_LAWS)
def incoming_gradient(s: OverlapSubject) -> None:
    """Not uniform for a loss of each sample and class, over the batch, without the background; other than 1 for a mean; a second backward gives the same."""
    x, t = s.batch((3, 6))
    ways: list[dict[str, Any]] = [{}]
    if s.per_class:
        ways += [{"average": "none", "over": over} for over in ("sample", "batch")]
        ways += [{"average": "none", "over": over, "background": False} for over in ("sample", "batch") if s.task == "multiclass"]
    for how in ways:
        a = leaf(x)
        value = s(a, t, **how)
        incoming = torch.randn(value.shape, generator=torch.Generator().manual_seed(4)).to(value.dtype) - 1.5
        parts = [gradient(v, leafed)[0] for v, leafed in _one_by_one(s, x, t, how)]
        expected = sum((g.double() * w for g, w in zip(parts, incoming.flatten().double(), strict=True)), torch.zeros_like(x, dtype=torch.float64))
        for _ in range(2):
            (got,) = torch.autograd.grad(value, a, incoming, retain_graph=True)
            require_near(got, expected, max(2 * s.exactness, 2 * torch.finfo(s.dtype).eps), f"gradient for a non-uniform incoming one, {how}")


def _one_by_one(s: OverlapSubject, x: Tensor, t: Tensor, how: Mapping[str, Any]) -> list[tuple[Tensor, Tensor]]:
    """Every number of a result, from a graph of its own."""
    found = []
    for i in range(s(x, t, **how).numel()):
        a = leaf(x)
        found.append((s(a, t, **how).reshape(-1)[i], a))
    return found


@law("a NaN stays in its sample, and in its class where classes are apart", OVERLAP_LAWS)
def nan_stays(s: OverlapSubject) -> None:
    """NaN in gives NaN out, there and nowhere else."""
    x, t = s.batch((3, 6))
    x[1, 0, 2] = math.nan
    a, b = leaf(x), leaf(x[::2])
    each, others = s.each(a, t), s.each(b, t[::2])
    bad = each[1] if each.dim() == 1 or (s.task == "multiclass" and s.logits) else each[1, 0]
    if not bool(bad.isnan().all()):
        raise LawBroken(f"a NaN in the input gives {each[1].tolist()}")
    require_near(each[::2], others, s.exactness, "value of other samples beside a NaN")
    (grad,) = gradient(each, a)
    require_near(grad[::2], gradient(others, b)[0], s.exactness, "gradient of other samples beside a NaN")
    if s.logits and not bool(grad[1, 0, 2].isnan()):
        raise LawBroken(f"the gradient of a NaN is {grad[1, 0, 2].item()}")


@law("the parts of a compound are right, and detached (return_parts)", OVERLAP_LAWS)
def parts_add_up(s: OverlapSubject) -> None:
    """Before they are weighted."""
    s.needs(s.compound and s.offers("return_parts"), "no argument return_parts")
    x, t = s.batch((3, 6))
    names = [name for name in s.loss.settings if name.endswith("_weight")]
    shares = [{**s.loss.settings, **s.settings}[name] for name in names]
    value, parts = s(x.requires_grad_(), t, return_parts=True)
    require_near(value, sum(w * part for w, part in zip(shares, parts, strict=True)), s.exactness, "value beside its parts")
    for name, part in zip(names, parts, strict=True):
        alone = exact_overlap(s.loss, {**s.settings, **{other: float(other == name) for other in names}}, x.detach(), t)
        require_near(part, torch.tensor(float(alone.values[0])), s.exactness, f"the part of {name}")
        if part.requires_grad:
            raise LawBroken(f"the part of {name} requires a gradient")


@law("half precision: computed in float32, value in float32, gradient in the input's dtype, sums beyond 65504 right", OVERLAP_LAWS)
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


@law("labels of every integer dtype and bool work, and 0/1 numbers of every dtype", OVERLAP_LAWS)
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


@law("the class axis may be anywhere but first (dim)", OVERLAP_LAWS)
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


@law("targets and probabilities that are none are refused, and the message shows them", OVERLAP_LAWS)
def values_checked(s: OverlapSubject) -> None:
    """Labels that are no class; numbers outside [0, 1]; labels that are not integers; inputs that are."""
    x, t = s.batch((2, 6))
    place = torch.arange(t.numel()).reshape(t.shape) == 5
    if s.kind == "label":
        for wrong in (s.classes, 255, -7):
            require_message(partial(s, x, torch.where(place, wrong, t)), f"the label {wrong}", str(wrong))
        require_message(lambda: s(x, t.float()), "labels of float32")
    else:
        for outside in (1.5, -0.25):
            require_message(partial(s, x, torch.where(place, outside, t)), f"a target of {outside}", str(outside))
    if not s.logits or (s.offers("from_logits") and not s.compound):
        p = torch.sigmoid(x)
        p[1, 0, 2] = 1.75
        require_message(lambda: s(p, t, from_logits=False), "a probability of 1.75", "1.75")
    require_message(lambda: s(x.long(), t), "an input of int64", "input")
