"""Likelihoods of counts and amounts: what their docstrings claim, their digits at large counts and at limits, and torch's Poisson beside ours."""

import math

import pytest
import torch
import torch.nn.functional as F
from claims import claim
from test_likelihoods import NONE, columns, gradients, hard

import losskit
from losskit.testing import Subject
from losskit.testing.laws import _against_oracle


@pytest.fixture
def operations():
    """What a docstring claims is the formula's."""
    with losskit.use_engine("torch"):
        yield


LOG_MEANS, COUNTS = torch.linspace(-3, 5, 40).reshape(5, 8), torch.arange(40.0).reshape(5, 8) % 9


@claim("poisson_nll_loss", "A scalar, or with reduction")
@claim("poisson_nll_loss", "A mean of 0 is read as the smallest positive number")
@claim("poisson_nll_loss", "A mean that overflows gives an infinite loss")
@claim("poisson_nll_loss", "Between whole counts t! is")
@claim("poisson_nll_loss", "torch adds `eps`")
@claim("poisson_nll_loss", "With full=True torch adds Stirling's formula")
@claim("poisson_nll_loss", "torch takes negative targets")
def test_poisson(operations):
    assert losskit.poisson_nll_loss(LOG_MEANS, COUNTS).shape == () and losskit.poisson_nll_loss(LOG_MEANS, COUNTS, **NONE).shape == (5, 8)
    for reduction in ("none", "mean", "sum"):
        for log_input in (True, False):
            x = LOG_MEANS if log_input else LOG_MEANS.exp()
            found = losskit.poisson_nll_loss(x, COUNTS, log_input=log_input, reduction=reduction)
            torch.testing.assert_close(found, F.poisson_nll_loss(x, COUNTS, log_input=log_input, reduction=reduction), rtol=1e-5, atol=1e-5)
            torch.testing.assert_close(losskit.PoissonNLLLoss(log_input=log_input, reduction=reduction)(x, COUNTS), found)
    with pytest.raises(TypeError, match="eps"):
        losskit.poisson_nll_loss(LOG_MEANS, COUNTS, eps=1e-8)
    value, by_mean, _ = gradients(losskit.poisson_nll_loss, torch.zeros(2), torch.tensor([0.0, 2.0]), log_input=False)
    assert value[0] == 0 and 200 < value[1] < 210 and by_mean[0] == 1 and by_mean[1] < -1e38
    assert losskit.poisson_nll_loss(torch.tensor([89.0]), torch.ones(1)) == math.inf
    t = torch.tensor([0.0, 1.0, 2.0, 0.5, 170.5], dtype=torch.float64)
    whole = losskit.poisson_nll_loss(t, t, full=True, **NONE) - losskit.poisson_nll_loss(t, t, **NONE)
    torch.testing.assert_close(whole[:-1], torch.lgamma(t + 1)[:-1])
    two = torch.tensor([2.0])
    theirs = F.poisson_nll_loss(two, two, full=True) - F.poisson_nll_loss(two, two)
    assert abs(math.log(2.0) - theirs.item() - 0.04) < 0.005
    assert F.poisson_nll_loss(two, -two).isfinite()
    with pytest.raises(ValueError, match="target must be >= 0, got -2"):
        losskit.poisson_nll_loss(two, -two)


@claim("negative_binomial_nll_loss", "A scalar, or with reduction")
@claim("negative_binomial_nll_loss", "A dispersion of 0 is Poisson's distribution")
@claim("negative_binomial_nll_loss", "A mean of 0 is read as the smallest positive number")
@claim("negative_binomial_nll_loss", "Between whole counts t! is")
@claim("negative_binomial_nll_loss", "torch has no such loss; with full=True")
def test_negative_binomial(operations):
    loss = losskit.negative_binomial_nll_loss
    assert loss(LOG_MEANS, COUNTS, 2.0).shape == () and loss(LOG_MEANS, COUNTS, 2.0, **NONE).shape == (5, 8)
    for full in (False, True):
        for log_input in (True, False):
            x = LOG_MEANS if log_input else LOG_MEANS.exp()
            found = gradients(lambda x, t, d, **how: loss(x, t, dispersion=d, **how), x, COUNTS, torch.zeros(5, 8), full=full, log_input=log_input)
            poisson = gradients(losskit.poisson_nll_loss, x, COUNTS, full=full, log_input=log_input)
            for got, expected in zip(found, poisson, strict=False):
                torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5)
            m = LOG_MEANS.double().exp()
            torch.testing.assert_close(found[3].double(), (COUNTS - (m - COUNTS) ** 2) / 2, rtol=1e-4, atol=1e-4)
    draw = torch.rand(5, 8, dtype=torch.float64) * 5 + 0.1
    x, t = LOG_MEANS.double(), COUNTS.double()
    theirs = torch.distributions.NegativeBinomial(draw, logits=x - draw.log())
    torch.testing.assert_close(loss(x, t, draw, full=True, **NONE), -theirs.log_prob(t))
    torch.testing.assert_close(theirs.variance, x.exp() + x.exp() ** 2 / draw)
    none = loss(torch.zeros(2), torch.tensor([0.0, 2.0]), 1.0, log_input=False, **NONE)
    assert none[0] == 0 and 150 < none[1] < 210
    half = torch.tensor([0.5], dtype=torch.float64)
    torch.testing.assert_close(loss(half, half, 2.0, full=True) - loss(half, half, 2.0), torch.lgamma(half + 1).squeeze())


@claim("gamma_nll_loss", "A scalar, or with reduction")
@claim("gamma_nll_loss", "Where the concentration is one number")
@claim("gamma_nll_loss", "A target of 0 is refused")
@claim("gamma_nll_loss", "torch has no such loss; it is minus the log_prob")
def test_gamma(operations):
    loss, t = losskit.gamma_nll_loss, COUNTS.double() + 0.5
    x, k = LOG_MEANS.double(), torch.rand(5, 8, dtype=torch.float64) * 5 + 0.1
    assert loss(x, t).shape == () and loss(x, t, **NONE).shape == (5, 8)
    torch.testing.assert_close(loss(x, t, k, **NONE), -torch.distributions.Gamma(k, k / x.exp()).log_prob(t))
    slopes = [gradients(loss, x, t, concentration=c)[1] for c in (1.0, 7.0)]
    torch.testing.assert_close(7.0 * slopes[0], slopes[1])
    with pytest.raises(ValueError, match="target must be > 0, got 0 at index"):
        loss(x, t * 0)
    m, near = torch.tensor([2.0]), torch.tensor([2.001])
    exact = loss(m.double().log(), near.double(), 1e6).item()
    ours = abs(loss(m, near, 1e6, log_input=False).item() - exact)
    theirs = abs(-torch.distributions.Gamma(torch.tensor([1e6]), 1e6 / m).log_prob(near).item() - exact)
    assert ours < 1e-5 and theirs > 1e-2


@claim("tweedie_loss", "A scalar, or with reduction")
@claim("tweedie_loss", "The least value is not 0")
@claim("tweedie_loss", "A mean of 0 is read as the smallest positive number")
@claim("tweedie_loss", "torch has no such loss")
@claim("tweedie_loss", "It is what XGBoost and LightGBM train on and report")
@claim("tweedie_loss", "scikit-learn's deviance is twice this loss")
def test_tweedie(operations):
    loss, x, t = losskit.tweedie_loss, LOG_MEANS.double(), COUNTS.double()
    assert loss(x, t).shape == () and loss(x, t, **NONE).shape == (5, 8) and not hasattr(F, "tweedie_loss")
    for p in (1.1, 1.5, 1.9):
        each = loss(x, t, power=p, **NONE)
        boosted = -t * torch.exp((1 - p) * x) / (1 - p) + torch.exp((2 - p) * x) / (2 - p)  # tweedie-nloglik
        torch.testing.assert_close(each, boosted)
        deviance = 2 * (t ** (2 - p) / ((1 - p) * (2 - p)) - t * x.exp() ** (1 - p) / (1 - p) + x.exp() ** (2 - p) / (2 - p))
        least = torch.where(t > 0, loss(t.clamp(min=1e-300).log(), t, power=p, **NONE), 0.0)
        torch.testing.assert_close(deviance, 2 * (each - least), rtol=1e-6, atol=1e-9)
    ones = torch.ones(1, dtype=torch.float64)
    assert loss(0 * ones, ones, power=1.5) == 4.0 != loss(0 * ones, ones, power=1.2) and loss(ones.log() + 2, ones * 9) > 4.0
    zero = loss(torch.zeros(2), torch.tensor([0.0, 1.0]), log_input=False, **NONE)
    assert zero[0] < 1e-20 and 1e22 < zero[1] < math.inf


LARGE = [  # log-mean, count, total count
    *((math.log(t) + d, t, r) for t in (1e3, 1e6, 1e9) for d in (-1e-3, 0.0, 1e-2) for r in (1e-3, 1.0, 1e5, 1e12)),
    *((x, t, r) for x in (-100.0, 100.0) for t in (0.0, 3.0, 1e6) for r in (1e-3, 1.0, 1e12)),
]


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("full", [False, True])
def test_large_counts(full, engine):
    x, t, r = columns(LARGE, torch.float32)
    if full:
        hard("negative_binomial_nll_loss", ("total_count",), engine, x, t, r, full=True)
    else:
        hard("negative_binomial_nll_loss", ("total_count",), engine, x, t, r)
    poisson = losskit.LOSSES["poisson_nll_loss"]
    with losskit.use_engine(engine):
        _against_oracle(Subject(poisson.function, poisson, {"full": full}, torch.float32, engine), x, t)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_large_concentrations(engine):
    points = [(math.log(t) + d, t, k) for t in (1e-3, 5.0, 1e6) for d in (-1e-3, 0.0, 1.0) for k in (1e-4, 1.0, 4.0, 1e5, 1e9)]
    hard("gamma_nll_loss", ("concentration",), engine, *columns(points, torch.float32))
