"""The laws for losses of rows, as `laws.py` has them for losses of elements: an item is a row of class scores, and a target its label or a distribution."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.testing import rows
from losskit.testing.row_oracle import exact_rows, listed, logs_in_target
from losskit.testing.rows import RowSubject
from losskit.testing.subject import LawBroken, NotOffered, gradient, leaf, require_close

Law = Callable[[RowSubject], None]


class RowStatement(NamedTuple):
    """A law and what it says."""

    law: Law
    says: str


ROW_LAWS: dict[str, RowStatement] = {}


def law(says: str) -> Callable[[Law], Law]:
    """Enter a law into the list."""

    def enter(function: Law) -> Law:
        ROW_LAWS[function.__name__] = RowStatement(function, says)
        return function

    return enter


def require_pass(s: RowSubject, got: Tensor, x: Tensor, expected: Tensor, reference: Tensor, what: str) -> None:
    """A value and its gradient to x equal those of a reference."""
    require_close(got, expected, s.tolerance, f"value {what}")
    require_close(gradient(got, x)[0], reference, s.loose, f"gradient {what}")


@law("the value and the gradient are those of the textbook formula")
def textbook(s: RowSubject) -> None:
    """On an ordinary batch; a loose tolerance, for `error_budget` is the strict one."""
    rows.require_exact(s, [s.batch((12,))], max(1e-4, s.tolerance) if s.real is torch.float32 else 1e-9, ("value", "small value", "gradient"))


@law("value and gradient keep their digits over the whole range of scores")
def error_budget(s: RowSubject) -> None:
    """Sure and right, sure and wrong, ties, +-1e4, denormals: wherever the exact result is a normal number."""
    rows.require_exact(s, rows.extreme(s, rows.WIDTHS if s.real is torch.float32 else rows.WIDTHS[1:]), only=("value", "small value", "gradient"))


@law("rows of hundreds and thousands of classes keep their digits")
def wide_rows(s: RowSubject) -> None:
    """A long row is read in blocks, whose maximum moves on."""
    if listed(s.settings):
        raise NotOffered("a setting gives a number for each of few classes")
    if s.form != "logit" or s.kind not in ("label", "position"):
        raise NotOffered("only for logits, and labels or positions")
    rows.require_exact(s, rows.extreme(s, rows.WIDE))


@law("distributions as targets: the expected loss, exact in value and gradient")
def soft_targets(s: RowSubject) -> None:
    """Random ones, one-hot ones, uniform ones."""
    rows.require_exact(s.softened(), rows.extreme(s.softened()), only=("value", "small value", "gradient"))


@law("the gradient to a distribution is exact")
def target_gradient(s: RowSubject) -> None:
    """Distillation and learned targets need it."""
    rows.require_exact(s.softened(), rows.extreme(s.softened()), only=("gradient to the target",))


@law("a distribution with all its mass on one class equals that label")
def sure_distribution(s: RowSubject) -> None:
    """One item at a time, for the means differ: distributions have no class whose weight could divide."""
    s.needs("label")
    soft = s.softened()
    x, t = s.batch()
    a, b = leaf(x), leaf(x)
    got, expected = soft.each(b, torch.nn.functional.one_hot(t, s.classes).to(s.dtype)), s.each(a, t)
    require_pass(s, got, b, expected, gradient(expected, a)[0], "of a distribution that is sure")


@law("a score of minus infinity rules its class out, exactly")
def ruled_out(s: RowSubject) -> None:
    """As if there were no such class; its own gradient is 0."""
    if s.form != "logit" or s.settings.get("softcap") or s.settings.get("label_smoothing"):
        raise NotOffered("with probabilities, smoothing or a cap no score rules a class out")
    x, t = s.batch()
    rest = [k for k in range(s.classes) if k != 1]
    a = leaf(x.index_fill(1, torch.tensor(1), -math.inf))
    fewer = replace(s, settings={k: [v[j] for j in rest] if isinstance(v, list) else v for k, v in s.settings.items()})
    b = leaf(x[:, rest])
    if s.kind == "distribution":
        u = t[:, rest].log_softmax(1) if logs_in_target(s.settings) else t[:, rest] / t[:, rest].sum(1, keepdim=True)
        t = torch.full_like(t, -math.inf if logs_in_target(s.settings) else 0.0).index_copy(1, torch.tensor(rest), u)
    else:
        t = t.round()  # a position beside the class would move
        t = torch.where(t == 1, 0, t)
        u = torch.where(t > 1, t - 1, t)
    got, expected = s.each(a, t), fewer.each(b, u)
    require_close(got, expected, s.tolerance, "value with a class ruled out")
    grad = gradient(got, a)[0]
    require_close(grad[:, 1], torch.zeros_like(grad[:, 1]), 0.0, "gradient of a class that is ruled out")
    require_close(grad[:, rest], gradient(expected, b)[0], s.loose, "gradient with a class ruled out")


@law("value and gradient have their limits at infinite scores, and no NaN")
def infinite_inputs(s: RowSubject) -> None:
    """+inf at the label, +inf beside it, -inf at the label: a finite limit is reached, an infinite one is infinite."""
    if s.form != "logit":
        raise NotOffered("probabilities are never infinite")
    x, t = s.batch((3,))
    if s.kind != "distribution":
        t = torch.tensor([0, 2, 0])
    x[0, 0], x[1, 0], x[2, 0] = math.inf, math.inf, -math.inf
    near, far = (exact_rows(s.loss, s.settings, x.double().nan_to_num(posinf=end, neginf=-end), None if s.kind == "none" else t) for end in (1e7, 1e9))
    a = leaf(x)
    value = s.each(a, t)
    grad = gradient(value, a)[0]
    huge = 1e-9 * torch.finfo(s.dtype).max  # an infinite score may be read as the largest number
    for i in range(3):
        pairs = [("value", value[i], near[i].value, far[i].value)]
        pairs += [(f"gradient of class {k}", grad[i, k], near[i].gradient[k], far[i].gradient[k]) for k in range(s.classes)]
        for what, found, first, then in pairs:
            got = found.item()
            settled = abs(first - then) <= 1e-6 * max(1, abs(then))
            if not (abs(got - then) <= s.loose * max(1, abs(then)) if settled else got * float(then) > huge):
                raise LawBroken(f"{what} at x = {x[i].tolist()}, t = {t[i].tolist()}: {got}, the limit is {float(then) if settled else 'infinite'}")


@law("adding a number to all scores of an item changes nothing")
def shift_invariant(s: RowSubject) -> None:
    """Numbers that leave the differences of the scores exact."""
    if s.form != "logit" or s.settings.get("softcap") or s.settings.get("z_loss"):
        raise NotOffered("not a function of the differences")
    x, t = s.batch()
    x = (x * 64).round() / 64
    a = leaf(x)
    each = s.each(a, t)
    grad = gradient(each, a)[0]
    for shift in (64.0, -32.0):
        b = leaf(x + shift)
        require_pass(s, s.each(b, t), b, each, grad, f"after adding {shift}")


@law('"none", "sum" and "mean" agree')
def reductions_agree(s: RowSubject) -> None:
    """The mean divides by the class weights of the labels (torch's rule), else by the number of items."""
    x, t = s.batch((4, 3))
    a = leaf(x)
    each = s.each(a, t)
    if each.shape != (4, 3):
        raise LawBroken(f'reduction="none" has shape {tuple(each.shape)} for an input of {tuple(x.shape)}')
    grad = gradient(each, a)[0]
    for reduction, denominator in (("sum", 1.0), ("mean", float(s.masses(t).sum()))):
        value = s(a, t, reduction=reduction)
        require_close(value, each.double().sum() / denominator, s.tolerance, f'value of "{reduction}"')
        if s.dtype in (torch.float32, torch.float64):
            require_close(gradient(value, a)[0], grad / denominator, s.loose, f'gradient of "{reduction}"')


GARBAGE = (math.nan, math.inf, -math.inf, 1e38, -7.0)
WRONG_LABELS = (99, -7, 1 << 20, -100)


def spoil(s: RowSubject, x: Tensor, t: Tensor, keep: Tensor) -> tuple[Tensor, Tensor]:
    """Garbage where nothing counts: scores, positions and distributions that are NaN or infinite, labels that are no class."""

    def junk(z: Tensor, values: tuple[float, ...]) -> Tensor:
        return torch.tensor(values).repeat(z.numel() // len(values) + 1)[: z.numel()].reshape(z.shape).to(z.dtype)

    wide = keep.unsqueeze(1)
    return torch.where(wide, x, junk(x, GARBAGE)), torch.where(wide, t, junk(t, GARBAGE)) if s.kind == "distribution" else torch.where(
        keep, t, junk(t, GARBAGE if s.kind == "position" else WRONG_LABELS)
    )


def _require_deleted(s: RowSubject, x: Tensor, bad_x: Tensor, t: Tensor, bad_t: Tensor, keep: Tensor, extra: Mapping[str, Any], what: str) -> None:
    """What is not kept is as good as deleted: value, denominator, gradient."""
    for reduction in ("mean", "sum", "none"):
        rows_kept, labels_kept = s.pick(x, t, keep)
        a, kept = leaf(bad_x), leaf(rows_kept)
        got, expected = s(a, bad_t, reduction=reduction, **extra), s(kept, labels_kept, reduction=reduction)
        (grad,), (reference,) = gradient(got, a), gradient(expected, kept)
        if reduction == "none":
            require_close(got[~keep], torch.zeros_like(got[~keep]), 0.0, f"loss of items left out by {what}")
            got = got[keep]
        require_close(got, expected, s.tolerance, f'value with reduction="{reduction}" and {what}')
        grad = grad.movedim(1, -1)
        require_close(grad[keep], reference, s.loose, f'gradient of kept items with reduction="{reduction}" and {what}')
        require_close(grad[~keep], torch.zeros_like(grad[~keep]), 0.0, f'gradient of items left out by {what}, reduction="{reduction}"')


@law("masking an item equals deleting it, whatever lies under the mask")
def mask_deletes(s: RowSubject) -> None:
    """Scores, labels and distributions under the mask are NaN, infinite or no class at all."""
    x, t = s.batch((4, 3))
    draw = torch.Generator().manual_seed(1)
    for mask in (torch.rand(4, 3, generator=draw) < 0.6, torch.tensor([True, False, True]), torch.tensor([[True], [False], [True], [True]])):
        keep = mask.expand(4, 3)
        bad_x, bad_t = spoil(s, x, t, keep)
        _require_deleted(s, x, bad_x, t, bad_t, keep, {"mask": mask}, f"a mask of shape {tuple(mask.shape)}")


@law("an ignored label equals deleting its item, and the mask that says so")
def ignore_deletes(s: RowSubject) -> None:
    """-100 by default; any other label, a class's own too; unsigned labels with 255; beside a mask."""
    s.needs("label")
    x, t = s.batch((4, 3))
    draw = torch.Generator().manual_seed(2)
    keep = torch.rand(4, 3, generator=draw) < 0.6
    bad_x, _ = spoil(s, x, t, keep)
    for index, dtype in ((-100, torch.int64), (-1, torch.int32), (255, torch.uint8)):
        if not s.offers("ignore_index"):
            raise NotOffered("no argument ignore_index")
        extra = {} if index == -100 else {"ignore_index": index}
        _require_deleted(s, x, bad_x, t, torch.where(keep, t, index).to(dtype), keep, extra, f"ignore_index={index}")
    _require_deleted(s, x, x, t, t, t != 1, {"ignore_index": 1}, "ignore_index=1, which is a class")
    if s.offers("mask"):
        mask = torch.rand(4, 3, generator=draw) < 0.7
        bad_x, _ = spoil(s, x, t, keep & mask)
        _require_deleted(s, x, bad_x, t, torch.where(keep, t, -100), keep & mask, {"mask": mask}, "ignore_index and a mask")


@law("the weighted mean is sum(w l) / sum(w), class weights multiplied in, and an item of weight 0 is absent")
def weighted_mean(s: RowSubject) -> None:
    """Weights of the items' shape, of a broadcast one; 0 hides garbage; NaN weights under a mask."""
    x, t = s.batch((4, 3))
    a = leaf(x)
    each = s.each(a, t).double()
    draw = torch.Generator().manual_seed(3)
    for shape in ((4, 3), (3,), (4, 1), ()):
        weight = torch.rand(shape, generator=draw) + 0.1
        if shape == (4, 3):
            weight[1, :] = 0
        full = weight.double().expand(4, 3)
        keep = full != 0
        bad_x, bad_t = spoil(s, x, t, keep)
        for reduction, denominator in (("mean", s.masses(t, full).sum()), ("sum", 1.0), ("none", 1.0)):
            b = leaf(bad_x)
            got = s(b, bad_t, sample_weight=weight, reduction=reduction)
            expected = full * each.detach()
            what = f'of "{reduction}" with weights of shape {shape}'
            reference = torch.autograd.grad(each, a, full / denominator, retain_graph=True)[0]
            require_pass(s, got, b, (expected if reduction == "none" else expected.sum()) / denominator, reference, what)
    if s.offers("mask"):
        mask = torch.rand(4, 3, generator=draw) < 0.5
        got = s(*spoil(s, x, t, mask), mask=mask, sample_weight=torch.where(mask, 0.5, math.nan), reduction="mean")
        require_close(got, s(*s.pick(x, t, mask), reduction="mean"), s.tolerance, "mean with a mask over NaN weights")


@law("a big batch equals accumulated small ones (normalizer)")
def accumulation(s: RowSubject) -> None:
    """With a number and with a 0-d tensor; the gradients add up as well."""
    x, t = s.batch((12,))
    a = leaf(x)
    whole = s(a, t, reduction="mean")
    (grad,) = gradient(whole, a)
    count = float(s.masses(t).sum())
    for normalizer in (count, torch.tensor(count, dtype=torch.float64)):
        b = leaf(x)
        parts = [s(p, q, normalizer=normalizer, reduction="mean") for p, q in zip(b.split(5), t.split(5), strict=True)]
        require_pass(s, torch.stack(parts).sum(), b, whole, grad, f"accumulated with normalizer={normalizer!r}")


@law("nothing left to count gives 0, attached to the graph, with zero gradients")
def nothing_left(s: RowSubject) -> None:
    """An empty batch; all ignored; all masked, over NaN; weights that are all 0."""
    x, t = s.batch((4, 3))
    none = torch.zeros(4, 3, dtype=torch.bool)
    bad_x, bad_t = spoil(s, x, t, none)
    cases: list[tuple[str, Tensor, Tensor, dict[str, Tensor]]] = [("an empty batch", x[:0], t[:0], {})]
    if s.kind == "label" and s.offers("ignore_index"):
        cases.append(("all labels ignored", x, torch.full_like(t, -100), {}))
        cases.append(("all labels ignored, over NaN", bad_x, torch.full_like(t, -100), {}))
    if s.offers("mask"):
        cases.append(("everything masked", bad_x, bad_t, {"mask": none}))
    if s.offers("sample_weight"):
        cases.append(("weights all 0", bad_x, bad_t, {"sample_weight": torch.zeros(3)}))
    for what, p, q, extra in cases:
        for reduction in ("mean", "sum"):
            a = leaf(p)
            value = s(a, q, reduction=reduction, **extra)
            if value.item() != 0:
                raise LawBroken(f'{what}, reduction="{reduction}": {value.item()}, expected 0')
            require_close(gradient(value, a)[0], torch.zeros_like(a), 0.0, f"gradient of {what}")


@law("a NaN stays in its item")
def nan_stays(s: RowSubject) -> None:
    """NaN in gives NaN out, there and nowhere else: at the label, beside it, with a minus sign, next to an infinity."""
    x, t = s.batch()
    a = leaf(x)
    each = s.each(a, t)
    (grad,) = gradient(each, a)
    label = int(t[2]) if s.kind == "label" else 1
    beside = (label + 1) % s.classes
    logits = s.form == "logit"
    cases = [(label, math.nan, None), *([(beside, math.nan, None), (beside, -math.nan, None), (label, math.nan, beside)] if logits else ())]
    others = torch.arange(len(x)) != 2
    for place, value, infinite in cases:
        b = x.clone()
        b[2, place] = value
        if infinite is not None:
            b[2, infinite] = math.inf
        what = f"with {value} {'at' if place == label else 'beside'} the label" + (" and an infinity beside it" if infinite is not None else "")
        b.requires_grad_()
        got = s.each(b, t)
        require_close(got, torch.where(others, each, math.nan), s.tolerance, f"value {what}")
        (found,) = gradient(got, b)
        require_close(found[others], grad[others], s.loose, f"gradient of other items {what}")
        if logits and not bool(found[2].isnan().all()):  # that of a log-probability does not depend on it
            raise LawBroken(f"gradient {what}: {found[2].tolist()}")


@law("any incoming gradient is multiplied in")
def incoming_gradient(s: RowSubject) -> None:
    """Not uniform for "none", infinities apart; other than 1 for "mean"; and a second backward gives the same."""
    x, t = s.batch((4, 3))
    a = leaf(x)
    each = s.each(a, t)
    (grad,) = torch.autograd.grad(each, a, torch.ones_like(each), retain_graph=True)
    close = max(s.loose, 2 * torch.finfo(s.dtype).eps)
    incoming = torch.randn(4, 3, generator=torch.Generator().manual_seed(4)).to(each.dtype)
    for _ in range(2):
        (got,) = torch.autograd.grad(each, a, incoming, retain_graph=True)
        require_close(got, grad * incoming.unsqueeze(1), close, "gradient for a non-uniform incoming one")
    if not s.offers("reduction"):
        return
    value = s(a, t, reduction="mean")
    count = float(s.masses(t).sum())
    for factor in (0.5, -3.0, 1.0, 1.0, 0.0):
        (got,) = torch.autograd.grad(value, a, torch.tensor(factor, dtype=value.dtype), retain_graph=True)
        require_close(got, grad * (factor / count), close, f'gradient of "mean" for an incoming {factor}')
