"""The laws for losses of overlap: what is summed up, and what becomes of the sums. An item is a place with a number for each class, and its target."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.testing import overlap
from losskit.testing.overlap import OverlapSubject
from losskit.testing.overlap_oracle import exact_overlap
from losskit.testing.subject import LawBroken, gradient, leaf, require_close

Law = Callable[[OverlapSubject], None]


class OverlapStatement(NamedTuple):
    """A law and what it says."""

    law: Law
    says: str


OVERLAP_LAWS: dict[str, OverlapStatement] = {}


def law(says: str) -> Callable[[Law], Law]:
    """Enter a law into the list."""

    def enter(function: Law) -> Law:
        OVERLAP_LAWS[function.__name__] = OverlapStatement(function, says)
        return function

    return enter


def require_near(got: Tensor, expected: Tensor, tolerance: float, what: str) -> None:
    """As `require_close`, relative to the largest number there is: a gradient is a difference, and may pass through 0."""
    if got.shape != expected.shape:
        raise LawBroken(f"{what}: shape {tuple(got.shape)}, expected {tuple(expected.shape)}")
    a, b = got.detach().double(), expected.detach().double()
    size = b[torch.isfinite(b)].abs().max().item() if bool(torch.isfinite(b).any()) else 0.0
    off = ~(((a - b).abs() <= tolerance * (size + b.abs())) | (a == b) | (a.isnan() & b.isnan()))
    if bool(off.any()):
        i = tuple(off.nonzero()[0].tolist())
        raise LawBroken(f"{what}: {a[i].item()!r}, expected {b[i].item()!r}" + (f" at index {i}" if i else ""))


def require_pass(s: OverlapSubject, got: Tensor, x: Tensor, expected: Tensor, reference: Tensor, what: str) -> None:
    """A value and its gradient to x equal those of a reference."""
    require_near(got, expected, s.exactness, f"value {what}")
    require_near(gradient(got, x)[0], reference, s.exactness, f"gradient {what}")


def reductions(s: OverlapSubject) -> list[dict[str, Any]]:
    """Every way to sum and to average that the callable has."""
    over = [{"over": v} for v in ("sample", "batch")] if s.offers("over") else [{}]
    averages = ["macro", "micro", "weighted", "nested"] + ["none"] * s.per_class if s.offers("average") else [None]
    return [{**o, **({} if a is None else {"average": a})} for o in over for a in averages]


@law("the value and the gradient are those of the textbook formula, for every way to sum and to average")
def textbook(s: OverlapSubject) -> None:
    """On ordinary batches; with weights, one of them 0, without the background, or with both."""
    weight = [0.0, 2.0, 0.5] if s.classes > 1 else [2.0]
    options: list[dict[str, Any]] = [{}, {"weight": weight} if s.offers("weight") else {}]
    if s.offers("background") and s.task == "multiclass":
        options += [{"background": False}, {**options[1], "background": False}]
    for i, how in enumerate(reductions(s)):
        overlap.require_exact(s, [s.batch((2, 5), i)], **how, **options[(3 * i + 2) % len(options)])


@law("value and gradient keep their digits over the whole range of inputs")
def error_budget(s: OverlapSubject) -> None:
    """Sure and right, sure and wrong, ties, +-1e4, denormals, a class ruled out by minus infinity, a class hardly seen."""
    overlap.require_exact(s, overlap.extreme(s))


@law("the gradient to targets that are numbers is exact")
def target_gradient(s: OverlapSubject) -> None:
    """Distillation and learned targets need it."""
    s.needs(s.kind == "number", "the target is a label")
    overlap.require_exact(s, [*overlap.extreme(s), s.batch((2, 7))], only=("gradient to the target",))


@law("a soft prediction that equals the target has loss 0 with power=2 and without smoothing")
def perfect_soft(s: OverlapSubject) -> None:
    """With power=1 it has not: sum p^2 < sum p."""
    s.needs(s.kind == "number" and s.offers("power") and s.offers("from_logits"), "no soft targets, power or probabilities")
    s.needs(not s.compound and s.settings.get("alpha", 0.5) == s.settings.get("beta", 0.5), "the loss is not 0 there")
    x, _ = s.given(from_logits=False).batch((2, 50))
    for how in reductions(s):
        value = s(x, x.clone(), from_logits=False, power=2, smooth=0.0, **how)
        if not bool((value.abs() < 1e-6).all()):
            raise LawBroken(f"{value.tolist()} for a prediction that equals its soft target, with {how}")


@law("infinite scores are certain: value and gradient are finite, and those of very large scores")
def infinite_inputs(s: OverlapSubject) -> None:
    """-inf beside the label and at it, +inf at the label and beside it."""
    s.needs(s.logits and not s.compound, "probabilities are never infinite, and a second loss may be")
    x, t = s.batch((2, 6))
    x[0, 0, :2], x[1, -1, :2] = torch.tensor([-math.inf, math.inf]), torch.tensor([math.inf, -math.inf])
    a, b = leaf(x), leaf(x.nan_to_num(posinf=1e4, neginf=-1e4))
    expected = s(b, t)
    require_pass(s, s(a, t), a, expected, gradient(expected, b)[0], "with infinite scores")


GARBAGE = (math.nan, math.inf, -math.inf, 1e38, -7.0)
WRONG_LABELS = (99, -7, 1 << 20, -100)


def spoil(s: OverlapSubject, x: Tensor, t: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Garbage where nothing counts: inputs and targets that are NaN or infinite, labels that are no class."""

    def junk(z: Tensor, values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values).repeat(z.numel() // len(values) + 1)[: z.numel()].reshape(z.shape).to(z.dtype)

    numbers = keep if keep.dim() == x.dim() else keep.unsqueeze(1).expand(x.shape)
    if s.kind == "label":
        return torch.where(numbers, x, junk(x, GARBAGE)), torch.where(keep, t, junk(t, WRONG_LABELS))
    return torch.where(numbers, x, junk(x, GARBAGE)), torch.where(numbers, t, junk(t, GARBAGE))


def _same_count(shape: tuple[int, ...], count: int, seed: int) -> Tensor:
    """A random mask that keeps as many along the last axis everywhere, so that what is left is a batch."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).argsort(-1) < count


def _require_deleted(s: OverlapSubject, x: Tensor, t: Tensor, bad_x: Tensor, bad_t: Tensor, keep: Tensor, extra: Mapping[str, Any], what: str) -> None:
    """What is not kept is as good as deleted, for every way to sum and to average."""
    numbers = keep if keep.dim() == x.dim() else keep.unsqueeze(1).expand(x.shape)
    left = x[numbers].reshape(*x.shape[:2], -1)
    targets = t[keep].reshape(len(t), -1) if s.kind == "label" else t[numbers].reshape(left.shape)
    for how in reductions(s):
        a, b = leaf(bad_x), leaf(left)
        expected = s(b, targets, **how)
        (grad,), (reference,) = gradient(s(a, bad_t, **how, **extra), a), gradient(expected, b)
        require_near(s(bad_x, bad_t, **how, **extra), expected, s.exactness, f"value with {what}, {how}")
        require_near(grad[numbers].reshape(left.shape), reference, s.exactness, f"gradient of what is kept by {what}, {how}")
        require_close(grad[~numbers], torch.zeros_like(grad[~numbers]), 0.0, f"gradient of what is left out by {what}, {how}")


@law("masking an item equals deleting it, whatever lies under the mask")
def mask_deletes(s: OverlapSubject) -> None:
    """Inputs and targets under the mask are NaN, infinite or no class at all. A sample of which nothing is left is deleted itself."""
    x, t = s.batch((3, 7))
    for keep, mask in ((_same_count((3, 7), 4, 0), None), (_same_count((1, 7), 5, 1).expand(3, 7), _same_count((1, 7), 5, 1)[0])):
        _require_deleted(s, x, t, *spoil(s, x, t, keep), keep, {"mask": _mask(s, keep) if mask is None else mask}, "a mask")
    if s.kind == "number" and s.task == "multilabel":
        keep = _same_count(tuple(x.shape), 4, 2)
        _require_deleted(s, x, t, *spoil(s, x, t, keep), keep, {"mask": keep}, "a mask of the input's shape")
    keep = torch.tensor([[True], [False], [True]]).expand(3, 7)
    a, b = leaf(spoil(s, x, t, keep)[0]), leaf(x[::2])
    expected = s(b, t[::2])
    got = s(a, spoil(s, x, t, keep)[1], mask=_mask(s, keep[:, :1]))
    (left,) = gradient(expected, b)
    require_pass(s, got, a, expected, torch.stack((left[0], torch.zeros_like(left[0]), left[1])), "with a sample masked")


def _mask(s: OverlapSubject, keep: Tensor) -> Tensor:
    """A mask of items as the callable takes it: where there are as many classes as samples, (N, L) beside (N, C, L) could be of the last axes as well."""
    return keep if s.task == "multiclass" else keep.unsqueeze(1)


@law("an ignored target equals deleting its item, or its number")
def ignore_deletes(s: OverlapSubject) -> None:
    """-100 by default, any other number, a class's own label too; unsigned integers with 255; beside a mask."""
    s.needs(s.offers("ignore_index"), "no argument ignore_index")
    s.needs(s.task != "multiclass" or s.kind == "label", "distributions have no label to ignore")
    x, t = s.batch((3, 7))
    keep = _same_count(tuple(t.shape), 4, 3)
    bad_x, _ = spoil(s, x, t, keep)
    if s.kind == "number":
        bad_x, t = torch.where(keep, x, math.nan), t.round()
    for index, dtype in ((-100, t.dtype), (-1, t.dtype), (255, torch.uint8)):
        extra = {} if index == -100 else {"ignore_index": index}
        _require_deleted(s, x, t, bad_x, torch.where(keep, t, index).to(dtype), keep, extra, f"ignore_index={index}")
    if s.offers("mask"):
        mask = keep | (torch.arange(7) % 2 == 0)
        items = mask if s.kind == "label" or s.task == "multilabel" else mask[:, :1]
        _require_deleted(s, x, t, bad_x, torch.where(keep, t, torch.where(mask, -100, 99)), keep, {"mask": items}, "ignore_index and a mask")
    if s.kind == "label":
        t = torch.tensor([[0, 1, 2, 0, 1, 2, 0], [2, 1, 0, 0, 1, 2, 0], [1, 1, 2, 0, 0, 2, 0]])
        _require_deleted(s, x, t, x, t, t != 1, {"ignore_index": 1}, "ignore_index=1, which is a class")


POLICIES = ("smooth", "skip", "zero", "mass")


@law("a class without target is what `empty` says, in value and gradient")
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
    ways = reductions(s)
    for i, empty in enumerate(POLICIES):
        for how in (ways[0], ways[(2 * i + 1) % len(ways)]):
            overlap.require_exact(s, [(x, t)], empty=empty, from_logits=False, **how)
        if s.offers("smooth"):
            overlap.require_exact(s, [(x, t)], empty=empty, from_logits=False, smooth=0.0)


@law("nothing left to count gives 0, attached to the graph, with zero gradients")
def nothing_left(s: OverlapSubject) -> None:
    """No samples; no items; all ignored; all masked, over NaN; weights that are all 0."""
    x, t = s.batch((2, 6))
    none = torch.zeros(2, 6, dtype=torch.bool)
    bad_x, bad_t = spoil(s, x, t, none)
    cases: list[tuple[str, Tensor, Tensor, dict[str, Any]]] = [("no samples", x[:0], t[:0], {}), ("no items", x[..., :0], t[..., :0], {})]
    if s.offers("ignore_index") and (s.task != "multiclass" or s.kind == "label"):
        cases.append(("everything ignored, over NaN", bad_x, torch.full_like(t, -100), {}))
    if s.offers("mask"):
        cases.append(("everything masked, over NaN", bad_x, bad_t, {"mask": _mask(s, none)}))
    if s.offers("weight") and not s.compound:
        cases.append(("weights all 0", x, t, {"weight": [0.0] * s.classes}))
    for what, p, q, extra in cases:
        for how in reductions(s):
            a = leaf(p)
            value = s(a, q, **how, **extra)
            if bool((value != 0).any()):
                raise LawBroken(f"{what}, {how}: {value.tolist()}, expected 0")
            require_close(gradient(value, a)[0], torch.zeros_like(a), 0.0, f"gradient of {what}, {how}")


@law("the averages are those of the losses of each sample and class")
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


@law("a big batch equals accumulated small ones (normalizer)")
def accumulation(s: OverlapSubject) -> None:
    """With a number and with a 0-d tensor; the gradients add up as well."""
    s.needs(not s.compound, "the second loss has a mean of its own")
    x, t = s.batch((5, 6))
    a = leaf(x)
    whole = s(a, t)
    (grad,) = gradient(whole, a)
    count = 5.0 * (s.classes if s.per_class else 1)
    for normalizer in (count, torch.tensor(count, dtype=torch.float64)):
        b = leaf(x)
        parts = [s(p, q, normalizer=normalizer) for p, q in zip(b.split(2), t.split(2), strict=True)]
        require_pass(s, torch.stack(parts).sum(), b, whole, grad, f"accumulated with normalizer={normalizer!r}")


@law("any incoming gradient is multiplied in")
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


@law("a NaN stays in its sample, and in its class where classes are apart")
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


@law("the parts of a compound are right, and detached (return_parts)")
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
