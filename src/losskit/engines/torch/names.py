"""The formula language on tensors. Arguments are tensors or numbers; constants that depend on the dtype are taken from the tensor at hand."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from losskit.engines.language import ROUNDING


def where(condition: Tensor, a: Tensor | float, b: Tensor | float) -> Tensor:
    chosen = torch.where(condition, a, b)
    # two numbers (0 or 1, say) take the default dtype: in float32, which holds them, they give way to what they meet
    return chosen if isinstance(a, Tensor) or isinstance(b, Tensor) else chosen.float()


def absolute(x: Tensor) -> Tensor:
    # its derivative at 0 is -1, not torch's 0: slopes written as where(r > 0, s, -s) with s a function of |r| keep their second derivative there
    return torch.where(x > 0, x, -x)


def sign(x: Tensor) -> Tensor:
    return torch.where(x > 0, 1.0, torch.where(x < 0, -1.0, x * 0.0))


def minimum(a: Tensor, b: float) -> Tensor:
    return a.clamp(max=b)


def maximum(a: Tensor, b: float) -> Tensor:
    return a.clamp(min=b)


def atan2(y: Tensor, x: Tensor) -> Tensor:
    return torch.atan2(y, x + 0.0)  # of -0.0 it would be pi


def exp_neg(a: Tensor) -> Tensor:
    return torch.exp(-a)


def exp_product(a: Tensor | float, b: Tensor) -> Tensor:
    return torch.exp(a * b)


def expm1_product(a: Tensor | float, b: Tensor) -> Tensor:
    return torch.expm1(a * b)


def log_floored(p: Tensor) -> Tensor:
    return torch.log(p.clamp(min=smallest(p.dtype)))


def log1p(x: Tensor) -> Tensor:
    return torch.log1p(x).clamp(min=math.log(smallest(x.dtype)))


def log1m_floored(p: Tensor) -> Tensor:
    return log1p(-p)


def reciprocal(p: Tensor) -> Tensor:
    largest = torch.finfo(p.dtype).max
    return (1.0 / p).clamp(max=largest)


def one_over(x: Tensor) -> Tensor:
    return 1.0 / x


def unit(p: Tensor) -> Tensor:
    return torch.where((p - 0.5).abs() <= 0.5 + ROUNDING, p.clamp(0.0, 1.0), math.nan)


def positive(x: Tensor) -> Tensor:
    return torch.where(x > 0.0, x, math.nan)


def non_negative(x: Tensor) -> Tensor:
    return torch.where(x >= 0.0, x, math.nan)


def smallest(dtype: torch.dtype) -> float:
    """The smallest positive number."""
    return torch.finfo(dtype).tiny * torch.finfo(dtype).eps


NAMES: dict[str, Callable[..., Any]] = {
    "sqrt": torch.sqrt,
    "sine": torch.sin,
    "cosine": torch.cos,
    "exp": torch.exp,
    "expm1": torch.expm1,
    "log1p_unit": torch.log1p,
} | {
    f.__name__: f
    for f in (
        where,
        absolute,
        sign,
        minimum,
        maximum,
        atan2,
        exp_neg,
        exp_product,
        expm1_product,
        log_floored,
        log1p,
        log1m_floored,
        reciprocal,
        one_over,
        unit,
        positive,
        non_negative,
    )
}
