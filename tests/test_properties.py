"""Properties that hold for any numbers: hypothesis looks for ones where they do not."""

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import losskit

FINITE = st.floats(-(2.0**100), 2.0**100, width=32)
LOGIT = st.floats(-1e4, 1e4, width=32)
UNIT = st.floats(0, 1, width=32)
quick = settings(max_examples=80, deadline=None, derandomize=True, database=None)


def tensor(*numbers):
    return torch.tensor(numbers, dtype=torch.float32)


@quick
@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=9))
def test_residual_losses_are_symmetric_and_not_negative(pairs):
    x, t = (tensor(*z) for z in zip(*pairs, strict=True))
    for loss in (losskit.l1_loss, losskit.huber_loss, losskit.smooth_l1_loss, losskit.log_cosh_loss, losskit.charbonnier_loss):
        value = loss(x, t, reduction="none")
        assert (value >= 0).all() and torch.equal(value, loss(t, x, reduction="none"))
        assert torch.isfinite(value).all()


@quick
@given(st.lists(st.tuples(LOGIT, UNIT), min_size=1, max_size=9))
def test_flipping_logit_and_target_changes_nothing(pairs):
    x, t = (tensor(*z) for z in zip(*pairs, strict=True))
    t = (t * 256).round() / 256  # 1 - t is exact
    for loss in (losskit.binary_cross_entropy_with_logits, losskit.focal_loss, losskit.quality_focal_loss):
        a, b = x.clone().requires_grad_(), (-x).requires_grad_()
        value, flipped = loss(a, t, reduction="none"), loss(b, 1 - t, reduction="none")
        torch.testing.assert_close(value, flipped, rtol=1e-6, atol=0)
        assert (value >= 0).all()
        one, other = torch.autograd.grad(value.sum(), a)[0], torch.autograd.grad(flipped.sum(), b)[0]
        torch.testing.assert_close(one, -other, rtol=1e-6, atol=5e-7)  # for soft targets an error is relative to the two terms, which are up to 2
        assert (one.abs() <= 4).all()


@quick
@given(LOGIT, st.sampled_from([0.0, 1.0]), st.floats(0, 8), st.floats(0, 8))
def test_focal_falls_as_gamma_grows(x, t, gamma, more):
    low, high = sorted((gamma, gamma + more))
    a, b = (float(losskit.focal_loss(tensor(x), tensor(t), gamma=g)) for g in (low, high))
    assert b <= a * (1 + 1e-5)


@quick
@given(st.lists(FINITE, min_size=2, max_size=9), st.floats(0.01, 0.99))
def test_losses_are_convex_along_a_line(points, q):
    ends = tensor(*points)[:2].double()
    t = torch.zeros_like(ends)
    middle = ends[:1] / 2 + ends[1:] / 2
    with losskit.use_engine("torch"):
        for loss, arguments in ((losskit.quantile_loss, {"quantile": q}), (losskit.huber_loss, {}), (losskit.l1_loss, {})):
            value = loss(ends, t, reduction="none", **arguments)
            assert float(loss(middle, t[:1], **arguments)) <= float(value.mean()) * (1 + 1e-12) + 1e-300


@quick
@given(st.lists(st.tuples(LOGIT, st.booleans(), st.floats(0, 4, width=32)), min_size=1, max_size=12))
def test_weights_of_0_and_masks_say_the_same(items):
    x, keep, weight = tensor(*(i[0] for i in items)), torch.tensor([i[1] for i in items]), tensor(*(i[2] for i in items))
    t = torch.zeros_like(x)
    masked = losskit.binary_cross_entropy_with_logits(x, t, mask=keep, sample_weight=weight)
    weighted = losskit.binary_cross_entropy_with_logits(x, t, sample_weight=torch.where(keep, weight, 0.0))
    assert torch.equal(masked, weighted) and not math.isnan(float(masked))
