"""What the docstrings claim of losses of one logit, and of labels -1 and 1. How a claim finds its sentence: `claims.py`."""

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
