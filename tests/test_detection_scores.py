"""The losses of a detector's scores and bins beside those of mmdetection's formulas, written anew in plain PyTorch; and what only they promise."""

import math

import pytest
import torch
import torch.nn.functional as F
from cases import ENGINES, thorough

import losskit
from losskit import LOSSES
from losskit.curves import sample
from losskit.testing import oracles
from losskit.testing.inputs import rounded


@pytest.fixture(params=ENGINES, autouse=True)
def engine(request):
    with losskit.use_engine(request.param):
        yield request.param


def single(numbers):
    """Numbers of float32, in float64."""
    return numbers.float().double()


def detections(objects=40, classes=7, seed=0):
    """Logits of boxes and classes, the class of each (the last number: none) and the IoU of those that have one."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(objects, classes, generator=draw, dtype=torch.float64) * 3
    label = torch.randint(0, classes + 1, (objects,), generator=draw)
    iou = torch.rand(objects, generator=draw, dtype=torch.float64)
    return single(x), label, single(iou)


def dense(label, iou, classes):
    return F.one_hot(label, classes + 1)[:, :-1] * iou[:, None]


def compared(ours, theirs, x, t):
    """Values, and gradients for an incoming one that is not uniform: theirs in float64, ours so too or, where loops are compiled, in float32."""
    fused = losskit.engine_for(losskit.mse_loss, x, x).engine == "cpu"
    a, b = (x.float() if fused else x.clone()).requires_grad_(), x.clone().requires_grad_()
    got, expected = ours(a, t.to(a.dtype)), theirs(b, t)
    close = dict(rtol=2e-5, atol=1e-6) if fused else dict(rtol=1e-11, atol=1e-14)
    torch.testing.assert_close(got.double(), expected, **close)
    incoming = torch.linspace(-1, 2, got.numel(), dtype=torch.float64).reshape(got.shape)
    grads = torch.autograd.grad(got, a, incoming.to(got.dtype))[0], torch.autograd.grad(expected, b, incoming)[0]
    torch.testing.assert_close(grads[0].double(), grads[1], **close)


# formulas beside formulas; that each has its digits in a loop is for its laws
IN_OPERATIONS = pytest.mark.parametrize("engine", ["torch"], indirect=True)


@IN_OPERATIONS
@pytest.mark.parametrize("beta", [1.0, 2.0, 2.5])
def test_quality_focal_is_that_of_the_field(beta, engine):
    x, label, iou = detections()
    classes = x.shape[1]
    target = dense(label, iou, classes)

    def field(x, _):
        score = x.sigmoid()
        loss = score**beta * F.softplus(x)
        has = label < classes
        rows, columns = torch.arange(len(x))[has], label[has]
        quality, picked = iou[has], x[rows, columns]
        entropy = -(quality * F.logsigmoid(picked) + (1 - quality) * F.logsigmoid(-picked))
        return loss.index_put((rows, columns), (quality - score[rows, columns]).abs() ** beta * entropy).sum(1)

    compared(lambda x, t: losskit.quality_focal_loss(x, t, beta=beta, reduction="none").sum(1), field, x, target)


@IN_OPERATIONS
@pytest.mark.parametrize(("gamma", "alpha", "weighted"), [(2.0, 0.75, True), (1.5, 0.5, False)])
def test_varifocal_is_that_of_the_field(gamma, alpha, weighted, engine):
    x, label, iou = detections()
    target = dense(label, iou, x.shape[1])

    def field(x, t):
        weight = torch.where(t > 0, t if weighted else 1.0, alpha * (x.sigmoid() - t).abs() ** gamma)
        return F.binary_cross_entropy_with_logits(x, t, reduction="none") * weight

    compared(lambda x, t: losskit.varifocal_loss(x, t, alpha=alpha, gamma=gamma, iou_weighted=weighted, reduction="none"), field, x, target)


@IN_OPERATIONS
def test_detectors_divide_by_the_number_of_positives(engine):
    x, label, iou = detections()
    x, target = x.float(), dense(label, iou, x.shape[1]).float()
    positives = (target > 0).sum().clamp(min=1)
    for loss in (losskit.quality_focal_loss, losskit.varifocal_loss):
        torch.testing.assert_close(loss(x, target, normalizer=positives), loss(x, target, reduction="sum") / int((label < x.shape[1]).sum()))
        assert loss(x, torch.zeros_like(x), normalizer=positives * 0 + 1) == loss(x, torch.zeros_like(x), reduction="sum")


def sides(boxes=9, bins=17, dtype=torch.float64, seed=0):
    """Logits of the bins of four sides of each box, and distances, some of them whole."""
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(boxes, 4, bins, generator=draw, dtype=torch.float64) * 3
    y = torch.rand(boxes, 4, generator=draw, dtype=torch.float64) * (bins - 1)
    y[::3] = y[::3].round()
    y[0] = torch.tensor([0.0, bins - 1.0, bins - 1.5, 0.25], dtype=torch.float64)
    return single(x).to(dtype), single(y)


def masses(y, bins):
    """The dense distributions."""
    return (1 - (torch.arange(bins) - y[..., None]).abs()).clamp(min=0)


@IN_OPERATIONS
def test_distribution_focal_is_that_of_the_field(engine):
    x, y = sides()
    y = single(y.clamp(max=15.99))  # at the last bin the field reads one that is not there
    left = y.long()

    def field(x, y):
        rows, low = x.reshape(-1, 17), left.reshape(-1)
        lower, upper = (F.cross_entropy(rows, label, reduction="none") for label in (low, low + 1))
        return (lower * ((left + 1) - y).reshape(-1) + upper * (y - left).reshape(-1)).reshape(y.shape)

    compared(lambda x, y: losskit.distribution_focal_loss(x, y, dim=2, reduction="none"), field, x, y)


@pytest.mark.parametrize("bins", [2, 17, 40, 2100])
def test_distribution_focal_is_cross_entropy_against_the_dense_distribution(bins):
    x, y = sides(bins=bins)

    def ours(x, y):
        return losskit.distribution_focal_loss(x, y, dim=-1, reduction="none")

    def crossed(x, target):
        with losskit.use_engine("torch"):
            return losskit.cross_entropy(x, target, dim=-1, reduction="none")

    compared(ours, lambda x, y: crossed(x, masses(y, bins)), x, y)
    compared(ours, lambda x, y: crossed(x, y.long()), x, y.round())


def test_whole_positions_of_any_dtype_are_labels(engine):
    x, y = sides(dtype=torch.float32)
    expected = F.cross_entropy(x.flatten(0, 1), y.round().long().flatten())
    for dtype in (torch.uint8,) if engine == "cpu" else (torch.int64, torch.uint8, torch.bfloat16):
        torch.testing.assert_close(losskit.distribution_focal_loss(x, y.round().to(dtype), dim=2), expected)


STORED = [("float16", "float32"), ("float32", "float64"), ("bfloat16", "bfloat16")]  # each is a loop
OTHERS = [("bfloat16", "float32"), ("float16", "float16")]


@pytest.mark.parametrize(("engine", "logits", "target"), [*(("cpu", *of) for of in STORED), *(("torch", *of) for of in STORED + OTHERS)], indirect=["engine"])
def test_dtypes_of_logits_and_positions(logits, target, engine):
    """Each is read as it is stored: a position of float32 is not rounded to the half precision of its logits."""
    given, stored = getattr(torch, logits), getattr(torch, target)
    for bins in (17, 40)[: 2 if stored is torch.float32 else 1]:
        x, y = sides(bins=bins, dtype=given)
        y = y.float().to(stored)
        a, b = x.clone().requires_grad_(), x.double().requires_grad_()
        got, expected = losskit.distribution_focal_loss(a, y, dim=2), -(masses(y.double(), bins) * b.log_softmax(-1)).sum(-1).mean()
        assert got.dtype is torch.float32
        torch.testing.assert_close(got.double(), expected, rtol=2e-6, atol=0)
        ours, exact = torch.autograd.grad(got, a)[0], torch.autograd.grad(expected, b)[0]
        assert ours.dtype is given
        torch.testing.assert_close(ours.double(), exact, rtol=torch.finfo(given).eps, atol=2e-8 if given is torch.float32 else 1e-7)


def test_positions_are_checked_and_the_message_helps():
    x, y = (z.float() for z in sides())
    y[3, 1] = 16.4
    with pytest.raises(
        ValueError,
        match=r"target must hold positions from 0 to 16 \(the input has 17 bins\), got 16\.4 at index \(3, 1\)\. Try target\.clamp\(0, 16\), or leave",
    ):
        losskit.distribution_focal_loss(x, y, dim=2)
    mask = torch.ones(9, 4, dtype=torch.bool)
    mask[3, 1] = False
    y[3, 1] = math.nan
    a = x.clone().requires_grad_()
    losskit.distribution_focal_loss(a, y, dim=2, mask=mask).backward()
    assert a.grad[3, 1].eq(0).all() and a.grad[3, 0].ne(0).all()
    with pytest.raises(
        ValueError,
        match=r"\(9, 4\), but positions for an input of shape \(9, 68\) .*If 4 sides of 17 bins lie in that axis, try input\.unflatten\(1, \(4, -1\)\) and dim=2",
    ):
        losskit.distribution_focal_loss(x.flatten(1), y)
    with pytest.raises(ValueError, match="Try dim=2"):
        losskit.distribution_focal_loss(x, y)
    with pytest.raises(ValueError, match=r"target must not require a gradient, none is defined for a position: try target\.detach\(\)"):
        losskit.distribution_focal_loss(x, y.requires_grad_(), dim=2)


def test_a_logit_that_is_nan_is_no_bad_position():
    x, y = (z.float() for z in sides())
    x[2, 2, 5] = math.nan
    assert losskit.distribution_focal_loss(x, y, dim=2, reduction="none").isnan().nonzero().tolist() == [[2, 2]]
    assert losskit.distribution_focal_loss(x, y, dim=2).isnan()


@pytest.mark.parametrize("engine", ["torch"], indirect=True)  # and the other, beside the same exact numbers
@pytest.mark.parametrize("name", ["quality_focal_loss", *thorough(["varifocal_loss"])])
def test_digits_where_prediction_and_quality_meet(name, engine):
    """Targets within a few roundings of the prediction, and exactly there, on both sides of 1/2."""
    logits = torch.linspace(-9, 9, 25).repeat(5)
    near = torch.tensor([0.0, 1.0, -1.0, 4.0, 3000.0], dtype=torch.float64).repeat_interleave(25)
    p = logits.double().sigmoid()
    t = rounded((p + near * 2.0**-24 * torch.minimum(p, 1 - p)).clamp(0, 1), torch.float32)
    loss = LOSSES[name]
    for settings in loss.arguments:
        exact = oracles.exact(loss, settings, logits, t)
        for each in ENGINES:
            a = logits.clone().requires_grad_()
            with losskit.use_engine(each):
                value = loss.function(a, t, reduction="none", **settings)
                (grad,) = torch.autograd.grad(value.sum(), a)
            assert oracles.worst_error(value, [e.value for e in exact], [e.scale_value for e in exact]).error < loss.tolerance
            assert oracles.worst_error(grad, [e.grad_input for e in exact], [e.scale_input for e in exact]).error < loss.tolerance


@pytest.mark.parametrize("beta", [1.0, 1.5, 2.0, 4.0])
def test_nothing_is_left_where_the_prediction_is_the_quality(beta):
    x, t = torch.zeros(3, requires_grad=True), torch.full((3,), 0.5, requires_grad=True)
    value = losskit.quality_focal_loss(x, t, beta=beta, reduction="none")
    grads = torch.autograd.grad(value.sum(), (x, t))
    assert not value.any() and not grads[0].any() and not grads[1].any()


@pytest.mark.parametrize("beta", [1e-3, 0.5, 0.999])
def test_a_power_whose_slope_has_no_bound_is_refused(beta):
    with pytest.raises(ValueError, match=r"beta must be 0 or at least 1, got .*: between them the gradient grows without bound"):
        losskit.quality_focal_loss(torch.zeros(2), torch.zeros(2), beta=beta)


def test_no_object_is_no_quality_that_could_change():
    x = torch.tensor([2.0, -1.0, 30.0, math.inf, -math.inf], requires_grad=True)
    t = torch.zeros(5, requires_grad=True)
    value = losskit.varifocal_loss(x, t, reduction="none")
    assert torch.autograd.grad(value.sum(), (x, t))[1].eq(0).all()
    assert value[3].isinf() and value[4] == 0


@pytest.mark.parametrize("engine", ["torch"], indirect=True)  # second derivatives are PyTorch operations in any engine
def test_second_derivatives_of_the_background(engine):
    """The law takes soft targets, away from 0."""
    x, t = torch.randn(7, dtype=torch.float64, requires_grad=True), torch.zeros(7, dtype=torch.float64)
    for gamma in (0.0, 1.5, 2.0):
        assert torch.autograd.gradgradcheck(lambda x, gamma=gamma: losskit.varifocal_loss(x, t, gamma=gamma, reduction="none"), x)
    for beta in (1.5, 2.0):
        assert torch.autograd.gradgradcheck(lambda x, beta=beta: losskit.quality_focal_loss(x, t, beta=beta, reduction="none"), x)


@pytest.mark.parametrize(
    ("name", "lowest"), [("quality_focal_loss", math.log(0.7 / 0.3)), ("varifocal_loss", math.log(0.7 / 0.3)), ("distribution_focal_loss", math.log(9))]
)
def test_curves_are_lowest_at_their_target(name, lowest):
    curve = sample(LOSSES[name])
    assert curve.x[min(range(len(curve.x)), key=curve.value.__getitem__)] == pytest.approx(lowest, abs=0.03)
