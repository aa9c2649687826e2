"""A sample of the classes, for losses over so many that a step need not compare an item with all of them."""

import pytest
import torch
import torch.nn.functional as F
from claims import claim
from torch._subclasses import FakeTensorMode

import losskit

arc, cos = losskit.arcface_loss, losskit.cosface_loss
NONE = dict(reduction="none")


def factors(items, classes, width=6):
    """Embeddings and centres, not yet of length 1."""
    draw = torch.Generator().manual_seed(3)
    return tuple(torch.randn(n, width, generator=draw, dtype=torch.float64) for n in (items, classes))


def product(x, centres):
    return losskit.linear_scores(F.normalize(x, dim=-1), F.normalize(centres, dim=-1))


@claim("sampled_classes", "`SampledClasses(classes, target)`, a named tuple")
@claim("sampled_classes", "Absent items have the label -100")
def test_labels_stand_for_the_same_classes():
    for ignore_index, dtype in ((-100, torch.int64), (-1, torch.int32), (255, torch.uint8), (3, torch.int16)):
        t = torch.randint(0, 200, (5, 6), generator=torch.Generator().manual_seed(1)).to(dtype)
        absent = torch.arange(30).reshape(5, 6) % 4 == 0
        t[absent] = ignore_index
        absent = t == ignore_index
        for rate in (0.001, 0.05, 0.3):
            classes, labels = losskit.sampled_classes(t, 300, rate, ignore_index=ignore_index)
            assert (classes.dtype, labels.dtype, labels.shape) == (torch.int64, torch.int64, t.shape)
            assert (classes.diff() > 0).all() and classes[0] >= 0 and classes[-1] < 300
            assert torch.equal(classes[labels[~absent]], t[~absent].long())
            assert (labels[absent] == -100).all()
            assert len(classes) == max(int(rate * 300), 2, len(t[~absent].unique()))


@claim("sampled_classes", "The others are drawn evenly, each class at most once")
def test_others_are_drawn_evenly():
    t = torch.tensor([4, 4, 9])
    draw = torch.Generator().manual_seed(0)
    counts = torch.zeros(20)
    for _ in range(2000):
        counts[losskit.sampled_classes(t, 20, 0.25, generator=draw).classes] += 1
    assert counts[4] == counts[9] == 2000
    others = counts[[k for k in range(20) if k not in (4, 9)]]
    assert ((others - 2000 * 3 / 18).abs() < 80).all()  # 5 standard deviations
    same = [losskit.sampled_classes(t, 20, 0.25, generator=torch.Generator().manual_seed(7)).classes for _ in range(2)]
    assert torch.equal(*same)


@claim("sampled_classes", "The loss of the sample is at most that of all classes")
@claim("sampled_classes", "rate=1 gives all classes")
def test_the_loss_of_a_sample():
    x, centres = factors(items=30, classes=50)
    t = torch.arange(30)
    full = arc(product(x, centres), t, dim=-1, **NONE)
    for rate in (0.7, 0.8):
        classes, labels = losskit.sampled_classes(t, 50, rate)
        assert (arc(product(x, centres[classes]), labels, **NONE) <= full * (1 + 1e-14)).all()  # terms may be lost in rounding
    classes, labels = losskit.sampled_classes(t, 50, 1.0)
    assert torch.equal(classes, torch.arange(50)) and torch.equal(labels, t)
    wanted = centres.clone().requires_grad_()
    classes, labels = losskit.sampled_classes(t[:4], 50, 0.2)
    arc(product(x[:4], wanted[classes]), labels).backward()
    others = torch.ones(50, dtype=torch.bool).index_fill(0, classes, False)
    assert len(classes) == 10 and not wanted.grad[others].any() and wanted.grad[classes].any(1).all()


@claim("sampled_classes", "Where the labels of a batch may be more classes than `rate` allows")
def test_labels_are_counted_only_where_they_may_be_too_many(monkeypatch):
    counted = []
    count = torch.Tensor.__int__
    monkeypatch.setattr(torch.Tensor, "__int__", lambda x: counted.append(1) or count(x))
    losskit.sampled_classes(torch.arange(10), 100, 0.1)
    losskit.sampled_classes(torch.arange(10).repeat(50), 10, 1.0)
    assert not counted
    assert len(losskit.sampled_classes(torch.arange(11), 100, 0.1).classes) == 11 and counted


@claim("sampled_classes", "insightface's PartialFC owns the centres")
@claim("sampled_classes", "Sampling by frequency (log-uniform)")
def test_a_step_of_partial_fc():
    """The centres stay with the user, in any module; a sparse gradient names the sampled ones alone."""
    torch.manual_seed(0)
    centres, t = torch.nn.Embedding(60, 6, sparse=True), torch.tensor([3, 41, 3, -100])
    classes, labels = losskit.sampled_classes(t, 60, 0.1)
    cos(product(torch.randn(4, 6), centres(classes)), labels).backward()
    assert torch.equal(centres.weight.grad.coalesce().indices()[0], classes)


def test_samples_of_nothing():
    for t in (torch.full((4,), -100), torch.empty(0, dtype=torch.long), torch.empty(3, 0, dtype=torch.long)):
        for rate in (0.01, 0.5, 1.0):
            classes, labels = losskit.sampled_classes(t, 8, rate)
            assert len(classes) == max(2, int(rate * 8)) and labels.shape == t.shape and (labels == -100).all()
    classes, labels = losskit.sampled_classes(torch.tensor(5), 8, 0.01)
    assert 5 in classes and classes[labels] == 5 and len(classes) == 2
    x, centres = factors(items=4, classes=8)
    classes, labels = losskit.sampled_classes(torch.full((4,), -100), 8, 0.5)
    assert arc(product(x, centres[classes]), labels) == 0


@pytest.mark.parametrize(
    ("bad", "kind", "says"),
    [
        (dict(target=[1, 2]), TypeError, "target must be a"),
        (dict(target=torch.ones(3)), TypeError, r"target must be class labels .* try target\.long\(\)"),
        (dict(target=torch.tensor([True])), TypeError, "target must be class labels"),
        (dict(target=torch.tensor([1, 10])), ValueError, r"labels from 0 to 9 \(there are 10 classes\).* got 10 at index \(1,\)"),
        (dict(target=torch.tensor([-1])), ValueError, "got -1"),
        (dict(num_classes=1), ValueError, "num_classes must be at least 2"),
        (dict(num_classes=10.0), TypeError, "num_classes must be a whole number"),
        (dict(num_classes=True), TypeError, "num_classes must be a whole number"),
        (dict(rate=0.0), ValueError, "rate must be > 0"),
        (dict(rate=1.5), ValueError, "rate must be"),
        (dict(rate="0.1"), TypeError, "rate must be a number"),
        (dict(ignore_index=1.5), TypeError, "ignore_index"),
    ],
)
def test_what_a_sample_refuses(bad, kind, says):
    with pytest.raises(kind, match=says):
        losskit.sampled_classes(**dict(target=torch.tensor([1, 2]), num_classes=10, rate=0.5) | bad)


def test_no_number_is_looked_at_where_the_labels_fit():
    """Tensors without numbers stand for those of a GPU, which nobody waits for."""
    with FakeTensorMode():
        found = losskit.sampled_classes(torch.zeros(3, 4, dtype=torch.int64), 1000, 0.1)
    assert found.classes.shape == (100,) and found.target.shape == (3, 4)


def test_a_label_that_is_no_class_stays_none(monkeypatch):
    """Where nobody may look, as on a GPU: the loss is NaN there, as of whole scores."""
    monkeypatch.setattr(losskit.sampling.checks, "readable", lambda *_: False)
    classes, labels = losskit.sampled_classes(torch.tensor([3, 50, -7, -100]), 50, 0.2)
    assert classes[labels[0]] == 3 and labels[1:].tolist() == [10, 10, -100] and 3 in classes
