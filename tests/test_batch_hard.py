"""The batch-hard triplet loss: what it finds, what is absent, ties, memory, messages. Its textbook and laws: `test_vector_laws.py`."""

import math

import pytest
import torch
from claims import claim

import losskit
from losskit.contract import vectors

MARGINS = pytest.mark.parametrize("margin", ["soft", 0.7])


def batch(count=12, width=4, labels=4, dtype=torch.float64, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(count, width, generator=draw, dtype=torch.float64).to(dtype).requires_grad_(), torch.randint(0, labels, (count,), generator=draw)


def measured(x, labels, **settings):
    value = losskit.batch_hard_triplet_loss(x, labels, **settings)
    return value.detach(), *torch.autograd.grad(value.sum(), x)


@MARGINS
@claim("batch_hard_triplet_loss", "An anchor without a positive or without a negative is absent")
def test_lonely_anchors(margin):
    x, _ = batch(5)
    labels = torch.tensor([0, 0, 1, 2, 0])  # the third and the fourth have no positive
    each, _ = measured(x, labels, margin=margin, reduction="none")
    mean, slope = measured(x, labels, margin=margin)
    assert each[2] == each[3] == 0 and each[[0, 1, 4]].all()
    torch.testing.assert_close(mean, each.sum() / 3)
    assert slope.any(-1)[[0, 1, 4]].all()
    weight = torch.tensor([1.0, 2.0, 5.0, 7.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(measured(x, labels, margin=margin, sample_weight=weight)[0], (each * weight).sum() / 3.5)
    for alone in (torch.zeros(5), torch.arange(5)):  # no negatives; no positives
        value, slope = measured(x, alone, margin=margin)
        assert value == 0 and not slope.any()


@MARGINS
def test_who_is_left_out_is_not_searched(margin):
    """By a mask or a weight of 0, over NaN."""
    x, labels = batch()
    keep = torch.arange(12) % 4 != 1
    broken = torch.where(keep[:, None], x.detach(), math.nan).requires_grad_()
    wanted, slope = measured(x.detach()[keep].requires_grad_(), labels[keep], margin=margin)
    for extra in ({"mask": keep}, {"sample_weight": keep.double()}, {"sample_weight": keep.double(), "mask": torch.arange(12) < 99}):
        value, other = measured(broken, labels, margin=margin, **extra)
        torch.testing.assert_close(value, wanted)
        torch.testing.assert_close(other[keep], slope)
        assert not other[~keep].any()


@claim("batch_hard_triplet_loss", "Vectors that are the same have distance 0")
@claim("batch_hard_triplet_loss", "Of candidates that are equally hard the first is taken")
def test_the_same_vectors_and_ties():
    x = torch.ones(4, 3, requires_grad=True)
    value, slope = measured(x, torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(value, torch.tensor(math.log(2.0)))
    assert not slope.any()
    x = torch.tensor([[0.0], [2.0], [-2.0], [1.0], [-1.0]], requires_grad=True)
    weight = torch.tensor([1.0, 1e-30, 1e-30, 1e-30, 1e-30])
    _, slope = measured(x, torch.tensor([0, 0, 0, 1, 1]), margin=0.5, reduction="sum", sample_weight=weight)
    torch.testing.assert_close(slope, torch.tensor([[0.0], [1.0], [0.0], [-1.0], [0.0]]))  # of both at 2 the first, of both at 1 likewise


@claim("batch_hard_triplet_loss", "A vector with NaN or an infinite number costs all anchors of its batch NaN")
@pytest.mark.parametrize("p", [1.0, 2.0, math.inf])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_finite(bad, p):
    x, labels = (torch.stack([y, y]) for y in (z.detach() for z in batch(labels=2)))
    x[1, 3, 2] = bad
    each = losskit.batch_hard_triplet_loss(x, labels, reduction="none", p=p)
    assert each[0].isfinite().all() and each[1].isnan().all()


@claim("batch_hard_triplet_loss", "Distances are differences first, squares after")
def test_far_from_the_origin_and_a_few_rows_at_a_time(monkeypatch):
    x, labels = batch(40, 8, 6, dtype=torch.float32)
    far = (x.detach() * 2.0**-8).round(decimals=5) + 64.0
    exact = losskit.batch_hard_triplet_loss(far.double(), labels, reduction="none", margin=1e-3)
    each = losskit.batch_hard_triplet_loss(far, labels, reduction="none", margin=1e-3)
    torch.testing.assert_close(each.double(), exact, rtol=1e-5, atol=1e-8)
    squares = far.square().sum(-1)
    products = (squares[:, None] + squares - 2 * far @ far.T).clamp(min=0).sqrt()  # as the distances of many libraries
    true = torch.cdist(far.double(), far.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert (products - true).abs().max() > 1e-2 > 1e4 * (torch.cdist(far, far, compute_mode="donot_use_mm_for_euclid_dist") - true).abs().max()
    sizes = []
    monkeypatch.setattr(vectors, "CELLS", 7 * 40)
    monkeypatch.setattr(torch, "cdist", lambda a, *rest, right=torch.cdist: (sizes.append(a.shape[-2]), right(a, *rest))[1])
    assert torch.equal(losskit.batch_hard_triplet_loss(far, labels, reduction="none", margin=1e-3), each)
    assert sizes == [7, 7, 7, 7, 7, 5]


@claim("batch_hard_triplet_loss", "There 1e-12 is added to each squared distance")
@claim("batch_hard_triplet_loss", "An anchor without a positive counts there")
def test_the_authors_code():
    """Written with PyTorch."""

    def theirs(x, labels):
        apart = ((x[:, None] - x).square().sum(-1) + 1e-12).sqrt()
        alike = labels[:, None] == labels
        far = (apart * (alike & ~torch.eye(len(x), dtype=torch.bool))).amax(1)
        return torch.nn.functional.softplus(far - torch.where(alike, math.inf, apart).amin(1))

    x, labels = batch(labels=3)
    torch.testing.assert_close(losskit.batch_hard_triplet_loss(x, labels, reduction="none"), theirs(x, labels))
    lonely = torch.cat((labels[:-1], torch.tensor([9])))
    assert losskit.batch_hard_triplet_loss(x, lonely, reduction="none")[-1] == 0 != theirs(x, lonely)[-1]
    same = theirs(torch.ones(4, 3), torch.tensor([0, 0, 1, 1]))
    torch.testing.assert_close(same, torch.full((4,), math.log(2.0)))  # of 1e-6 - 1e-6


@MARGINS
def test_a_module_and_the_compiler(margin):
    x, labels = batch()
    module = losskit.BatchHardTripletLoss(margin=margin, p=1.0)
    wanted = losskit.batch_hard_triplet_loss(x, labels, margin=margin, p=1.0)
    assert torch.equal(module(x, labels), wanted) and torch.equal(module(embeddings=x, labels=labels), wanted)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, labels), wanted)
    with pytest.raises(TypeError, match=r"missing 1 required positional argument: 'labels'"):
        module(x)


X = torch.randn(3, 4)
BAD = [
    ((X[0], torch.tensor(1)), {}, ValueError, r"embeddings must hold a batch of vectors.*got shape \(4,\): try embeddings.unsqueeze\(0\)"),
    ((X, torch.zeros(3, 1)), {}, ValueError, r"labels must hold one label per vector, shape \(3,\), got shape \(3, 1\): try labels.reshape\(3,\)"),
    ((X, torch.zeros(4)), {}, ValueError, r"labels must hold one label per vector, shape \(3,\), got shape \(4,\)$"),
    ((X, [0, 1, 0]), {}, TypeError, r"labels must be a torch.Tensor, got list: try torch.as_tensor\(labels, device=embeddings.device\)"),
    ((X.tolist(), torch.zeros(3)), {}, TypeError, r"embeddings must be a torch.Tensor, got list: try torch.as_tensor\(embeddings\)$"),
    ((X.long(), torch.zeros(3)), {}, TypeError, r"embeddings must be a floating-point tensor, got torch.int64: try embeddings.float\(\)"),
    ((X, torch.zeros(3)), {"margin": 0.0}, ValueError, "margin must be > 0, got 0.0"),
    ((X, torch.zeros(3)), {"margin": "hard"}, TypeError, "margin must be a number, or 'soft', got str: 'hard'"),
    ((X, torch.zeros(3)), {"p": 0.5}, ValueError, "p must be >= 1"),
]


@pytest.mark.parametrize(("tensors", "settings", "kind", "text"), BAD)
def test_bad_input(tensors, settings, kind, text):
    with pytest.raises(kind, match=text):
        losskit.batch_hard_triplet_loss(*tensors, **settings)
