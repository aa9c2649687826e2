"""The suite notices: formulas of sums, the pattern and the contract of overlap are broken on purpose, one word at a time, and the laws must say so.

Derivatives by the sums are the formula's own in the fused engines only (the torch engine follows the value), so those are broken under the CPU engine, whose
passes know nothing of them; everything else under the torch engine.
"""

from types import ModuleType
from typing import Any

import pytest
import torch
from test_mutations import mutant
from test_row_mutations import rewritten

import losskit
from losskit import LOSSES
from losskit.contract import overlap as contract
from losskit.contract import scores
from losskit.engines.torch import overlap as plain
from losskit.testing import OverlapSubject, examine

MANY, ALL, ONE = {"task": "multiclass"}, {"task": "multilabel"}, {"task": "binary"}


def failures(laws: tuple[str, ...], loss: str, function: Any = None, engine: Any = "torch", soft: bool = False, **settings: Any) -> set[str]:
    """Which of the laws a function breaks when it claims to be a loss."""
    facts = LOSSES[loss]
    with losskit.use_engine(engine):
        subject = OverlapSubject(function or facts.function, facts, settings, engine=engine, soft=soft)
        return {f.law for f in examine(subject, laws) if f.verdict == "fails"}


DERIVATIVES = [
    ("sign by the intersection", "tversky_loss", "return value, -value * inverse - (alpha", "return value, value * inverse - (alpha"),
    ("false alarms forgotten", "tversky_loss", "* rest, alpha * rest, beta * rest", "* rest, 0.0 * rest, beta * rest"),
    ("prices swapped in the derivative", "tversky_loss", "* rest, alpha * rest, beta * rest", "* rest, beta * rest, alpha * rest"),
]


@pytest.mark.parametrize(("loss", "old", "new"), [m[1:] for m in DERIVATIVES], ids=[m[0] for m in DERIVATIVES])
def test_broken_derivative_is_noticed(loss: str, old: str, new: str) -> None:
    settings = {**MANY, "alpha": 0.3, "beta": 0.7}
    assert not failures(("error_budget",), loss, engine="cpu", **settings)
    assert failures(("error_budget",), loss, mutant(loss, old, new), engine="cpu", **settings)


VALUES: list[tuple[str, str, str, str, dict[str, Any]]] = [
    ("prices swapped", "tversky_loss", "wrong = alpha * (p - i) + beta * (t - i)", "wrong = beta * (p - i) + alpha * (t - i)", {"alpha": 0.3, "beta": 0.7}),
    ("smoothing below the bar forgotten", "tversky_loss", "whole = i + wrong + below", "whole = i + wrong", {}),
    ("smoothing above the bar forgotten", "tversky_loss", "(wrong + (below - above))", "(wrong + below)", {}),
    ("order of the parameters", "tversky_loss", "(alpha, beta, *smoothing(smooth))", "(beta, alpha, *smoothing(smooth))", {"alpha": 0.3, "beta": 0.7}),
    ("twice the smoothing", "dice_loss", "0.5, 0.5, 0.5 * above, 0.5 * below", "0.5, 0.5, above, below", {}),
]


@pytest.mark.parametrize(("loss", "old", "new", "settings"), [m[1:] for m in VALUES], ids=[m[0] for m in VALUES])
def test_broken_formula_is_noticed(loss: str, old: str, new: str, settings: dict[str, Any]) -> None:
    assert failures(("textbook",), loss, mutant(loss, old, new), **MANY, **settings)


CE = "dice_ce_loss"
BROKEN: list[tuple[str, ModuleType, str, str, str, str, str, dict[str, Any]]] = [
    # sums
    ("ignored labels counted", plain, "sums", "(labels != call.ignore) & factor", "factor", "ignore_deletes", "dice_loss", MANY),
    ("the mask ignored", plain, "sums", "counts = labels != call.ignore if factor is None else", "counts = labels != call.ignore if True else", "mask_deletes", "dice_loss", MANY),
    ("garbage times 0", plain, "sums", "torch.where(counts, x, 0.0)", "x", "mask_deletes", "dice_loss", MANY),
    ("target not squared", plain, "sums", "target * target if call.squared", "target if call.squared", "target_gradient", "dice_loss", {**ALL, "power": 2}),
    ("prediction not squared", plain, "sums", "p * p if call.squared", "p if call.squared", "error_budget", "dice_loss", {**MANY, "power": 2}),
    ("class axis forgotten", plain, "sums", "target = t.movedim(call.dim, 1)", "target = t.movedim(1, 1)", "class_axis", "dice_loss", ALL),
    ("summed in float16", plain, "sums", "real = real_dtype(x.dtype)", "real = x.dtype", "half_precision", "dice_loss", ALL),
    ("infinity less infinity", plain, "probabilities", "torch.where(x > big, big, x)", "x", "infinite_inputs", "dice_loss", MANY),
    ("sigmoid for softmax", plain, "probabilities", 'if call.link == "sigmoid":', "if True:", "textbook", "dice_loss", MANY),
    # from sums to the loss
    ("batch taken for samples", scores, "loss_of_sums", 'if how.over == "batch":\\n        cells', 'if how.over == "sample":\\n        cells', "textbook", "dice_loss", MANY),
    ("the background kept", scores, "loss_of_sums", "sums if how.background else sums[:, 1:]", "sums", "textbook", "dice_loss", MANY),
    ("micro without weights", scores, "loss_of_sums", "cells if weight is None else cells * weight[..., None]", "cells", "textbook", "dice_loss", MANY),
    ("macro without weights", scores, "counting", "kept = kept * weight", "kept = kept * 1.0", "averages_agree", "dice_loss", MANY),
    ("weighted by nothing", scores, "loss_of_sums", 'settled(t) if how.average == "weighted"', 'xp.ones_like(t) if how.average == "weighted"', "averages_agree", "dice_loss", MANY),
    ("weights not settled", scores, "loss_of_sums", 'settled(t) if how.average == "weighted"', 't if how.average == "weighted"', "target_gradient", "dice_loss", {**ALL, "average": "weighted"}),
    ("absent classes counted", scores, "loss_of_sums", "counts = counts & (t != 0)", "counts = counts", "empties", "dice_loss", ALL),
    ("mass of nothing", scores, "loss_of_sums", 'if how.empty == "mass" else k * 0.0', 'if how.empty == "zero" else k * 0.0', "empties", "dice_loss", ALL),
    ("the normalizer ignored", scores, "loss_of_sums", "bottom if how.normalizer is None else how.normalizer", "bottom", "accumulation", "dice_loss", MANY),
    ("nothing left to divide by", scores, "inverse", "xp.where(x != 0, 1.0 / xp.where(x != 0, x, 1.0), 0.0)", "1.0 / x", "nothing_left", "dice_loss", ALL),
    ("volumes not squared", scores, "class_weight", "mass * mass if", "mass if", "textbook", "generalized_dice_loss", MANY),
    ("rarest forgotten", scores, "class_weight", "xp.where(rarest > 0, rarest, 1.0)", "1.0", "empties", "generalized_dice_loss", MANY),
    ("the background's weight kept", scores, "class_weight", "weight = weight[1:]", "weight = weight[:-1]", "textbook", "dice_loss", MANY),
    ("mean by the count", scores, "extra_mean", "elif weight is not None and extra.by_weight:", "elif False:", "textbook", CE, MANY),
    ("weights in the mean squared", scores, "extra_mean", "losses * weight", "losses * weight * weight", "textbook", CE, MANY),
    # checks
    ("labels not looked at", contract, "prepare", "if labelled:\\n        census", "if False:\\n        census", "values_checked", "dice_loss", MANY),
    ("any mask accepted", contract, "of_positions", 'checks.mask(mask, one_class, "target")', "pass", "shapes_agree", "dice_loss", MANY),
    ("no number refused", contract, "refuse_outside", 'checks.in_unit(checks.SOFT_TARGET if call.link == "softmax" else checks.UNIT_TARGET, (t.detach(),), counts)', "pass", "values_checked", "dice_loss", ALL),
    ("any weight accepted", contract, "one_a_class", "return labels.class_weights(", "return weight if True else labels.class_weights(", "shapes_agree", "dice_loss", MANY),
]  # fmt: skip


def replace(monkeypatch: pytest.MonkeyPatch, module: ModuleType, name: str, old: str, new: str) -> None:
    """A function broken wherever it is called from."""
    broken = rewritten(module, name, old, new)
    for place in {module, contract}:
        if hasattr(place, name):
            monkeypatch.setattr(place, name, broken)


@pytest.mark.parametrize(("module", "name", "old", "new", "law", "loss", "settings"), [m[1:] for m in BROKEN], ids=[m[0] for m in BROKEN])
def test_broken_contract_is_noticed(
    module: ModuleType, name: str, old: str, new: str, law: str, loss: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    soft = law == "target_gradient"
    assert not failures((law,), loss, soft=soft, **settings)
    replace(monkeypatch, module, name, old.replace("\\n", "\n"), new.replace("\\n", "\n"))
    assert failures((law,), loss, soft=soft, **settings) == {law}


SPREAD = [
    ("spread", "if how.average == \"none\" and how.volume is None:", "if False:"),
    ("spread", "((1, 0),)", "((0, 1),)"),
    ("loss_of_sums", "own *= weight[..., None]", "pass"),
    ("loss_of_sums", "share = -share", "pass"),
    ("loss_of_sums", "share * extra.overlap_share", "share"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new"), SPREAD)
def test_broken_gradient_of_sums_is_noticed(name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the fused engines alone are told: the derivatives by the sums, times what comes in."""

    def wrong() -> bool:
        found: set[str] = failures(("incoming_gradient", "textbook"), "dice_loss", engine="cpu", **MANY)
        found |= failures(("error_budget",), CE, engine="cpu", **MANY, dice_weight=0.5)
        x, t = torch.linspace(-2, 2, 24).reshape(2, 3, 4).requires_grad_(), torch.arange(8).reshape(2, 4) % 3
        with losskit.use_engine("cpu"):
            score, loss = (f(x, t, task="multiclass", smooth=0.0) for f in (losskit.dice_score, losskit.dice_loss))
        (a,), (b,) = torch.autograd.grad(score, x), torch.autograd.grad(loss, x)
        return bool(found) or not torch.allclose(a, -b)

    assert not wrong()
    replace(monkeypatch, scores, name, old, new)
    assert wrong()


def test_input_written_to_is_noticed() -> None:
    def careless(input: torch.Tensor, target: torch.Tensor, *, task: str) -> torch.Tensor:
        target.clamp_(min=1)
        return losskit.dice_loss(input, target, task=task)  # type: ignore[arg-type]

    assert failures(("inputs_unchanged",), "dice_loss", careless, **MANY)
