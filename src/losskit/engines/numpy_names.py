"""The formula language on NumPy arrays of float64: for formulas of a few numbers, where an operation on tensors would cost more than all the arithmetic."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy

from losskit.engines.language import SMALLEST_POSITIVE, bind


def log_floored(p: Any) -> Any:
    return numpy.log(numpy.maximum(p, SMALLEST_POSITIVE))


def exp_product(a: Any, b: Any) -> Any:
    return numpy.exp(a * b)


def exp_neg(a: Any) -> Any:
    return numpy.exp(-a)


NAMES: dict[str, Callable[..., Any]] = {
    "where": numpy.where,
    "absolute": numpy.abs,
    "sign": numpy.sign,
    "minimum": numpy.minimum,
    "maximum": numpy.maximum,
    "sqrt": numpy.sqrt,
    "atan2": numpy.arctan2,
    "sine": numpy.sin,
    "cosine": numpy.cos,
    "exp": numpy.exp,
    "expm1": numpy.expm1,
    "log1p": numpy.log1p,
    "log1p_unit": numpy.log1p,
    "log_floored": log_floored,
    "exp_product": exp_product,
    "exp_neg": exp_neg,
}


@cache
def in_numpy(formula: Callable[..., Any]) -> Callable[..., Any]:
    """The formula on arrays."""
    return bind(formula, NAMES)  # type: ignore[no-any-return]
