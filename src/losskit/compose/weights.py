"""Weights of parts: numbers, schedules (a function of the step), or learned ones."""

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from losskit.contract import checks
from losskit.contract.registry import refuse_script

Schedule = Callable[[float], float]  # the weight at a step
Likelihood = Literal["gaussian", "softmax"]


class UncertaintyWeight(nn.Module):
    """A weight that is learned: the loss counts less, the larger its noise is found to be (uncertainty weighting). `UncertaintyWeight() * loss` in a sum.

    Formula:
        a exp(-s) L + s / 2, with the parameter s = log sigma^2, the logarithm of the noise's variance; a = 1/2 with likelihood="gaussian", 1 with "softmax". For a fixed
        L it is least at exp(s) = 2 a L.

    Args:
        log_variance: what s is at first. 0 gives the weight a.
        likelihood: "gaussian" for a squared error, whose likelihood has L / (2 sigma^2); "softmax" for a cross-entropy, whose scores are divided by sigma^2.

    Raises:
        TypeError, ValueError: `log_variance` is not a finite number, `likelihood` is unknown.

    Notes:
        `log_variance` is a parameter: give `loss.parameters()` to the optimiser, too, best without weight decay. Among the parts of a sum, s / 2 is a part of its own,
        "name/log_variance". The total may be negative.

    Reference:
        Kendall, Gal and Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics, 2018.

    Example:
        >>> import torch, losskit
        >>> loss = losskit.Sum({"depth": (losskit.UncertaintyWeight(log_variance=1.0), losskit.MSELoss())})
        >>> loss(torch.tensor([3.0]), torch.tensor([1.0]))  # exp(-1) 4 / 2 + 1 / 2
        tensor(1.2358, grad_fn=<AddBackward0>)
    """

    log_variance: nn.Parameter
    __prepare_scriptable__ = refuse_script

    def __init__(self, log_variance: float = 0.0, likelihood: Likelihood = "gaussian") -> None:
        super().__init__()
        start = checks.number("log_variance", log_variance)
        checks.one_of("likelihood", likelihood, get_args(Likelihood))
        self.likelihood = likelihood
        self.log_variance = nn.Parameter(torch.full((), start, dtype=torch.get_default_dtype(), device=checks.home()))

    def forward(self) -> tuple[Tensor, Tensor]:
        """What multiplies the loss, and what is added."""
        weight = torch.exp(-self.log_variance)
        return (0.5 * weight if self.likelihood == "gaussian" else weight), 0.5 * self.log_variance

    def extra_repr(self) -> str:
        """The setting."""
        return f"likelihood={self.likelihood!r}"


def number(name: str, value: Any) -> float:
    """A weight that is a number."""
    if isinstance(value, Tensor):
        fix = "losskit.UncertaintyWeight()" if value.requires_grad else repr(value.item()) if value.numel() == 1 and checks.readable(value) else "float(...)"
        raise TypeError(
            f"{name} must be a number, a function of the step or losskit.UncertaintyWeight(), got a tensor of shape {checks.shown(value.shape)}: try {fix}"
        )
    if isinstance(value, Real) and not isinstance(value, bool) and value < 0:
        raise ValueError(f"{name} must be >= 0, got {value!r}. Where a part is to be as large as possible, subtract its value from that of the sum")
    return checks.number(name, value, low=0.0)


def scheduled(name: str, schedule: Schedule, step: float) -> Tensor:
    """The weight at a step, as a tensor: in a compiled graph another number would be another graph."""
    try:
        value = schedule(step)
    except Exception as error:
        error.add_note(f"This is the weight of {name!r}, {shown(schedule)}, at step {step:g}.")
        raise
    return checked(name, schedule, step, value)


def check_schedule(name: str, schedule: Schedule) -> None:
    """What is wrong with a schedule is said when the loss is made, unless it raises itself: of a step that may never be said."""
    try:
        first = schedule(0)
    except Exception:
        return
    checked(name, schedule, 0, first)


def checked(name: str, schedule: Schedule, step: float, value: object) -> Tensor:
    """What a schedule gave, as a tensor."""
    told = f"the weight of {name!r}, {shown(schedule)}, at step {step:g}"
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{told} must be a number, got {type(value).__name__}: {value!r}. Return a float, such as float(value)")
    if not (0.0 <= float(value) < math.inf):
        raise ValueError(f"{told} must be finite and >= 0, got {value!r}: mend the schedule, for example by max(0.0, ...)")
    return torch.full((), float(value), dtype=torch.float64, device="cpu")


def shown(schedule: Schedule) -> str:
    """A schedule as it is called."""
    return f"{getattr(schedule, '__name__', type(schedule).__name__)}(step)"


def times(value: Tensor, weight: float | Tensor) -> Tensor:
    """A loss times a weight, without a graph or learned. Times 0 it is 0, also where it is infinite."""
    if not isinstance(weight, Tensor):
        return value * weight if weight else torch.where(torch.zeros_like(value, dtype=torch.bool), value, 0.0)
    weight = weight.to(value.dtype)
    return torch.where(torch.full_like(value.detach(), 1.0) * weight != 0.0, value * weight, 0.0)
