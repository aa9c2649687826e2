"""The laws of losses of elements, beside those that all kinds share: the formula, the ends of its domain, what is refused."""

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from losskit.contract import checks
from losskit.testing import inputs, oracles
from losskit.testing.subject import LawBroken, NotOffered, Subject, gradient, leaf, require_close, require_raises
from losskit.testing.tables import LAWS, law


def _against_oracle(s: Subject, x: Tensor, t: Tensor, *, to_target: bool = False, tolerance: float | None = None) -> None:
    exact = oracles.exact(s.loss, s.settings, x, t, to_target=to_target)
    a, b = leaf(x), leaf(t)
    checks: list[tuple[str, Tensor, list[Any], list[Any] | None]]
    by_input = [e.grad_input for e in exact], [e.scale_input for e in exact]
    if to_target:
        grads = gradient(s.each(a, b), a, b)
        checks = [("gradient", grads[0], *by_input), ("gradient to the target", grads[1], [e.grad_target for e in exact], [e.scale_target for e in exact])]
    else:  # the gradient of the sum: the pass that training runs
        total = s(a, t, reduction="sum") if s.offers("reduction") else s.each(a, t)
        checks = [("value", s.each(x, t), [e.value for e in exact], [e.scale_value for e in exact]), ("gradient", gradient(total, a)[0], *by_input)]
    for what, got, expected, scale in checks:
        allowed = max(s.tolerance if tolerance is None else tolerance, 0.51 * torch.finfo(got.dtype).eps)
        worst = oracles.worst_error(got, expected, scale)
        if not worst.error <= allowed:
            i = worst.place
            raise LawBroken(
                f"{what} {worst.got!r}, exact {worst.expected!r} at x = {x[i].item()!r}, t = {t[i].item()!r} (error {worst.error:.1e}, allowed {allowed:.1e})"
            )


@law("the value and the gradient are those of the textbook formula", LAWS)
def textbook(s: Subject) -> None:
    """On an ordinary batch; a loose tolerance, for `error_budget` is the strict one."""
    x, t = (z.reshape(-1) for z in s.batch((8, 8)))
    _against_oracle(s, x, t, tolerance=max(1e-4, s.tolerance) if s.real is torch.float32 else 1e-9)


@law("value and gradient keep their digits over the whole range of inputs", LAWS)
def error_budget(s: Subject) -> None:
    """Within the registry's tolerance from the smallest to the largest inputs, wherever the exact result is a normal number."""
    x, t = inputs.pairs(s.loss, s.settings, s.dtype)
    if s.dtype is torch.float64:  # where the oracle needs more digits, and more time
        x, t = x[::5], t[::5]
    _against_oracle(s, x, t)


@law("the gradient to the target is exact", LAWS)
def target_gradient(s: Subject) -> None:
    """Distillation and learned targets need it."""
    x, t = inputs.pairs(s.loss, s.settings, s.dtype)
    _against_oracle(s, x[::2], t[::2], to_target=True)


@law("a NaN stays in its item", LAWS)
def nan_stays(s: Subject) -> None:
    """NaN in gives NaN out, there and nowhere else, in value and gradient."""
    x, t = s.batch()
    a, b = leaf(x), leaf(t)
    each = s.each(a, b)
    grads = gradient(each, a, b)
    for p, q, what in ((x.index_fill(0, torch.tensor(2), math.nan), t, "input"), (x, t.index_fill(0, torch.tensor(2), math.nan), "target")):
        a, b = leaf(p), leaf(q)
        got = s.each(a, b)
        bad = p.isnan() | q.isnan()
        require_close(got, torch.where(bad, math.nan, each), s.tolerance, f"value with NaN in the {what}", p, q)
        by_input, by_target = gradient(got, a, b)
        require_close(by_input, torch.where(bad, math.nan, grads[0]), s.tolerance, f"gradient with NaN in the {what}", p, q)
        require_close(by_target[~bad], grads[1][~bad], s.tolerance, f"gradient to the target with NaN in the {what}")


@law("value and gradient have their limits at infinite inputs, and no NaN", LAWS)
def infinite_inputs(s: Subject) -> None:
    """A finite limit is reached, an infinite one is infinite."""
    ends = inputs.infinities(inputs.domain(s.loss, s.settings), s.dtype)
    if not len(ends):
        raise NotOffered("probabilities are never infinite")
    for x in ends.tolist():
        for t in (0.0, 1.0):
            ranges = s.loss.ranges_of(s.settings)
            if any(bool(checks.OUTSIDE[ranges[name][0]](torch.tensor(z))) for name, z in (("input", x), ("target", t)) if name in ranges):
                continue
            a = torch.tensor([x], dtype=s.dtype, requires_grad=True)
            b = torch.tensor([t], dtype=s.dtype, requires_grad=True)
            value = s.each(a, b)
            grad, _ = gradient(value, a, b)
            for what, got, expected in zip(
                ("value", "gradient"), (value.item(), grad.item()), oracles.limit(s.loss, s.settings, x > 0, t, s.dtype), strict=True
            ):
                right = math.isinf(got) if expected is None else abs(got - expected) <= 2e-6 * abs(expected) + 1e-15
                if not right:
                    raise LawBroken(f"{what} at x = {x}, t = {t}: {got}, the limit is {'infinite' if expected is None else expected}")


@law("a probability of exactly 0 or 1 on the wrong side is read as the smallest positive number: finite value and gradient", LAWS)
def sure_and_wrong(s: Subject) -> None:
    """float32: 103.28 times the loss's own factors."""
    if inputs.domain(s.loss, s.settings) != "probability":
        raise NotOffered("logits in")
    info = torch.finfo(s.real)
    floor = -math.log(info.tiny * info.eps) if s.real is torch.float32 else 744.4400719213812
    x, t = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=s.dtype), torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=s.dtype)
    a, b = leaf(x), leaf(t)
    value = s.each(a, b)
    grad, _ = gradient(value, a, b)
    numbers = oracles.number_settings(oracles.context(s.dtype)[0], s.loss, s.settings)
    alpha, smooth = numbers.get("alpha"), float(numbers.get("label_smoothing") or 0) / 2
    sides = (float(alpha), float(1 - alpha)) if alpha is not None else (1.0, 1.0)
    floor *= float(numbers.get("weight") or 1.0)
    yes, no = floor * sides[0] * float(numbers.get("pos_weight") or 1.0), floor * sides[1]
    expected = torch.tensor([yes * (1 - smooth), no * (1 - smooth), yes * smooth, no * smooth], dtype=s.real)
    require_close(value, expected, s.tolerance, "value", x, t)
    heavy = float(numbers.get("pos_weight") or 1.0) > 1  # it multiplies the largest number there is
    if not heavy and not bool(torch.isfinite(grad).all()):
        raise LawBroken(f"gradient {grad.tolist()} at probabilities {x.tolist()}, targets {t.tolist()}")
    if not (grad[0] < 0 < grad[1]):
        raise LawBroken(f"gradient {grad.tolist()} does not point away from the wrong side")


@law("integer and bool targets of every dtype work", LAWS)
def integer_targets(s: Subject) -> None:
    """Labels as they come, without a converted copy."""
    x, _ = s.batch()
    labels = inputs.within(s.loss, x, torch.arange(35).reshape(5, 7) % 2)[1]
    expected = s.each(x, labels.to(s.dtype))
    for dtype in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        require_close(s.each(x, labels.to(dtype)), expected, s.tolerance, f"target of {dtype}", x, labels)


@law("values outside the domain are refused", LAWS)
def domain_checked(s: Subject) -> None:
    """Targets (and probabilities) outside [0, 1], of which rounding just outside is accepted; what lies outside the registry's ranges."""
    for name, (span, _) in s.loss.ranges_of(s.settings).items():
        for value in inputs.BESIDE[span]:
            x, t = s.batch()
            (x if name == "input" else t)[2, 3] = value
            require_raises(partial(s, leaf(x), t), f"{name} = {value}")
    if s.loss.ranges:
        return
    if s.loss.target != "unit":
        raise NotOffered("every real number is in the domain")
    x, t = s.batch()
    x = leaf(x)  # as in training
    for value in (1.5, -0.01):
        require_raises(partial(s, x, t.index_fill(1, torch.tensor(3), value)), f"a target of {value}")
    require_close(s(x, torch.full_like(t, 1 + 5e-7)), s(x, torch.ones_like(t)), 1e-5, "loss of a target of 1 + 5e-7")
    if inputs.domain(s.loss, s.settings) == "probability":
        require_raises(lambda: s(x.index_fill(1, torch.tensor(3), 1.2), t), "a probability of 1.2")
