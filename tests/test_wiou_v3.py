"""WIoU, version 3, against its definition written out, and its memory."""

import copy
import math

import pytest
import torch
from claims import claim

import losskit
from losskit.testing.boxes import ordinary


def definition(x, t, mean, alpha=1.9, delta=3.0):
    """r R (1 - IoU) of each pair, for autograd, as the paper writes it."""
    size = (torch.minimum(x[:, 2:], t[:, 2:]) - torch.maximum(x[:, :2], t[:, :2])).clamp(min=0)
    overlap = size.prod(1)
    lost = 1 - overlap / ((x[:, 2:] - x[:, :2]).prod(1) + (t[:, 2:] - t[:, :2]).prod(1) - overlap)
    distance = ((x[:, 2:] + x[:, :2]) / 2 - (t[:, 2:] + t[:, :2]) / 2).square().sum(1)
    diagonal = (torch.maximum(x[:, 2:], t[:, 2:]) - torch.minimum(x[:, :2], t[:, :2])).square().sum(1)
    beta = lost.detach() / mean
    return beta / (delta * alpha ** (beta - delta)) * torch.exp(distance / diagonal.detach()) * lost, lost.detach()


@claim("WIoUv3Loss", "`mean` is a buffer, 1 at first")
def test_values_gradients_and_the_mean_of_a_training():
    """In PyTorch operations; in loops: `test_reductions_weights_and_masks_act_as_in_every_loss` and what follows."""
    loss = losskit.WIoUv3Loss(momentum=0.25).double()
    mean = torch.ones((), dtype=torch.float64)
    for seed in range(3):
        a, b = ordinary(40, seed, torch.float64)
        x, y = a.requires_grad_(), a.detach().clone().requires_grad_()
        with losskit.use_engine("torch"):
            value = loss(x, b)
        mean = 0.75 * mean + 0.25 * definition(y, b, mean)[1].mean()  # moved before it is used, as the authors' code does
        each, _ = definition(y, b, mean)
        torch.testing.assert_close(value, each.mean())
        value.backward()
        each.mean().backward()
        torch.testing.assert_close(x.grad, y.grad)
        torch.testing.assert_close(loss.mean, mean)
    before = loss.mean.clone()
    with losskit.use_engine("torch"):
        loss.eval()(a, b)
    assert torch.equal(loss.mean, before)


def test_reductions_weights_and_masks_act_as_in_every_loss():
    a, b = ordinary(30, seed=3)
    mask, weight = torch.arange(30) % 3 > 0, torch.rand(30)
    weight[1] = 0
    a[~mask], b[1] = math.nan, math.nan
    incoming = torch.linspace(-1, 2, 20)
    for reduction in ("none", "mean", "sum"):
        loss, small = (losskit.WIoUv3Loss(momentum=0.5, alpha=1.4, delta=2.0, reduction=reduction) for _ in range(2))
        x, y = a.clone().requires_grad_(), a[mask].clone().requires_grad_()
        value, wanted = loss(x, b, mask=mask, sample_weight=weight), small(y, b[mask], sample_weight=weight[mask])
        torch.testing.assert_close(value[mask] if reduction == "none" else value, wanted)
        (by,) = torch.autograd.grad(value, x, torch.zeros(30).masked_scatter(mask, incoming) if reduction == "none" else None)
        (wanted,) = torch.autograd.grad(wanted, y, incoming if reduction == "none" else None)
        torch.testing.assert_close(by[mask], wanted)
        assert not by[~mask].any()
        torch.testing.assert_close(loss.mean, small.mean)
        kept = mask & (weight != 0)
        torch.testing.assert_close(loss.mean, 0.5 + 0.5 * losskit.iou_loss(a[kept], b[kept]))
    each = losskit.WIoUv3Loss(reduction="none")(a, b, mask=mask, sample_weight=weight)
    torch.testing.assert_close(losskit.WIoUv3Loss()(a, b, mask=mask, sample_weight=weight), each.sum() / weight[mask].sum())
    torch.testing.assert_close(losskit.WIoUv3Loss()(a, b, mask=mask, sample_weight=weight, normalizer=7), each.sum() / 7)


def test_nothing_that_counts_moves_nothing():
    loss = losskit.WIoUv3Loss(momentum=0.5)
    a, b = (box.requires_grad_() for box in ordinary(4))
    for value, leaf in ((loss(a, b, mask=torch.zeros(4, dtype=torch.bool)), a), (loss(e := torch.empty(0, 4, requires_grad=True), torch.empty(0, 4)), e)):
        assert value == 0 and not torch.autograd.grad(value, leaf)[0].any() and loss.mean == 1
    assert loss(torch.full((2, 4), math.nan), torch.ones(2, 4)).isnan() and loss.mean == 1


def test_perfect_boxes_drive_the_mean_to_nothing_and_the_loss_stays_finite():
    loss = losskit.WIoUv3Loss(momentum=1.0)
    a, b = ordinary(8)
    assert loss(b, b) == 0 and loss.mean == 0
    x = a.requires_grad_()
    value = loss(x, b)
    assert value.isfinite() and torch.autograd.grad(value, x)[0].isfinite().all()


def test_the_mean_is_kept_with_the_model():
    loss = losskit.WIoUv3Loss(momentum=0.1)
    loss(*ordinary(9))
    other = losskit.WIoUv3Loss()
    other.load_state_dict(loss.state_dict())
    assert other.mean == loss.mean != 1 and copy.deepcopy(loss).mean == loss.mean
    assert repr(loss) == "WIoUv3Loss(alpha=1.9, delta=3, momentum=0.1, box_format='xyxy', reduction='mean')"


def test_what_is_wrong_is_said():
    for settings, message in (
        ({"alpha": 1.0}, "alpha must be > 1, got 1.0"),
        ({"delta": 0}, "delta must be > 0, got 0"),
        ({"momentum": 1.5}, "momentum must be >= 0 and <= 1, got 1.5"),
        ({"box_format": "corners"}, "box_format must be one of"),
        ({"reduction": "average"}, "reduction must be one of"),
    ):
        with pytest.raises(ValueError, match=message):
            losskit.WIoUv3Loss(**settings)
    loss, (a, b) = losskit.WIoUv3Loss(), ordinary(3)
    with pytest.raises(ValueError, match="sample_weight must be finite"):
        loss(a, b, sample_weight=torch.tensor([1.0, math.nan, 1.0]))
    with pytest.raises(TypeError, match="mask must be a bool tensor"):
        loss(a, b, mask=torch.ones(3))
    with pytest.raises(ValueError, match="shape"):
        loss(a[:, :3], b[:, :3])
    assert loss.mean == 1
