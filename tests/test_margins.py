"""What the docstrings of multi-margin losses claim, and how their gradients reach the label's score."""

import pytest
import torch
import torch.nn.functional as F
from claims import claim, slope

import losskit
from losskit.engines import margins

NONE = {"reduction": "none"}
SCORES, LABELS = torch.randn(6, 5, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 4, 2, 2, 1, 3])
SETS = (torch.arange(30).reshape(6, 5) % 3 == 0).float()
multi, soft = losskit.multi_margin_loss, losskit.multilabel_soft_margin_loss


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
