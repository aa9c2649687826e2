"""What the docstrings of losses of classification claim. How a claim finds its sentence: `claims.py`. What other libraries compute is written out."""

import inspect
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


@claim("binary_cross_entropy", "A probability of exactly 0 or 1 on the wrong side")
def test_sure_and_wrong():
    p, t = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0])
    value, gradient = slope(losskit.binary_cross_entropy, p, t, **NONE)
    torch.testing.assert_close(value, torch.full((2,), 103.28), rtol=1e-4, atol=0)
    assert gradient.isfinite().all() and (gradient.abs() > 1e37).all()
    assert slope(losskit.binary_cross_entropy, p, t, weight=torch.tensor(2.0), **NONE)[1].isinf().any()


@claim("binary_cross_entropy", "A probability or target outside [0, 1] raises")
def test_probabilities_against_torch():
    p, t = torch.tensor([0.5, 1.5]), torch.tensor([1.0, 0.0])
    with pytest.raises(ValueError, match=r"input must lie in .* got 1.5 at index \(1,\)"):
        losskit.binary_cross_entropy(p, t)
    with pytest.raises(ValueError, match=r"target must lie in .* got 1.5 at index \(1,\)"):
        losskit.binary_cross_entropy(t, p)
    tiny = torch.tensor([1e-38])
    (ours, slope_of_ours), (theirs, slope_of_theirs) = (slope(f, tiny, torch.ones(1), **NONE) for f in (losskit.binary_cross_entropy, F.binary_cross_entropy))
    torch.testing.assert_close((ours, theirs), (torch.tensor([87.498]), torch.tensor([87.498])), rtol=1e-4, atol=0)
    assert slope_of_theirs > -1e13 and slope_of_ours < -9e37  # theirs is held at 1e-12
    assert F.binary_cross_entropy(torch.zeros(1), torch.ones(1)) == 100
    with torch.autocast("cpu", torch.bfloat16):
        assert losskit.binary_cross_entropy(p.clamp(max=1), t).isfinite()


@claim("binary_cross_entropy", "`pos_weight` and `label_smoothing` are new")
@claim("binary_cross_entropy_with_logits", "`label_smoothing` is new")
def test_new_arguments():
    has = {name: set(inspect.signature(getattr(F, name)).parameters) for name in ("binary_cross_entropy", "binary_cross_entropy_with_logits")}
    assert not {"pos_weight", "label_smoothing"} & has["binary_cross_entropy"] and "label_smoothing" not in has["binary_cross_entropy_with_logits"]


@claim("binary_cross_entropy_with_logits", "A wrong logit of 1e4 costs 1e4")
def test_far_logits():
    x, t = torch.tensor([1e4, -1e4, 1e4, -1e4, INF, -INF, INF, -INF]), torch.tensor([0.0, 1, 1, 0, 0, 1, 1, 0])
    value, gradient = slope(losskit.binary_cross_entropy_with_logits, x, t, **NONE)
    assert value.tolist() == [1e4, 1e4, 0, 0, INF, INF, 0, 0] and gradient.tolist() == [1, -1, 0, 0, 1, -1, 0, 0]


@claim("binary_cross_entropy_with_logits", "A vector `weight` or `pos_weight` beside (N, C, H, W)")
@claim("binary_cross_entropy_with_logits", "Shapes of more axes broadcast as in torch")
def test_vectors_of_classes():
    x = torch.linspace(-2, 2, 2 * 3 * 4 * 3).reshape(2, 3, 4, 3)
    t, weight = (x.sin() > 0).float(), torch.tensor([1.0, 2.0, 4.0])
    for name in ("weight", "pos_weight"):
        theirs = F.binary_cross_entropy_with_logits(x, t, **{name: weight})
        ours = losskit.binary_cross_entropy_with_logits
        torch.testing.assert_close(ours(x, t, **{name: weight}), F.binary_cross_entropy_with_logits(x, t, **{name: weight[:, None, None]}))
        assert abs(ours(x, t, **{name: weight}) - theirs) > 1e-3
        torch.testing.assert_close(ours(x, t, **{name: weight.expand(4, 3)}), theirs)


@claim("binary_cross_entropy_with_logits", "Targets outside [0, 1] raise; small losses keep their digits")
def test_digits_of_small_losses():
    x = torch.tensor([0.0])
    assert F.binary_cross_entropy_with_logits(x, x + 2).isfinite()
    with pytest.raises(ValueError, match="target must lie in"):
        losskit.binary_cross_entropy_with_logits(x, x + 2)
    x, t = torch.tensor([20.0]), torch.ones(1)
    torch.testing.assert_close(losskit.binary_cross_entropy_with_logits(x, t), torch.tensor(2.0611537e-9), rtol=1e-6, atol=0)


# focal


@claim("focal_loss", "gamma below 1 has a finite gradient")
@claim("focal_loss", "gamma = 0 is `binary_cross_entropy_with_logits`")
def test_gamma():
    x = torch.tensor([-INF, -1e4, -100, -1, -1e-30, 0, 1e-30, 1, 100, 1e4, INF])
    for t in (torch.zeros(11), torch.ones(11)):
        assert slope(losskit.focal_loss, x, t, gamma=0.3, **NONE)[1].isfinite().all()
        for alpha in (None, 0.25):
            weight = torch.ones(11) if alpha is None else torch.where(t > 0, alpha, 1 - alpha)
            for ours, theirs in (
                (losskit.focal_loss(x, t, gamma=0.0, alpha=alpha, **NONE), losskit.binary_cross_entropy_with_logits(x, t, **NONE)),
                (losskit.focal_loss(x.sigmoid(), t, gamma=0.0, alpha=alpha, from_logits=False, **NONE), losskit.binary_cross_entropy(x.sigmoid(), t, **NONE)),
            ):
                assert torch.equal(ours, theirs) if alpha is None else torch.allclose(ours, theirs * weight)


def sigmoid_focal(x, t, alpha, gamma=2.0):
    """torchvision's sigmoid_focal_loss, also mmdetection's and, for 0/1 targets, MONAI's."""
    p = x.sigmoid()
    p_t = p * t + (1 - p) * (1 - t)
    return (alpha * t + (1 - alpha) * (1 - t)) * (1 - p_t) ** gamma * F.binary_cross_entropy_with_logits(x, t, reduction="none")


@claim("focal_loss", "`sigmoid_focal_loss` has alpha=0.25")
@claim("focal_loss", "mmdetection's `FocalLoss` has alpha=0.25")
def test_focal_of_the_field():
    x, hard, soft = binary()
    assert losskit.LOSSES["focal_loss"].settings["alpha"] is None and losskit.LOSSES["focal_loss"].settings["reduction"] == "mean"
    torch.testing.assert_close(losskit.focal_loss(x, hard, alpha=0.25, **NONE), sigmoid_focal(x, hard, 0.25))
    torch.testing.assert_close(losskit.focal_loss(x, hard, **NONE), 2 * sigmoid_focal(x, hard, 0.5))
    zero, one = (losskit.focal_loss(x, torch.full_like(x, t), **NONE) for t in (0.0, 1.0))
    torch.testing.assert_close(losskit.focal_loss(x, soft, **NONE), soft * one + (1 - soft) * zero)
    assert not torch.allclose(losskit.focal_loss(x, soft, **NONE), 2 * sigmoid_focal(x, soft, 0.5))


@claim("focal_loss", 'MONAI\'s "sum" averages over positions first')
@claim("focal_loss", "kornia's is that of classes")
def test_focal_of_pictures_and_classes():
    x = torch.linspace(-3, 3, 2 * 3 * 4).reshape(2, 3, 4)
    t = (x.mul(5).sin() > 0).float()
    each = 2 * sigmoid_focal(x, t, 0.5)
    torch.testing.assert_close(losskit.focal_loss(x, t, reduction="sum"), each.sum())
    torch.testing.assert_close(each.mean(2).sum() * 4, losskit.focal_loss(x, t, reduction="sum"))  # MONAI's, times the positions
    labels = torch.tensor([[0, 1, 2, 0], [2, 2, 1, 0]])
    p = x.softmax(1).gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(losskit.focal_loss(x, labels, task="multiclass", **NONE), -((1 - p) ** 2) * p.log())  # kornia's
    one_hot = F.one_hot(labels, 3).movedim(-1, 1).float()
    smp = sum(2 * sigmoid_focal(x[:, c], one_hot[:, c], 0.5).mean() for c in range(3))
    torch.testing.assert_close(smp, 3 * losskit.focal_loss(x, one_hot, task="multilabel"))


# classes


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


@claim("quality_focal_loss", "At t = p value and gradient are 0")
@claim("quality_focal_loss", "Between 0 and 1 the gradient would grow")
@claim("quality_focal_loss", "For 0/1 targets it is `focal_loss`")
def test_quality_focal():
    x, hard, _ = binary()
    for beta in (1.0, 2.0, 3.5):
        value, gradient = slope(losskit.quality_focal_loss, torch.zeros(1), torch.full((1,), 0.5), beta=beta)
        assert value == 0 and gradient == 0
        torch.testing.assert_close(losskit.quality_focal_loss(x, hard, beta=beta, **NONE), losskit.focal_loss(x, hard, gamma=beta, **NONE))
    near = torch.tensor([0.5 - 2.0**-24, 0.5 + 2.0**-23])
    jump = slope(losskit.quality_focal_loss, torch.zeros(2), near, beta=1.0, reduction="sum")[1]
    torch.testing.assert_close(jump, torch.tensor([0.25, -0.25]) * math.log(2))  # p (1 - p), times the entropy of 1/2
    exact = (near.double() - 0.5) ** 2 * math.log(2)
    torch.testing.assert_close(losskit.quality_focal_loss(torch.zeros(2), near, **NONE).double(), exact, rtol=1e-5, atol=0)
    with pytest.raises(ValueError, match="grows without bound"):
        losskit.quality_focal_loss(x, hard, beta=0.5)


@claim("quality_focal_loss", "There the target is a pair (label, score)")
def test_quality_focal_of_mmdetection():
    x = torch.linspace(-2, 2, 12).reshape(4, 3)
    label, score = torch.tensor([0, 3, 2, 1]), torch.tensor([0.7, 0.0, 0.3, 0.9])  # 3: background
    dense = F.one_hot(label, 4)[:, :3] * score[:, None]
    p = x.sigmoid()
    theirs = F.binary_cross_entropy_with_logits(x, torch.zeros_like(x), reduction="none") * p**2
    for i in (0, 2, 3):
        c = label[i]
        theirs[i, c] = F.binary_cross_entropy_with_logits(x[i, c], score[i]) * (score[i] - p[i, c]).abs() ** 2
    torch.testing.assert_close(losskit.quality_focal_loss(x, dense, **NONE).sum(1), theirs.sum(1))


@claim("varifocal_loss", "The loss of an object is least, not 0, at p = t")
@claim("varifocal_loss", "A target of 0 means that there is no object")
@claim("varifocal_loss", "The gradient to the quality of an object is the full derivative")
@claim("varifocal_loss", "The same values and gradients to the input")
def test_varifocal():
    def theirs(x, t, alpha=0.75, gamma=2.0):
        weight = t * (t > 0) + alpha * (x.sigmoid() - t).abs() ** gamma * (t <= 0)
        return F.binary_cross_entropy_with_logits(x, t, reduction="none") * weight

    x, _, t = binary()
    t = t.clone().requires_grad_()
    a, b = x.clone().requires_grad_(), x.clone().requires_grad_()
    ours, peer = losskit.varifocal_loss(a, t, **NONE), theirs(b, t)
    torch.testing.assert_close(ours, peer)
    (by_a, by_t), (by_b, of_peer) = torch.autograd.grad(ours.sum(), (a, t)), torch.autograd.grad(peer.sum(), (b, t))
    objects = t.detach() > 0
    torch.testing.assert_close(by_a, by_b)
    torch.testing.assert_close(by_t[objects], of_peer[objects])  # of t (x-entropy with t), by both
    assert by_t[~objects].tolist() == [0.0] and of_peer[~objects].any()
    grid = torch.linspace(-3, 3, 6001, dtype=torch.float64)
    for quality in (0.3, 0.7):
        each = losskit.varifocal_loss(grid, torch.full_like(grid, quality), **NONE)
        assert abs(grid[each.argmin()].sigmoid() - quality) < 1e-3 and each.min() > 0.1


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


# labels -1 and 1


def signed(n=40, dtype=torch.float64):
    """Scores, labels -1 and 1."""
    x, t, _ = binary(n, dtype)
    return x, 2 * t - 1


@claim("hinge_embedding_loss", "At a distance of exactly `margin`")
@claim("hinge_embedding_loss", "The same for labels -1 and 1.")
@claim("hinge_embedding_loss", "For any other number torch adds")
def test_hinge_embedding():
    x, t = signed()
    for margin in (1.0, 2.5):
        theirs = slope(F.hinge_embedding_loss, x, t, margin=margin, **NONE)
        torch.testing.assert_close(slope(losskit.hinge_embedding_loss, x, t, margin=margin, **NONE), theirs)
        at = torch.tensor([margin], dtype=torch.float64)
        assert slope(losskit.hinge_embedding_loss, at, -torch.ones(1), margin=margin)[1] == 0
    both = sum(losskit.hinge_embedding_loss(x, label * torch.ones_like(x), **NONE) for label in (1, -1))
    torch.testing.assert_close(F.hinge_embedding_loss(x, 0.5 * t, **NONE), both)


@claim("hinge_loss squared_hinge_loss soft_margin_loss hinge_embedding_loss", "A target of 0, as in labels of 0 and 1, raises")
def test_labels_of_zero():
    x, t, _ = binary()
    for name in ("hinge_loss", "squared_hinge_loss", "soft_margin_loss", "hinge_embedding_loss"):
        with pytest.raises(ValueError, match=r"target must be -1 or 1, got 0 at index \(1,\): for labels of 0 and 1, try target \* 2 - 1"):
            getattr(losskit, name)(x, t)
        with pytest.raises(ValueError, match="target must be -1 or 1, got 0"):
            getattr(losskit, name)(x, t.bool())
        with pytest.raises(ValueError, match="target must be -1 or 1, got 2"):
            getattr(losskit, name)(x, t + 1)
        assert getattr(losskit, name)(x, t * 2 - 1).isfinite()


@claim("hinge_loss", "At a margin of exactly 1 the gradient is 0")
@claim("hinge_loss", "torch has no binary hinge loss")
@claim("hinge_loss", "scikit-learn's `hinge_loss` is this one")
@claim("squared_hinge_loss", "The gradient is continuous at a margin of 1")
@claim("squared_hinge_loss", "torch has no squared hinge loss")
def test_hinge():
    x, t = signed()
    torch.testing.assert_close(losskit.hinge_loss(x, t, **NONE), (1 - t * x).clamp(min=0))  # as sklearn.metrics.hinge_loss computes it
    torch.testing.assert_close(losskit.squared_hinge_loss(x, t, **NONE), (1 - t * x).clamp(min=0) ** 2)
    beside = torch.tensor([1 - 1e-6, 1.0, 1 + 1e-6], dtype=torch.float64)
    assert slope(losskit.hinge_loss, beside, torch.ones(3), **NONE)[1].tolist() == [-1, 0, 0]
    assert slope(losskit.squared_hinge_loss, beside, torch.ones(3), **NONE)[1].abs().max() < 3e-6
    assert [name for name in dir(F) if "hinge" in name] == ["hinge_embedding_loss"]
    assert F.hinge_embedding_loss(torch.tensor([2.0]), torch.tensor([1.0])) == 2  # of a distance: small is right
    assert losskit.hinge_loss(torch.tensor([2.0]), torch.tensor([1.0])) == 0


@claim("soft_margin_loss", "It is `binary_cross_entropy_with_logits` of the labels")
@claim("soft_margin_loss", "The same values where torch's are right")
@claim("soft_margin_loss", "torch takes any target")
def test_soft_margin():
    x, t = signed()
    torch.testing.assert_close(slope(losskit.soft_margin_loss, x, t, **NONE), slope(losskit.binary_cross_entropy_with_logits, x, (t + 1) / 2, **NONE))
    torch.testing.assert_close(losskit.soft_margin_loss(x, t), F.soft_margin_loss(x, t))
    far = torch.tensor([-100.0, 20.0]), torch.ones(2)
    torch.testing.assert_close(losskit.soft_margin_loss(*far, **NONE), torch.tensor([100.0, 2.0611537e-9]), rtol=1e-6, atol=0)
    assert F.soft_margin_loss(*far, **NONE)[0] == INF
    assert F.soft_margin_loss(x[:1], 0 * t[:1]) == pytest.approx(math.log(2))


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
