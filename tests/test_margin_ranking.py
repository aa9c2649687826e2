"""What the docstring of `margin_ranking_loss` claims, its module, and what both say to bad input."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from claims import claim
from torch import nn

import losskit

ranking = losskit.margin_ranking_loss
DRAW = torch.Generator().manual_seed(0)
X1, X2 = (torch.randint(-3, 4, (40, 7), generator=DRAW).float() for _ in range(2))  # of which many are equal
LABELS = 2 * torch.randint(0, 2, (40, 7), generator=DRAW) - 1
X = torch.zeros(3, 4)


def slopes(function, *tensors, **settings):
    """The loss, and the gradients by all tensors that can have one."""
    leaves = [z.detach().clone().requires_grad_() if z.is_floating_point() else z for z in tensors]
    value = function(*leaves, **settings)
    incoming = torch.linspace(-1, 2, value.numel()).reshape(value.shape)
    return value.detach(), *torch.autograd.grad(value, [z for z in leaves if z.requires_grad], incoming)


@claim("margin_ranking_loss", "A scalar, or with reduction")
@claim("margin_ranking_loss", "The same values and gradients for labels -1 and 1")
@claim("margin_ranking_loss", "At exactly the margin there is a gradient")
@claim("margin_ranking_loss", "The gradients by x1 and x2 add up to 0")
@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("settings", [{}, {"margin": 1.0}, {"margin": -2.0}], ids=str)
def test_beside_torchs(settings, engine):
    with losskit.use_engine(engine):
        for reduction in ("none", "mean", "sum"):
            for labels in (LABELS, LABELS.float()):
                ours = slopes(ranking, X1, X2, labels, reduction=reduction, **settings)
                assert ours[0].shape == (X1.shape if reduction == "none" else ()) and (ours[0] >= 0).all()
                for a, b in zip(ours, slopes(F.margin_ranking_loss, X1, X2, labels, reduction=reduction, **settings), strict=True):
                    torch.testing.assert_close(a, b)
                assert not (ours[1] + ours[2]).any()
        equal, *grads = slopes(ranking, X, X, torch.ones_like(X), reduction="sum")
        assert equal == 0 and (grads[0] == 1).all() and (grads[1] == -1).all()  # the incoming gradient is -1


@claim("margin_ranking_loss", "A target of 0, as in labels of 0 and 1, raises")
@claim("margin_ranking_loss", "The same values and gradients for labels -1 and 1")
def test_other_labels():
    bits = (LABELS + 1) // 2
    for labels in (bits, bits.bool(), bits.float()):
        with pytest.raises(ValueError, match=r"target must be -1 or 1, got 0 at index \(\d, \d\): for labels of 0 and 1, try target \* 2 - 1"):
            ranking(X1, X2, labels)
        assert F.margin_ranking_loss(X1, X2, labels.int()).isfinite()
    assert ranking(X1, X2, bits * 2 - 1) == ranking(X1, X2, LABELS)
    with pytest.raises(ValueError, match="target must be -1 or 1, got 2: for"):
        ranking(X1, X2, 2)
    for dtype in (torch.int8, torch.int64, torch.float64, torch.bfloat16):
        assert torch.equal(ranking(X1, X2, LABELS.to(dtype), reduction="none"), ranking(X1, X2, LABELS, reduction="none"))


@claim("margin_ranking_loss", "Scores must be of one shape: torch broadcasts")
@claim("margin_ranking_loss", "A label may be left out, if the first score")
def test_shapes():
    assert F.margin_ranking_loss(X1, X2[:1], LABELS.float()).isfinite()
    with pytest.raises(
        ValueError, match=r"input2 has shape \(1, 7\) but input1 has shape \(40, 7\): .* Try input2.expand\(40, 7\), if one for many of input1 is meant"
    ):
        ranking(X1, X2[:1], LABELS)
    ones = torch.ones_like(LABELS)
    expected = ranking(X1, X2, ones, margin=0.5)
    for label in ((), (1,), (1.0,), (torch.ones(7),), ([1.0] * 7,), (torch.ones(40, 1, dtype=torch.int8),)):
        assert ranking(X1, X2, *label, margin=0.5) == expected
    with pytest.raises(TypeError, match="argument: 'target'"):
        F.margin_ranking_loss(X1, X2)


@pytest.mark.parametrize(
    ("tensors", "error", "message"),
    [
        ((X.long(), X, X), TypeError, r"input1 must be a floating-point tensor, got torch.int64: try input1.float\(\)"),
        (([1.0], X, X), TypeError, "input1 must be a torch.Tensor, got list: try torch.as_tensor"),
        ((X, 1.0, X), TypeError, r"input2 must be a torch.Tensor, got float: try torch.as_tensor\(input2, device=input1.device\)"),
        ((X, X[:2], X), ValueError, r"input2 has shape \(2, 4\) but input1 has shape \(3, 4\): they must be equal, nothing is broadcast$"),
        ((X, X.to("meta"), X), ValueError, r"input2 is on meta, .* but input1 is on cpu: for shapes alone, try input1.to\('meta'\)"),
        ((X, X, X[:2]), ValueError, r"target has shape \(2, 4\), which does not broadcast to the input's shape \(3, 4\)"),
        ((X, X, "up"), TypeError, "target must be a number, a tensor|target must be a tensor or a list"),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_messages(tensors, error, message):
    with pytest.raises(error, match=message):
        ranking(*tensors)


def test_the_module():
    module, theirs = losskit.MarginRankingLoss(margin=0.5), nn.MarginRankingLoss(margin=0.5)
    expected = theirs(X1, X2, LABELS)
    assert module(X1, X2, LABELS) == expected == module(input1=X1, input2=X2, target=LABELS) == module(X1, X2, target=LABELS)
    held = losskit.MarginRankingLoss(target=torch.full((7,), -1.0), margin=0.5)
    assert held(X1, X2) == module(X2, X1) and held(X1, X2, 1.0) == module(X1, X2)
    assert set(dict(held.named_buffers())) == {"target"}
    mask = LABELS == 1
    assert module(X1, X2, LABELS, mask=mask) == theirs(X1[mask], X2[mask], LABELS[mask])
    with pytest.raises(TypeError, match="margin"):
        module(X1, X2, LABELS, margin=1.0)
    with pytest.raises(TypeError, match="target"):
        module(X1, X2, LABELS, target=LABELS)
    with pytest.raises(ValueError, match="target must be -1 or 1"):
        losskit.MarginRankingLoss(target=0.5)(X1, X2)


def test_the_arguments_are_torchs():
    for ours, torchs in (
        (ranking, F.margin_ranking_loss),
        (losskit.MarginRankingLoss, nn.MarginRankingLoss),
        (losskit.MarginRankingLoss.forward, nn.MarginRankingLoss.forward),
    ):
        ours, torchs = inspect.signature(ours).parameters, inspect.signature(torchs).parameters
        assert set(torchs) - set(ours) == {"size_average", "reduce"} & set(torchs)
        shared = [name for name in torchs if name in ours]
        assert all(torchs[name].default == ours[name].default for name in shared if name != "target")
        assert shared[:3] == [name for name in ours if name in torchs][:3]
