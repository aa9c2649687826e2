"""The audit kit on what is not ours, and on what is wrong: counterexamples, tables, refusals."""

import pytest
import torch
import torch.nn.functional as F

import losskit
from losskit.testing import LAWS, ROW_LAWS, audit


@pytest.fixture(autouse=True)
def plain_engine():
    """No loop is compiled for it: what is tested is the laws."""
    with losskit.use_engine("torch"):
        yield


def test_only_the_laws_that_are_broken_fail():
    def off_by_one(input: torch.Tensor, target: torch.Tensor, *, reduction: str = "mean") -> torch.Tensor:
        value = losskit.mse_loss(input, target, reduction=reduction)
        return value * input.numel() / (input.numel() - 1) if reduction == "mean" else value

    slow = ("deterministic", "second_derivative", "transforms", "layouts")  # and about engines
    result = audit(off_by_one, like="mse_loss", show=False, laws=[law for law in LAWS if law not in slow])
    assert {f.law for f in result.failures} == {"reductions_agree", "incoming_gradient"}


def test_a_peer_that_breaks_laws_is_told_with_a_counterexample():
    result = audit(F.binary_cross_entropy_with_logits, like="binary_cross_entropy_with_logits", show=False)
    assert result.verdict("textbook") == "holds" and result.verdict("mask_deletes") == "not offered"
    assert result.verdict("error_budget") == "fails" and result.verdict("nothing_left") == "fails"
    budget = next(f for f in result.findings if f.law == "error_budget")
    assert "x = " in budget.detail and "t = " in budget.detail


def test_audit_prints_a_table(capsys):
    audit(F.mse_loss, like="mse_loss", laws=["textbook", "shapes_agree", "mask_deletes"])
    printed = capsys.readouterr().out
    assert "1 holds, 1 fails, 1 not offered" in printed and "torch.nn.functional.mse_loss" in printed and "was accepted" in printed


def test_audit_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match=r"like must be one of .*focal_loss"):
        audit(F.mse_loss, like="mse")
    with pytest.raises(TypeError, match="mse_loss has no setting 'beta'"):
        audit(F.mse_loss, like="mse_loss", beta=1.0)


def test_a_peer_of_rows_is_told_with_a_counterexample():
    result = audit(F.cross_entropy, like="cross_entropy", show=False)
    for law in ("textbook", "reductions_agree", "ruled_out", "layouts", "sure_distribution", "incoming_gradient", "transforms"):
        assert result.verdict(law) == "holds"
    for law in ("error_budget", "ignore_deletes", "nothing_left", "infinite_inputs", "half_precision", "label_dtypes"):
        assert result.verdict(law) == "fails"
    for law in ("mask_deletes", "weighted_mean", "accumulation", "class_axis", "by_products"):
        assert result.verdict(law) == "not offered"
    found = next(f for f in result.findings if f.law == "error_budget")
    assert "small value -0.0, exact" in found.detail and "t = " in found.detail


def test_audit_takes_the_laws_of_the_task():
    one = audit(losskit.focal_loss, like="focal_loss", show=False, laws=["reductions_agree"], task="multiclass", gamma=2.0)
    assert one.findings[0].says == ROW_LAWS["reductions_agree"].says and one.verdict("reductions_agree") == "holds"
    other = audit(losskit.focal_loss, like="focal_loss", show=False, laws=["mask_deletes"], gamma=2.0)
    assert other.findings[0].says == LAWS["mask_deletes"].says
