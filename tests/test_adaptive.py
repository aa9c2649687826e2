"""Barron's loss with a learned alpha and scale: the whole range against exact arithmetic, the constant, and learning itself."""

import math

import mpmath
import pytest
import torch
from cases import ENGINES
from claims import claim

import losskit
from losskit.losses.regression import adaptive, barron

ALPHAS = [-10.0, -2.0, -0.1, -1e-8, 0.0, 1e-20, 1e-3, 0.5, 0.999, 1.0, 1.01, 1.9, 1.999999, 2.000001, 2.1, 3.0, 4.0]
ERRORS = [-1e17, -1e4, -30.0, -2.0, -0.7, -0.01, 1e-6, 1e-12, 0.1, 1.0, 5.0, 300.0, 1e8]


def exact(r, alpha, scale):
    """Value and derivatives by r, alpha and scale, with no care for cancellation."""
    with mpmath.workdps(200):
        r, alpha, scale = (mpmath.mpf(y) for y in (r, alpha, scale))
        z, b = (r / scale) ** 2, abs(alpha - 2)
        level = mpmath.log(1 + z / b)
        power = alpha * level / 2
        slope = r / scale**2 * mpmath.exp(power - level)
        if alpha == 0:
            return b * level / 2, slope, level**2 / 4 - (mpmath.exp(-level) - 1 + level) / 2, -slope * r / scale
        first = -2 / alpha**2 * mpmath.expm1(power) + (2 - alpha) * level / (2 * alpha) * mpmath.exp(power)
        by_alpha = mpmath.sign(2 - alpha) * (first + mpmath.exp(power) * (1 - mpmath.exp(-level)) / 2)
        return b / alpha * mpmath.expm1(power), slope, by_alpha, -slope * r / scale


@pytest.fixture
def operations():
    """Where many formulas would be compiled, one for each choice of gradients."""
    with losskit.use_engine("torch"):
        yield


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 2e-13)], ids=str)
@pytest.mark.parametrize("engine", ENGINES)
def test_every_digit_over_the_whole_range(engine, dtype, tolerance):
    alpha, x = torch.meshgrid(torch.tensor(ALPHAS, dtype=dtype), torch.tensor(ERRORS, dtype=dtype), indexing="ij")
    numbers = [y.clone().requires_grad_() for y in (x, alpha, torch.full_like(x, 0.7))]
    with losskit.use_engine(engine):
        each = losskit.barron_loss(numbers[0], torch.zeros_like(x), alpha=numbers[1], scale=numbers[2], reduction="none")
        found = (each.detach(), *torch.autograd.grad(each.sum(), numbers))
    tiny, large = torch.finfo(dtype).tiny, torch.finfo(dtype).max
    for place in torch.cartesian_prod(*(torch.arange(n) for n in x.shape)).tolist():
        for name, y, truth in zip(("value", "r", "alpha", "scale"), found, exact(*(n[tuple(place)].item() for n in numbers)), strict=True):
            if tiny < abs(truth) < large:
                assert abs(y[tuple(place)].item() / truth - 1) < tolerance, (name, ALPHAS[place[0]], ERRORS[place[1]])


@claim("barron_loss", "At alpha = 2 the derivative by alpha is infinite")
@pytest.mark.parametrize("engine", ENGINES)
def test_alpha_of_2_is_the_square_and_its_gradient_is_finite(engine):
    x, alpha = torch.tensor([0.0, 1e-3, 2.0, 1e4], requires_grad=True), torch.full((4,), 2.0, requires_grad=True)
    with losskit.use_engine(engine):
        each = losskit.barron_loss(x, torch.zeros(4), alpha=alpha, scale=[2.0], reduction="none")
        by_x, by_alpha = torch.autograd.grad(each.sum(), (x, alpha))
    torch.testing.assert_close(each, x**2 / 8)
    torch.testing.assert_close(by_x, x / 4)
    assert by_alpha.isfinite().all() and by_alpha[0] == 0
    beside = [float(exact(3, 2 - step, 1)[2]) for step in (1e-4, 1e-8, 1e-12)]  # it grows without end
    assert beside[1] - beside[0] > 15 and beside[2] - beside[1] > 15
    assert (by_alpha[2:] > 0).all()


@pytest.mark.parametrize("number", [0.0, 0.2, 1.0, 1.7, 2.0])
def test_the_constant_is_the_integral(number):
    alpha = torch.tensor(number, dtype=torch.float64, requires_grad=True)
    found = adaptive.log_partition(alpha)
    mass = 2 * mpmath.quad(lambda r: mpmath.exp(-barron.textbook(mpmath, r, 0, number, 1, False)), [0, 1, 10, mpmath.inf])
    assert math.isclose(found.item(), mpmath.log(mass), rel_tol=1e-14)
    assert math.isclose(found.item(), barron.textbook(mpmath, 0, 0, number, 1, True), rel_tol=1e-14)
    if 0 < number < 2:
        low, high = (adaptive.log_partition(torch.tensor(number + step, dtype=torch.float64)).item() for step in (-1e-5, 1e-5))
        assert math.isclose(torch.autograd.grad(found, alpha)[0].item(), (high - low) / 2e-5, rel_tol=1e-7)


@pytest.mark.parametrize("shape", [(), (3,), (2, 1), (2, 3)], ids=str)
def test_the_likelihood_and_its_gradients(operations, shape):
    torch.manual_seed(1)
    x, t, incoming = torch.randn(3, 2, 3, dtype=torch.float64)
    numbers = [y.requires_grad_() for y in (x, 0.1 + 1.8 * torch.rand(shape, dtype=torch.float64), 0.5 + torch.rand(shape, dtype=torch.float64))]
    x, alpha, scale = numbers
    mask = torch.tensor([[True, False, True], [True, True, True]])
    each = losskit.barron_loss(x, t, alpha=alpha, scale=scale, nll=True, mask=mask, reduction="none")
    found = torch.autograd.grad((each * incoming).sum(), numbers)
    plain = losskit.barron_loss(x, t, alpha=alpha, scale=scale, mask=mask, reduction="none")
    whole = torch.where(mask, plain + scale.log() + adaptive.log_partition(alpha), 0.0)
    expected = torch.autograd.grad((whole * incoming).sum(), numbers)
    torch.testing.assert_close(each, whole)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


@claim("barron_loss", "With nll=True any real value.")
def test_a_small_scale_makes_the_likelihood_negative(operations):
    low, high = (losskit.barron_loss(torch.tensor([y]), torch.zeros(1), scale=1e-6, nll=True).item() for y in (0.0, 1.0))
    assert low < -10 and high > 1e5


def test_an_absent_item_leaves_no_trace(operations):
    x, alpha, scale = (
        torch.ones(3, requires_grad=True),
        torch.tensor([1.0, math.nan, 7.0], requires_grad=True),
        torch.tensor([1.0, -1.0, 0.0], requires_grad=True),
    )
    mask = torch.tensor([True, False, False])
    value = losskit.barron_loss(x, torch.zeros(3), alpha=alpha, scale=scale, nll=True, mask=mask)
    for gradient in torch.autograd.grad(value, (x, alpha, scale)):
        assert gradient[0].isfinite() and gradient[1:].tolist() == [0.0, 0.0]
    torch.testing.assert_close(value, losskit.barron_loss(x[:1], torch.zeros(1), nll=True))


@pytest.mark.parametrize(
    ("bad", "nll", "told"),
    [(-10.5, False, "from -10 to 4, got -10.5"), (4.5, False, "from -10 to 4, got 4.5"), (2.5, True, "from 0 to 2, got 2.5"), (-0.5, True, "from 0 to 2")],
)
def test_alpha_out_of_range(bad, nll, told):
    with pytest.raises(ValueError, match=f"alpha must be {told}"):
        losskit.barron_loss(torch.ones(2), torch.zeros(2), alpha=torch.tensor([1.0, bad]), nll=nll)


def test_second_derivatives_follow_the_first():
    torch.manual_seed(0)
    x, alpha = 2 * torch.randn(12, dtype=torch.float64), torch.tensor([-3.0, -0.5, 0.0, 0.5, 1.2, 1.7, 2.3, 3.1] + [0.8] * 4, dtype=torch.float64)
    numbers = [y.requires_grad_() for y in (x, alpha, 0.5 + torch.rand(12, dtype=torch.float64))]
    assert torch.autograd.gradgradcheck(lambda x, a, s: losskit.barron_loss(x, torch.zeros_like(x), alpha=a, scale=s, reduction="none"), numbers)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
@pytest.mark.thorough
def test_compiled():
    """One graph, forward and backward; the code that is made from it is torch's affair."""
    torch.manual_seed(0)
    x, numbers = torch.randn(8), [torch.tensor(0.7, requires_grad=True), torch.tensor(1.3, requires_grad=True)]
    module = torch.compile(lambda x, a, s: losskit.barron_loss(x, torch.zeros_like(x), alpha=a, scale=s, nll=True), fullgraph=True, backend="aot_eager")
    with losskit.use_engine("torch"):
        expected = losskit.barron_loss(x, torch.zeros_like(x), alpha=numbers[0], scale=numbers[1], nll=True)
    found = module(x, *numbers)
    torch.testing.assert_close(found, expected)
    for one, other in zip(torch.autograd.grad(found, numbers), torch.autograd.grad(expected, numbers), strict=True):
        torch.testing.assert_close(one, other)


def test_alpha_and_scale_are_learned_from_outliers(operations):
    """Errors of scale 0.5, drawn from a normal and from a Cauchy distribution: alpha tells which, and the scale is found."""
    torch.manual_seed(0)
    noise = {"normal": 0.5 * torch.randn(4000), "cauchy": 0.5 * math.sqrt(2) * torch.empty(4000).cauchy_()}
    alphas, middle = {}, torch.tensor(3.0)
    for kind, errors in noise.items():
        free = [torch.nn.Parameter(torch.tensor(y)) for y in (0.0, 0.0, 0.0)]  # centre, alpha, scale
        optimiser = torch.optim.LBFGS(free, max_iter=100, line_search_fn="strong_wolfe")

        def closure(free=free, optimiser=optimiser, target=middle + errors):
            optimiser.zero_grad()
            alpha, scale = 2 * torch.sigmoid(free[1]), torch.nn.functional.softplus(free[2])
            loss = losskit.barron_loss(free[0].expand(4000), target, alpha=alpha, scale=scale, nll=True)
            loss.backward()
            return loss

        optimiser.step(closure)
        centre, alpha, scale = free[0], 2 * torch.sigmoid(free[1]), torch.nn.functional.softplus(free[2])
        alphas[kind] = alpha.item()
        found, truth = (
            losskit.barron_loss(middle + errors, c.detach().expand(4000), alpha=a, scale=s, nll=True).item()
            for c, a, s in ((centre, alpha.item(), scale.item()), (middle, 2.0 if kind == "normal" else 0.0, 0.5))
        )
        assert found <= truth  # no other numbers of these errors' own kind are likelier
        assert abs(centre.item() - 3.0) < 0.05
        alphas[kind] = alpha.item()
    assert alphas["normal"] > 1.7
    assert alphas["cauchy"] < 0.01 and abs(scale.item() - 0.5) < 0.01


def test_a_module_holds_alpha_as_a_parameter():
    module = losskit.BarronLoss(alpha=torch.nn.Parameter(torch.tensor(1.5)), scale=torch.nn.Parameter(torch.ones(3)), nll=True)
    assert [name for name, _ in module.named_parameters()] == ["alpha", "scale"]
    x, t = torch.tensor([[0.1, -0.2, 9.0]]), torch.zeros(1, 3)
    module(x, t).backward()
    assert module.alpha.grad.item() > 0  # an outlier asks for less alpha
    assert module.scale.grad[2] < 0 < module.scale.grad[0]
