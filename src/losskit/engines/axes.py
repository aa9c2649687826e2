"""Formulas over axes: boxes in the plane and in space have one formula, and engines get it written out for two axes or for three.

Such a formula has a slash in its head. What stands before it are vectors, one number per axis; what follows are numbers:

    def apart(a0, a1, b0, b1, /, unit):
        low, high = ends(a0, a1, b0, b1)  # a formula of numbers, given vectors, is meant axis by axis, and so is arithmetic
        m = (high - low) * unit
        return total(m * m), m

`written_out(apart, 2)` is a formula of the language (`language.py`), with vectors in the order in which a box holds its corners:

    def apart(a0_x, a0_y, a1_x, a1_y, b0_x, b0_y, b1_x, b1_y, unit):
        v1, v2 = ends(a0_x, a1_x, b0_x, b1_x)
        v3 = (v2 - v1) * unit
        v4, v5 = ends(a0_y, a1_y, b0_y, b1_y)
        v6 = (v5 - v4) * unit
        return (v3 * v3) + (v6 * v6), v3, v6

No source is read for that: the formula's code runs over another table of names, as on every engine (`bind`), and its numbers remember how they were made. A loop
over the axes is thus allowed, and gone in what is written out. On vectors of floats the same code can be stepped through in a debugger (`over`).
"""

import inspect
import linecache
import operator
from collections.abc import Callable, Iterable
from functools import cache, partial
from itertools import count
from types import FunctionType
from typing import Any

from losskit.engines.language import PRIMITIVES, FormulaError, bind, where
from losskit.engines.private import constant_to_the_compiler

AXES = "xyz"
ORDER = count()  # in which numbers are made
SIGNS = dict(add="+", sub="-", mul="*", truediv="/", lt="<", le="<=", gt=">", ge=">=", eq="==", ne="!=", and_="&", or_="|")


class Arithmetic:
    """Operators of numbers that are being written out, and of vectors; put in below."""

    def __bool__(self) -> bool:
        raise FormulaError("a formula has no branches: use where(condition, a, b)")


class Number(Arithmetic):
    """A number of a formula that is being written out: a text with a place for each number that it is made of."""

    def __init__(self, text: str, *parts: Any) -> None:
        self.text, self.parts, self.order = text, parts, next(ORDER)
        self.uses = 0  # how many numbers are made of it
        self.written = ""  # what stands for it, once it is
        self.name = "v"
        self.results: tuple[Number, ...] = ()  # of a call, where it returns several
        for part in parts:
            if isinstance(part, Number):
                part.uses += 1


class Vector(Arithmetic, tuple[Any, ...]):
    """One number per axis."""


def each(act: Callable[..., Any], *given: Any) -> Any:
    """What a function of numbers gives for each axis, if an argument is a vector; of several results several vectors."""
    axes = next((len(v) for v in given if isinstance(v, Vector)), 0)
    if not axes:
        return act(*given)
    found = [act(*(v[k] if isinstance(v, Vector) else v for v in given)) for k in range(axes)]
    return tuple(map(Vector, zip(*found, strict=True))) if isinstance(found[0], tuple) else Vector(found)


def operated(act: Callable[..., Any], text: str, *given: Any) -> Any:
    """An operator on numbers."""
    return Number(text, *given) if any(isinstance(v, Number) for v in given) else act(*given)


def put_in(name: str, text: str) -> None:
    """An operator, and the same with what stands on its left."""
    of_two = partial(each, partial(operated, getattr(operator, name), text))
    setattr(Arithmetic, f"__{name.rstrip('_')}__", lambda self, *other: of_two(self, *other))
    if name in ("add", "sub", "mul", "truediv"):
        setattr(Arithmetic, f"__r{name}__", lambda self, other: of_two(other, self))


put_in("neg", "-{}")
for _name, _sign in SIGNS.items():
    put_in(_name, f"{{}} {_sign} {{}}")


# What a formula over axes may use of its vectors beside the language


def total(v: Any) -> Any:
    """The sum over the axes."""
    found = v[0]
    for x in v[1:]:
        found = found + x
    return found


def product(v: Any, first: Any = None) -> Any:
    """The product over the axes, times what comes `first`."""
    found = v[0] if first is None else first * v[0]
    for x in v[1:]:
        found = found * x
    return found


def largest(v: Any) -> Any:
    """The largest of the axes."""
    found = v[0]
    for x in v[1:]:
        found = WHERE(found > x, found, x)
    return found


def smallest(v: Any) -> Any:
    """The smallest of the axes."""
    found = v[0]
    for x in v[1:]:
        found = WHERE(found < x, found, x)
    return found


def nested(v: Any, inside: Any) -> Any:
    """v of the first axis, and inside the first axis that of the second, and so on: v_x + inside_x (v_y + inside_y v_z)."""
    found = v[-1]
    for x, share in reversed(list(zip(v[:-1], inside[:-1], strict=True))):
        found = x + share * found
    return found


def others(join: Callable[..., Any], *vectors: Any, **more: Any) -> Any:
    """For each axis what `join` makes of all the others; of what is given by name it takes that of the axis itself."""
    found = []
    for k in range(len(vectors[0])):
        own = {name: v[k] if isinstance(v, Vector) else v for name, v in more.items()}
        found.append(join(*(Vector(v[:k] + v[k + 1 :]) for v in vectors), **own))
    return Vector(found)


def later(v: Any, first: Any) -> Any:
    """For each axis the product of `first` there and v of the axes after it."""
    return Vector(product(v[k + 1 :], f) if k + 1 < len(v) else f for k, f in enumerate(first))


JOINS = (total, product, largest, smallest, nested, others, later)


# Running a formula over axes


def called(name: str, function: Callable[..., Any], *given: Any) -> Any:
    """A formula of numbers, or a name of the language: what it gives for floats, else a call of it."""
    if not any(isinstance(v, Number) for v in given):
        return function(*given)
    call = Number(f"{name}({', '.join(['{}'] * len(given))})", *given)
    call.name = name
    call.results = tuple(Number("", call) for _ in range(results(function)))
    return call.results or call


@cache
def results(formula: Callable[..., Any]) -> int:
    """How many numbers a formula returns in a tuple; 0 if it returns one as it is."""
    found = formula(*(0.5,) * len(inspect.signature(formula).parameters))
    return len(found) if isinstance(found, tuple) else 0


WHERE = partial(each, partial(called, "where", where))


def vectors_of(formula: FunctionType) -> int:
    """How many arguments are vectors; a formula of numbers has none."""
    return formula.__code__.co_posonlyargcount


def over(formula: FunctionType, *given: Any) -> Any:
    """The formula's own code on vectors and numbers: of floats, or of a formula that is being written out."""
    names: dict[str, Any] = {"range": range, "len": len, "reversed": reversed}
    for name in formula.__code__.co_names:
        origin = PRIMITIVES.get(name) or formula.__globals__.get(name)
        if origin in JOINS:
            names[name] = origin
        elif isinstance(origin, FunctionType):
            names[name] = partial(joined, name, origin) if vectors_of(origin) else partial(each, partial(called, name, origin))
    return bind(formula, names)(*given)


def joined(name: str, formula: FunctionType, *given: Any) -> Any:
    """Another formula over axes: what it gives for floats, else a call of it, written out. A number may stand for a vector of it, and a tuple for a vector."""
    many = vectors_of(formula)
    axes = next(len(v) for v in given if isinstance(v, Vector))
    vectors = [Vector(v if isinstance(v, tuple) else (v,) * axes) for v in given[:many]]
    numbers = given[many:]
    if any(isinstance(v, Vector) for v in numbers):
        raise FormulaError(f"formula {name} has {many} vectors before its slash, and takes a number for each argument after it")
    flat = [x for v in vectors for x in v] + list(numbers)
    if not any(isinstance(x, Number) for x in flat):
        return over(formula, *vectors, *numbers)
    made = written_out(formula, axes)
    found = called(name, made, *flat)
    parts = iter(found if isinstance(found, tuple) else (found,))
    told = tuple(Vector(next(parts) for _ in range(axes)) if vector else next(parts) for vector in made.vectors)  # type: ignore[attr-defined]
    return told if len(told) > 1 else told[0]


# Writing it out


def written_out(formula: Callable[..., Any], axes: int) -> FunctionType:
    """The formula of the language that a formula over axes is for so many axes; kept as an attribute of it, where the compiler can find it.

    A formula of numbers is written out as it is.
    """
    keep_written_out(formula, axes)
    return getattr(formula, f"over_{axes}")  # type: ignore[no-any-return]


def keep_written_out(formula: Callable[..., Any], axes: int) -> None:
    """Write a formula out the first time that it is asked for."""
    if not hasattr(formula, f"over_{axes}"):
        assert isinstance(formula, FunctionType)
        setattr(formula, f"over_{axes}", write(formula, axes) if vectors_of(formula) else formula)


constant_to_the_compiler(keep_written_out)  # it cannot trace the making of a function


def write(formula: FunctionType, axes: int) -> FunctionType:
    """The formula on numbers that remember how they are made, and a function that makes them. Its source is kept where `inspect` finds it, for Triton reads it."""
    many, code = vectors_of(formula), formula.__code__
    arguments = code.co_varnames[: code.co_argcount]
    vectors = [Vector(Number(f"{name}_{axis}") for axis in AXES[:axes]) for name in arguments[:many]]
    numbers = [Number(name) for name in arguments[many:]]
    found = over(formula, *vectors, *numbers)
    told = found if type(found) is tuple else (found,)
    flat = [x for v in told for x in (v if isinstance(v, Vector) else (v,))]
    for x in flat:
        if isinstance(x, Number):
            x.uses += 1
    lines: list[str] = []
    for x in sorted(needed(flat), key=lambda x: x.order):  # in the order of the formula
        if x.results or (x.uses > 1 and x.parts):
            text_of(x, lines)
    returned = [text_of(x, lines) for x in flat]
    head = ", ".join(x.text for x in (*(x for v in vectors for x in v), *numbers))
    source = "\n    ".join([f"def {formula.__name__}({head}):", *lines, f"return {', '.join(returned)}\n"])
    file = f"<{formula.__module__}.{formula.__qualname__} over {axes} axes>"
    while file in linecache.cache:  # of another function of that name
        file = f"<{file}>"
    scope: dict[str, Any] = {}  # of no module: torch.compile would look names up there that it does not have
    for name in code.co_names:
        origin = PRIMITIVES.get(name) or formula.__globals__.get(name)
        if isinstance(origin, FunctionType) and origin not in JOINS:
            scope[name] = written_out(origin, axes) if vectors_of(origin) else origin
    scope["where"] = where
    exec(compile(source, file, "exec"), scope)
    linecache.cache[file] = len(source), None, source.splitlines(keepends=True), file
    made: FunctionType = scope[formula.__name__]
    made.__module__ = formula.__module__
    made.vectors = tuple(isinstance(v, Vector) for v in told)  # type: ignore[attr-defined]
    return made


def needed(numbers: Iterable[Any]) -> list[Number]:
    """The numbers that some are made of, and these."""
    found: dict[int, Number] = {}
    ahead = [x for x in numbers if isinstance(x, Number)]
    while ahead:
        x = ahead.pop()
        if id(x) not in found:
            found[id(x)] = x
            ahead += [part for part in x.parts if isinstance(part, Number)]
    return list(found.values())


def text_of(x: Any, lines: list[str]) -> str:
    """What stands for a number from here on. What is used more than once, and what calls return, gets a line and a name."""
    if not isinstance(x, Number):
        return repr(x)
    if not x.written:
        source = x.parts[0] if not x.text else x  # a call that returns several, or the number itself
        made = source.text.format(*(text_of(part, lines) for part in source.parts))
        if source.results:
            for k, result in enumerate(source.results):
                result.written = f"{source.name}{len(lines)}_{k}" if result.uses else "_"
            lines.append(f"{', '.join(result.written for result in source.results)} = {made}")
        elif not x.parts:
            x.written = made
        elif x.uses > 1:
            x.written = f"{x.name}{len(lines)}"
            lines.append(f"{x.written} = {made}")
        else:
            x.written = made if x.text.endswith(")") else f"({made})"
    return x.written
