"""What the docstrings of losses of real values claim. How a claim finds its sentence: `claims.py`."""

import math

import pytest
import torch
import torch.nn.functional as F
from claims import claim, slope

import losskit

NONE = dict(reduction="none")


@pytest.fixture(autouse=True)
def engine():
    with losskit.use_engine("torch"):
        yield


def pair(n=50, dtype=torch.float64):
    return torch.linspace(-4, 4, n, dtype=dtype), torch.linspace(1, -1, n, dtype=dtype).sin()


ERRORS = torch.tensor([1e-3, 1.0, 10.0, 1e4], dtype=torch.float64)
ZERO = torch.zeros(1, dtype=torch.float64)


@claim("barron_loss", "For alpha < 1 the gradient of large errors shrinks")
def test_barron_pulls_less_far_out():
    for alpha in (0.5, 0.0, -2.0):
        pull = slope(losskit.barron_loss, torch.tensor([1.0, 10.0, 100.0, 1e4]), torch.zeros(4), alpha=alpha)[1]
        assert (pull.diff() < 0).all() and (alpha >= 0 or pull[3] < 1e-9)


@claim("cauchy_loss", "It is `barron_loss` with alpha = 0.")
@claim("welsch_loss", "It is `barron_loss` with alpha = -inf.")
@claim("geman_mcclure_loss", "It is `barron_loss` with alpha = -2.")
@claim("cauchy_loss", "torch has no Cauchy loss; kornia's is this one")
@claim("welsch_loss", "torch has no Welsch loss; kornia's is this one")
@claim("geman_mcclure_loss", "torch has no Geman-McClure loss; kornia's is this one")
@claim("geman_mcclure_loss", "Books also write")
def test_named_members_of_barron():
    x, t = pair()
    d = x - t
    for name, alpha, kornias in (
        ("cauchy", 0.0, (0.5 * d**2 + 1).log()),
        ("welsch", -math.inf, 1 - (-0.5 * d**2).exp()),
        ("geman_mcclure", -2.0, 2 * d**2 / (d**2 + 4)),
    ):
        named = getattr(losskit, f"{name}_loss")
        assert not any(name.replace("_", "") in each.lower().replace("_", "") for each in (*dir(F), *dir(torch.nn)))
        torch.testing.assert_close(named(x, t, **NONE), kornias)  # as kornia.losses computes it
        torch.testing.assert_close(slope(named, x, t, scale=0.7, **NONE), slope(losskit.barron_loss, x, t, alpha=alpha, scale=0.7, **NONE))
        near_by = losskit.barron_loss(x, t, alpha=max(alpha, -1e9) + 1e-9, scale=0.7, **NONE)  # by the general formula
        torch.testing.assert_close(named(x, t, scale=0.7, **NONE), near_by, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(losskit.geman_mcclure_loss(x, t, scale=0.35, **NONE) / 2, d**2 / (d**2 + 0.7**2))


@claim("cauchy_loss", "The pull is greatest at an error of sqrt(2) scale")
@claim("welsch_loss", "The pull is greatest at an error of scale")
@claim("geman_mcclure_loss", "The pull is greatest at an error of 2 scale / sqrt(3)")
@claim("cauchy_loss", "An error of 1e30 costs")
def test_where_robust_losses_pull_most():
    x = torch.linspace(0, 6, 60001, dtype=torch.float64)
    for named, top in ((losskit.cauchy_loss, math.sqrt(2)), (losskit.welsch_loss, 1.0), (losskit.geman_mcclure_loss, 2 / math.sqrt(3))):
        pull = slope(named, x, 0 * x, scale=0.8, **NONE)[1]
        assert abs(x[pull.argmax()] - 0.8 * top) < 2e-4
        start, far = (slope(named, torch.tensor([y], dtype=torch.float64), ZERO, scale=0.8)[1].item() for y in (0.8 * top, 0.8 * 6))
        assert (far < start * 1e-6) == (named is losskit.welsch_loss)
    one, two = (slope(losskit.geman_mcclure_loss, torch.tensor([y], dtype=torch.float64), ZERO)[1].item() for y in (1e4, 2e4))
    assert one / two == pytest.approx(8, rel=1e-4)
    torch.testing.assert_close(losskit.cauchy_loss(torch.tensor([1e30]), torch.zeros(1)), torch.tensor(60 * math.log(10) - math.log(2)))


@claim("wing_loss", "At x = t there is a cusp")
@claim("wing_loss", "At an error of omega the value is continuous")
@claim("wing_loss", "torch has no wing loss; mmpose's is this one")
def test_wing():
    x = torch.tensor([-1e-12, 0.0, 1e-12, 10 - 1e-9, 10 + 1e-9, 1e3], dtype=torch.float64)
    value, grad = slope(losskit.wing_loss, x, 0 * x, **NONE)
    torch.testing.assert_close(grad, torch.tensor([-5.0, 0.0, 5.0, 10 / 12, 1.0, 1.0], dtype=torch.float64))
    assert abs(value[3] - value[4]) < 1e-8 and not any("wing" in name.lower() for name in (*dir(F), *dir(torch.nn)))
    x, t = (20 * y.reshape(5, 5, 2) for y in pair())
    d = (x - t).abs()
    rest = 10.0 * (1.0 - math.log(1.0 + 10.0 / 2.0))
    theirs = torch.where(d < 10.0, 10.0 * torch.log(1.0 + d / 2.0), d - rest).sum(dim=[1, 2]).mean()  # as mmpose.models.losses.WingLoss computes it
    torch.testing.assert_close(losskit.wing_loss(x, t, reduction="sum") / 5, theirs)


@claim("balanced_l1_loss", "Value and gradient are continuous at an error of beta")
@claim("balanced_l1_loss", "Small errors keep their digits")
@claim("balanced_l1_loss", "The same for beta = 1; for other beta")
def test_balanced_l1():
    x, t = pair()
    d, b = (x - t).abs(), math.e ** (1.5 / 0.5) - 1

    def theirs(beta):  # as mmdet.models.losses.balanced_l1_loss computes it
        return torch.where(d < beta, 0.5 / b * (b * d + 1) * torch.log(b * d / beta + 1) - 0.5 * d, 1.5 * d + 1.5 / b - 0.5 * beta)

    torch.testing.assert_close(losskit.balanced_l1_loss(x, t, **NONE), theirs(1.0))
    assert not torch.allclose(losskit.balanced_l1_loss(x, t, beta=2.0, **NONE), theirs(2.0), rtol=0.1)
    for beta in (0.1, 1.0, 4.0):
        beside = torch.tensor([beta * (1 - 1e-9), beta * (1 + 1e-9)], dtype=torch.float64)
        value, grad = slope(losskit.balanced_l1_loss, beside, 0 * beside, beta=beta, **NONE)
        torch.testing.assert_close(value[0], value[1])
        torch.testing.assert_close(grad, torch.full_like(grad, 1.5))
        pull = 0.5 * torch.log(b * d / beta + 1).clamp(max=3)
        torch.testing.assert_close(slope(losskit.balanced_l1_loss, x, t, beta=beta, **NONE)[1].abs(), pull)
    tiny = torch.tensor([1e-6])
    exact = 0.5 * b * 1e-12 / 2 * (1 - b * 1e-6 / 3)
    torch.testing.assert_close(losskit.balanced_l1_loss(tiny, 0 * tiny), torch.tensor(exact), rtol=1e-6, atol=0)
    assert abs(0.5 / b * (b * tiny + 1) * torch.log(b * tiny + 1) - 0.5 * tiny - exact) > 1e-3 * exact


@claim("barron_loss", "torch has none of the family but L2")
@claim("charbonnier_loss l2_loss log_cosh_loss quantile_loss", "torch has no")
@claim("poly_loss dice_loss dice_ce_loss", "torch has no")
@claim("focal_tversky_loss generalized_cross_entropy generalized_dice_loss jaccard_loss js_divergence log_cosh_dice_loss mcc_loss", "torch has none.")
@claim("dice_focal_loss symmetric_cross_entropy tversky_loss", "torch has none.")
def test_torch_has_none():
    x, t = pair()
    torch.testing.assert_close(2 * losskit.barron_loss(x, t, alpha=2.0), F.mse_loss(x, t))
    torch.testing.assert_close(losskit.l2_loss(x, t), F.huber_loss(x, t, delta=100.0))
    torch.testing.assert_close(losskit.l2_loss(x, t) / 100, F.smooth_l1_loss(x, t, beta=100.0))
    words = (
        "charbonnier",
        "cosh",
        "quantile",
        "pinball",
        "poly",
        "dice",
        "tversky",
        "jaccard",
        "jensen",
        "js_div",
        "matthews",
        "mcc",
        "symmetric",
        "generalized",
    )
    for name in (*dir(F), *dir(torch.nn)):
        assert not ("loss" in name.lower() or "div" in name.lower()) or not any(word in name.lower() for word in words), name


@claim("charbonnier_loss", "A perfect prediction costs eps")
@claim("charbonnier_loss", "Some code adds eps, not its square")
def test_charbonnier_eps():
    x, t = pair()
    assert losskit.charbonnier_loss(x, x, eps=1e-3) == 1e-3
    torch.testing.assert_close(losskit.charbonnier_loss(x, t, eps=math.sqrt(1e-3), **NONE), ((x - t) ** 2 + 1e-3).sqrt())


@claim("charbonnier_loss", "torch has no Charbonnier loss; kornia's fixes eps = 1")
def test_charbonnier_of_kornia():
    x, t = pair()
    torch.testing.assert_close(losskit.charbonnier_loss(x, t, eps=1.0, **NONE) - 1, ((x - t) ** 2 + 1).sqrt() - 1)


@claim("huber_loss", "delta times `smooth_l1_loss`")
@claim("smooth_l1_loss", "`huber_loss` with delta = beta is beta times this")
@claim("smooth_l1_loss", "Far out the slope is 1")
def test_huber_and_smooth_l1():
    for width in (0.1, 1.0, 5.0):
        huber, smooth = (
            slope(f, ERRORS, torch.zeros(4), **NONE, **a) for f, a in ((losskit.huber_loss, {"delta": width}), (losskit.smooth_l1_loss, {"beta": width}))
        )
        torch.testing.assert_close(huber, tuple(width * part for part in smooth))
        inside = width > ERRORS
        torch.testing.assert_close(huber[0][inside], ERRORS[inside] ** 2 / 2)
        assert huber[1][3] == width and smooth[1][3] == 1


@claim("huber_loss smooth_l1_loss", "The same values")
@claim("l1_loss mse_loss", "Shapes must be equal (torch warns and broadcasts)")
def test_against_torch():
    x, t = pair()
    weight = torch.linspace(0.5, 2, 50, dtype=torch.float64)
    for name in ("l1_loss", "mse_loss", "huber_loss", "smooth_l1_loss"):
        ours, theirs = getattr(losskit, name), getattr(F, name)
        torch.testing.assert_close(ours(x, t, **NONE), theirs(x, t, **NONE))
        for half in (torch.float16, torch.bfloat16):
            assert ours(x.to(half), t.to(half)).dtype is torch.float32
        if name in ("l1_loss", "mse_loss"):
            torch.testing.assert_close(ours(x, t, sample_weight=weight), theirs(x, t, weight=weight))
            with pytest.raises(ValueError, match="they must be equal"):
                ours(x[:, None], t)
            with pytest.warns(UserWarning, match="broadcast"):
                theirs(x[:, None], t)
    each = losskit.huber_loss(x, t, **NONE) * weight
    torch.testing.assert_close(F.huber_loss(x, t, weight=weight), each.mean())  # its own meaning of a weighted mean
    torch.testing.assert_close(losskit.huber_loss(x, t, sample_weight=weight), each.sum() / weight.sum())


@claim("smooth_l1_loss", "torch's square loses small errors")
def test_smooth_l1_keeps_small_errors():
    x, t = torch.tensor([1e-25]), torch.zeros(1)
    assert F.smooth_l1_loss(x, t, beta=1e-20) == 0
    torch.testing.assert_close(losskit.smooth_l1_loss(x, t, beta=1e-20), torch.tensor(5e-31), rtol=1e-5, atol=0)


@claim("l1_loss", "No derivative exists at x = t")
@claim("l1_loss", "Near the optimum the gradient does not shrink")
def test_l1_near_the_optimum():
    x = torch.tensor([0.0, 1e-6, 1e6, -1e-6])
    assert slope(losskit.l1_loss, x, torch.zeros(4), reduction="sum")[1].tolist() == [0, 1, 1, -1]
    assert slope(losskit.smooth_l1_loss, x, torch.zeros(4), reduction="sum")[1][1] < 1e-5


@claim("l2_loss", "Two scales go by the name L2")
@claim("mse_loss", "Twice `l2_loss`")
@claim("l2_loss", "One outlier of error 100")
def test_l2_and_mse():
    x, t = pair()
    assert torch.equal(2 * losskit.l2_loss(x, t, **NONE), losskit.mse_loss(x, t, **NONE))
    pull = slope(losskit.l2_loss, torch.tensor([100.0] + [1.0] * 100), torch.zeros(101))[1]
    torch.testing.assert_close(pull[0], pull[1:].sum())


@claim("log_cosh_loss", "Never forms cosh")
def test_log_cosh_digits():
    x = torch.tensor([90.0, 1e-10])
    value = losskit.log_cosh_loss(x, torch.zeros(2), **NONE)
    torch.testing.assert_close(value, torch.tensor([90 - math.log(2), 5e-21]), rtol=1e-6, atol=0)
    assert torch.cosh(x).log().tolist() == [math.inf, 0] and torch.cosh(x[0] - 1).isfinite()


@claim("mse_loss", "float16 inputs do not overflow")
def test_mse_of_half_precision():
    x = torch.tensor([256.0], dtype=torch.float16)
    assert losskit.mse_loss(x, torch.zeros_like(x)) == 65536 and F.mse_loss(x, torch.zeros_like(x)).isinf()


@claim("quantile_loss", "q = 0.5 is half of `l1_loss`")
@claim("quantile_loss", "Outputs trained for several quantiles may cross")
def test_quantiles():
    x, t = pair()
    assert torch.equal(losskit.quantile_loss(x, t, quantile=0.5, **NONE), losskit.l1_loss(x, t, **NONE) / 2)
    crossed = torch.tensor([1.0, -1.0])  # the 10 % quantile above the 90 % quantile: nothing in the loss forbids it, and sorting them costs less
    levels = torch.tensor([0.1, 0.9])
    cost = [
        sum(losskit.quantile_loss(x, torch.zeros(()), quantile=float(q)) for x, q in zip(each, levels, strict=True)) for each in (crossed, crossed.sort()[0])
    ]
    assert cost[0].isfinite() and cost[1] < cost[0]
    in_order = crossed.sort()[0]
    free, priced = (losskit.quantile_loss(in_order, torch.zeros(()), quantile=levels, crossing=c, **NONE) for c in (0.0, 9.0))
    assert torch.equal(free, priced)
    assert losskit.quantile_loss(crossed, torch.zeros(()), quantile=levels, crossing=9.0) > losskit.quantile_loss(crossed, torch.zeros(()), quantile=levels)


@claim("quantile_loss", "A quantile near 1 loses digits")
def test_a_quantile_near_one():
    q = 1 - 1e-6
    x, t = torch.tensor([[1.0]]), torch.tensor([0.0])
    torch.testing.assert_close(losskit.quantile_loss(x, t, quantile=[q]), torch.tensor(1e-6), rtol=1e-6, atol=0)
    of_a_tensor = losskit.quantile_loss(x, t, quantile=torch.tensor([q]))
    assert abs(of_a_tensor - 1e-6) > 1e-8


@claim("msle_loss", "A number <= -1 has no logarithm and raises")
@claim("msle_loss", "Large predictions have a small gradient")
@claim("msle_loss", "Nearly equal numbers keep their digits")
@claim("msle_loss", "torch has no such loss; Keras' clips")
def test_msle():
    x, t = (y.exp() for y in pair())
    torch.testing.assert_close(losskit.msle_loss(x, t, **NONE), (x.log1p() - t.log1p()) ** 2)
    for bad in (-1.0, -3.0):
        for place, tensors in (("input", (torch.tensor([0.0, bad]), torch.zeros(2))), ("target", (torch.zeros(2), torch.tensor([0.0, bad])))):
            with pytest.raises(ValueError, match=rf"{place} must be > -1, got {bad:g} at index \(1,\)"):
                losskit.msle_loss(*tensors)
    negative = torch.tensor([-5.0])
    assert losskit.msle_loss(F.softplus(negative), torch.ones(1)).isfinite()
    assert losskit.msle_loss(torch.tensor([-0.5]), torch.zeros(1)) == pytest.approx(math.log(2) ** 2)  # Keras' gives 0
    far = torch.tensor([1e6])
    assert slope(losskit.msle_loss, far, torch.ones(1))[1] < 1e-4 < 1 < slope(losskit.mse_loss, far.log1p(), torch.ones(1).log1p())[1]
    near = torch.tensor([1000.1]), torch.tensor([1000.0])
    exact = (near[0].double() - near[1].double()).div(1001).log1p().square().float()
    torch.testing.assert_close(losskit.msle_loss(*near), exact.squeeze(), rtol=1e-6, atol=0)
    assert abs((near[0].log1p() - near[1].log1p()).square() - exact) > 1e-4 * exact
    wide = torch.tensor([3e38]), torch.tensor([-1 + 2.0**-24])  # their ratio is beyond float32
    torch.testing.assert_close(losskit.msle_loss(*wide), torch.tensor((math.log(3e38) + 24 * math.log(2)) ** 2))


@claim("mape_loss", "A target of 0 raises")
@claim("mape_loss", "A target of 1e-6 weighs a million times")
@claim("mape_loss", "For positive numbers a prediction too low costs at most 1")
@claim("mape_loss", "torch has no such loss; Keras' is 100 times")
def test_mape():
    x, t = pair()
    torch.testing.assert_close(losskit.mape_loss(x, t, **NONE), (x - t).abs() / t.abs())
    for found in (torch.zeros(2), torch.tensor([0.0, 1.0])):
        with pytest.raises(ValueError, match=r"target must be != 0, got 0 at index \(1,\)"):
            losskit.mape_loss(found, torch.tensor([1.0, 0.0]))
    pull = slope(losskit.mape_loss, torch.ones(2), torch.tensor([1e-6, 0.5]), **NONE)[1]
    torch.testing.assert_close(pull, torch.tensor([1e6, 2.0]))
    assert losskit.mape_loss(torch.zeros(1), torch.tensor([7.0])) == 1 < losskit.mape_loss(torch.tensor([70.0]), torch.tensor([7.0]))


@pytest.mark.parametrize("name", ["cauchy", "welsch", "geman_mcclure", "balanced_l1", "msle"])
def test_the_second_derivative_at_no_error(name):
    """A slope written with sign(r) would have none there."""
    function = getattr(losskit, f"{name}_loss")
    x, t = torch.tensor(0.5, dtype=torch.float64, requires_grad=True), torch.tensor(0.5, dtype=torch.float64)
    (grad,) = torch.autograd.grad(function(x, t), x, create_graph=True)
    (second,) = torch.autograd.grad(grad, x)
    h = 1e-6
    beside = [slope(function, x.detach() + step, t)[1] for step in (h, -h)]
    torch.testing.assert_close(second, (beside[0] - beside[1]) / (2 * h), rtol=1e-4, atol=0)


@claim("gaussian_nll_loss", "A scalar, or with reduction")
@claim("gaussian_nll_loss", "A variance of 0")
@claim("gaussian_nll_loss", "The gradient to a tiny variance")
@claim("gaussian_nll_loss", "torch raises variances below")
@claim("gaussian_nll_loss", "torch takes neither")
@claim("gaussian_nll_loss", "Its `var` may also lack")
def test_gaussian_variances():
    x, t, v = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]), torch.tensor([0.0, 1e-30], requires_grad=True)
    each = losskit.gaussian_nll_loss(x, t, v, reduction="none")
    by_v = torch.autograd.grad(each.sum(), v)[0]
    assert losskit.gaussian_nll_loss(x, t, torch.tensor([0.0, 1.0])).shape == () and each.shape == x.shape
    assert -53 < each[0] < -50 and 0 < by_v[0] < float("inf") and by_v[1] == -float("inf")
    tiny = torch.tensor([1e-8], requires_grad=True)
    theirs = torch.nn.functional.gaussian_nll_loss(x[:1], t[:1], tiny)
    assert abs(theirs - 0.5 * torch.tensor(1e-6).log()) < 1e-4 and torch.autograd.grad(theirs, tiny)[0] != 0
    assert abs(losskit.gaussian_nll_loss(x[:1], t[:1], tiny) - 0.5 * torch.tensor(1e-8).log()) < 1e-4
    with pytest.raises(TypeError):
        torch.nn.functional.gaussian_nll_loss(x, t, log_var=v)
    wide, rows = torch.randn(5, 3), torch.rand(5) + 0.5
    assert torch.isclose(torch.nn.functional.gaussian_nll_loss(wide, 0 * wide, rows), losskit.gaussian_nll_loss(wide, 0 * wide, rows.unsqueeze(-1)), rtol=1e-5)


@claim("laplace_nll_loss", "A scalar, or with reduction")
@claim("laplace_nll_loss", "A scale of 0")
@claim("laplace_nll_loss", "Where the error is 0")
@claim("laplace_nll_loss", "torch has no such loss; with full=True")
def test_laplace_scales():
    x, t, b = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]), torch.tensor([0.0, 0.5])
    leaves = [y.clone().requires_grad_() for y in (x, t, b)]
    each = losskit.laplace_nll_loss(*leaves, **NONE)
    by_x, by_t, by_b = torch.autograd.grad(each.sum(), leaves)
    assert losskit.laplace_nll_loss(x, t, 2.0).shape == () and each.shape == x.shape
    assert -106 < each[0] < -87 and 0 < by_b[0] < float("inf")
    assert by_x.tolist() == [0.0, -2.0] and by_t.tolist() == [0.0, 2.0]
    assert not hasattr(torch.nn.functional, "laplace_nll_loss")
    x, t, b = torch.randn(9), torch.randn(9), torch.rand(9) + 0.1
    torch.testing.assert_close(losskit.laplace_nll_loss(x, t, b, full=True, **NONE), -torch.distributions.Laplace(x, b).log_prob(t))


@claim("kl_normal_loss", "A scalar, or with reduction")
@claim("kl_normal_loss", "It is 0 with zero gradients where both are the same")
@claim("kl_normal_loss", '"mean" is over all elements')
@claim("kl_normal_loss", "The order matters")
@claim("kl_normal_loss", "torch has it in torch.distributions.kl_divergence")
def test_kl_of_normal_distributions():
    kl = losskit.kl_normal_loss
    draw = torch.Generator().manual_seed(3)
    x, t, a, b = (torch.randn(4, 5, generator=draw) for _ in range(4))
    leaves = [y.clone().requires_grad_() for y in (x, x, a, a)]
    same = kl(*leaves, **NONE)
    assert same.shape == x.shape and kl(x, log_var=a).shape == ()
    assert not same.any() and not any(g.any() for g in torch.autograd.grad(same.sum(), leaves))
    small = a.double() * 1e-6  # a step of float64 beside a log-variance of 1e-6 is 1e-10 of it
    nearby = kl(x, x, small.float(), 0.0, **NONE)
    assert (nearby > 0).all()
    torch.testing.assert_close(nearby.double(), small.float().double() ** 2 / 4, rtol=2e-6, atol=0)
    for setting in (dict(), dict(target_log_var=0.0), dict(target=torch.zeros_like(x)), dict(target=torch.zeros_like(x), target_log_var=0.0)):
        torch.testing.assert_close(kl(x, log_var=a, **setting, **NONE), -0.5 * (1 + a - x**2 - a.exp()))
    torch.testing.assert_close(kl(x, log_var=a), kl(x, log_var=a, **NONE).sum(-1).mean() / 5)
    assert kl(t, t, -2.0, 2.0) < kl(t, t, 2.0, -2.0)
    first, second = torch.distributions.Normal(x, (a / 2).exp()), torch.distributions.Normal(t, (b / 2).exp())
    torch.testing.assert_close(kl(x, t, a, b, **NONE), torch.distributions.kl_divergence(first, second), rtol=1e-4, atol=1e-6)


@claim("beta_nll_loss", "A scalar, or with reduction")
@claim("beta_nll_loss", "The gradient is not the derivative of the value")
@claim("beta_nll_loss", "Compare models by")
@claim("beta_nll_loss", "A variance of 0")
@claim("beta_nll_loss", "torch has no such loss; with beta=0")
def test_weights_of_variance():
    draw = torch.Generator().manual_seed(5)
    x, t, v = torch.randn(9, generator=draw), torch.randn(9, generator=draw), torch.rand(9, generator=draw) + 0.2
    for beta in (0.0, 0.3, 1.0):
        leaves = [y.clone().requires_grad_() for y in (x, t, v)]
        authors = [y.clone().requires_grad_() for y in (x, t, v)]
        each = losskit.beta_nll_loss(*leaves, beta=beta, **NONE)
        theirs = losskit.gaussian_nll_loss(*authors, **NONE) * authors[2].detach() ** beta
        torch.testing.assert_close(each, theirs)
        incoming = torch.linspace(-1, 2, 9)
        for ours, other in zip(torch.autograd.grad(each, leaves, incoming), torch.autograd.grad(theirs, authors, incoming), strict=True):
            torch.testing.assert_close(ours, other)
    assert losskit.beta_nll_loss(x, t, v).shape == () and each.shape == x.shape
    torch.testing.assert_close(losskit.beta_nll_loss(x, t, v, beta=0.0), losskit.gaussian_nll_loss(x, t, v))
    zeros, errors = torch.zeros(9), torch.full((9,), 3.0**0.5)
    likely = [losskit.gaussian_nll_loss(zeros, errors, y).item() for y in (3.0, 1.5)]
    weighted = [losskit.beta_nll_loss(zeros, errors, y, beta=1.0).item() for y in (3.0, 1.5)]
    assert likely[0] < likely[1] and weighted[0] > weighted[1]  # the right variance is likelier, and weighs more
    assert -53 < losskit.beta_nll_loss(x, x, torch.zeros(9), beta=0.0) < -50
    assert losskit.beta_nll_loss(x, x, torch.zeros(9)).isfinite()
