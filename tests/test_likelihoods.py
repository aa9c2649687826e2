"""Likelihoods with several predicted numbers: what their docstrings claim, and their digits in the regions where differences of log-gamma lose them."""

import math

import pytest
import torch
from claims import claim
from torch.distributions import StudentT

import losskit
from losskit.testing.operand_laws import against_oracle
from losskit.testing.operands import subjects

SUBJECTS = list(subjects())


@pytest.fixture(autouse=True)
def formulas_alone():
    """What is claimed here is claimed of formulas: PyTorch operations say it, and loops where a test asks for them."""
    with losskit.use_engine("torch"):
        yield


NONE = {"reduction": "none"}


def gradients(function, *numbers, **settings):
    """Value and gradients to all of the numbers, per element."""
    leaves = [y.clone().requires_grad_() for y in numbers]
    value = function(*leaves, **{**settings, **NONE})
    return value.detach(), *torch.autograd.grad(value.sum(), leaves)


def columns(rows, dtype):
    """Numbers of points as tensors."""
    return tuple(torch.tensor(column, dtype=dtype) for column in zip(*rows, strict=True))


def hard(name, operands, engine, *numbers, **settings):
    """The registry's tolerance holds for value and every gradient at these points."""
    s = next(s for s in SUBJECTS if s.loss.name == name and s.names == operands and settings.items() <= s.settings.items())
    with losskit.use_engine(engine):
        against_oracle(s.with_dtype(numbers[0].dtype), numbers)


def student(x, t, scale, df, **settings):
    return losskit.student_t_nll_loss(x, t, scale, df=df, **settings)


@claim("student_t_nll_loss", "A scalar, or with reduction")
@claim("student_t_nll_loss", "The farther the target, the weaker its pull")
@claim("student_t_nll_loss", "For large `df` it is `gaussian_nll_loss`")
@claim("student_t_nll_loss", "The scale is not the standard deviation")
@claim("student_t_nll_loss", "torch has no such loss; with full=True")
def test_students_tails():
    x, t = torch.randn(9), torch.randn(9)
    scale, df = torch.rand(9) + 0.1, torch.rand(9) * 20 + 0.5
    each = student(x, t, scale, df, full=True, **NONE)
    torch.testing.assert_close(each, -StudentT(df, x, scale).log_prob(t), rtol=2e-6, atol=2e-6)
    assert student(x, t, scale, df).shape == () and each.shape == x.shape and not hasattr(torch.nn.functional, "student_t_nll_loss")
    for full in (False, True):
        for many in (1e12, 1e30, 1e35, math.inf):
            gaussian = gradients(lambda x, t, std, **how: losskit.gaussian_nll_loss(x, t, std=std, **how), x, t, scale, full=full)
            limit = gradients(losskit.student_t_nll_loss, x, t, scale, df=torch.tensor(many), full=full)
            for got, expected in zip(limit, gaussian, strict=True):
                torch.testing.assert_close(got, expected, rtol=2e-6, atol=1e-6)
    zeros, far = torch.zeros(5), torch.tensor([0.0, 1.0, 10.0, 1e3, 1e30])
    pull = gradients(student, far, zeros, torch.ones(5), torch.full((5,), 2.0))[1]
    assert pull[0] == 0 and (pull[1:-1] > pull[2:]).all() and (pull[1:] > 0).all()
    draws = StudentT(torch.tensor(6.0, dtype=torch.float64), 0.0, 1.0).sample((200_000,))
    assert abs(draws.std().item() / math.sqrt(6 / 4) - 1) < 0.05 and StudentT(torch.tensor(2.0)).variance == math.inf


HARD = [  # residual, scale, df
    *((0.7, 1.5, df) for df in (1e-3, 1e-2, 0.3, 3.9, 4.0, 4.1, 1e2, 1e4, 1e6, 1e12)),
    *((r, 1.0, df) for r in (1e-20, 1e10, 1e30) for df in (1e-3, 1.0, 1e4, 1e15)),
    *((r, 1e-30, df) for r in (1e-35, 1e-30, 1.0, 1e30) for df in (1e-3, 3.0, 1e15)),
]


@pytest.mark.sparse(2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", ["scale", "log_scale"])
def test_students_hard_regions(scale, dtype):
    """Any degrees of freedom, far residuals, tiny scales; on both engines, and in float64 one formula on that of loops."""
    r, size, df = columns(HARD, dtype)
    for engine in ("cpu", "torch") if dtype is torch.float32 or scale == "scale" else ("torch",):
        hard("student_t_nll_loss", (scale, "df"), engine, r, torch.zeros_like(r), size.log() if scale == "log_scale" else size, df)


def authors(x, t, nu, alpha, beta, coeff):
    """As their code has it."""
    omega = 2 * beta * (1 + nu)
    value = 0.5 * torch.log(math.pi / nu) - alpha * torch.log(omega) + (alpha + 0.5) * torch.log(nu * (t - x) ** 2 + omega)
    return value + torch.lgamma(alpha) - torch.lgamma(alpha + 0.5) + coeff * (t - x).abs() * (2 * nu + alpha)


def slopes(function, numbers, **settings):
    """Value and gradients of one item, as numbers."""
    leaves = [y.clone().requires_grad_() for y in numbers]
    value = function(*leaves, **settings).sum()
    return [value.item(), *(g.item() for g in torch.autograd.grad(value, leaves))]


@claim("evidential_nll_loss", "A scalar, or with reduction")
@claim("evidential_nll_loss", "With coeff=0 it is")
@claim("evidential_nll_loss", "The likelihood alone feels")
@claim("evidential_nll_loss", "At an error of 0 the price")
@claim("evidential_nll_loss", "More than 5e29")
@claim("evidential_nll_loss", "torch has no such loss")
def test_evidence():
    x, t, *found = torch.randn(2, 9).double(), torch.randn(2, 9).double(), *(torch.rand(3, 2, 9).double() + 0.2)
    nu, alpha, beta = found
    each = losskit.evidential_nll_loss(x, t, *found, coeff=0.3, **NONE)
    torch.testing.assert_close(each, authors(x, t, *found, 0.3))
    assert each.shape == x.shape and losskit.evidential_nll_loss(x, t, *found).shape == () and not hasattr(torch.nn.functional, "evidential_nll_loss")

    def scale(nu, beta):
        return (beta * (1 + nu) / (nu * alpha)).sqrt()

    bare = losskit.evidential_nll_loss(x, t, *found, coeff=0.0, **NONE)
    torch.testing.assert_close(bare, losskit.student_t_nll_loss(x, t, scale(nu, beta), df=2 * alpha, full=True, **NONE))
    other = beta * (1 + nu) / nu / (1 + 1 / (2 * nu))  # another nu, the same scale
    torch.testing.assert_close(scale(2 * nu, other), scale(nu, beta))
    torch.testing.assert_close(losskit.evidential_nll_loss(x, t, 2 * nu, alpha, other, coeff=0.0, **NONE), bare)
    assert not torch.allclose(losskit.evidential_nll_loss(x, t, 2 * nu, alpha, other, **NONE), losskit.evidential_nll_loss(x, t, *found, **NONE))
    assert gradients(losskit.evidential_nll_loss, x, x, *found)[1].abs().max() == 0
    many = [losskit.evidential_nll_loss(x, t, nu, torch.full_like(x, a), a * beta, coeff=0.0, **NONE) for a in (5e29, 5e35)]
    assert all(v.isfinite().all() for v in many)


@claim("evidential_nll_loss", "The authors' formula subtracts log-gammas")
@pytest.mark.parametrize("alpha", [2.0, 1e2, 1e4, 1e6])
def test_evidence_keeps_its_digits(alpha):
    numbers = [torch.tensor(v) for v in (0.3, 0.5, 1.2, alpha, 3 * alpha)]
    exact = slopes(losskit.evidential_nll_loss, [y.double() for y in numbers], coeff=0.0)
    ours, theirs = (slopes(f, numbers, coeff=0.0) for f in (losskit.evidential_nll_loss, authors))
    assert all(abs(a - b) < 2e-6 * abs(b) for a, b in zip(ours, exact, strict=True))
    off = abs(theirs[4] / exact[4] - 1)
    assert off > {1e4: 0.01, 1e6: 0.5}.get(alpha, 0.0)


@pytest.mark.parametrize("name", ["nu", "alpha", "beta"])
def test_evidence_needs_all_four(name):
    given = {"nu": 1.0, "alpha": 2.0, "beta": 1.0}
    with pytest.raises(ValueError, match=f"{name} must be given, got None"):
        losskit.evidential_nll_loss(torch.ones(3), torch.ones(3), **{**given, name: None})
    with pytest.raises(ValueError, match=f"{name} must be > 0"):
        losskit.evidential_nll_loss(torch.ones(3), torch.ones(3), **{**given, name: torch.tensor([1.0, -1.0, 1.0])})
