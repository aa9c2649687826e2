"""Losses that are other losses: the same bits or the same digits."""

import inspect
import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from cases import CASES, ENGINES, Case, thorough

import losskit
from losskit.testing import inputs


@pytest.fixture(params=ENGINES, autouse=True)
def engine(request):
    with losskit.use_engine(request.param):
        yield request.param


def value_and_gradient(function, x, t, **arguments):
    a = x.clone().requires_grad_()
    value = function(a, t, **arguments)
    return value.detach(), torch.autograd.grad(value.sum(), a)[0]


def real_pair():
    return torch.randn(200) * 3, torch.randn(200) * 3


def unit_pair():
    return torch.randn(200) * 4, (torch.rand(200) < 0.5).float()


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_focal_with_gamma_0_is_cross_entropy_bit_for_bit(reduction):
    for from_logits in (True, False):
        x, t = unit_pair()
        x = x if from_logits else torch.sigmoid(x)
        a = value_and_gradient(losskit.focal_loss, x, t, gamma=0.0, reduction=reduction, from_logits=from_logits)
        b = value_and_gradient(losskit.binary_cross_entropy_with_logits if from_logits else losskit.binary_cross_entropy, x, t, reduction=reduction)
        assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_focal_forms_for_gamma_2_agree():
    x, t = unit_pair()
    a = value_and_gradient(losskit.focal_loss, x, t, gamma=2.0, reduction="none")
    b = value_and_gradient(losskit.focal_loss, x, t, gamma=2.0 + 1e-12, reduction="none")  # the general form, which is another formula
    torch.testing.assert_close(a, b, rtol=2e-6, atol=1e-30)


@pytest.mark.parametrize("reduction", ["none", "mean"])
def test_quality_focal_with_beta_0_is_cross_entropy_bit_for_bit(reduction):
    x, t = torch.randn(200) * 4, torch.rand(200)
    a = value_and_gradient(losskit.quality_focal_loss, x, t, beta=0.0, reduction=reduction)
    b = value_and_gradient(losskit.binary_cross_entropy_with_logits, x, t, reduction=reduction)
    assert torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


@pytest.mark.parametrize("beta", [1.0, 2.0, 3.5])
def test_quality_focal_of_labels_is_focal(beta):
    x, t = unit_pair()
    a = value_and_gradient(losskit.quality_focal_loss, x, t, beta=beta, reduction="none")
    torch.testing.assert_close(a, value_and_gradient(losskit.focal_loss, x, t, gamma=beta, reduction="none"), rtol=1e-5, atol=1e-30)


def test_quality_focal_forms_for_beta_2_agree():
    x, t = torch.randn(200) * 4, torch.rand(200)
    a = value_and_gradient(losskit.quality_focal_loss, x, t, beta=2.0, reduction="none")
    b = value_and_gradient(losskit.quality_focal_loss, x, t, beta=2.0 + 1e-12, reduction="none")  # the general form, which is another formula
    torch.testing.assert_close(a, b, rtol=4e-6, atol=1e-30)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_varifocal_is_focal_for_the_background_and_weighted_cross_entropy_for_objects(gamma):
    x, none = torch.randn(200) * 4, torch.zeros(200)
    background = value_and_gradient(losskit.varifocal_loss, x, none, alpha=0.75, gamma=gamma, reduction="none")
    torch.testing.assert_close(background, value_and_gradient(losskit.focal_loss, x, none, alpha=0.25, gamma=gamma, reduction="none"), rtol=1e-6, atol=1e-30)
    t = torch.rand(200) * 0.99 + 0.01
    for weighted, weight in ((True, t), (False, torch.ones(200))):
        objects = value_and_gradient(losskit.varifocal_loss, x, t, gamma=gamma, iou_weighted=weighted, reduction="none")
        entropy = value_and_gradient(losskit.binary_cross_entropy_with_logits, x, t, sample_weight=weight, reduction="none")
        torch.testing.assert_close(objects, entropy, rtol=1e-6, atol=1e-7)  # a slope is a difference, of p and t


def test_varifocal_forms_for_gamma_2_agree():
    x, none = torch.randn(200) * 4, torch.zeros(200)
    a = value_and_gradient(losskit.varifocal_loss, x, none, gamma=2.0, reduction="none")
    b = value_and_gradient(losskit.varifocal_loss, x, none, gamma=2.0 + 1e-12, reduction="none")
    torch.testing.assert_close(a, b, rtol=2e-6, atol=1e-30)


@pytest.mark.parametrize("beta", [0.3, 1.0, 7.0])
def test_huber_is_beta_times_smooth_l1(beta):
    x, t = real_pair()
    a = value_and_gradient(losskit.smooth_l1_loss, x, t, beta=beta, reduction="none")
    b = value_and_gradient(losskit.huber_loss, x, t, delta=beta, reduction="none")
    torch.testing.assert_close(tuple(beta * z for z in a), b, rtol=1e-6, atol=0)


def test_l2_is_half_of_mse_and_the_median_half_of_l1_bit_for_bit():
    x, t = real_pair()
    for (one, other), arguments in (((losskit.l2_loss, losskit.mse_loss), {}), ((losskit.quantile_loss, losskit.l1_loss), {"quantile": 0.5})):
        a, b = value_and_gradient(one, x, t, reduction="none", **arguments), value_and_gradient(other, x, t, reduction="none")
        assert torch.equal(a[0], b[0] / 2) and torch.equal(a[1], b[1] / 2)


def test_smooth_l1_with_beta_0_is_l1_and_with_a_large_beta_l2():
    x, t = real_pair()
    assert torch.equal(losskit.smooth_l1_loss(x, t, beta=0.0, reduction="none"), losskit.l1_loss(x, t, reduction="none"))
    torch.testing.assert_close(losskit.smooth_l1_loss(x, t, beta=1e6) * 1e6, losskit.l2_loss(x, t), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("alpha", "near"), [(2.0, 2.0 + 1e-4), (2.0, 2.0 - 1e-4), (0.0, 1e-4), (0.0, -1e-4), (-math.inf, -1e5)])
def test_barron_is_continuous_at_its_limits(alpha, near):
    x, t = real_pair()
    a = value_and_gradient(losskit.barron_loss, x, t, alpha=alpha, reduction="none")
    b = value_and_gradient(losskit.barron_loss, x, t, alpha=near, reduction="none")
    torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-4)


def test_barron_contains_its_relatives():
    x, t = real_pair()
    torch.testing.assert_close(losskit.barron_loss(x, t, alpha=1.0), losskit.charbonnier_loss(x, t, eps=1.0) - 1.0, rtol=1e-5, atol=0)
    torch.testing.assert_close(losskit.barron_loss(x, t, alpha=2.0), losskit.l2_loss(x, t), rtol=1e-6, atol=0)


def test_positive_weight_is_a_weight_of_positives():
    x, t = unit_pair()
    a = value_and_gradient(losskit.binary_cross_entropy_with_logits, x, t, pos_weight=torch.tensor(3.0), reduction="none")
    b = value_and_gradient(losskit.binary_cross_entropy_with_logits, x, t, weight=1 + 2 * t, reduction="none")
    torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


def test_logits_and_probabilities_agree():
    x, t = torch.randn(200, dtype=torch.float64), torch.rand(200, dtype=torch.float64)
    focal, p = partial(losskit.focal_loss, gamma=1.5, alpha=0.3), torch.sigmoid(x)
    smooth = dict(label_smoothing=0.1)
    with losskit.use_engine("torch"):  # four float64 kernels to compile, for what the error budget says of each
        pairs = [
            (losskit.binary_cross_entropy_with_logits(x, t, **smooth), losskit.binary_cross_entropy(p, t, **smooth)),
            (focal(x, t), focal(p, t, from_logits=False)),
        ]
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-12, atol=0)


TORCH = [
    case
    for case in CASES
    if case.loss.torch
    and set(case.settings) <= set(inspect.signature(getattr(F, case.loss.torch)).parameters)
    and not (case.loss.name == "poisson_nll_loss" and case.settings.get("full"))  # Stirling's formula in torch, exact here: a claim of its own
]


@pytest.mark.parametrize("case", TORCH, ids=str)
@pytest.mark.parametrize("reduction", ["mean", *thorough(["none", "sum"])])
def test_torch_agrees_where_it_has_the_loss(case: Case, reduction):
    x, t = inputs.batch(case.loss, case.settings, (9, 11))
    arguments = inputs.as_arguments(case.settings) | {"reduction": reduction}
    whole = {
        name: torch.full_like(x, arguments[name]) for name in (o.name for o in case.loss.operands if o.predicted) if isinstance(arguments.get(name), float)
    }  # torch takes tensors only
    ours, theirs = value_and_gradient(case.loss.function, x, t, **arguments), value_and_gradient(getattr(F, case.loss.torch), x, t, **(arguments | whole))
    torch.testing.assert_close(ours, theirs, rtol=2e-5, atol=1e-7)


def test_normalizer_positives():
    x, t = torch.randn(40), (torch.arange(40) % 10 == 0).float()
    total = losskit.focal_loss(x, t, alpha=0.25, reduction="sum")
    torch.testing.assert_close(losskit.focal_loss(x, t, alpha=0.25, normalizer="positives"), total / 4)
    none = torch.zeros(40)
    torch.testing.assert_close(losskit.focal_loss(x, none, alpha=0.25, normalizer="positives"), losskit.focal_loss(x, none, alpha=0.25, reduction="sum"))
    mask = torch.arange(40) < 20
    kept = losskit.focal_loss(x[:20], t[:20], alpha=0.25, reduction="sum")
    torch.testing.assert_close(losskit.focal_loss(x, t, alpha=0.25, mask=mask, normalizer="positives"), kept / 2)


def test_batchmean_is_torchs_batchmean():
    x, t = torch.randn(6, 4), torch.randn(6, 4).softmax(1)
    peer = value_and_gradient(lambda x, t: torch.nn.functional.kl_div(x.log_softmax(1), t, reduction="batchmean"), x, t)
    ours = value_and_gradient(losskit.kl_divergence, x, t, reduction="batchmean")
    torch.testing.assert_close(ours, peer)
    mask = torch.rand(6) < 0.5
    for extra in ({}, {"mask": mask}, {"sample_weight": torch.rand(6)}, {"normalizer": 3}):
        assert torch.equal(losskit.kl_divergence(x, t, reduction="batchmean", **extra), losskit.kl_divergence(x, t, **extra))
        assert torch.equal(losskit.KLDivergence(reduction="batchmean")(x, t, **extra), losskit.kl_divergence(x, t, **extra))


def test_batchmean_of_more_than_rows_is_not_the_mean_of_rows():
    x, t = torch.randn(2, 4, 5), torch.randn(2, 4, 5).softmax(1)
    for shape, dim in ((x.shape, 1), (x[0].shape, 0), (x[0, :, 0].shape, 0)):
        with pytest.raises(ValueError, match=r'"batchmean" divides by .* try reduction="mean", over all rows, or add normalizer=input.shape\[0\] to it'):
            losskit.kl_divergence(x.reshape(-1)[: shape.numel()].reshape(shape), t.reshape(-1)[: shape.numel()].reshape(shape), dim=dim, reduction="batchmean")
    peer = torch.nn.functional.kl_div(x.log_softmax(1), t, reduction="batchmean")
    torch.testing.assert_close(losskit.kl_divergence(x, t, reduction="mean", normalizer=x.shape[0]), peer)
