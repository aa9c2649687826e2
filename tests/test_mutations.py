"""The suite notices: formulas and the contract are broken on purpose, one word at a time, and the laws must say so.

A broken formula is the loss's own source with a token replaced, run as a module of its own. The torch engine runs them: what is tested here is the laws.
"""

import inspect
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from cases import one

import losskit
from losskit.contract import elementwise as contract
from losskit.contract.registry import LOSSES
from losskit.engines.torch import elementwise as plain
from losskit.testing import LAWS, Subject, examine

LEFT_OUT = ("deterministic", "second_derivative", "transforms", "layouts")  # slow, and about engines
SUITE = [law for law in LAWS if law not in LEFT_OUT]


@pytest.fixture(autouse=True)
def plain_engine() -> Iterator[None]:
    with losskit.use_engine("torch"):
        yield


def failures(loss: str, function: Any = None, **settings: Any) -> set[str]:
    """The laws that a function breaks when it claims to be a loss."""
    facts = LOSSES[loss]
    return {f.law for f in examine(Subject(function or facts.function, facts, settings), SUITE) if f.verdict == "fails"}


def mutant(loss: str, old: str, new: str) -> Any:
    """The loss's function with `old` replaced by `new` in its file; the registry is left as it was."""
    module = sys.modules[LOSSES[loss].function.__module__]
    source = inspect.getsource(module)
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times in {module.__name__}"
    broken = ModuleType(module.__name__)
    held = LOSSES.losses[loss]
    try:
        exec(compile(source.replace(old, new), module.__file__ or "", "exec"), broken.__dict__)
    finally:
        LOSSES.losses[loss] = held
    return getattr(broken, loss)


FORMULAS = [
    ("sign of the gradient", "l1_loss", "return absolute(r), slope, -slope", "return absolute(r), -slope, slope", {}),
    ("factor 2 in the value", "l2_loss", "0.5 * r * r", "r * r", {}),
    ("factor 2 in the gradient", "mse_loss", "slope = 2.0 * r", "slope = r", {}),
    ("sign of the target's gradient", "huber_loss", "slope, -slope", "slope, slope", {"delta": 1.0}),
    ("beta forgotten", "smooth_l1_loss", "steepness = r / beta", "steepness = r", {"beta": 0.11}),
    ("half of delta forgotten", "huber_loss", "a - half_delta", "a - delta", {"delta": 1.35}),
    ("eps not squared", "charbonnier_loss", "1.0 + ratio * ratio", "1.0 + ratio", {"eps": 1.0}),
    ("sides swapped", "quantile_loss", "(q, 1.0 - q)", "(1.0 - q, q)", {"quantile": 0.9}),
    ("exponent of the gradient", "barron_loss", "(alpha - 1.0) / 2.0", "alpha / 2.0", {"alpha": 1.5}),
    (
        "label smoothing off",
        "binary_cross_entropy_with_logits",
        "tail = (1.0, 1.0 - smoothing, 0.5 * smoothing)",
        "tail = (1.0, 1.0, 0.0)",
        {"label_smoothing": 0.1},
    ),
    (
        "alpha swapped",
        "focal_loss",
        "alphas = class_alphas(input, alpha, task, dim)",
        "alpha = 1.0 - alpha; alphas = class_alphas(input, alpha, task, dim)",
        {"alpha": 0.25},
    ),
    ("gamma plus 1", "focal_loss", 'gamma = checks.number("gamma", gamma, low=0.0)', 'gamma = checks.number("gamma", gamma, low=0.0) + 1.0', {"gamma": 0.5}),
    ("quality focal: factor held constant", "quality_focal_loss", "r * factor + steep * (rest * (1.0 - rest))", "r * factor", {"beta": 2.0}),
    ("quality focal: derivative of the power", "quality_focal_loss", "beta * sign(r) * steep", "sign(r) * steep", {"beta": 1.5}),
    ("quality focal: sign of the difference", "quality_focal_loss", "beta * sign(r) * steep", "beta * steep", {"beta": 1.0}),
    ("quality focal: cancellation of confident logits", "quality_focal_loss", "rest = e / (1.0 + e)", "rest = 1.0 - 1.0 / (1.0 + e)", {"beta": 2.0}),
    ("quality focal: target's gradient without its factor", "quality_focal_loss", "where(up, -steep, steep) - where", "0.0 * steep - where", {"beta": 2.0}),
    ("varifocal: objects of one weight", "varifocal_loss", "flat + share * t)", "flat + share)", {}),
    ("varifocal: objects of their own weight", "varifocal_loss", "(0.0, 1.0) if iou_weighted else (1.0, 0.0)", "(0.0, 1.0)", {"iou_weighted": False}),
    ("varifocal: background's factor held constant", "varifocal_loss", "(where(up, r, -r) + fading)", "where(up, r, -r)", {}),
    (
        "varifocal: alpha for objects too",
        "varifocal_loss",
        "where(nothing, alpha * power, flat + share * t)",
        "alpha * where(nothing, power, flat + share * t)",
        {},
    ),
    ("varifocal: power of the other side", "varifocal_loss", "where(x > 0.0, 1.0, e)", "where(x > 0.0, e, 1.0)", {}),
    ("varifocal: weight held constant to the target", "varifocal_loss", "share * (1.0 - t - t) - flat", "-share * t - flat", {}),
    ("cancellation at small errors", "log_cosh_loss", "near = a < 1.0", "near = a < 0.0", {}),
]


@pytest.mark.parametrize(("loss", "old", "new", "settings"), [m[1:] for m in FORMULAS], ids=[m[0] for m in FORMULAS])
def test_broken_formula_is_noticed(loss: str, old: str, new: str, settings: dict[str, Any]) -> None:
    assert not failures(loss, **settings)
    assert failures(loss, mutant(loss, old, new), **settings)


def mask_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    original = contract._factors
    monkeypatch.setattr(contract, "_factors", lambda input, mask, *rest: original(input, None, *rest))


def mask_inverted(monkeypatch: pytest.MonkeyPatch) -> None:
    original = contract._factors
    monkeypatch.setattr(contract, "_factors", lambda input, mask, *rest: original(input, None if mask is None else ~mask, *rest))


def weight_squared(monkeypatch: pytest.MonkeyPatch) -> None:
    original = plain.combined
    monkeypatch.setattr(plain, "combined", lambda factors, real: original((*factors, *factors), real))


def weights_not_in_the_denominator(monkeypatch: pytest.MonkeyPatch) -> None:
    original = contract._scale

    def broken(engine: Any, input: Any, target: Any, mask: Any, sample_weight: Any, *rest: Any) -> Any:
        return original(engine, input, target, mask, None, *rest)

    monkeypatch.setattr(contract, "_scale", broken)


def mask_not_in_the_denominator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract, "_scale", lambda engine, input, *rest: 1.0 / max(input.numel(), 1))


def normalizer_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    original = contract._scale
    monkeypatch.setattr(contract, "_scale", lambda e, i, t, m, w, normalizer, mass: original(e, i, t, m, w, None, mass))


def garbage_times_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(call: Any, *operands: torch.Tensor) -> torch.Tensor:
        factors, call = call.factors, call._replace(factors=())
        value = original(call, *operands)
        return value * plain.combined(factors, value.dtype) if factors else value

    original = plain.losses
    monkeypatch.setattr(plain, "losses", broken)


def detached(monkeypatch: pytest.MonkeyPatch) -> None:
    original = plain.losses
    monkeypatch.setattr(plain, "losses", lambda call, *operands: original(call, *operands).detach())


def half_precision_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    original = plain.losses
    monkeypatch.setattr(plain, "losses", lambda call, *operands: original(call, *operands).to(operands[0].dtype))


def target_broadcast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract.checks, "pair", lambda input, target: None)


CONTRACT = [
    (mask_skipped, "mask_deletes"),
    (mask_inverted, "mask_deletes"),
    (weight_squared, "weighted_mean"),
    (weights_not_in_the_denominator, "weighted_mean"),
    (mask_not_in_the_denominator, "mask_deletes"),
    (normalizer_ignored, "accumulation"),
    (garbage_times_zero, "mask_deletes"),
    (detached, "textbook"),
    (half_precision_inside, "half_precision"),
    (target_broadcast, "shapes_agree"),
]


@pytest.mark.parametrize(("breaks", "law"), CONTRACT, ids=[b.__name__ for b, _ in CONTRACT])
def test_broken_contract_is_noticed(breaks: Any, law: str, monkeypatch: pytest.MonkeyPatch) -> None:
    breaks(monkeypatch)
    assert law in failures("smooth_l1_loss", beta=0.5)


def test_wrong_denominator_is_noticed() -> None:
    def off_by_one(input: torch.Tensor, target: torch.Tensor, *, reduction: str = "mean") -> torch.Tensor:
        value = losskit.mse_loss(input, target, reduction=reduction)
        return value * input.numel() / (input.numel() - 1) if reduction == "mean" else value

    assert failures("mse_loss", off_by_one) == {"reductions_agree", "incoming_gradient"}


def test_input_written_to_is_noticed() -> None:
    def careless(input: torch.Tensor, target: torch.Tensor, *, reduction: str = "mean") -> torch.Tensor:
        target.clamp_(-1e30, 1e30)
        return losskit.mse_loss(input, target, reduction=reduction)

    assert "inputs_unchanged" in failures("mse_loss", careless)


@pytest.mark.parametrize("case", [one("focal_loss", alpha=0.25), one("barron_loss", alpha=0.3), one("binary_cross_entropy")], ids=str)
def test_unbroken_losses_pass(case: Any) -> None:
    assert failures(case.loss.name, **case.settings) == set()


def test_a_peer_that_breaks_laws_is_told_with_a_counterexample() -> None:
    import torch.nn.functional as F

    result = losskit_audit(F.binary_cross_entropy_with_logits)
    assert result.verdict("textbook") == "holds" and result.verdict("mask_deletes") == "not offered"
    assert result.verdict("error_budget") == "fails" and result.verdict("nothing_left") == "fails"
    budget = next(f for f in result.findings if f.law == "error_budget")
    assert "x = " in budget.detail and "t = " in budget.detail


def losskit_audit(function: Any) -> Any:
    from losskit.testing import audit

    return audit(function, like="binary_cross_entropy_with_logits", show=False)


def test_audit_prints_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    from losskit.testing import audit

    audit(torch.nn.functional.mse_loss, like="mse_loss", laws=["textbook", "shapes_agree", "mask_deletes"])
    printed = capsys.readouterr().out
    assert "1 holds, 1 fails, 1 not offered" in printed and "torch.nn.functional.mse_loss" in printed and "was accepted" in printed


def test_audit_refuses_what_it_does_not_know() -> None:
    from losskit.testing import audit

    with pytest.raises(ValueError, match=r"like must be one of .*focal_loss"):
        audit(torch.nn.functional.mse_loss, like="mse")
    with pytest.raises(TypeError, match="mse_loss has no setting 'beta'"):
        audit(torch.nn.functional.mse_loss, like="mse_loss", beta=1.0)
