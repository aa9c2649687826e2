"""Defects that the second review found: each failed before it was mended."""

import pytest
import torch

import losskit
import losskit.testing


def test_little_smoothing_is_not_lost_in_rounding():
    for smoothing in (1e-3, 1e-5, 1e-7):
        x = torch.tensor([50.0, -50.0], requires_grad=True)
        loss = losskit.binary_cross_entropy_with_logits(x, torch.tensor([1.0, 0.0]), label_smoothing=smoothing, reduction="none")
        (grad,) = torch.autograd.grad(loss.sum(), x)
        torch.testing.assert_close(loss.double(), torch.full((2,), 25.0 * smoothing, dtype=torch.float64), rtol=1e-6, atol=0)
        torch.testing.assert_close(grad.double(), torch.tensor([0.5, -0.5], dtype=torch.float64) * smoothing, rtol=1e-6, atol=0)
        assert loss[0] == loss[1]


@pytest.mark.chosen
@pytest.mark.parametrize(("weight", "told"), [(3e38, "add up to"), (1e-40, "add up to"), (1e300, "float64 numbers beyond"), (1e-300, "float64 numbers beyond")])
def test_weights_out_of_range_raise(weight, told):
    dtype = torch.float64 if weight in (1e300, 1e-300) else torch.float32
    with pytest.raises(ValueError, match=told):
        losskit.mse_loss(torch.ones(4), torch.zeros(4), sample_weight=torch.full((4,), weight, dtype=dtype))


@pytest.mark.filterwarnings("ignore")  # the deprecations of torch's own forward mode
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_forward_mode_keeps_the_dtype(reduction):
    x, t = torch.randn(3), torch.randn(3)
    value, tangent = torch.func.jvp(lambda a: losskit.mse_loss(a, t, reduction=reduction), (x,), (x,))
    assert value.dtype is tangent.dtype is torch.float32
    logits, labels = torch.randn(3, 4), torch.tensor([0, 3, 1])
    value, tangent = torch.func.jvp(lambda a: losskit.cross_entropy(a, labels, reduction=reduction), (logits,), (logits,))
    assert value.dtype is tangent.dtype is torch.float32


@pytest.mark.filterwarnings("ignore")
def test_nothing_left_to_count_also_when_compiled():
    x = torch.full((3,), float("nan"), requires_grad=True)
    value = torch.compile(losskit.mse_loss, fullgraph=True, backend="aot_eager")(x, torch.zeros(3), normalizer=0)
    (grad,) = torch.autograd.grad(value, x)
    assert value == 0 and not grad.any()


@pytest.mark.filterwarnings("ignore")
def test_a_forced_engine_raises_when_compiled():
    step = torch.compile(losskit.mse_loss, fullgraph=True, backend="eager")
    with losskit.use_engine("triton"), pytest.raises(Exception, match="EngineError"):
        step(torch.ones(3), torch.zeros(3))
    with losskit.use_engine("torch"):
        assert step(torch.ones(3), torch.zeros(3)) == 1


def test_a_mean_does_not_overflow_in_any_engine():
    for engine in ("cpu", "torch"):
        with losskit.use_engine(engine):
            assert losskit.l1_loss(torch.tensor([3e38, 3e38]), torch.zeros(2)).item() == pytest.approx(3e38, rel=1e-6)


def test_barron_keeps_tiny_errors_of_flat_members():
    for alpha in (-1e16, -1e4, 1e-6, -1e-6, 1e-12):
        value = losskit.barron_loss(torch.tensor([1e-15, 3e-19]), torch.zeros(2), alpha=alpha, reduction="none")
        torch.testing.assert_close(value, torch.tensor([5e-31, 4.5e-38]), rtol=1e-5, atol=0)


def test_a_normalizer_without_a_value_is_refused():
    empty = torch.tensor(3.0, device="meta")
    with pytest.raises(ValueError, match="normalizer is on meta"):
        losskit.mse_loss(torch.ones(3), torch.zeros(3), normalizer=empty)
    with pytest.raises(ValueError, match="normalizer is on meta"):
        losskit.cross_entropy(torch.ones(3, 2), torch.tensor([0, 1, 0]), normalizer=empty)


def test_audit_reaches_what_only_reduces():
    """Modules, and functions without a reduction argument, are asked one item at a time."""
    laws = ["textbook"]
    right = losskit.testing.audit(torch.nn.SmoothL1Loss(beta=0.5), like="smooth_l1_loss", beta=0.5, laws=laws, show=False)
    wrong = losskit.testing.audit(torch.nn.SmoothL1Loss(beta=0.3), like="smooth_l1_loss", beta=0.5, laws=laws, show=False)
    scaled = losskit.testing.audit(lambda a, b: 0.9 * (a - b).pow(2).mean(), like="mse_loss", laws=laws, show=False)
    constant = losskit.testing.audit(lambda a, b: torch.tensor(1.0), like="mse_loss", laws=laws, show=False)
    rows = losskit.testing.audit(torch.nn.CrossEntropyLoss(), like="cross_entropy", laws=laws, show=False)
    smoothed = losskit.testing.audit(torch.nn.CrossEntropyLoss(label_smoothing=0.1), like="cross_entropy", laws=laws, show=False)
    assert [found.verdict("textbook") for found in (right, wrong, scaled, constant, rows, smoothed)] == ["holds", "fails", "fails", "fails", "holds", "fails"]


def test_our_own_losses_pass_their_audit_in_half_precision():
    assert not losskit.testing.audit(losskit.mse_loss, like="mse_loss", dtype=torch.bfloat16, laws=["transforms"], show=False).failures


def test_audit_refuses_what_it_cannot_examine():
    with pytest.raises(ValueError, match="laws must be a list"):
        losskit.testing.audit(losskit.mse_loss, like="mse_loss", laws=["nope"])
    with pytest.raises(ValueError, match="laws must be a list"):
        losskit.testing.audit(losskit.mse_loss, like="mse_loss", laws="textbook")
    with pytest.raises(TypeError, match="got the class MSELoss"):
        losskit.testing.audit(torch.nn.MSELoss, like="mse_loss")
    with pytest.raises(TypeError, match="floating-point dtype"):
        losskit.testing.audit(losskit.mse_loss, like="mse_loss", dtype=torch.int64)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("classes", [3, 40, 600])
def test_a_class_of_weight_0_may_be_ruled_out(engine, classes):
    """Its loss is infinite, times 0; torch gives NaN. In each loop of rows one formula, in tiles the others as well."""
    few = engine == "cpu" and classes > 3
    x = torch.zeros(2, classes)
    x[0, 1] = -torch.inf
    x.requires_grad_()
    weight = torch.ones(classes).index_fill(0, torch.tensor(1), 0.0)
    with losskit.use_engine(engine):
        for loss in (losskit.cross_entropy, losskit.poly_loss, losskit.symmetric_cross_entropy)[: 1 if few else 3]:
            value = loss(x, torch.tensor([1, 0]), weight=weight)
            (grad,) = torch.autograd.grad(value, x)
            assert value.isfinite() and not grad[0].any() and grad[1].isfinite().all()
        soft = torch.nn.functional.one_hot(torch.tensor([1, 0]), classes).float().requires_grad_()
        value = losskit.cross_entropy(x, soft, weight=weight, label_smoothing=0.1)
        for grad in torch.autograd.grad(value, (x, soft)):
            assert value.isfinite() and grad.isfinite().all()


def test_a_loss_of_labels_says_so():
    x = torch.randn(4, 3)
    with pytest.raises(ValueError, match=r"takes labels only: try target.argmax\(1\)"):
        losskit.poly_loss(x, x.softmax(1))


def test_a_label_beyond_int64_is_told():
    with pytest.raises(ValueError, match=r"got 9223372036854775808 at index \(1,\)"):
        losskit.cross_entropy(torch.randn(2, 3), torch.tensor([0, 2**63], dtype=torch.uint64))
