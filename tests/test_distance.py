"""Signed distances to the boundaries of labels, against their definition and the authors' recipe; and the boundary loss that makes them itself."""

import itertools
import sys

import numpy as np
import pytest
import torch
from claims import claim
from scipy.ndimage import binary_dilation, distance_transform_edt, generate_binary_structure

import losskit

SPACINGS = {1: ([1.0], [2.5]), 2: ([1.0, 1.0], [3.0, 0.7], [0.5, 0.5]), 3: ([1.0, 1.0, 1.0], [5.0, 0.8, 0.8])}
PICTURES = {1: (9,), 2: (5, 6), 3: (3, 4, 4)}


def by_definition(inside, known, spacing):
    """The docstring's formula, from every position to every other."""
    places = np.argwhere(np.ones_like(inside))

    def nearest(there, steps):
        gaps = (places[:, None] - np.argwhere(there)[None]) * np.asarray(steps)
        return np.sqrt((gaps**2).sum(-1)).min(1).reshape(inside.shape)

    outside = known & ~inside
    if not inside.any() or not outside.any():
        return np.zeros(inside.shape)
    deep, positions = nearest(outside, spacing), nearest(outside, np.ones(len(spacing)))
    with np.errstate(invalid="ignore"):
        return np.where(inside, deep / positions - deep, np.where(outside, nearest(inside, spacing), 0.0))


@pytest.mark.parametrize(("axes", "spacing"), [(axes, s) for axes, some in SPACINGS.items() for s in some])
def test_distances_are_those_of_the_definition(axes, spacing):
    draw = np.random.default_rng(axes)
    for density, _ in itertools.product((0.15, 0.5, 0.9), range(3)):
        x = (draw.random((2, *PICTURES[axes])) < density).astype(np.int64) + (draw.random((2, *PICTURES[axes])) < 0.2)
        x[draw.random(x.shape) < 0.2] = 255
        found = losskit.distance_map(torch.from_numpy(x), num_classes=3, spacing=spacing, ignore_index=255, dtype=torch.float64)
        expected = np.stack([[by_definition(one == c, one != 255, spacing) for c in range(3)] for one in x])
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("axes", PICTURES)
@claim("boundary_loss", "Distances are theirs for a spacing of 1")
def test_they_are_the_authors_where_theirs_are_distances(axes):
    """`one_hot2dist` of the paper's code: for a spacing of 1, and no class that fills the picture."""
    mask = np.random.default_rng(0).random((4, *PICTURES[axes])) < 0.6
    theirs = np.stack([distance_transform_edt(~m) * ~m - (distance_transform_edt(m) - 1) * m for m in mask])
    assert np.array_equal(losskit.distance_map(torch.from_numpy(mask), task="binary", dtype=torch.float64).numpy(), theirs)


@pytest.mark.parametrize(("axes", "spacing"), [(axes, s) for axes, some in SPACINGS.items() for s in some])
def test_signs_and_scale(axes, spacing):
    """0 where a position of the class touches another along any axis, whatever the spacing; distances have the unit of the spacing, and turn with the picture."""
    mask = np.random.default_rng(1).random((1, *PICTURES[axes])) < 0.7
    given = torch.from_numpy(mask)
    found = losskit.distance_map(given, task="binary", spacing=spacing)
    touching = mask[0] & binary_dilation(~mask[0], generate_binary_structure(axes, 1))
    assert np.array_equal(found[0].numpy() == 0, touching) and bool((found[~given] > 0).all()) and bool((found[given] <= 0).all())
    torch.testing.assert_close(losskit.distance_map(given, task="binary", spacing=[4 * s for s in spacing]), 4 * found)
    for axis in range(1, axes + 1):
        assert torch.equal(losskit.distance_map(given.flip(axis), task="binary", spacing=spacing), found.flip(axis))
    turned = losskit.distance_map(given.movedim(-1, 1), task="binary", spacing=[spacing[-1], *spacing[:-1]])
    torch.testing.assert_close(turned, found.movedim(-1, 1))


@claim("distance_map", "A class that fills a picture")
def test_what_has_no_boundary_has_no_distance():
    for x in (torch.zeros(2, 3, 4, dtype=torch.long), torch.ones(2, 3, 4, dtype=torch.bool), torch.full((2, 3, 4), 255, dtype=torch.uint8)):
        for spacing in (None, [2.0, 3.0]):
            found = losskit.distance_map(x, num_classes=2, spacing=spacing, ignore_index=255)
            assert found.shape == (2, 2, 3, 4) and found.dtype is torch.float32 and not found.any()
    assert losskit.distance_map(torch.zeros(0, 3, 4, dtype=torch.long), num_classes=2).shape == (0, 2, 3, 4)
    assert losskit.distance_map(torch.zeros(2, 0, 4, dtype=torch.long), num_classes=2).shape == (2, 2, 0, 4)


@claim("distance_map", "Distances: ")
def test_tasks_and_axes():
    labels = torch.randint(0, 3, (2, 4, 5))
    maps = losskit.distance_map(labels, num_classes=3)
    assert torch.equal(losskit.distance_map(labels, num_classes=3, dim=-1), maps.movedim(1, -1))
    hot = torch.nn.functional.one_hot(labels, 3)
    assert torch.equal(losskit.distance_map(hot.movedim(-1, 1), task="multilabel"), maps)
    assert torch.equal(losskit.distance_map(hot.bool(), task="multilabel", dim=-1), maps.movedim(1, -1))
    assert torch.equal(losskit.distance_map(labels == 1, task="binary"), maps[:, 1])
    flat = losskit.distance_map((labels == 1)[:, None], task="binary", spacing=[2.0, 1.0])  # a channel is no axis of a picture
    assert torch.equal(flat[:, 0], losskit.distance_map(labels == 1, task="binary", spacing=[2.0, 1.0]))


def value_and_gradient(x, target, **how):
    x = x.clone().requires_grad_()
    value = losskit.boundary_loss(x, target, **how)
    return value.detach(), torch.autograd.grad(value.sum(), x)[0]


@pytest.mark.sparse(3)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("task", "dim"), [("multiclass", 1), ("multiclass", -1), ("multilabel", 1), ("binary", 1)])
def test_the_loss_of_labels_is_that_of_their_distances(task, dim, reduction):
    torch.manual_seed(0)
    classes, labels = (None, torch.randint(0, 3, (2, 4, 5))) if task != "multilabel" else (None, torch.randint(0, 2, (2, 3, 4, 5)))
    x = torch.randn(2, 4, 5) if task == "binary" else torch.randn(2, 3, 4, 5).movedim(1, dim)
    classes = 3 if task == "multiclass" else None
    labels = labels > 0 if task == "binary" else labels
    for spacing in (None, [3.0, 1.0]):
        maps = losskit.distance_map(labels, task=task, num_classes=classes, spacing=spacing, dim=dim)
        for kind in (labels, labels.to(torch.uint8)):
            for mask in (None, torch.rand(labels.shape) < 0.7):
                how = dict(task=task, dim=dim, reduction=reduction, mask=mask)
                found = value_and_gradient(x, kind, spacing=spacing, **how)
                for a, b in zip(found, value_and_gradient(x, maps, **how), strict=True):
                    assert torch.equal(a, b)
                module = losskit.BoundaryLoss(task=task, dim=dim, reduction=reduction, spacing=spacing)
                assert torch.equal(module(x, kind, mask=mask), found[0])


@pytest.mark.parametrize("task", ["multiclass", "multilabel", "binary"])
def test_what_is_ignored_is_absent(task):
    torch.manual_seed(0)
    shape = (2, 3, 4, 5) if task == "multilabel" else (2, 4, 5)
    labels = torch.randint(0, 3 if task == "multiclass" else 2, shape)
    labels[torch.rand(shape) < 0.3] = 255
    x = torch.randn((2, 4, 5) if task == "binary" else (2, 3, 4, 5))
    maps = losskit.distance_map(labels, task=task, num_classes=3 if task == "multiclass" else None, ignore_index=255)
    mask = torch.rand(shape) < 0.8
    for given in (None, mask):
        kept = labels != 255 if given is None else (labels != 255) & given
        found = value_and_gradient(x, labels, task=task, ignore_index=255, mask=given)
        expected = value_and_gradient(x, maps, task=task, mask=kept)
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    away = (labels == 255) if task != "multiclass" else (labels == 255)[:, None].expand(x.shape)
    assert not found[1][away].any()


LABELS, X = torch.tensor([[0, 1, 1, 2]]), torch.zeros(1, 3, 4)
LOSS = losskit.boundary_loss


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: losskit.distance_map(LABELS), ValueError, 'num_classes is for task="multiclass", which needs it; got num_classes=None'),
        (lambda: losskit.distance_map(LABELS > 0, task="binary", num_classes=2), ValueError, "got num_classes=2 with task='binary'"),
        (lambda: losskit.distance_map(LABELS, num_classes=0), ValueError, "num_classes must be a whole number of at least 1, got 0"),
        (lambda: losskit.distance_map(LABELS, num_classes=3.0), ValueError, r"num_classes must be a whole number of at least 1, got 3.0"),
        (lambda: losskit.distance_map(LABELS, num_classes=3, dtype=torch.int32), TypeError, "dtype must be floating point, .*got torch.int32"),
        (lambda: losskit.distance_map(LABELS > 0, task="binary", dim=2), ValueError, "leave dim out"),
        (lambda: losskit.distance_map(LABELS.float(), num_classes=3), TypeError, r"labels must be of an integer dtype or bool, got torch.float32: try labels.long\(\)"),
        (lambda: losskit.distance_map([[0, 1]], num_classes=3), TypeError, r"got list: try torch.as_tensor\(labels\)"),
        (lambda: losskit.distance_map(LABELS, num_classes=2), ValueError, r"labels must hold labels from 0 to 1 or ignore_index=-100, got 2 at index \(0, 3\)"),
        (lambda: losskit.distance_map(LABELS, task="binary"), ValueError, r"got 2 at index \(0, 3\). If 2 marks what is unknown, pass ignore_index=2$"),
        (lambda: losskit.distance_map(LABELS[0], num_classes=3), ValueError, r"labels must hold pictures, .* try labels\[None\]"),
        (lambda: losskit.distance_map(LABELS, num_classes=3, dim=0), ValueError, r"got shape \(1, 4\) and dim=0"),
        (lambda: losskit.distance_map(LABELS, num_classes=3, spacing=[1.0, 2.0]), ValueError, r"spacing has 2 numbers, expected one for each axis .* shape \(4,\)"),
        (lambda: losskit.distance_map(LABELS, num_classes=3, spacing=2), TypeError, r"for two axes, try spacing=\[2, 2\]"),
        (lambda: losskit.distance_map(LABELS, num_classes=3, dtype="float32"), TypeError, "dtype must be floating point, as torch.float32 is, .*got 'float32'"),
        (lambda: losskit.distance_map(LABELS, num_classes=True), ValueError, "num_classes must be a whole number of at least 1, got True"),
        (lambda: losskit.BoundaryLoss(task="multiclass", spacing=[1.0, -2.0]), ValueError, r"spacing\[1\] must be > 0, got -2.0"),
        (lambda: losskit.BoundaryLoss(task="multiclass", spacing=3), TypeError, r"got 3: for two axes, try spacing=\[3, 3\]"),
        (lambda: losskit.BoundaryLoss(task="multiclass", spacing="abc"), TypeError, "spacing must be a list of numbers, got str: 'abc'"),
        (lambda: losskit.BoundaryLoss(task="binary", spacing={1.0, 2.0}), TypeError, "spacing must be a list of numbers, got set"),
        (lambda: losskit.BoundaryLoss(task="multiclass", ignore_index=0.5), TypeError, "ignore_index must be an integer, got float: 0.5"),
        (lambda: losskit.BoundaryLoss(task="binary", ignore_index="a"), TypeError, "ignore_index must be an integer, got str: 'a'"),
        (lambda: losskit.distance_map(LABELS, num_classes=3, spacing=[0.0]), ValueError, r"spacing\[0\] must be > 0, got 0.0"),
        (lambda: losskit.distance_map(LABELS.to("meta"), num_classes=3), ValueError, "labels has no values .* give distances, made by losskit.distance_map"),
        (lambda: LOSS(X, X, task="multiclass", spacing=[1.0]), ValueError, "spacing is for labels, .*give it to losskit.distance_map"),
        (lambda: LOSS(X, X, task="multiclass", ignore_index=255), ValueError, r"ignore_index is for labels, .*leave positions out with mask="),
        (lambda: LOSS(X, X.long(), task="multiclass"), ValueError, r"for one-hot labels, try target.argmax\(1\); for distances in integers, target.float\(\)"),
        (lambda: LOSS(X, X.long() - 1, task="multilabel"), ValueError, r"got -1 at index .*for distances in integers, try target.float\(\)"),
        (lambda: LOSS(X, LABELS + 1, task="multiclass"), ValueError, r"target must hold labels from 0 to 2 or ignore_index=-100, got 3 at index \(0, 3\)"),
        (lambda: LOSS(X, LABELS[:, :2], task="multiclass"), ValueError, "labels for an input of shape"),
        (lambda: LOSS(X[0].T, LABELS[0], task="multiclass"), ValueError, r"target must hold pictures, .* without an axis of theirs$"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_a_transform_is_told_to_take_distances():
    with pytest.raises(ValueError, match=r"give distances, made by losskit.distance_map"):
        torch.func.grad(lambda x: LOSS(x, LABELS, task="multiclass"))(X)


def test_without_scipy(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.ndimage", None)
    for call in (lambda: LOSS(X, LABELS, task="multiclass"), lambda: losskit.distance_map(LABELS, num_classes=3)):
        with pytest.raises(ImportError, match=r'not installed: try pip install "losskit\[distance\]"'):
            call()
    LOSS(X, X, task="multiclass")
