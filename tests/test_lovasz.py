"""The Lovasz loss against the authors' definition, written out here: cumulative sums of the sorted ground truth, differences of Jaccard losses, a dot product."""

import importlib
import math
import warnings

import mpmath
import pytest
import torch

from losskit import use_engine
from losskit.losses.segmentation.lovasz import lovasz_loss, textbook

ENGINES = ("torch", "cpu")
TASKS = ("multiclass", "binary", "multilabel")


def of_class(errors, own):
    """One class, flat: the authors' algorithm."""
    order = torch.sort(errors.detach(), descending=True, stable=True).indices
    own = own[order].to(errors.dtype)
    total = own.sum()
    jaccard = 1 - (total - own.cumsum(0)) / (total + (1 - own).cumsum(0))
    return torch.dot(errors[order], torch.cat((jaccard[:1], jaccard[1:] - jaccard[:-1])))


def authors(x, t, task, *, classes="auto", from_logits=True, over="sample", average="nested", weight=None, ignore_index=-100, mask=None):
    """All of it, one class of one sample after the other; x with its classes second, in float64. The mask has the target's shape."""
    if task == "binary":
        x, t, mask = x[:, None], t[:, None], mask if mask is None else mask[:, None]
    if task == "multiclass" and from_logits:
        x = torch.softmax(x, 1)
    counts = (t != ignore_index) & (torch.ones_like(t, dtype=torch.bool) if mask is None else mask)
    present = classes == "present" or (classes == "auto" and task == "multiclass")
    rows, weights = [], []
    for chosen in (slice(i, i + 1) for i in range(len(x))) if over == "sample" else (slice(None),):
        for c in range(x.shape[1]):
            counted = counts[chosen] if task == "multiclass" else counts[chosen, c]
            own = (t[chosen] == c if task == "multiclass" else t[chosen, c] == 1)[counted]
            scores = x[chosen, c][counted]
            hinge = from_logits and task != "multiclass"
            errors = torch.relu(1 - torch.where(own, scores, -scores)) if hinge else (own.to(x.dtype) - scores).abs()
            counted = len(own) > 0 and (not present or bool(own.any()))
            rows.append(of_class(errors, own) if counted else x.sum() * 0)
            weights.append(float(counted) * (1.0 if weight is None else float(weight[c])))
    losses, weights = torch.stack(rows).reshape(-1, x.shape[1]), torch.tensor(weights, dtype=x.dtype).reshape(-1, x.shape[1])
    if average == "none":
        losses = torch.where(weights != 0, losses, 0.0)
        return losses[0] if over == "batch" else losses
    if average == "macro":
        return (losses * weights).sum() / weights.sum()
    there = weights.sum(1) > 0
    return ((losses * weights).sum(1)[there] / weights.sum(1)[there]).mean()


def batch(task, shape=(3, 5, 6, 7), from_logits=True, seed=0):
    """Logits or probabilities in float32, and labels; a class that no item has, and one that a sample lacks."""
    generator = torch.Generator().manual_seed(seed)
    shape = shape if task != "binary" else (shape[0], *shape[2:])
    x = 2 * torch.randn(shape, generator=generator)
    if task == "multiclass":
        t = torch.randint(0, shape[1] - 1, (shape[0], *shape[2:]), generator=generator)
        t[0][t[0] == 1] = 0
    else:
        t = torch.randint(0, 2, shape, generator=generator)
        t[0] = 0
    if not from_logits:
        x = torch.softmax(x, 1) if task == "multiclass" else torch.sigmoid(x)
    return x, t


def compare(x, t, task, engine, tolerance=1e-6, gradient_tolerance=2e-5, function=lovasz_loss, **settings):
    """Value and gradient, under an incoming gradient that is not 1, against the authors' in float64."""
    exact = x.detach().double().requires_grad_()
    weight = settings.get("weight")
    expected = authors(exact, t, task, **settings | ({} if weight is None else {"weight": weight.double()}))
    incoming = torch.rand(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.5
    (slope,) = torch.autograd.grad(expected, exact, incoming)
    x = x.detach().clone().requires_grad_()
    with use_engine(engine):
        value = function(x, t, task=task, **settings)
    (found,) = torch.autograd.grad(value, x, incoming.to(value))
    assert value.shape == expected.shape and value.dtype is (torch.float64 if x.dtype is torch.float64 else torch.float32) and found.dtype is x.dtype
    assert (value - expected).abs().max() <= tolerance * expected.abs().max().clamp(min=1)
    assert ((found - slope).flatten(1).abs().amax(1) <= gradient_tolerance * slope.flatten(1).abs().amax(1)).all()


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("from_logits", (True, False))
@pytest.mark.parametrize("over", ("sample", "batch"))
@pytest.mark.parametrize("task", TASKS)
def test_it_is_the_authors_loss(task, over, from_logits, engine):
    x, t = batch(task, from_logits=from_logits)
    absent = torch.rand(t.shape) < 0.2
    mask = torch.rand(t.shape) < 0.8
    ignored = torch.where(absent, 255, t)
    for classes in ("auto", "present", "all"):
        for average in ("nested", "macro", "none"):
            common = dict(classes=classes, over=over, average=average, from_logits=from_logits)
            compare(x, t, task, engine, **common)
            weight = None if task == "binary" else torch.tensor([1.0, 0.0, 3.0, 0.5, 2.0])
            compare(x, ignored, task, engine, ignore_index=255, mask=mask, weight=weight, **common)
    compare(x.double(), t, task, engine, 1e-13, 1e-13, over=over, from_logits=from_logits)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("sure", (0.0, 4.0, 12.0))
def test_many_items(engine, sure):
    x, t = batch("multiclass", (2, 5, 90, 91))
    x = x.scatter_add(1, t[:, None], torch.full_like(t[:, None], 1).float() * sure)
    for over in ("sample", "batch"):
        compare(x, t, "multiclass", engine, 1e-6, 3e-4, over=over)  # errors that float32 has in another order
    x, t = batch("binary", (2, 1, 90, 91))
    for over in ("sample", "batch"):
        compare(x + sure * (t - 0.5), t, "binary", engine, 1e-6, 3e-4, over=over)


def test_gradients_do_not_drown_in_rounding():
    x, t = torch.randn(1, 1 << 18, generator=torch.Generator().manual_seed(0)), torch.zeros(1, 1 << 18, dtype=torch.long)
    t[0, ::3] = 1
    exact = x.double().requires_grad_()
    (slope,) = torch.autograd.grad(lovasz_loss(exact, t, task="binary"), exact)
    for engine in ENGINES:
        y = x.clone().requires_grad_()
        with use_engine(engine):
            (found,) = torch.autograd.grad(lovasz_loss(y, t, task="binary"), y)
        assert ((found - slope).abs() <= 1e-4 * slope.abs()).all() and (slope != 0).float().mean() > 0.5


def test_the_textbook_is_the_definition():
    x, t = batch("binary", (1, 1, 5, 5))
    errors = torch.relu(1 - torch.where(t == 1, x, -x).double()).flatten()
    for own in (t.flatten(), torch.zeros(25, dtype=torch.long), torch.ones(25, dtype=torch.long)):
        assert math.isclose(textbook(mpmath.mp, errors.tolist(), own.tolist(), "binary"), of_class(errors, own), rel_tol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_equal_errors_go_in_the_order_of_the_items(engine):
    x, t = batch("multilabel", (2, 3, 70, 71))
    x = (2 * x).round() / 2
    for over in ("sample", "batch"):
        compare(x, t, "multilabel", engine, over=over)
    x = torch.zeros(1, 4, requires_grad=True)
    with use_engine(engine):
        lovasz_loss(x, torch.tensor([[0, 1, 0, 1]]), task="binary").backward()
    assert torch.allclose(x.grad, torch.tensor([[1 / 3, -1 / 3, 1 / 12, -1 / 4]]))  # 2/(2 3), 1/3, 1/(3 4), 1/4


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("task", TASKS)
def test_absent_is_deleted(task, engine):
    x, t = batch(task)
    absent = torch.rand(t.shape, generator=torch.Generator().manual_seed(2)) < 0.3
    absent[-1] = True  # a whole sample
    wild = torch.where(absent[:, None] if task == "multiclass" else absent, math.nan, x)
    junk = torch.where(absent, 7, t)
    for over in ("sample", "batch"):
        values = []
        for target, settings in ((torch.where(absent, -100, t), {}), (junk, {"mask": ~absent}), (torch.where(absent, 7, t), {"ignore_index": 7})):
            y = wild.clone().requires_grad_()
            with use_engine(engine):
                value = lovasz_loss(y, target, task=task, over=over, **settings)
            value.backward()
            assert torch.isfinite(y.grad).all() and (y.grad.abs().sum(1) if task == "multiclass" else y.grad)[absent].eq(0).all()
            values.append((value.detach(), y.grad))
        assert all(torch.equal(v, values[0][0]) and torch.equal(g, values[0][1]) for v, g in values)
        assert torch.allclose(values[0][0].double(), authors(x.double(), t, task, over=over, mask=~absent), rtol=1e-6)
        with use_engine(engine):
            assert torch.equal(values[0][0], lovasz_loss(x[:-1], torch.where(absent, -100, t)[:-1], task=task, over=over))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("task", TASKS)
def test_nothing_counts(task, engine):
    a, b = batch(task)
    nothing = torch.zeros(b.shape, dtype=torch.bool)
    for x, t, mask in ((a, b, nothing), (a, torch.full_like(b, -100), None), (a[:0], b[:0], None), (a[..., :0], b[..., :0], None)):
        for average in ("nested", "none"):
            y = x.clone().requires_grad_()
            with use_engine(engine):
                value = lovasz_loss(y, t, task=task, mask=mask, average=average)
            (slope,) = torch.autograd.grad(value.sum(), y)
            assert value.eq(0).all() and slope.eq(0).all()
    with use_engine(engine), pytest.raises(ValueError, match="input has no classes"):
        lovasz_loss(torch.empty(2, 0, 3), torch.empty(2, 0, 3), task="multilabel")


@pytest.mark.parametrize("engine", ENGINES)
def test_edges(engine):
    with use_engine(engine):
        x = torch.tensor([[0.5, -3.0, 2.0]], requires_grad=True)
        value = lovasz_loss(x, torch.zeros(1, 3), task="binary")  # none of the class: the largest error
        value.backward()
        assert value == 3 and torch.equal(x.grad, torch.tensor([[0.0, 0.0, 1.0]]))
        assert lovasz_loss(x, torch.zeros(1, 3), task="binary", classes="present") == 0
        x = torch.tensor([[5.0, -1.0, -7.0, 1.0]], requires_grad=True)
        value = lovasz_loss(x, torch.tensor([[1, 0, 0, 1]]), task="binary")  # margins are kept, two of them just so
        value.backward()
        assert value == 0 and x.grad.eq(0).all()
        x = torch.tensor([[-math.inf, math.inf, math.inf, -math.inf]], requires_grad=True)
        value = lovasz_loss(x, torch.tensor([[1, 1, 0, 0]]), task="binary")
        value.backward()
        assert value == math.inf and torch.allclose(x.grad, torch.tensor([[-0.5, 0.0, 1 / 6, 0.0]]))
        assert lovasz_loss(torch.tensor([[math.nan, 1.0]]), torch.tensor([[1, 0]]), task="binary").isnan()
        assert lovasz_loss(torch.tensor([[[math.nan, 1.0], [1.0, 0.0]]]), torch.tensor([[1, 0]]), task="multiclass").isnan()
        sure = torch.tensor([[[math.inf, 0.0], [0.0, math.inf]]], requires_grad=True)
        value = lovasz_loss(sure, torch.tensor([[0, 1]]), task="multiclass")
        value.backward()
        assert value == 0 and sure.grad.eq(0).all()
    small = torch.tensor([[[30.0, 0.0], [0.0, 31.0]]], requires_grad=True)  # 1 - p rounds to 0
    with use_engine(engine):
        value = lovasz_loss(small, torch.tensor([[0, 1]]), task="multiclass")
    (slope,) = torch.autograd.grad(value, small)
    y = small.detach().double().requires_grad_()
    expected = lovasz_loss(y, torch.tensor([[0, 1]]), task="multiclass")
    (exact,) = torch.autograd.grad(expected, y)
    assert torch.allclose(value.double(), expected, rtol=1e-5, atol=0) and torch.allclose(slope.double(), exact, rtol=1e-5, atol=0)


@pytest.mark.parametrize("over", ("sample", "batch"))
def test_peers(over):
    bench = importlib.import_module("losskit.bench.overlap")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bench.bare_package("segmentation_models_pytorch")
            from segmentation_models_pytorch.losses import LovaszLoss
    except ImportError:
        pytest.skip("peer")
    for task in ("multiclass", "binary"):
        x, t = batch(task)
        ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        t = torch.where(torch.rand(t.shape) < 0.1, 255, t)
        value, expected = (
            lovasz_loss(ours, t, task=task, over=over, ignore_index=255),
            LovaszLoss(task, per_image=over == "sample", ignore_index=255)(theirs, t),
        )
        value.backward()
        expected.backward()
        assert torch.allclose(value, expected, rtol=1e-5) and torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-6)
