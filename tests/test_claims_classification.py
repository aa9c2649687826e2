"""What the docstrings of losses of classes claim. How a claim finds its sentence: `claims.py`. What other libraries compute is written out."""

import math

import pytest
import torch
import torch.nn.functional as F
from claims import claim, slope

import losskit

NONE = dict(reduction="none")
INF = math.inf


@pytest.fixture(autouse=True)
def engine():
    with losskit.use_engine("torch"):
        yield


def rows(n=6, classes=4, dtype=torch.float64):
    """Logits, labels, distributions."""
    x = torch.linspace(-5, 5, n * classes, dtype=dtype).mul(7).sin().mul(3).reshape(n, classes)
    return x, torch.arange(n) % classes, x.roll(1, 0).softmax(1)


def binary(n=40, dtype=torch.float64):
    """Logits, 0/1 labels, soft targets."""
    return torch.linspace(-6, 6, n, dtype=dtype), (torch.arange(n) % 3 == 0).to(dtype), torch.linspace(0, 1, n, dtype=dtype)


# binary cross-entropy


@claim("cross_entropy", "A logit of -inf rules a class out")
@claim("cross_entropy", "If it is the label's, the loss is inf")
def test_a_class_ruled_out():
    x, _, _ = rows()
    x[:, 3] = -INF
    for label, wanted in ((0, True), (3, False)):
        value, gradient = slope(losskit.cross_entropy, x, torch.full((6,), label), **NONE)
        assert value.isfinite().all() == wanted and gradient.isfinite().all()
        torch.testing.assert_close(gradient + F.one_hot(torch.full((6,), label), 4), x.softmax(1))
        assert (value == INF).all() != wanted and (not wanted or not gradient[:, 3].any())


@claim("cross_entropy", "All items ignored: 0")
@claim("cross_entropy", "Labels of every integer dtype")
@claim("nll_loss", "All items ignored give 0, not NaN")
def test_cross_entropy_against_torch():
    x, labels, _ = rows(dtype=torch.float32)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.uint16, torch.int32, torch.int64):
        assert torch.equal(losskit.cross_entropy(x, labels.to(dtype)), losskit.cross_entropy(x, labels))
    nothing = torch.full((6,), -100)
    for name, input in (("cross_entropy", x), ("nll_loss", x.log_softmax(1))):
        value, gradient = slope(getattr(losskit, name), input, nothing)
        assert value == 0 and not gradient.any() and getattr(F, name)(input, nothing).isnan()
    sure, label = torch.tensor([[20.0, 0.0]]), torch.tensor([0])
    torch.testing.assert_close(losskit.cross_entropy(sure, label), torch.tensor(2.0611537e-9), rtol=1e-6, atol=0)
    assert F.cross_entropy(sure, label) == 0
    assert losskit.cross_entropy(x.bfloat16(), labels).dtype is torch.float32 != F.cross_entropy(x.bfloat16(), labels).dtype
    with pytest.raises(ValueError, match=r"4 .*\(3,\)"):
        losskit.cross_entropy(x, torch.tensor([0, 1, 2, 4, 0, 0]))
    with pytest.raises(ValueError, match="sums to 2, expected 1"):
        losskit.cross_entropy(x, torch.full((6, 4), 0.5))


@claim("nll_loss", "The same as `cross_entropy(from_logits=False, log_input=True)`")
@claim("nll_loss", "Rows that are not log-probabilities raise")
def test_nll():
    x, labels, _ = rows()
    assert torch.equal(losskit.nll_loss(x.log_softmax(1), labels), losskit.cross_entropy(x.log_softmax(1), labels, from_logits=False, log_input=True))
    with pytest.raises(ValueError, match="log"):
        losskit.nll_loss(x, labels)
    assert F.nll_loss(x, labels).isfinite()


@claim("poly_loss", "epsilon = 0 is `cross_entropy`")
@claim("poly_loss", "Below -1 the gradient of items nearly right")
@claim("symmetric_cross_entropy", "beta = 0 is alpha times `cross_entropy`")
def test_relatives_of_cross_entropy():
    x, labels, _ = rows()
    ce = losskit.cross_entropy(x, labels, **NONE)
    torch.testing.assert_close(losskit.poly_loss(x, labels, epsilon=0.0, **NONE), ce)
    torch.testing.assert_close(losskit.symmetric_cross_entropy(x, labels, alpha=0.3, beta=0.0, **NONE), 0.3 * ce)
    wrong = torch.tensor([[-1e4, 0.0]]), torch.tensor([0])
    torch.testing.assert_close(losskit.symmetric_cross_entropy(*wrong, alpha=0.0), torch.tensor(4.0))
    sure = torch.tensor([[5.0, 0.0]]), torch.tensor([0])
    signs = [slope(losskit.poly_loss, *sure, epsilon=e)[1][0, 0].sign().item() for e in (-1.0, -1.5)]
    assert signs == [-1, 1]


@claim("poly_loss", "optax's `poly_loss_cross_entropy` is the same")
@claim("generalized_cross_entropy", "An item with a tiny p_y has hardly any gradient")
@claim("generalized_cross_entropy", "keras' `CategoricalGeneralizedCrossEntropy` takes probabilities")
def test_peers_of_classes():
    x, labels, _ = rows()
    one_hot = F.one_hot(labels, 4)
    optax = -(one_hot * x.log_softmax(1)).sum(1) + 2.0 * (1 - (one_hot * x.softmax(1)).sum(1))
    torch.testing.assert_close(losskit.poly_loss(x, labels, epsilon=2.0, **NONE), optax)
    p = x.softmax(1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(losskit.generalized_cross_entropy(x, labels, q=0.7, **NONE), (1 - p**0.7) / 0.7)  # keras', of p
    hopeless = torch.tensor([[0.0, 30.0]]), torch.tensor([0])
    assert slope(losskit.generalized_cross_entropy, *hopeless)[1].abs().max() < 1e-8 < 0.99 < slope(losskit.cross_entropy, *hopeless)[1].abs().max()


# distributions


@claim("entropy", "Equal logits give log C")
@claim("entropy", "kl_divergence = cross_entropy - entropy")
@claim("entropy", "torch has it in")
def test_entropy():
    value, gradient = slope(losskit.entropy, torch.full((2, 5), 3.0))
    torch.testing.assert_close(value, torch.tensor(math.log(5)))
    assert not gradient.any()
    sure = torch.tensor([[30.0, 0.0]])
    q = math.exp(-30)
    torch.testing.assert_close(losskit.entropy(sure), torch.tensor(q * 30 + q), rtol=1e-5, atol=0)
    x, _, t = rows()
    torch.testing.assert_close(losskit.kl_divergence(x, t), losskit.cross_entropy(x, t) - losskit.entropy(t.log()))
    torch.testing.assert_close(losskit.entropy(x, **NONE), torch.distributions.Categorical(logits=x).entropy())


@claim("js_divergence", "Equal distributions give 0 up to rounding; disjoint")
@claim("js_divergence", "kornia's `js_div_loss_2d` takes probabilities")
def test_js():
    x, _, t = rows()
    assert losskit.js_divergence(x, x.softmax(1)) < 1e-15
    gaps = [slope(losskit.js_divergence, torch.tensor([[g, 0.0]]), torch.tensor([[0.0, 1.0]])) for g in (10.0, 20.0)]
    torch.testing.assert_close(gaps[1][0], torch.tensor(math.log(2)))
    assert gaps[1][1].abs().max() < 1e-3 * gaps[0][1].abs().max()
    p = x.softmax(1)
    middle = (p + t) / 2
    torch.testing.assert_close(losskit.js_divergence(x, t, **NONE), ((p * (p / middle).log()).sum(1) + (t * (t / middle).log()).sum(1)) / 2)  # kornia's, of p


@claim("kl_divergence", "Equal distributions give 0 up to rounding")
@claim("kl_divergence", "A class ruled out by -inf that has target mass")
@claim("kl_divergence", "`torch.nn.functional.kl_div` takes log-probabilities")
@claim("kl_divergence", 'For an input (N, C, d1, ...) torch\'s "batchmean" divides by N alone')
def test_kl():
    x, _, t = rows(dtype=torch.float32)
    assert losskit.kl_divergence(x, x.softmax(1)).abs() < 1e-6
    out = x.clone()
    out[:, 0] = -INF
    assert (losskit.kl_divergence(out, t, **NONE) == INF).all()
    torch.testing.assert_close(losskit.kl_divergence(x, t), F.kl_div(x.log_softmax(1), t, reduction="batchmean"))
    torch.testing.assert_close(losskit.kl_divergence(x, t), F.kl_div(x.log_softmax(1), t, reduction="sum") / 6)  # by default theirs divides by 24
    with pytest.warns(UserWarning, match="batchmean"):
        torch.testing.assert_close(losskit.kl_divergence(x, t), 4 * F.kl_div(x.log_softmax(1), t))
    a, b = (z.T.reshape(1, 4, 6) for z in (x, t))
    torch.testing.assert_close(losskit.kl_divergence(a, b, normalizer=1), F.kl_div(a.log_softmax(1), b, reduction="batchmean"))
    with pytest.raises(ValueError, match="batchmean"):
        losskit.kl_divergence(a, b, reduction="batchmean")


# scores and bins of detection


@claim("distribution_focal_loss", "A whole number y costs what `cross_entropy` costs")
@claim("distribution_focal_loss", "Otherwise the loss is least, not 0")
@claim("distribution_focal_loss", "A logit of -inf rules its bin out")
@claim("distribution_focal_loss", "y = n - 1 is allowed")
def test_distribution_focal():
    x, labels, _ = rows()
    torch.testing.assert_close(losskit.distribution_focal_loss(x, labels.double(), **NONE), losskit.cross_entropy(x, labels, **NONE))
    between = torch.tensor([1.25], dtype=torch.float64)
    best = torch.tensor([[-INF, math.log(0.75), math.log(0.25), -INF]], dtype=torch.float64)
    least, gradient = slope(losskit.distribution_focal_loss, best, between)
    assert least > 0.5 and gradient.abs().max() < 1e-12
    for other in (best + torch.tensor([0, 0.1, 0, 0]), best + torch.tensor([0, 0, 0.1, 0])):
        assert losskit.distribution_focal_loss(other, between) > least
    assert losskit.distribution_focal_loss(best, between + 1) == INF  # bin 3 has a share
    for outside in (-0.1, 3.1):
        with pytest.raises(ValueError, match=str(outside)):
            losskit.distribution_focal_loss(x[:1], torch.tensor([outside]))
    sure = torch.tensor([[20.0, 0.0]])
    torch.testing.assert_close(losskit.distribution_focal_loss(sure, torch.zeros(1)), torch.tensor(2.0611537e-9), rtol=1e-6, atol=0)


@claim("distribution_focal_loss", "On a GPU a position outside gives NaN in its item")
def test_a_position_outside_where_nobody_looks():
    """As on a GPU: no value may be looked at inside a transform."""
    x, _, _ = rows()
    value = torch.func.vmap(lambda a, y: losskit.distribution_focal_loss(a[None], y[None], **NONE)[0])(x[:2], torch.tensor([9.0, 1.0]))
    assert value.isnan().tolist() == [True, False]


@claim("cross_entropy", "`temperature` divides differences of logits, so that a common offset costs no digits")
def test_a_temperature_divides_differences():
    """Beside float64, which has the digits; torch is given x / T, which was rounded."""
    x = 1e4 + torch.rand(4096, 4, generator=torch.Generator().manual_seed(0)) * 20
    labels = x.argmax(1)

    def error(function, temperature):
        wanted = F.cross_entropy(x.double() / temperature, labels, reduction="none")
        return float(((function(x, temperature) - wanted) / wanted).abs().max())

    def ours(x, temperature):
        return losskit.cross_entropy(x, labels, temperature=temperature, reduction="none")

    def theirs(x, temperature):
        return F.cross_entropy(x / temperature, labels, reduction="none")

    assert error(ours, 2.0) < 1e-6 and error(ours, 2.5) < 1e-6 < 1e-4 < error(theirs, 2.5) < 3e-4
