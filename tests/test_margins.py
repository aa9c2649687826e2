"""What the docstrings of multi-margin losses claim, and how their gradients reach the label's score."""

import math

import pytest
import torch
import torch.nn.functional as F
from claims import claim, slope
from torch.utils._python_dispatch import TorchDispatchMode

import losskit
from losskit.contract import margins as contract
from losskit.engines import margins
from losskit.testing.rows import lists

NONE = {"reduction": "none"}
SCORES, LABELS = torch.randn(6, 5, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 4, 2, 2, 1, 3])
SETS = (torch.arange(30).reshape(6, 5) % 3 == 0).float()
multi, several, soft = losskit.multi_margin_loss, losskit.multilabel_margin_loss, losskit.multilabel_soft_margin_loss


@pytest.fixture(autouse=True)
def formulas_alone():
    """What is claimed here is claimed of formulas: PyTorch operations say it, and loops where a test asks for them."""
    with losskit.use_engine("torch"):
        yield


@claim("multi_margin_loss", "A scalar, or with reduction")
@claim("multi_margin_loss", "At exactly the margin")
@claim("multi_margin_loss", "Equal scores cost")
@claim("multi_margin_loss", "The gradient adds up to 0")
@claim("multi_margin_loss", "A class whose score is -inf")
@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("p", [1, 2])
def test_margins(p, engine):
    with losskit.use_engine(engine):
        edge = slope(multi, torch.tensor([[2.0, 1.0, 0.5]]), torch.tensor([0]), p=p)
        assert edge[0] == 0 and not edge[1].any()
        for margin in (0.5, 3.0):
            assert multi(torch.full((2, 4), 7.0), torch.tensor([0, 3]), p=p, margin=margin).item() == pytest.approx(margin**p * 3 / 4)
        value, by = slope(multi, SCORES, LABELS, p=p, **NONE)
        assert value.shape == (6,) and (value >= 0).all() and by.sum(1).abs().max() < 1e-6 and by.any()
        out = SCORES.clone()
        out[:, 1] = -torch.inf
        kept = LABELS != 1
        value, by = slope(multi, out[kept], LABELS[kept], p=p, **NONE)
        fewer = multi(out[kept][:, [0, 2, 3, 4]], torch.where(LABELS > 1, LABELS - 1, LABELS)[kept], p=p, **NONE)
        torch.testing.assert_close(value, fewer * 4 / 5)
        assert not by[:, 1].any()


@claim("multi_margin_loss", "The same values and gradients")
@claim("multi_margin_loss", "Further axes, `ignore_index`, half precision")
@claim("multi_margin_loss", "A label of -100 raises in torch")
@pytest.mark.parametrize("p", [1, 2])
def test_margins_beside_torchs(p):
    for weight in (None, torch.rand(5)):
        for a, b in zip(slope(multi, SCORES, LABELS, p=p, weight=weight), slope(F.multi_margin_loss, SCORES, LABELS, p=p, weight=weight), strict=True):
            torch.testing.assert_close(a, b)
    wide, many = SCORES.T.reshape(1, 5, 2, 3), LABELS.reshape(1, 2, 3)
    torch.testing.assert_close(multi(wide, many, p=p), multi(SCORES, LABELS, p=p))
    with pytest.raises(RuntimeError):
        F.multi_margin_loss(wide, many, p=p)
    for labels, scores in ((LABELS.int(), SCORES), (LABELS, SCORES.bfloat16())):
        assert multi(scores, labels, p=p).isfinite()
        with pytest.raises(RuntimeError):
            F.multi_margin_loss(scores, labels, p=p)
    none = torch.where(LABELS == 2, -100, LABELS)
    torch.testing.assert_close(multi(SCORES, none, p=p), multi(SCORES[LABELS != 2], LABELS[LABELS != 2], p=p))
    with pytest.raises((RuntimeError, IndexError)):
        F.multi_margin_loss(SCORES, none, p=p)


def test_margins_far_apart_keep_their_digits():
    """The label's gradient is the sum of the others', rounded once; a confident item costs nothing, an infinite one no NaN beside it."""
    x = torch.tensor([[1e4, 0.0, -1e4], [-torch.inf, 0.0, 1.0], [torch.inf, 0.0, 1.0]])
    for engine in ("cpu", "torch"):
        with losskit.use_engine(engine):
            for p in (1, 2):
                value, by = slope(multi, x, torch.zeros(3, dtype=torch.long), p=p, **NONE)
                assert value.tolist() == [0, torch.inf, 0] and not by[[0, 2]].any() and not by.isnan().any()
            half = torch.zeros(1, 1001, dtype=torch.float16)
            by = slope(multi, half, torch.tensor([5]))[1]
            assert by[0, 5].item() == pytest.approx(-1000 / 1001, rel=1e-3) and by.dtype is torch.float16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("shape", "dim"), [((40, 5), 1), ((5, 40), 0), ((2, 5, 9, 3), 1), ((1, 5), 1), ((5,), 0)], ids=str)
def test_pieces_are_the_whole(shape, dim, dtype, monkeypatch):
    """A few items at a time, along whichever axis is the longest: the same, but for the order in which PyTorch adds up classes that lie apart."""
    x = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    t = torch.randint(0, 5, x.select(dim, 0).shape, generator=torch.Generator().manual_seed(1))
    outer, found = torch.linspace(-1, 2, t.numel()).reshape(t.shape), []
    for size in (1 << 20, 7):
        monkeypatch.setattr(margins, "PIECE", size)
        a = x.clone().requires_grad_()
        with losskit.use_engine("cpu"):
            each = multi(a, t, dim=dim, p=2, **NONE)
            found.append((each, *torch.autograd.grad(each, a, outer.to(each.dtype))))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=max(1e-6, torch.finfo(one.dtype).eps), atol=1e-6)
        assert one.any()


@pytest.mark.parametrize("given", [{"p": 3}, {"p": 0}, {"margin": "1"}])
def test_settings_of_margins(given):
    with pytest.raises((TypeError, ValueError), match=next(iter(given))):
        multi(SCORES, LABELS, **given)


@claim("multilabel_soft_margin_loss", "A scalar, or with reduction")
@claim("multilabel_soft_margin_loss", '"mean" without weights is that of')
@claim("multilabel_soft_margin_loss", "`mask` and `sample_weight` have no class axis")
@claim("multilabel_soft_margin_loss", "A wrong logit of 1e4")
@claim("multilabel_soft_margin_loss", "The class axis is `dim`")
@claim("multilabel_soft_margin_loss", "Targets outside [0, 1] raise")
@claim("multilabel_soft_margin_loss", "A weight is one number per class")
def test_several_labels():
    each = soft(SCORES, SETS, **NONE)
    assert each.shape == (6,) and (each >= 0).all()
    torch.testing.assert_close(soft(SCORES, SETS), losskit.binary_cross_entropy_with_logits(SCORES, SETS))
    torch.testing.assert_close(each, losskit.binary_cross_entropy_with_logits(SCORES, SETS, **NONE).mean(1))
    for how in ({"mask": LABELS > 1}, {"sample_weight": LABELS.float()}):
        counts = next(iter(how.values())).float()
        torch.testing.assert_close(soft(SCORES, SETS, **how), (each * counts).sum() / counts.sum())
        with pytest.raises(ValueError, match=next(iter(how))):
            soft(SCORES, SETS, **{name: x[:, None].expand(6, 5) for name, x in how.items()})
    assert soft(torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 0.0]])).item() == pytest.approx(1e4 / 2, rel=1e-4)
    x, t = SCORES.reshape(2, 3, 5), SETS.reshape(2, 3, 5)
    torch.testing.assert_close(soft(x, t, dim=-1, **NONE), F.multilabel_soft_margin_loss(x, t, **NONE))
    torch.testing.assert_close(soft(x, t, **NONE), F.multilabel_soft_margin_loss(x.mT, t.mT, **NONE))
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        soft(SCORES, SETS * 2)
    with pytest.raises(ValueError, match="one number for each of the 5 classes"):
        soft(SCORES, SETS, weight=torch.ones(6, 5))
    F.multilabel_soft_margin_loss(SCORES, SETS, weight=torch.ones(6, 5))


def drawn(items, classes, dtype=torch.float32, seed=0):
    """Scores, of which some lie at exactly the margin, and lists: empty ones, full ones, with classes twice."""
    draw = torch.Generator().manual_seed(seed)
    x = 2 * torch.randn(items, classes, generator=draw, dtype=torch.float64)
    return torch.where(torch.rand(items, 1, generator=draw) < 0.5, (4 * x).round() / 4, x).to(dtype), lists((items,), classes, draw)


def pairwise(x, t):
    """Pair by pair, as the formula says."""
    inside = torch.zeros_like(x).scatter_add(1, t.clamp(min=0), ((t == -1).cumsum(1) == 0).to(x.dtype))
    hinges = (1 - x[:, :, None] + x[:, None, :]).relu() * inside[:, :, None] * (inside == 0)[:, None, :]
    return hinges.sum((1, 2)) / x.shape[1]


@claim("multilabel_margin_loss", "The same values and gradients")
@claim("multilabel_margin_loss", "A class that is listed twice")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("classes", [2, 3, 5, 40])
def test_sets_beside_torchs(classes, dtype, monkeypatch):
    x, t = drawn(200, classes, dtype, seed=classes)
    inside = (t == -1).cumsum(1) == 0
    sizes = inside.sum(1)
    assert {0, classes} <= set(sizes.tolist()) and (classes == 2 or any(len(set(row[:n])) < n for row, n in zip(t.tolist(), sizes.tolist(), strict=True)))
    outer = torch.linspace(-1, 2, 200, dtype=dtype)
    a = x.clone().requires_grad_()
    theirs = F.multilabel_margin_loss(a, t, reduction="none")
    expected = (theirs, *torch.autograd.grad(theirs, a, outer))
    for piece in (1 << 18, 64):
        monkeypatch.setattr(contract, "PIECE", piece)
        each = several(a, t, **NONE)
        for one, other in zip((each, *torch.autograd.grad(each, a, outer)), expected, strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.parametrize("classes", [7, 1000])
def test_sets_of_many_labels_keep_their_digits(classes):
    x, t = drawn(6, classes, seed=1)
    value, by = slope(several, x, t, **NONE)
    exact, exact_by = slope(pairwise, x.double(), t)
    torch.testing.assert_close(value.double(), exact, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(by.double(), exact_by.double(), rtol=1e-6, atol=0.0)  # each a whole number over that of the classes
    for half in (torch.float16, torch.bfloat16):
        for got, wanted in zip(slope(several, x.to(half), t, **NONE), slope(several, x.to(half).float(), t, **NONE), strict=True):
            torch.testing.assert_close(got, wanted.to(got.dtype), rtol=0.0, atol=0.0)
    found = several(y := x[:, :7].double().requires_grad_(), sets := t[:, :7] % 7 > 3, **NONE)
    assert torch.autograd.gradcheck(lambda y: several(y, sets, **NONE), y + 0.1 * torch.rand(y.shape, dtype=y.dtype)) and found.isfinite().all()


@claim("multilabel_margin_loss", "A scalar, or with reduction")
@claim("multilabel_margin_loss", "An item without labels")
@claim("multilabel_margin_loss", "At exactly the margin")
@claim("multilabel_margin_loss", "The gradient adds up to 0")
@claim("multilabel_margin_loss", "A score of inf or -inf")
def test_sets():
    value, by = slope(several, SCORES, SETS.bool(), **NONE)
    assert value.shape == (6,) and (value >= 0).all() and by.sum(1).abs().max() < 1e-6 and by.any()
    for none in (torch.full((6, 5), -1), torch.arange(5).expand(6, 5), torch.zeros(6, 5).bool(), torch.ones(6, 5).bool()):
        value, by = slope(several, SCORES, none, **NONE)
        assert not value.any() and not by.any()
    edge = slope(several, torch.tensor([[2.0, 1.0, 1.5, 1.0]]), torch.tensor([[0, -1, 0, 0]]), **NONE)
    assert edge[0].tolist() == [0.125] and edge[1].tolist() == [[-0.25, 0.0, 0.25, 0.0]]
    inf = math.inf
    right = [[inf, 0.0, 0.5, 1.6], [inf, inf, 0.0, 1.0], [0.0, 2.0, -inf, -inf], [inf, 1.0, -inf, 0.0]]
    value, by = slope(several, torch.tensor(right), torch.tensor([[0, -1, -1, -1], [1, 0, -1, -1], [1, 0, -1, -1], [0, 1, -1, -1]]), **NONE)
    assert not value.any() and not by.any()
    wrong = [[-inf, 0.0, 0.0, 3.0], [0.0, inf, 0.5, 3.0], [-inf, -inf, 5.0, 0.0], [-inf, 2.0, 0.5, inf]]
    value, by = slope(several, torch.tensor(wrong), torch.tensor([[0, 3, -1, -1], [3, 0, -1, -1], [0, 1, -1, -1], [0, 1, -1, -1]]), **NONE)
    assert (value == inf).all()
    assert (4 * by).tolist() == [[-2, 1, 1, 0], [-2, 2, 1, -1], [-2, -2, 2, 2], [-2, -1, 1, 2]]


@claim("multilabel_margin_loss", "A bool target, further axes")
@claim("multilabel_margin_loss", "The class axis is `dim`")
@claim("multilabel_margin_loss", "A score that is NaN")
def test_sets_that_torch_does_not_take():
    x, t = drawn(6, 5)
    for scores, target in ((x, t.int()), (x, SETS.bool()), (x.bfloat16(), t), (x[None], t[None])):
        assert several(scores, target, **{"dim": -1} if scores.dim() == 3 else {}).isfinite()
        with pytest.raises(RuntimeError):
            F.multilabel_margin_loss(scores, target)
    torch.testing.assert_close(several(x.T, t.T, dim=0, **NONE), F.multilabel_margin_loss(x, t, **NONE))
    torch.testing.assert_close(several(x[1], t[1]), F.multilabel_margin_loss(x[1], t[1]))
    torch.testing.assert_close(several(x, t, mask=LABELS > 1), several(x[LABELS > 1], t[LABELS > 1]))
    out = torch.where(torch.arange(30).reshape(6, 5) == 7, torch.nan, x)
    assert several(out, t, **NONE).isnan().tolist() == [False, True, False, False, False, False]
    assert not F.multilabel_margin_loss(out, t, **NONE).isnan().any()


@claim("multilabel_margin_loss", "Labels are not compared with the other classes")
def test_sets_are_not_compared_pair_by_pair():
    largest = []

    class Sizes(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            found = function(*args, **kwargs or {})
            largest.extend(y.numel() for y in torch.utils._pytree.tree_leaves(found) if isinstance(y, torch.Tensor))
            return found

    x = torch.linspace(-9, 9, 2000)[None].requires_grad_()
    with Sizes():
        several(x, torch.arange(2000)[None] % 2 == 0).backward()
    assert 2000 <= max(largest) <= 2002


def test_sets_whose_numbers_cannot_be_read():
    """A class that is none gives NaN, in its item."""
    x, t = drawn(3, 5)
    t[1, 0] = 99
    each = torch.func.vmap(lambda x, t: several(x, t))(x, t)
    assert each.isnan().tolist() == [False, True, False]
    by = torch.func.grad(lambda x: torch.func.vmap(lambda x, t: several(x, t))(x, t).nansum())(x)
    assert by[[0, 2]].isfinite().all()
    torch.testing.assert_close(each[[0, 2]], several(x[[0, 2]], t[[0, 2]], **NONE))
    assert several(x, t, mask=torch.tensor([True, False, True])).isfinite()


@pytest.mark.parametrize("kind", ["bool", "list"])
def test_sets_of_nothing(kind):
    for shape in ((0, 3), (2, 3, 0), (0, 3, 0)):
        x = torch.zeros(shape, requires_grad=True)
        target = torch.zeros(shape, dtype=torch.bool if kind == "bool" else torch.long)
        assert several(x, target).item() == 0 and torch.autograd.grad(several(x, target), x)[0].shape == shape
    for classes in (0, 1):
        with pytest.raises(ValueError, match=r"one class|no classes"):
            several(torch.zeros(2, classes), torch.zeros(2, classes, dtype=torch.bool if kind == "bool" else torch.long))
