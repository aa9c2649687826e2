"""Several quantiles along the last axis are as many losses of one quantile, on every engine."""

import numpy as np
import pytest
import torch

import losskit

SEVERAL = [0.001, 0.1, 0.5, 0.75, 0.999]


def batch(dtype=torch.float32, shape=(6, 4)):
    torch.manual_seed(1)
    return torch.randn(*shape, len(SEVERAL)).to(dtype), torch.randn(shape).to(dtype)


def one_by_one(x, t, weight):
    """The losses of one quantile after the other, and the gradients of their weighted sum to input and target."""
    a, b = x.clone().requires_grad_(), t.clone().double().requires_grad_()
    with losskit.use_engine("torch"):
        each = torch.stack([losskit.quantile_loss(a[..., i].double(), b, quantile=q, reduction="none") for i, q in enumerate(SEVERAL)], -1)
    return each, *torch.autograd.grad((each * weight).sum(), (a, b))


# in loops of float64 other losses are examined
DTYPES = [("torch", torch.float32), ("torch", torch.float64), ("torch", torch.float16), ("cpu", torch.float32), ("cpu", torch.float16)]


@pytest.mark.parametrize(("engine", "dtype"), DTYPES)
def test_each_is_the_loss_of_its_quantile(engine, dtype):
    x, t = batch(dtype)
    weight = torch.rand(x.shape).double()
    expected, by_x, by_t = one_by_one(x, t, weight)
    half = dtype is torch.float16
    close = {"rtol": 1e-3 if half else 1e-14 if dtype is torch.float64 else 2e-6, "atol": 1e-7 if half else 0.0}
    real = torch.float64 if dtype is torch.float64 else torch.float32
    a, b = x.clone().requires_grad_(), t.clone().requires_grad_()
    with losskit.use_engine(engine):
        for given in (SEVERAL, tuple(SEVERAL), torch.tensor(SEVERAL, dtype=torch.float64)):
            each = losskit.quantile_loss(a, b, quantile=given, reduction="none")
            assert each.dtype is real
            torch.testing.assert_close(each, expected.to(real), rtol=2e-6 if half else close["rtol"], atol=0.0)
            found = torch.autograd.grad((each * weight.to(real)).sum(), (a, b))
            torch.testing.assert_close(found, (by_x, by_t.to(dtype)), **close)
            mean = losskit.quantile_loss(a, b, quantile=given)
            torch.testing.assert_close(mean, expected.mean().to(real), rtol=2e-6, atol=0.0)
            torch.testing.assert_close(torch.autograd.grad(mean, a)[0] * x.numel(), one_by_one(x, t, 1.0)[1], rtol=2e-3 if half else 2e-6, atol=0.0)


def test_a_target_may_have_a_number_for_each_quantile():
    x, t = batch()
    wide = t[..., None].expand(x.shape).contiguous()
    for reduction in ("none", "mean", "sum"):
        how = {"quantile": SEVERAL, "reduction": reduction}
        assert torch.equal(losskit.quantile_loss(x, wide, **how), losskit.quantile_loss(x, t, **how))
    single = losskit.quantile_loss(x[0, 0], t[0, 0], quantile=SEVERAL, reduction="none")
    assert torch.equal(single, losskit.quantile_loss(x, t, quantile=SEVERAL, reduction="none")[0, 0])


@pytest.mark.chosen
def test_mask_and_weights_speak_of_what_the_target_holds():
    """Of square shapes, where a mask read along the wrong axis would fit as well."""
    x, t = batch(shape=(len(SEVERAL),))
    mask, weight = torch.tensor([True, False, True, True, False]), torch.rand(len(SEVERAL))
    how = {"quantile": SEVERAL}
    assert torch.equal(losskit.quantile_loss(x, t, mask=mask, **how), losskit.quantile_loss(x[mask], t[mask], **how))
    each = losskit.quantile_loss(x, t, reduction="none", **how)
    torch.testing.assert_close(losskit.quantile_loss(x, t, sample_weight=weight, **how), (each.sum(1) * weight).sum() / (weight.sum() * len(SEVERAL)))
    wide = t[:, None].expand(x.shape)
    torch.testing.assert_close(losskit.quantile_loss(x, wide, sample_weight=weight, **how), (each.sum(0) * weight).sum() / (weight.sum() * len(SEVERAL)))
    t = t.clone()
    t[1] = float("nan")
    a = x.clone().requires_grad_()
    losskit.quantile_loss(a, t, mask=mask, **how).backward()
    assert torch.isfinite(a.grad).all() and not a.grad[~mask].any()
    with pytest.raises(ValueError, match=r"mask has shape \(5, 5\), which does not broadcast to the target's shape \(5,\)"):
        losskit.quantile_loss(x, t, mask=torch.ones(5, 5, dtype=torch.bool), **how)


def test_1_minus_q_keeps_its_digits():
    """In float32, 1 - 0.999 is wrong by 3e-5."""
    x, t = torch.ones(1, 1), torch.zeros(1)
    for q in (0.999, 1 - 1e-6):
        exact = 1 - q
        assert losskit.quantile_loss(x, t, quantile=[q]).item() == pytest.approx(exact, rel=1e-7)
        assert losskit.quantile_loss(x, t, quantile=torch.tensor([q], dtype=torch.float64)).item() == pytest.approx(exact, rel=1e-7)
        assert losskit.QuantileLoss(quantile=[q])(x, t).item() == pytest.approx(exact, rel=1e-7)


def test_modules_and_the_compiler():
    x, t = batch()
    expected = losskit.quantile_loss(x, t, quantile=SEVERAL)
    for given in (SEVERAL, tuple(SEVERAL), np.array(SEVERAL), torch.tensor(SEVERAL, dtype=torch.float64)):
        module = losskit.QuantileLoss(quantile=given)
        assert torch.equal(module(x, t), expected)
        assert module.bfloat16().quantile == pytest.approx(SEVERAL, rel=1e-12)
    assert torch.allclose(torch.compile(losskit.QuantileLoss(quantile=SEVERAL), fullgraph=True, backend="eager")(x, t), expected)


@pytest.mark.parametrize(
    ("quantile", "error", "message"),
    [
        ([0.1, 0.9], ValueError, r"quantile has shape \(2,\), expected one number for each place of the last axis of the input, whose shape is \(6, 4, 5\)"),
        ([0.1, 0.2, 0.3, 0.4, 1.0], ValueError, r"quantile\[4\] must be > 0 and < 1, got 1.0"),
        (torch.tensor([0.1, 0.2, 0.3, 0.4, 0.0]), ValueError, "quantile must be > 0 and < 1, got .*0.0"),
        (torch.full((5,), 0.5, requires_grad=True), ValueError, r"quantile must not require a gradient.*try quantile.detach\(\)"),
        ([], ValueError, r"quantile has shape \(0,\), expected one number"),
        ("0.5", TypeError, "quantile must be a number or a list of numbers, got str: '0.5'"),
        ({0.1, 0.2, 0.3, 0.4, 0.5}, TypeError, "quantile must be a number or a list of numbers, got set"),
        (dict.fromkeys(SEVERAL), TypeError, "quantile must be a number or a list of numbers, got dict"),
        (None, TypeError, "quantile must be a number or a list of numbers, got NoneType: None"),
    ],
)
def test_bad_quantiles(quantile, error, message):
    x, t = batch()
    with pytest.raises(error, match=message):
        losskit.quantile_loss(x, t, quantile=quantile)


def test_bad_targets():
    x, t = batch(shape=(4,))
    with pytest.raises(ValueError, match=r"target has shape \(5,\), expected .*without its axis of quantiles, \(4,\), or with it, \(4, 5\)$"):
        losskit.quantile_loss(x, torch.zeros(5), quantile=SEVERAL)
    with pytest.raises(ValueError, match=r"target has shape \(4, 1\), .*: try target.squeeze\(-1\)$"):
        losskit.quantile_loss(x, t[:, None], quantile=SEVERAL)
    with pytest.raises(ValueError, match=r"quantile has shape \(0,\), expected one number"):
        losskit.QuantileLoss(quantile=[])
    with pytest.raises(ValueError, match=r"quantile\[1\] must be > 0 and < 1, got 1.5"):
        losskit.QuantileLoss(quantile=torch.tensor([0.1, 1.5]))
    with pytest.raises(ValueError, match="quantile must not require a gradient"):
        losskit.QuantileLoss(quantile=torch.nn.Parameter(torch.tensor([0.1, 0.5])))


def priced(x, t, price, mask, weight):
    """Element by element, by torch operations: the loss, and the price where a quantile is above the next, of items that count both."""
    q = torch.tensor(SEVERAL, dtype=torch.float64)
    r = t - x
    gap = (x[..., :-1] - x[..., 1:]).relu() * (mask[..., 1:] & (weight[..., 1:] != 0))
    each = torch.maximum(q * r, (q - 1) * r) + price * torch.nn.functional.pad(gap, (0, 1))
    return torch.where(mask, each * weight, 0.0)


@pytest.mark.parametrize(
    ("engine", "dtype", "per_item"),
    [
        *(("torch", dtype, per_item) for dtype in (torch.float32, torch.float64, torch.bfloat16) for per_item in (True, False)),
        *(("cpu", torch.float32, per_item) for per_item in (True, False)),
        ("cpu", torch.bfloat16, True),
    ],
)
def test_crossing_has_its_price(engine, dtype, per_item):
    x, t = batch(torch.float64, (300, 4))
    x, t = (8 * x).round().div(8).to(dtype), (8 * t).round().div(8).add(1 / 16).to(dtype)  # never equal: at the kink any slope is right
    full = x.shape[:-1] if per_item else x.shape
    mask, weight = torch.rand(full) > 0.2, torch.rand(full).to(dtype) * (torch.rand(full) > 0.2)
    incoming, target = torch.randn(x.shape).double(), t if per_item else t[..., None].expand(x.shape).contiguous()
    wide = [y[..., None].expand(x.shape) if per_item else y for y in (target.double().requires_grad_(), mask, weight.double())]
    a = x.double().requires_grad_()
    each = priced(a, wide[0], 0.3, wide[1], wide[2])
    real = torch.promote_types(dtype, torch.float32)
    rounding = 4 * torch.finfo(real).eps
    b, c = x.clone().requires_grad_(), target.clone().requires_grad_()
    how = dict(quantile=SEVERAL, crossing=0.3, mask=mask, sample_weight=weight)
    with losskit.use_engine(engine):
        for reduction, expected, outer in (
            ("none", each, incoming),
            ("sum", each.sum(), torch.tensor(3.0).double()),
            ("mean", each.sum() / (wide[1] * wide[2]).sum(), torch.tensor(3.0).double()),
        ):
            found = losskit.quantile_loss(b, c, reduction=reduction, **how)
            assert found.dtype is real
            torch.testing.assert_close(found.double(), expected, rtol=rounding, atol=rounding)
            got = torch.autograd.grad(found, (b, c), outer.to(real))
            by_x = torch.autograd.grad(expected, a, outer, retain_graph=True)[0]
            by_t = torch.autograd.grad(expected, wide[0] if not per_item else wide[0]._base, outer, retain_graph=True)[0]
            for one, other in zip(got, (by_x, by_t), strict=True):
                tolerance = max(rounding, 0.51 * torch.finfo(dtype).eps)
                torch.testing.assert_close(one.double(), other, rtol=tolerance, atol=rounding * other.abs().max().item())


def test_crossing_is_of_neighbours_alone():
    """By hand: of 3, 1, 2 only the first is above the next, by 2; the last is nobody's neighbour."""
    x, t = torch.tensor([[3.0, 1.0, 2.0]], requires_grad=True), torch.tensor([1.5])
    without, priced = (losskit.quantile_loss(x, t, quantile=[0.25, 0.5, 0.75], crossing=c, reduction="none") for c in (0.0, 10.0))
    assert (priced - without).tolist() == [[20.0, 0.0, 0.0]]
    assert torch.autograd.grad((priced - without).sum(), x)[0].tolist() == [[10.0, -10.0, 0.0]]
    risen = x.detach().sort()[0]
    assert torch.equal(*(losskit.quantile_loss(risen, t, quantile=[0.25, 0.5, 0.75], crossing=c, reduction="none") for c in (0.0, 10.0)))
    one = torch.tensor([[1.0], [2.0]])
    assert torch.equal(*(losskit.quantile_loss(one, one[:, 0], quantile=[0.5], crossing=c) for c in (0.0, 10.0)))


def test_an_absent_neighbour_cannot_be_crossed():
    x, t = torch.tensor([[3.0, float("nan"), 2.0]], requires_grad=True), torch.zeros(1, 3)
    for absent in ({"mask": torch.tensor([[True, False, True]])}, {"sample_weight": torch.tensor([1.0, 0.0, 1.0])[None]}):
        loss = losskit.quantile_loss(x, t, quantile=[0.25, 0.5, 0.75], crossing=10.0, reduction="sum", **absent)
        assert loss.item() == pytest.approx(0.75 * 3 + 0.25 * 2)
        assert torch.autograd.grad(loss, x)[0].tolist() == [[0.75, 0.0, 0.25]]


def test_crossing_compiled_and_twice_differentiated():
    x, t = (y.double() for y in batch())
    module = losskit.QuantileLoss(quantile=SEVERAL, crossing=0.3)
    assert torch.allclose(torch.compile(module, fullgraph=True, backend="eager")(x, t), module(x, t))
    with losskit.use_engine("torch"):
        assert torch.autograd.gradgradcheck(module, (x.requires_grad_(), t))
    assert torch.allclose(torch.func.vmap(lambda a, b: losskit.quantile_loss(a, b, quantile=SEVERAL, crossing=0.3))(x, t).mean(), module(x, t))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"quantile": SEVERAL, "crossing": -1.0}, "crossing must be >= 0, got -1.0"),
        ({"quantile": 0.5, "crossing": 1.0}, "crossing is between several quantiles, and quantile is the number 0.5: leave crossing out, or give a list"),
        ({"quantile": SEVERAL[::-1], "crossing": 1.0}, "quantile must rise from each to the next where crossing has a price: sort quantile"),
        ({"quantile": torch.full((5,), 0.5), "crossing": 1.0}, "quantile must rise"),
    ],
)
def test_bad_crossing(settings, message):
    with pytest.raises(ValueError, match=message):
        losskit.quantile_loss(*batch(), **settings)
