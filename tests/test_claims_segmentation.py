"""What the docstrings of losses of segmentation claim. How a claim finds its sentence: `claims.py`. What other libraries compute is written out."""

import math

import pytest
import torch
import torch.nn.functional as F
from claims import claim, slope
from scipy.ndimage import distance_transform_edt

import losskit
from losskit import LOSSES

OVERLAP = "dice_loss dice_ce_loss dice_focal_loss jaccard_loss tversky_loss focal_tversky_loss generalized_dice_loss log_cosh_dice_loss mcc_loss lovasz_loss"
P = torch.tensor([[0.9, 0.2, 0.7, 0.4], [0.1, 0.8, 0.3, 0.6]], dtype=torch.float64)
T = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 1.0, 1.0]], dtype=torch.float64)
ABSENT = torch.zeros_like(T)
BINARY = dict(task="binary", from_logits=False)


@pytest.fixture(autouse=True)
def engine():
    with losskit.use_engine("torch"):
        yield


def loss(name, x, t, **settings):
    return LOSSES[name].function(x, t, **BINARY | settings)


def pictures(classes=3):
    x = torch.linspace(-3, 3, 2 * classes * 20, dtype=torch.float64).mul(9).sin().mul(3).reshape(2, classes, 20)
    return x, (torch.arange(40) * 7 % 11 % classes).reshape(2, 20)


# what all share


@claim("dice_loss lovasz_loss", "What does not count reads 0 there")
@claim("dice_loss dice_ce_loss dice_focal_loss", "If nothing counts, the loss is 0")
@claim("lovasz_loss", "If nothing counts, the loss is 0, with zero gradients; a sample in which nothing counts is absent")
@pytest.mark.parametrize("name", OVERLAP.split())
def test_nothing_counts(name):
    value, gradient = slope(LOSSES[name].function, P.logit(), T, task="binary", mask=torch.zeros(2, 4, dtype=torch.bool))
    assert value == 0 and not gradient.any()
    half = torch.tensor([[True], [False]]).expand(2, 4)
    rest = LOSSES[name].function(P.logit(), T, task="binary", mask=half)
    torch.testing.assert_close(rest, LOSSES[name].function(P.logit()[:1], T[:1], task="binary"))
    if "average" in LOSSES[name].settings and name in ("dice_loss", "lovasz_loss"):
        assert LOSSES[name].function(P.logit(), T, task="binary", mask=half, average="none")[1] == 0


@claim("jaccard_loss tversky_loss", "Empty targets: see `empty` in `dice_loss`")
@claim("focal_tversky_loss", 'Empty targets: `empty` of `dice_loss`; "mass" is not raised')
@claim("log_cosh_dice_loss", 'Empty targets: `empty` of `dice_loss`; "mass" is P / n itself')
@claim("dice_loss", "A target that is not empty follows the formula")
def test_empty_targets():
    for name in ("dice_loss", "jaccard_loss", "tversky_loss", "focal_tversky_loss", "log_cosh_dice_loss"):
        torch.testing.assert_close(loss(name, P, ABSENT, empty="mass"), P.mean())
        assert loss(name, P, ABSENT, empty="zero") == 0 == loss(name, P, ABSENT, empty="skip")
        assert 0 < loss(name, P, ABSENT, empty="smooth") < 1
        formula = loss(name, P, T, empty="smooth")
        for empty in ("skip", "zero", "mass"):
            assert torch.equal(loss(name, P, T, empty=empty), formula)
            torch.testing.assert_close(loss(name, 0 * P, T, empty=empty), loss(name, 0 * P, T))


@claim("tversky_loss", "alpha = beta = 0.5 is `dice_loss` with twice")
@claim("focal_tversky_loss", "A loss of exactly 0 has gradient 0")
@claim("focal_tversky_loss", "A Tversky loss below 0")
def test_tversky():
    for s in (0.0, 1.0):
        torch.testing.assert_close(loss("tversky_loss", P, T, alpha=0.5, beta=0.5, smooth=s), loss("dice_loss", P, T, smooth=2 * s))
        torch.testing.assert_close(loss("tversky_loss", P, T, alpha=1.0, beta=1.0, smooth=s), loss("jaccard_loss", P, T, smooth=s))
    value, gradient = slope(lambda x, t: loss("focal_tversky_loss", x, t, gamma=0.5), T, T)
    assert value == 0 and not gradient.any()
    near = slope(lambda x, t: loss("focal_tversky_loss", x, t, gamma=0.5, smooth=0.0), T + (1 - 2 * T) * 1e-12, T)[1]
    assert near.abs().max() > 1e4
    for settings in ({"power": 2, "alpha": 0.3, "beta": 3.0, "smooth": 0.0}, {"smooth": (2.0, 0.5)}):
        x, t = (0.6 * torch.ones(1, 4), 0.5 * torch.ones(1, 4)) if "power" in settings else (T, T)
        assert loss("tversky_loss", x, t, **settings) < 0 == loss("focal_tversky_loss", x, t, **settings)


@claim("tversky_loss", "MONAI, kornia and segmentation_models.pytorch also use alpha for the false positives")
@claim("focal_tversky_loss", "segmentation_models.pytorch's `TverskyLoss(gamma=...)`")
def test_tversky_of_the_field():
    hit, false, missed = (P * T).sum(1), (P * (1 - T)).sum(1), ((1 - P) * T).sum(1)
    theirs = 1 - hit / (hit + 0.3 * false + 0.7 * missed)
    torch.testing.assert_close(loss("tversky_loss", P, T, alpha=0.3, beta=0.7, smooth=0.0), theirs.mean())
    multilabel = dict(task="multilabel", from_logits=False, alpha=0.3, beta=0.7, gamma=0.5, smooth=0.0)
    torch.testing.assert_close(losskit.focal_tversky_loss(P[None], T[None], **multilabel), theirs.sqrt().mean())
    assert abs(theirs.sqrt().mean() - theirs.mean().sqrt()) > 1e-3  # segmentation_models.pytorch's
    assert losskit.like("smp", "tversky") and losskit.like("monai", "tversky") and losskit.like("kornia", "tversky")


# one by one


@claim("dice_loss", "MONAI, nnU-Net, segmentation_models.pytorch and kornia each define it differently")
@claim("jaccard_loss", "`losskit.like` gives the settings")
def test_every_library_is_another_dice():
    x, t = pictures()
    t[:, :10] = 0
    found = [float(losskit.dice_loss(x, t, **losskit.like(library, "dice", "multiclass"))) for library in ("monai", "nnunet", "smp", "kornia")]
    assert min(abs(a - b) for i, a in enumerate(found) for b in found[:i]) > 1e-7
    assert losskit.like("monai", "jaccard") and losskit.like("smp", "jaccard")


@claim("dice_ce_loss dice_focal_loss", "Soft labels")
def test_compounds_of_soft_labels_and_probabilities():
    x, labels = pictures()
    hot = F.one_hot(labels, 3).movedim(-1, 1).double()
    for name, more in (("dice_ce_loss", {}), ("dice_focal_loss", {}), ("dice_focal_loss", {"task": "multilabel"})):
        function, given = LOSSES[name].function, {"task": "multiclass"} | more
        target = labels if given["task"] == "multiclass" else hot
        whole = function(x, target, **given)
        p = x.softmax(1) if given["task"] == "multiclass" else x.sigmoid()
        torch.testing.assert_close(function(p, target, from_logits=False, **given), whole)
        if name == "dice_ce_loss":
            torch.testing.assert_close(function(x, hot, **given), whole)
        elif "task" in more:
            torch.testing.assert_close(function(x, hot, alpha=[0.25] * 3, **given), function(x, hot, alpha=0.25, **given))


@claim("dice_ce_loss", "MONAI's `DiceCELoss` does not divide Dice by the class weights")
@claim("dice_focal_loss", "gamma = 0 is `dice_ce_loss`, up to alpha")
@claim("dice_focal_loss", "MONAI's `DiceFocalLoss` uses the focal loss of sigmoids")
def test_compounds_of_the_field():
    x, labels = pictures()
    weight = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    each = losskit.dice_loss(x, labels, task="multiclass", average="none")
    both = losskit.dice_ce_loss(x, labels, task="multiclass", weight=weight)
    ce = F.cross_entropy(x, labels, weight)
    torch.testing.assert_close(both, (each * weight).sum() / weight.sum() / 2 + ce)
    assert abs(both - ((each * weight).mean() + ce)) > 1e-2  # MONAI's
    for task, t in (("multiclass", labels), ("multilabel", F.one_hot(labels, 3).movedim(-1, 1).double())):
        torch.testing.assert_close(losskit.dice_focal_loss(x, t, task=task, gamma=0.0), losskit.dice_ce_loss(x, t, task=task))
    ours = losskit.dice_focal_loss(x, labels, task="multiclass", dice_weight=0.0)
    torch.testing.assert_close(ours, losskit.focal_loss(x, labels, task="multiclass"))
    assert abs(ours - losskit.focal_loss(x, F.one_hot(labels, 3).movedim(-1, 1))) > 1e-3


@claim("generalized_dice_loss", "Absent classes, found or not")
@claim("generalized_dice_loss", "No class at all: by `empty`, weights 1")
@claim("generalized_dice_loss", "MONAI's `GeneralizedDiceLoss` has s = 1e-5")
def test_generalized_dice():
    p, t = P[None].expand(1, 2, 4).clone(), torch.stack((T[0], ABSENT[0]))[None]  # the second class is absent

    def by_hand(p, t, weight):
        return 1 - 2 * (weight * (p * t).sum(2)).sum() / (weight * (p + t).sum(2)).sum()

    many = dict(task="multilabel", from_logits=False)
    torch.testing.assert_close(losskit.generalized_dice_loss(p, t, **many), by_hand(p, t, torch.tensor([1 / 4, 1 / 4]).double()))
    alarmed = p.clone()
    alarmed[0, 1] += 0.1
    assert losskit.generalized_dice_loss(alarmed, t, **many) > losskit.generalized_dice_loss(p, t, **many)
    nothing = torch.zeros_like(t)
    torch.testing.assert_close(losskit.generalized_dice_loss(p, nothing, empty="mass", **many), p.mean())
    torch.testing.assert_close(losskit.generalized_dice_loss(p, nothing, smooth=1.0, **many), p.sum() / (p.sum() + 1))
    assert losskit.like("monai", "generalized_dice") == {"smooth": 1e-5, "empty": "zero"}
    assert losskit.generalized_dice_loss(p, nothing, **many, **losskit.like("monai", "generalized_dice")) == 0


@claim("jaccard_loss", "Soft labels need power=2 to reach 0")
@claim("jaccard_loss", "MONAI writes it as `DiceLoss(jaccard=True)`")
def test_jaccard():
    assert loss("jaccard_loss", P, P, power=2) == 0 < loss("jaccard_loss", P, P)
    both, union = (P * T).sum(1), (P + T - P * T).sum(1)
    torch.testing.assert_close(loss("jaccard_loss", P, T, smooth=0.5e-5), (1 - (2 * both + 1e-5) / (2 * union + 1e-5)).mean())
    smp = losskit.like("smp", "jaccard")
    torch.testing.assert_close(loss("jaccard_loss", P, T, **smp), 1 - both.sum() / union.sum())
    assert loss("jaccard_loss", P, ABSENT, **smp) == 0


@claim("log_cosh_dice_loss", "Small losses keep their digits")
@claim("log_cosh_dice_loss", "The authors' code takes log cosh")
def test_log_cosh_dice():
    d = 1e-6
    p = torch.tensor([[(1 - d) / (1 + d), 1.0 - 1.0]], dtype=torch.float64)  # 1 - 2 p / (p + 1) = d
    torch.testing.assert_close(loss("log_cosh_dice_loss", p, torch.tensor([[1.0, 0.0]]), smooth=0.0), torch.tensor(5e-13).double(), rtol=1e-5, atol=0)
    whole = loss("dice_loss", P, T, over="batch")
    torch.testing.assert_close(loss("log_cosh_dice_loss", P, T, over="batch"), whole.cosh().log())


@claim("mcc_loss", "A target that is empty, or full")
@claim("mcc_loss", 'Where that is common take empty="mass"')
@claim("mcc_loss", "segmentation_models.pytorch's `MCCLoss` takes probabilities")
def test_mcc():
    for t in (torch.zeros(1, 4).double(), torch.ones(1, 4).double()):
        for p, wanted in ((t, 0), (P[:1], 1), (1 - t, 1)):
            value, gradient = slope(lambda x, y: loss("mcc_loss", x, y), p, t)
            assert value == wanted and not gradient.any()
    assert slope(lambda x, y: loss("mcc_loss", x, y, empty="mass"), P[:1], torch.zeros(1, 4).double())[1].any()
    mixed = torch.stack((T[0], ABSENT[0]))
    assert slope(lambda x, y: loss("mcc_loss", x, y, over="batch"), P, mixed)[1][1].any()
    tp, tn, fp, fn = ((a * b).sum() + 1e-5 for a, b in ((P, T), (1 - P, 1 - T), (P, 1 - T), (1 - P, T)))
    theirs = 1 - (tp * tn - fp * fn) / ((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)).sqrt()
    torch.testing.assert_close(loss("mcc_loss", P, T, over="batch"), theirs, rtol=1e-4, atol=0)


@claim("lovasz_loss", "Equal errors are taken in the order of the items")
@claim("lovasz_loss", "The value does not depend on that; the gradient does")
@claim("lovasz_loss", "A class without an item has the largest error")
@claim("lovasz_loss", "Errors of 0, such as margins that are kept")
def test_lovasz():
    p, t = torch.tensor([[0.4, 0.6]], dtype=torch.float64), torch.tensor([[1, 0]])  # both are wrong by 0.6
    value, gradient = slope(lambda x, y: loss("lovasz_loss", x, y), p, t)
    swapped, other = slope(lambda x, y: loss("lovasz_loss", x, y), p.flip(1), t.flip(1))
    torch.testing.assert_close(value, swapped)
    assert gradient.abs().tolist() == [[1.0, 0.0]] and other.abs().tolist() == [[0.5, 0.5]]  # the item first, then the alarm; and the other way round
    torch.testing.assert_close(loss("lovasz_loss", P[:1], torch.zeros(1, 4, dtype=torch.long)), P[:1].max())
    kept = torch.tensor([[3.0, -2.0, 0.5]], dtype=torch.float64)
    gradient = slope(losskit.lovasz_loss, kept, torch.tensor([[1, 0, 1]]), task="binary")[1]
    assert gradient[0, :2].tolist() == [0, 0] and gradient[0, 2] != 0


@claim("lovasz_loss", "What J_k adds is computed in closed form")
def test_lovasz_of_many_items():
    n = 1 << 14
    x, t = torch.linspace(-3, 3, n)[None], torch.arange(n)[None] % 2
    gradient = slope(losskit.lovasz_loss, x, t, task="binary")[1]
    exact = slope(losskit.lovasz_loss, x.double(), t, task="binary")[1]
    torch.testing.assert_close(gradient.double(), exact, rtol=1e-4, atol=0)
    hits = t[0][(1 - x[0] * (2 * t[0] - 1)).argsort(descending=True)].cumsum(0)
    jaccard = 1 - (n / 2 - hits) / (n / 2 + torch.arange(1, n + 1) - hits)
    steps = jaccard.diff()  # in float32, as the authors' code has it
    wanted = (1 - (n / 2 - hits.double()) / (n / 2 + torch.arange(1, n + 1) - hits)).diff()
    assert ((steps - wanted).abs() / wanted.abs().clamp(min=1e-12)).max() > 1e-3


@claim("lovasz_loss", 'Theirs has over="batch" for softmax')
@claim("lovasz_loss", 'segmentation_models.pytorch has over="batch" by default')
def test_lovasz_of_the_field():
    assert losskit.like("smp", "lovasz") == {"over": "batch"} and losskit.like("kornia", "lovasz") == {"classes": "all"}
    assert LOSSES["lovasz_loss"].settings["over"] == "sample"
    x, t = pictures()
    mask = torch.ones(2, 20, dtype=torch.bool)
    mask[1] = False
    first = losskit.lovasz_loss(x[:1], t[:1], task="multiclass")
    torch.testing.assert_close(losskit.lovasz_loss(x, t, task="multiclass", mask=mask), first)  # theirs: half of it, the other sample counts as 0
    hot = F.one_hot(t, 3).movedim(-1, 1)
    apart = losskit.lovasz_loss(x, hot, task="multilabel", over="batch")
    together = losskit.lovasz_loss(x.reshape(1, -1), hot.reshape(1, -1), task="binary", over="batch")
    assert abs(apart - together) > 1e-3  # segmentation_models.pytorch's multi-label is the second


# boundary


@claim("boundary_loss", "Negative values are good")
@claim("boundary_loss", "A class that is missing from an image, or fills it")
@claim("boundary_loss", "The loss scales with the distances")
@claim("boundary_loss", "A 0/1 mask in floating point is read as distances")
def test_boundary():
    t = torch.tensor([[[0, 1, 1, 0, 0]]])
    x = torch.where(t > 0, 20.0, -20.0)
    d = losskit.distance_map(t > 0, task="binary")
    wide = losskit.boundary_loss(x, torch.tensor([[[0, 1, 1, 1, 1]]]) > 0, task="binary")
    assert losskit.boundary_loss(x, (torch.arange(5)[None, None] > 0), task="binary") == wide and losskit.boundary_loss(-x, d, task="binary") > 0
    deep = torch.tensor([[[1, 1, 1, 1, 0]]]) > 0
    assert losskit.boundary_loss(torch.where(deep, 20.0, -20.0), deep, task="binary") < 0
    for nothing in (torch.zeros_like(deep), torch.ones_like(deep)):
        assert losskit.boundary_loss(x, nothing, task="binary") == 0
    torch.testing.assert_close(losskit.boundary_loss(x, t > 0, task="binary", spacing=[3.0, 3.0]), 3 * losskit.boundary_loss(x, d, task="binary"))
    torch.testing.assert_close(losskit.boundary_loss(x, (t > 0).float(), task="binary"), (x.sigmoid() * t).mean())


@claim("boundary_loss", "Labels have no values under `torch.compile`")
@claim("boundary_loss", "Theirs of a class that fills the picture")
def test_distances_where_there_are_none():
    x, full = torch.zeros(1, 2, 3), torch.ones(1, 2, 3, dtype=torch.bool)
    with pytest.raises(Exception, match="give distances"):
        torch.compile(lambda a, t: losskit.boundary_loss(a, t, task="binary"), backend="eager", fullgraph=True)(x, full)
    assert distance_transform_edt(full[0].numpy()).all() and not losskit.distance_map(full, task="binary").any()


@claim("boundary_loss", "Multi-class sums over the classes")
def test_boundary_of_the_authors():
    x, t = pictures()
    x, t = x.float().reshape(2, 3, 4, 5), t.reshape(2, 4, 5)
    d = losskit.distance_map(t, num_classes=3)
    theirs = (x.softmax(1) * d).mean()
    torch.testing.assert_close(losskit.boundary_loss(x, d, task="multiclass"), 3 * theirs)


# the sums, and other libraries' settings


@claim("overlap_sums", "`OverlapSums`, a named tuple")
@claim("overlap_sums", "They are float64 whatever the input is")
@claim("overlap_sums", "No items: all sums are 0")
def test_sums():
    x, t = pictures()
    for dtype in (torch.float16, torch.float32, torch.float64):
        sums = losskit.overlap_sums(x.to(dtype), t, task="multiclass")
        assert isinstance(sums, losskit.OverlapSums) and all(s.shape == (2, 3) and s.dtype is torch.float64 for s in sums if s is not None)
    assert losskit.overlap_sums(P, T, task="binary").intersection.shape == (2, 1)
    none = losskit.overlap_sums(x[:, :, :0], t[:, :0], task="multiclass")
    assert not any(s.any() for s in none if s is not None)
    stuck = torch.tensor(16777216.0)
    assert stuck + 1 == stuck and stuck.double() + 1 != stuck


@claim("like", "smp's `smooth` is half of ours in Dice")
@claim("like", 'MONAI\'s `ignore_index` of "multilabel" is a class')
def test_words_that_mean_something_else_there():
    hit, false, missed = (P * T).sum(), (P * (1 - T)).sum(), ((1 - P) * T).sum()
    theirs = 1 - (hit + 0.5) / (hit + 0.5 * false + 0.5 * missed + 0.5)  # smp writes Dice as Tversky
    torch.testing.assert_close(loss("dice_loss", P, T, **losskit.like("smp") | {"smooth": 1.0}), theirs)
    many, marked = dict(task="multilabel", from_logits=False), T[None].clone()
    marked[0, 1, 0] = 5
    mask = torch.ones(1, 2, 4, dtype=torch.bool)
    mask[0, 1, 0] = False
    ours = losskit.dice_loss(P[None], marked, ignore_index=5, **many)
    torch.testing.assert_close(ours, losskit.dice_loss(P[None], T[None], mask=mask, **many))
    of_a_class = losskit.dice_loss(P[None], T[None], mask=(T[1] == 0).expand(1, 2, 4), **many)  # MONAI's, of ignore_index=1
    assert abs(ours - of_a_class) > 1e-3


@claim("like", "A dictionary of keyword arguments")
@claim("like", "With ignored items, its cross-entropy of regions divides by positions")
@claim("like", "Class weights: MONAI multiplies each class's Dice loss")
@claim("like", "A sample of which every item is ignored is no sample here")
@claim("like", "Soft targets: smp's intersection is the sum of min(p, t)")
@claim("like", "Ours and MONAI's with power 2 agree")
@claim("like", 'kornia\'s average="macro" is')
@claim("like", "smp's log_loss and `classes` have no counterpart")
def test_what_like_cannot_set():
    assert isinstance(losskit.like("monai"), dict)
    x, t = pictures()
    weight = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
    each = losskit.dice_loss(x, t, **losskit.like("monai", "dice", "multiclass"), average="none")
    ours = losskit.dice_loss(x, t, **losskit.like("monai", "dice", "multiclass"), weight=weight)
    torch.testing.assert_close((each * weight).mean(), ours * weight.mean())  # MONAI's, and ours times what it does not divide by
    mask = torch.tensor([[True], [False]]).expand(2, 4)
    first = 1 - losskit.dice_score(P[:1], T[:1], **BINARY)
    torch.testing.assert_close(loss("dice_loss", P, T, mask=mask, smooth=0.0), first)  # elsewhere (first + 0) / 2, or (first + 1) / 2
    soft = P.flip(1)
    assert abs(1 - 2 * torch.minimum(P, soft).sum() / (P + soft).sum() - loss("dice_loss", P, soft, smooth=0.0, over="batch")) > 1e-2
    monai = 1 - (2 * (P * soft).sum(1) + 1e-5) / ((P**2 + soft**2).sum(1) + 1e-5)
    torch.testing.assert_close(loss("dice_loss", P, soft, **losskit.like("monai") | {"power": 2}), monai.mean())
    # kornia: the mean over the classes that a picture has
    t[0][t[0] == 2] = 0
    p, hot = x.softmax(1), F.one_hot(t, 3).movedim(-1, 1)
    dice = 1 - 2 * (p * hot).sum(2) / ((p + hot).sum(2) + 1e-8)
    macro = torch.stack([dice[i][hot[i].sum(1) > 0].mean() for i in range(2)]).mean()
    torch.testing.assert_close(losskit.dice_loss(x, t, **losskit.like("kornia", "dice", "multiclass") | {"average": "nested", "empty": "skip"}), macro)
    assert not {"log_loss", "classes"} & set(LOSSES["dice_loss"].settings)
    value, gradient = slope(lambda a, b: loss("focal_tversky_loss", a, b, gamma=0.5, smooth=0.0), T, T)
    assert value == 0 and not gradient.any()
    # nnU-Net's cross-entropy of regions: over positions that count, of several regions each; ours over numbers
    regions = torch.stack((T, T), 1)
    both = losskit.dice_ce_loss(torch.stack((P, P), 1), regions, task="multilabel", from_logits=False, dice_weight=0.0)
    torch.testing.assert_close(both, F.binary_cross_entropy(torch.stack((P, P), 1), regions))
    assert math.isclose(float(F.binary_cross_entropy(torch.stack((P, P), 1), regions, reduction="sum")) / T.numel(), 2 * float(both))
