"""The laws of losses of rows, beside those that all kinds share: an item is a row of class scores, and a target its label or a distribution."""

import math
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from losskit.testing import rows
from losskit.testing.row_oracle import exact_rows, listed, logs_in_target
from losskit.testing.rows import RowSubject
from losskit.testing.subject import LawBroken, NotOffered, gradient, leaf, require_close, require_message, require_raises
from losskit.testing.tables import ROW_LAWS, law


def require_pass(s: RowSubject, got: Tensor, x: Tensor, expected: Tensor, reference: Tensor, what: str) -> None:
    """A value and its gradient to x equal those of a reference."""
    require_close(got, expected, s.tolerance, f"value {what}")
    require_close(gradient(got, x)[0], reference, s.loose, f"gradient {what}")


@law("the value and the gradient are those of the textbook formula", ROW_LAWS)
def textbook(s: RowSubject) -> None:
    """On an ordinary batch; a loose tolerance, for `error_budget` is the strict one."""
    rows.require_exact(s, [s.batch((12,))], max(1e-4, s.tolerance) if s.real is torch.float32 else 1e-9, ("value", "small value", "gradient"))


@law("value and gradient keep their digits over the whole range of scores", ROW_LAWS)
def error_budget(s: RowSubject) -> None:
    """Sure and right, sure and wrong, ties, +-1e4, denormals: wherever the exact result is a normal number."""
    rows.require_exact(s, rows.extreme(s, rows.WIDTHS if s.real is torch.float32 else rows.WIDTHS[1:]), only=("value", "small value", "gradient"))


@law("rows of hundreds and thousands of classes keep their digits", ROW_LAWS)
def wide_rows(s: RowSubject) -> None:
    """A long row is read in blocks, whose maximum moves on."""
    if listed(s.settings):
        raise NotOffered("a setting gives a number for each of few classes")
    if s.form not in rows.SCORES or s.kind not in ("label", "set", "position"):
        raise NotOffered("only for logits, and labels or positions")
    rows.require_exact(s, rows.extreme(s, rows.WIDE))


@law("distributions as targets: the expected loss, exact in value and gradient", ROW_LAWS)
def soft_targets(s: RowSubject) -> None:
    """Random ones, one-hot ones, uniform ones."""
    rows.require_exact(s.softened(), rows.extreme(s.softened()), only=("value", "small value", "gradient"))


@law("the gradient to a distribution is exact", ROW_LAWS)
def target_gradient(s: RowSubject) -> None:
    """Distillation and learned targets need it."""
    rows.require_exact(s.softened(), rows.extreme(s.softened()), only=("gradient to the target",))


@law("a distribution with all its mass on one class equals that label", ROW_LAWS)
def sure_distribution(s: RowSubject) -> None:
    """One item at a time, for the means differ: distributions have no class whose weight could divide."""
    s.needs("label")
    soft = s.softened()
    x, t = s.batch()
    a, b = leaf(x), leaf(x)
    got, expected = soft.each(b, torch.nn.functional.one_hot(t, s.classes).to(s.dtype)), s.each(a, t)
    require_pass(s, got, b, expected, gradient(expected, a)[0], "of a distribution that is sure")


@law("a score of minus infinity rules its class out, exactly", ROW_LAWS)
def ruled_out(s: RowSubject) -> None:
    """As if there were no such class; its own gradient is 0."""
    if not s.infinite:
        raise NotOffered("scores are finite")
    if s.form not in rows.SCORES or s.settings.get("softcap") or s.settings.get("label_smoothing") or s.loss.name in rows.MARGINS:
        raise NotOffered("with probabilities, smoothing, a cap or a margin no score rules a class out")
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


@law("value and gradient have their limits at infinite scores, and no NaN", ROW_LAWS)
def infinite_inputs(s: RowSubject) -> None:
    """+inf at the label, +inf beside it, -inf at the label: a finite limit is reached, an infinite one is infinite."""
    if s.form != "logit" or not s.infinite:
        raise NotOffered("probabilities are never infinite" if s.infinite else "scores are finite")
    x, t = s.batch((3,))
    if not s.by_class:
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


@law("adding a number to all scores of an item changes nothing", ROW_LAWS)
def shift_invariant(s: RowSubject) -> None:
    """Numbers that leave the differences of the scores exact."""
    if s.form != "logit" or s.settings.get("softcap") or s.settings.get("z_loss") or (s.loss.multilabel and s.kind != "set"):
        raise NotOffered("not a function of the differences")
    x, t = s.batch()
    x = (x * 64).round() / 64
    a = leaf(x)
    each = s.each(a, t)
    grad = gradient(each, a)[0]
    for shift in (64.0, -32.0):
        b = leaf(x + shift)
        require_pass(s, s.each(b, t), b, each, grad, f"after adding {shift}")


@law("an ignored label equals deleting its item, and the mask that says so", ROW_LAWS)
def ignore_deletes(s: RowSubject) -> None:
    """-100 by default; any other label, a class's own too; unsigned labels with 255; beside a mask."""
    s.needs("label")
    x, t = s.batch((4, 3))
    draw = torch.Generator().manual_seed(2)
    keep = torch.rand(4, 3, generator=draw) < 0.6
    bad_x, _ = s.spoil((x, t), keep)
    for index, dtype in ((-100, torch.int64), (-1, torch.int32), (255, torch.uint8)):
        if not s.offers("ignore_index"):
            raise NotOffered("no argument ignore_index")
        extra = {} if index == -100 else {"ignore_index": index}
        s.require_deleted((x, t), (bad_x, torch.where(keep, t, index).to(dtype)), keep, extra, f"ignore_index={index}")
    s.require_deleted((x, t), (x, t), t != 1, {"ignore_index": 1}, "ignore_index=1, which is a class")
    if s.offers("mask"):
        mask = torch.rand(4, 3, generator=draw) < 0.7
        bad_x, _ = s.spoil((x, t), keep & mask)
        s.require_deleted((x, t), (bad_x, torch.where(keep, t, -100)), keep & mask, {"mask": mask}, "ignore_index and a mask")


@law("a NaN stays in its item", ROW_LAWS)
def nan_stays(s: RowSubject) -> None:
    """NaN in gives NaN out, there and nowhere else: at the label, beside it, with a minus sign, next to an infinity."""
    x, t = s.batch()
    a = leaf(x)
    each = s.each(a, t)
    (grad,) = gradient(each, a)
    label = int(t[2]) if s.kind == "label" else 1
    beside = (label + 1) % s.classes
    logits = s.form in rows.SCORES
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
        felt = found[2] if s.loss.name not in rows.MARGINS else found[2, [place, label] if s.kind == "label" else [place]]
        if logits and not bool(felt.isnan().all()):  # that of a log-probability does not depend on it
            raise LawBroken(f"gradient {what}: {found[2].tolist()}")


@law("half precision: computed in float32, value in float32, gradient in the input's dtype", ROW_LAWS)
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


@law("labels of every integer dtype and bool work", ROW_LAWS)
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


@law("a set of classes is a list of integers of any dtype, or a bool for each class", ROW_LAWS)
def set_dtypes(s: RowSubject) -> None:
    """A bool says nothing of a class that is listed twice; what follows the end of a list is not read, whatever it is."""
    s.needs("set")
    x, t = s.batch((4, 3))
    ended = (t == -1).cumsum(1) > 0
    a = leaf(x)
    expected = s.each(a, t)
    (grad,) = gradient(expected, a)
    for dtype in (torch.int8, torch.int16, torch.int32):
        b = leaf(x)
        require_pass(s, s.each(b, torch.where(ended & (t != -1), -7, t).to(dtype)), b, expected, grad, f"for lists of {dtype}")
    inside = torch.zeros_like(t).scatter_add(1, torch.where(ended, 0, t), (~ended).long())
    once = (inside < 2).all(1)
    b = leaf(x)
    got = s.each(b, inside > 0)
    require_close(got[once], expected[once], s.tolerance, "value for a bool per class")
    require_close(s.chosen(gradient(got, b)[0], once), s.chosen(grad, once), s.loose, "gradient for a bool per class")


@law("sets that hold what is no class, or are a 0 or 1 per class, are refused, and the message says why", ROW_LAWS)
def sets_checked(s: RowSubject) -> None:
    """Too large, negative, numbers of 0 and 1, real ones."""
    s.needs("set")
    x, t = s.batch((4, 3))
    t[1, :, 2] = torch.tensor([1, 0, *[-1] * (s.classes - 2)])
    for wrong in (s.classes, 255, -7):
        u = t.clone()
        u[1, 1, 2] = wrong
        require_message(partial(s, x, u), f"the class {wrong}", str(wrong), "(1, 1, 2)")
    require_message(lambda: s(x, t % 2), "a 0 or 1 per class", "target.bool()")
    require_message(lambda: s(x, t.float()), "lists of float32")
    require_message(lambda: s(x.long(), t), "scores of int64")


@law("the class axis may be anywhere (dim)", ROW_LAWS)
def class_axis(s: RowSubject) -> None:
    """Every place, counted from either end; "mean" too."""
    x, t = s.batch((2, 3, 4))
    a = leaf(x)
    expected = s.each(a, t)
    (grad,) = gradient(expected, a)
    for dim in (0, 1, 2, 3, -1, -4):
        b = leaf(x)
        u = t.movedim(1, dim) if s.by_class else t
        for moved in (b.movedim(1, dim), b.movedim(1, dim).contiguous()):
            require_pass(s, s.each(moved, u, dim=dim), b, expected, grad, f"with dim={dim}")
            require_close(s(moved, u, dim=dim), s(x, t), s.tolerance, f"mean with dim={dim}")


@law("the by-products are right, and detached (return_parts)", ROW_LAWS)
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
    bad_x, bad_t = s.spoil((x, t), keep)
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


@law("with inplace=True the gradient takes the memory of the scores", ROW_LAWS)
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


@law("labels that are no class are refused, and the message shows the label", ROW_LAWS)
def labels_checked(s: RowSubject) -> None:
    """Too large, negative, not integers."""
    s.needs("label")
    x, t = s.batch((4, 3))
    for wrong in (s.classes, 255, -7):
        require_message(partial(s, x, torch.where(torch.arange(12).reshape(4, 3) == 5, wrong, t)), f"the label {wrong}", str(wrong))
    require_message(lambda: s(x, t.float()), "labels of float32")
    require_message(lambda: s(x.long(), t), "scores of int64")


@law("positions outside the classes are refused, and the message shows them", ROW_LAWS)
def positions_checked(s: RowSubject) -> None:
    """Too large, negative, NaN; rounding just outside is accepted."""
    s.needs("position")
    x, t = s.batch((4, 3))
    last = s.classes - 1.0
    for wrong in (last + 0.01, -0.01, 1e30, math.inf, math.nan):
        shown = f"{torch.tensor(wrong, dtype=t.dtype).item():.7g}"
        require_message(partial(s, x, torch.where(torch.arange(12).reshape(4, 3) == 5, wrong, t)), f"the position {wrong}", shown, "(1, 2)")
    for edge, near in ((last, last * (1 + 1e-6)), (0.0, -1e-7)):
        require_close(s.each(x, torch.full_like(t, near)), s.each(x, torch.full_like(t, edge)), 1e-5, f"loss at {near}")
    require_message(lambda: s(x, leaf(t)), "a position that requires a gradient", "detach")
    require_message(lambda: s(x.long(), t), "scores of int64")


@law("what is no distribution is refused, and the message says what it sums to", ROW_LAWS)
def distributions_checked(s: RowSubject) -> None:
    """Scores taken for probabilities train, wrongly."""
    x, t = s.batch()
    soft = s.kind == "distribution"
    if s.loss.multilabel or (not soft and s.form in rows.SCORES):
        raise NotOffered("neither input nor target is a distribution")
    logs = logs_in_target(s.settings) if soft else s.form == "log-probability"
    row = torch.tensor([0.7, 0.2, 0.1, 0.1] + [0.0] * (s.classes - 4) if s.classes >= 4 else [0.7, 0.2, 0.2][: s.classes])
    total = f"{row.sum().item():.4g}"
    row = (row.log() if logs else row).to(s.dtype).expand(6, s.classes)
    require_message((lambda: s(x, row)) if soft else (lambda: s(row, t)), f"a row that sums to {total}", total)
    scores = torch.randn(6, s.classes, generator=torch.Generator().manual_seed(6)).to(s.dtype) * 3
    require_message((lambda: s(x, scores)) if soft else (lambda: s(scores, t)), "scores in place of a distribution")


@law("class weights that are not finite, or not one per class, are refused", ROW_LAWS)
def class_weights_checked(s: RowSubject) -> None:
    """`weight` and `alpha`."""
    x, t = s.batch((4, 3))
    for name in ("weight", "alpha"):
        if isinstance(s.settings.get(name), list):
            for what, wrong in ((f"{name} of NaN", [1.0] * (s.classes - 1) + [math.nan]), (f"{name} for a class too many", [1.0] * (s.classes + 1))):
                require_message(partial(replace(s, settings={**s.settings, name: wrong}), x, t), what, name)
