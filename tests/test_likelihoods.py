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


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", ["scale", "log_scale"])
def test_students_hard_regions(scale, dtype, engine):
    """Any degrees of freedom, far residuals, tiny scales."""
    r, size, df = columns(HARD, dtype)
    hard("student_t_nll_loss", (scale, "df"), engine, r, torch.zeros_like(r), size.log() if scale == "log_scale" else size, df)
