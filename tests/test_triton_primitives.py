"""The primitives of the Triton engine against exact arithmetic; where they run, as `on_triton.py` says."""

import math

import mpmath
import numpy as np
import pytest
import torch
from on_triton import DEVICE, ROUNDING, surroundings, tl, triton  # noqa: F401

from losskit.engines import language
from losskit.engines.triton.math import NAMES

INF, NAN = math.inf, math.nan


@triton.jit
def primitive_kernel(A, B, OUT, F: tl.constexpr, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    a = tl.load(A + i)
    if B is not None:
        tl.store(OUT + i, F(a, tl.load(B + i)))
    else:
        tl.store(OUT + i, F(a))


def evaluate(name, values, dtype, others=None):
    """A primitive on up to 256 numbers."""
    size = len(values)
    a = torch.zeros(256, dtype=dtype)
    a[:size] = torch.tensor(values, dtype=torch.float64).to(dtype)
    b = None
    if others is not None:
        b = torch.zeros(256, dtype=dtype)
        b[:size] = torch.tensor(others, dtype=torch.float64).to(dtype)
    out = torch.empty(256, dtype=dtype)
    primitive_kernel[(1,)](a, b, out, F=NAMES[name], BLOCK=256)
    return a[:size].tolist(), None if b is None else b[:size].tolist(), out[:size].tolist()


def sizes(low, high, count=60):
    """Numbers spread evenly in the logarithm."""
    return [float(s) for s in np.exp(np.linspace(math.log(low), math.log(high), count))]


def both(numbers):
    return [*numbers, *(-n for n in numbers)]


SMALL = [1e-45, 1e-40, 1.2e-38, 1e-30, 1e-20, 1e-10, 1e-8, 6e-8, 1.2e-7, 1e-5]
PROBABILITIES = [*SMALL, *sizes(1e-4, 0.5, 40), 0.6, 0.75, 0.9, 0.99, 1 - 1e-4, 1 - 6e-8]
ANGLES = [0.0, *both(SMALL[2:]), *(float(v) for v in np.linspace(-20.0, 20.0, 200)), 300.0, -1000.3]
UNARY = {
    "absolute": ([0.0, *both(sizes(1e-38, 1e38)), INF, -INF], abs),
    "sqrt": ([0.0, *SMALL, *sizes(1e-4, 1e38)], mpmath.sqrt),
    "exp": ([0.0, *both(SMALL), *both(sizes(1e-4, 87.0)), 88.7], mpmath.exp),
    "exp_neg": ([0.0, *SMALL, *sizes(1e-4, 87.0), 90.0, 95.0, 100.0, 103.0], lambda a: mpmath.exp(-a)),
    "expm1": ([*both(SMALL), *both(sizes(1e-4, 87.0)), 88.7, -200.0], mpmath.expm1),
    "log1p": ([*both(SMALL), *both(sizes(1e-4, 0.99)), *sizes(1.0, 3e38), -1 + 6e-8], mpmath.log1p),
    "log1p_unit": ([*SMALL, *sizes(1e-4, 1.0)], mpmath.log1p),
    "log_floored": ([*PROBABILITIES, 1.0, 2.0, 1e30], mpmath.log),
    "log1m_floored": (PROBABILITIES, lambda p: mpmath.log1p(-p)),
    "reciprocal": ([3e-39, *SMALL[2:], *sizes(1e-4, 1e38)], lambda p: 1 / p),
    "one_over": ([1e-37, *SMALL[3:], *sizes(1e-4, 3.4e38)], lambda x: 1 / x),
    "sine": (ANGLES, mpmath.sin),
    "cosine": (ANGLES, mpmath.cos),
    "unit": ([0.0, 1.0, *PROBABILITIES], lambda p: p),
    "positive": (PROBABILITIES, lambda p: p),
    "non_negative": ([0.0, *PROBABILITIES], lambda p: p),
}


def relative_error(got, exact, dtype):
    """The relative error, less the last place of denormal numbers, which have fewer digits by nature."""
    info, exact = torch.finfo(dtype), mpmath.mpf(exact)
    if not math.isfinite(got) or exact == 0:
        return 0.0 if got == exact else INF
    return float(max(abs(got - exact) - info.tiny * info.eps, 0) / abs(exact))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", UNARY)
def test_primitive_of_one(name, dtype):
    values, exact = UNARY[name]
    if dtype is torch.float64:
        values = [*values, *([-500.0, 700.0] if name == "exp" else []), *([1e-300, 5e-324] if name == "log_floored" else [])]
    given, _, got = evaluate(name, values, dtype)
    with mpmath.workdps(60):
        worst = max(
            (relative_error(g, exact(mpmath.mpf(v)), dtype), v) for v, g in zip(given, got, strict=True) if v != 0 or name not in ("log_floored", "reciprocal")
        )
    assert worst[0] < ROUNDING[dtype], worst


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["exp_product", "expm1_product"])
def test_primitive_of_a_product(name, dtype):
    a = [float(v) for v in np.linspace(-80.3, 80.7, 120)]
    b = [float(v) for v in np.linspace(0.93, 1.07, 120)]
    given_a, given_b, got = evaluate(name, a, dtype, b)
    exact = mpmath.exp if name == "exp_product" else mpmath.expm1
    with mpmath.workdps(60):
        worst = max(relative_error(g, exact(mpmath.mpf(p) * mpmath.mpf(q)), dtype) for p, q, g in zip(given_a, given_b, got, strict=True))
    assert worst < ROUNDING[dtype]
    edges = evaluate(name, [2.0, -2.0, 1e38, -1e38, INF, -INF, NAN], dtype, [5000.0, 5000.0, 1e38, 1e38, 1.0, 1.0, 1.0])[2]
    nothing = 0.0 if name == "exp_product" else -1.0
    assert edges[:6] == [INF, nothing, INF, nothing, INF, nothing] and math.isnan(edges[6])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_primitives_at_the_edges(dtype):
    info = torch.finfo(dtype)
    smallest = info.tiny * info.eps
    floor = math.log(smallest)
    cases = {
        "exp": {INF: INF, -INF: 0.0, 1e4: INF, -1e4: 0.0},
        "exp_neg": {INF: 0.0, 1e30: 0.0, 1e4: 0.0},
        "expm1": {INF: INF, -INF: -1.0, 1e4: INF, 0.0: 0.0},
        "log1p": {INF: INF, -1.0: floor, 0.0: 0.0},
        "log_floored": {0.0: floor, smallest: floor, INF: INF, 1.0: 0.0},
        "log1m_floored": {1.0: floor, 0.0: 0.0},
        "reciprocal": {0.0: info.max, smallest: info.max, INF: 0.0},
        "unit": {-5e-7: 0.0, 1 + 5e-7: 1.0},
        "sign": {2.0: 1.0, -INF: -1.0, INF: 1.0, 0.0: 0.0, smallest: 1.0},
        "sqrt": {INF: INF},
        "one_over": {INF: 0.0},
    }
    for name, expected in cases.items():
        got = evaluate(name, list(expected), dtype)[2]
        for value, g in zip(expected.values(), got, strict=True):
            assert g == pytest.approx(value, rel=2e-7), (name, list(expected), got)
    assert evaluate("log_floored", [-0.0], dtype)[2] == [pytest.approx(floor)] and evaluate("reciprocal", [-0.0], dtype)[2] == [info.max]
    assert all(math.isnan(v) for v in evaluate("unit", [-2e-6, 1 + 2e-6, INF, -INF], dtype)[2])
    assert all(math.isnan(v) for v in evaluate("positive", [0.0, -0.0, -1e-30, -INF], dtype)[2])
    assert all(math.isnan(v) for v in evaluate("non_negative", [-1e-30, -INF], dtype)[2])
    for name in (*UNARY, "sign"):
        assert math.isnan(evaluate(name, [NAN], dtype)[2][0]), name
    values = [1.0, -3.0, INF, -INF, NAN]
    for name in ("minimum", "maximum"):
        got = evaluate(name, values, dtype, [0.5] * 5)[2]
        assert got[:4] == [getattr(language, name)(v, 0.5) for v in values[:4]] and math.isnan(got[4])


def test_every_primitive_is_there_and_tested():
    tested = {*UNARY, "sign", "minimum", "maximum", "exp_product", "expm1_product", "where", "atan2"}  # the losses test `where`, boxes `atan2`
    assert set(language.PRIMITIVES) == tested == set(NAMES) - {"tl"}
