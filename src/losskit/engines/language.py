"""The language formulas are written in, and the one function that binds a formula to an engine.

A formula is a plain Python function of scalars: assignments, arithmetic, comparisons, calls to the names below or to other formulas, one return.
No loops, no branches, no tensors. Because each name is also an ordinary function of Python floats, a formula can be called on two numbers and
stepped through in a debugger. An engine runs the same code object over its own table of names (`bind`).
"""

import dis
import inspect
import linecache
import math
from collections.abc import Callable, Mapping
from functools import cache
from types import CodeType, FunctionType
from typing import Any

SMALLEST_POSITIVE = 2.0**-1074  # of float64: formulas on Python floats
ROUNDING = 1e-6  # how far outside [0, 1] a probability may lie and still be read as 0 or 1


def absolute(x: float) -> float:
    """|x|."""
    return abs(x)


def sign(x: float) -> float:
    """-1, 0 or 1; NaN stays NaN, so that a NaN input is seen in the gradient."""
    return 1.0 if x > 0 else -1.0 if x < 0 else x * 0.0


def where(condition: bool, a: float, b: float) -> float:
    """`a` where the condition holds, else `b`; the value not chosen may be anything, NaN included."""
    return a if condition else b


def minimum(a: float, b: float) -> float:
    """The smaller of two; `b` is a plain number, a NaN in `a` stays."""
    return b if a > b else a


def maximum(a: float, b: float) -> float:
    """The larger of two; `b` is a plain number, a NaN in `a` stays."""
    return b if a < b else a


def sqrt(x: float) -> float:
    """Square root."""
    return math.sqrt(x) if x >= 0 else math.nan


def exp(x: float) -> float:
    """e to the x; 0 and infinity at the infinities."""
    return math.inf if x > 709.78 else math.exp(x)


def exp_neg(a: float) -> float:
    """exp(-a) for a >= 0: cheaper than `exp`."""
    return math.exp(-a)


def expm1(x: float) -> float:
    """e to the x, minus 1: exact to rounding near 0 as well."""
    return math.inf if x > 709.78 else math.expm1(x)


def exp_product(a: float, b: float) -> float:
    """exp(a * b) that also carries the rounding error of the product: at a * b = -80 a plain exp would lose two digits in float32."""
    return exp(a * b)


def expm1_product(a: float, b: float) -> float:
    """expm1(a * b), likewise."""
    return expm1(a * b)


def atan2(y: float, x: float) -> float:
    """The angle of a point of the first quadrant, 0 to pi/2; 0 at the origin."""
    return math.atan2(y, x + 0.0)  # of -0.0 it would be pi


def sine(x: float) -> float:
    """The sine of an angle; NaN at the infinities."""
    return math.sin(x) if abs(x) < math.inf else math.nan


def cosine(x: float) -> float:
    """The cosine of an angle, likewise."""
    return math.cos(x) if abs(x) < math.inf else math.nan


def log1p(x: float) -> float:
    """log(1 + x), exact to rounding near 0; x from -1 to infinity."""
    return math.log1p(x) if x > -1 else log_floored(0.0)


def log1p_unit(x: float) -> float:
    """log(1 + x) for x from 0 to 1: cheaper than `log1p`."""
    return math.log1p(x)


def log_floored(p: float) -> float:
    """log(p) of a probability, where 0 is read as the smallest positive number (float32: -103.3), so that no loss is infinite."""
    return math.log(p if p > 0 or p != p else SMALLEST_POSITIVE)


def log1m_floored(p: float) -> float:
    """log(1 - p) of a probability, 1 read as in `log_floored`; exact to rounding for tiny p."""
    return math.log1p(-p) if p < 1 or p != p else math.log(SMALLEST_POSITIVE)


def reciprocal(p: float) -> float:
    """1 / p for p >= 0, at most the largest finite number."""
    return min(1.0 / p, 1.7976931348623157e308) if p > 0 or p != p else 1.7976931348623157e308


def one_over(x: float) -> float:
    """1 / x for x >= 1e-37: cheaper than a division."""
    return 1.0 / x


def unit(p: float) -> float:
    """A number that must lie in [0, 1]: clipped if outside by rounding (1e-6), NaN if further out (the contract turns that NaN into an error)."""
    return p if 0 <= p <= 1 else 0.0 if -ROUNDING <= p < 0 else 1.0 if 1 < p <= 1 + ROUNDING else math.nan


def positive(x: float) -> float:
    """A number that must be > 0, NaN if it is not (the contract turns that NaN into an error)."""
    return x if x > 0 else math.nan


def non_negative(x: float) -> float:
    """A number that must be >= 0, NaN if it is not."""
    return x if x >= 0 else math.nan


PRIMITIVES: dict[str, Callable[..., float]] = {
    f.__name__: f
    for f in (
        absolute,
        sign,
        where,
        minimum,
        maximum,
        sqrt,
        exp,
        exp_neg,
        expm1,
        exp_product,
        expm1_product,
        atan2,
        sine,
        cosine,
        log1p,
        log1p_unit,
        log_floored,
        log1m_floored,
        reciprocal,
        one_over,
        unit,
        positive,
        non_negative,
    )
}


def identity(x, parameter):  # type: ignore[no-untyped-def]
    """The formula of a link that changes nothing: value and derivative."""
    return x, 1.0


def nonzero(x):  # type: ignore[no-untyped-def]
    """A number that must not be 0, NaN if it is."""
    return sign(x) * positive(absolute(x))


def signed_label(t):  # type: ignore[no-untyped-def]
    """A label, -1 or 1; NaN for any other number."""
    return nonzero(where(absolute(t) == 1.0, t, 0.0))  # type: ignore[no-untyped-call]


class FormulaError(TypeError):
    """A formula uses something outside the language."""


def bind(
    formula: Callable[..., Any],
    names: Mapping[str, Any],
    compiled: Callable[[FunctionType], Any] = lambda f: f,
    literal: Callable[[float], Any] | None = None,
    helper: Callable[[FunctionType], Any] | None = None,
) -> Any:
    """The formula's code over another table of names, helper formulas included: bound by `helper`, where they are to be shared, else anew.

    `literal` types the float constants: to Numba they are float64, and one of them silently turns a float32 formula into a slower, different one.
    """
    assert isinstance(formula, FunctionType)
    scope: dict[str, Any] = {"__builtins__": __builtins__}
    if "__name__" in formula.__globals__:  # what was written out has none, see `axes.py`
        scope["__name__"] = formula.__module__
    if "tl" in names:  # Triton's interpreter patches the module it finds under this name
        scope["tl"] = names["tl"]
    for name in formula.__code__.co_names:
        origin = formula.__globals__.get(name)
        if name in names:
            scope[name] = names[name]
        elif isinstance(origin, FunctionType):
            scope[name] = helper(origin) if helper else bind(origin, names, compiled, literal)
        else:
            raise FormulaError(f"formula {formula.__name__} uses {name!r}, which is neither a formula nor in the language: {', '.join(sorted(PRIMITIVES))}")
    if formula.__code__.co_freevars:
        raise FormulaError(f"formula {formula.__name__} uses names of an enclosing function: {', '.join(formula.__code__.co_freevars)}; pass them as arguments")
    code = formula.__code__
    if literal is not None:
        code = code.replace(co_consts=tuple(literal(c) if isinstance(c, float) else c for c in code.co_consts))
    bound = FunctionType(code, scope, formula.__name__)
    bound.__module__, bound.__qualname__ = formula.__module__, formula.__qualname__
    return compiled(bound)


@cache
def reads(formula: Callable[..., Any], count: int = 2) -> tuple[bool, ...]:
    """Whether the formula looks at each of its first arguments."""
    loaded = {i.argval for i in dis.get_instructions(formula) if i.opname.startswith("LOAD_FAST")}
    loaded |= {name for names in loaded if isinstance(names, tuple) for name in names}  # Python 3.13 loads two at once
    return tuple(name in loaded for name in list(inspect.signature(formula).parameters)[:count])


@cache
def derivatives(formula: Callable[..., Any]) -> int:
    """By how many of its operands the formula returns a derivative."""
    return len(formula(*(0.5,) * len(inspect.signature(formula).parameters))) - 1


@cache
def weighted(formula: Callable[..., Any]) -> Callable[..., Any]:
    """The formula times a weight w, with a derivative by the weight: one more operand, after those that the formula has a derivative by.

    An item of weight 0 is absent: it adds exactly 0, whatever its loss. The source is kept where `inspect` finds it, for Triton reads it.
    """
    arguments = list(inspect.signature(formula).parameters)
    known = derivatives(formula)
    slopes, weight = [f"by_{k}" for k in range(known)], f"weight_{known}"
    source = (
        f"def weighted({', '.join((*arguments[:known], weight, *arguments[known:]))}):\n"
        f"    value, {', '.join(slopes)} = formula({', '.join(arguments)})\n"
        f"    absent = {weight} == 0.0\n"
        f"    return where(absent, 0.0, value * {weight}), {''.join(f'where(absent, 0.0, {s} * {weight}), ' for s in slopes)}where(absent, 0.0, value)\n"
    )
    file = f"<{formula.__module__}.{formula.__qualname__} weighted>"
    scope: dict[str, Any] = {"formula": formula, "where": where, "__name__": formula.__module__}
    exec(compile(source, file, "exec"), scope)
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    made: FunctionType = scope["weighted"]
    del scope["__name__"]  # of no module: torch.compile would look names up there that it does not have
    made.__qualname__ = f"{formula.__qualname__}_weighted"
    return made


def fingerprint(formula: Callable[..., Any]) -> bytes:
    """What makes two formulas the same machine code: their byte code and constants, helpers included. Part of a compiled kernel's name."""
    assert isinstance(formula, FunctionType)
    code: CodeType = formula.__code__
    helpers = [formula.__globals__.get(n) for n in code.co_names if n not in PRIMITIVES]
    inner = b"".join(fingerprint(h) for h in helpers if isinstance(h, FunctionType))
    return code.co_code + repr((code.co_names, code.co_consts, code.co_varnames)).encode() + inner
