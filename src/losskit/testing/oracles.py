"""What a loss should give: the textbook formula in arithmetic of hundreds of digits, which shares no code with the loss.

So many digits that cancellation in the plain formula does not matter: a logit of 80 on the right side leaves 1 - sigmoid(80) = 2e-35, and the difference
quotients below lose a third of the digits on purpose. Where a loss depends on many numbers (rows of classes), the textbook runs on numbers that remember what
they were computed from (`Traced`), and the chain rule is followed back to all of them in one sweep.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import mpmath
import torch
from torch import Tensor

from losskit.contract.patterns import HANDLING
from losskit.contract.registry import Loss
from losskit.engines.call import real_dtype
from losskit.testing.inputs import full_settings

Number = Any  # mpmath.mpf
ROUNDINGS = 8  # that the steps of a formula may add up to
FAR = (60, 120)  # powers of ten that stand in for infinity: a limit is finite where they agree


class Exact(NamedTuple):
    """One number per item. A derivative is None at a kink.

    `scale` is what an error is measured against: the number itself, but for soft targets that of the derivative is the sum of the sizes of its two terms
    (that of the positive and that of the negative label), since the derivative passes through 0 where the two are equal. A loss that is not the expected one
    over the two labels compares the target with the prediction, and may itself pass through 0 where they meet: there, see `felt`.
    """

    value: Number
    grad_input: Number | None
    grad_target: Number | None
    scale_input: Number
    scale_target: Number
    scale_value: Number


def context(dtype: torch.dtype) -> tuple[Any, int]:
    """The arithmetic to use for a dtype, and the power of ten of the relative step of difference quotients."""
    mp = mpmath.mp.clone()
    mp.dps = 800 if dtype is torch.float64 else 250
    return mp, 60


def derivative(mp: Any, f: Any, x: Number, power: int, unit: Number = 1) -> Number | None:
    """The central difference quotient; None at a kink, where the two one-sided ones differ however small the step. The step is relative to x; at 0, to `unit`."""
    h = (abs(x) or abs(unit) or mp.mpf(1)) * mp.mpf(10) ** -power
    middle = f(x)

    def sides(h: Number) -> tuple[Number, Number]:
        return (middle - f(x - h)) / h, (f(x + h) - middle) / h

    left, right = sides(h)
    if abs(left - right) > mp.mpf("1e-9") * abs(left + right):
        closer = sides(h * mp.mpf("1e-9"))
        if abs(closer[1] - closer[0]) > abs(right - left) / 2:
            return None
        if abs(left + right) < mp.mpf("1e-30") * abs(right - left):
            return mp.mpf(0)  # where the slopes on both sides differ in nothing but their sign: what is left is the size of the step
    return (left + right) / 2


def book_settings(loss: Loss, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a textbook takes: those that an item's loss depends on."""
    return {name: value for name, value in full_settings(loss, settings).items() if name not in HANDLING or name == "task"}


def number_settings(mp: Any, loss: Loss, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings as the textbook takes them: exact numbers; a weight of one element is a number."""
    result = {}
    for name, value in book_settings(loss, settings).items():
        value = value.tolist() if isinstance(value, Tensor) else value
        if isinstance(value, list):
            if len(value) != 1:
                raise ValueError(f"{name}: the oracle takes weights of one element, got {len(value)}")
            value = value[0]
        result[name] = mp.mpf(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value
    return result


class Traced:
    """A number that remembers what it was computed from."""

    __slots__ = ("place", "tape", "value")

    def __init__(self, tape: "Tape", value: Number, *parents: tuple["Traced", Number]) -> None:
        self.tape, self.value, self.place = tape, value, len(tape.steps)
        tape.steps.append(tuple((p.place, slope) for p, slope in parents))

    def __add__(self, b: Any) -> "Traced":
        return Traced(self.tape, self.value + b.value, (self, 1), (b, 1)) if isinstance(b, Traced) else Traced(self.tape, self.value + b, (self, 1))

    def __mul__(self, b: Any) -> "Traced":
        if isinstance(b, Traced):
            return Traced(self.tape, self.value * b.value, (self, b.value), (b, self.value))
        return Traced(self.tape, self.value * b, (self, b))

    def __pow__(self, g: Any) -> "Traced":
        """At 0, to which many digits too few have rounded a difference, a power below 1 counts as flat: what it multiplies shrinks faster."""
        if isinstance(g, Traced):
            power, by_power = self.__pow__(g.value), self.value**g.value * self.tape.mp.log(self.value) if self.value else 0
            return Traced(self.tape, power.value, (power, 1), (g, by_power))
        slope = g * self.value ** (g - 1) if self.value or g >= 1 else 0
        return Traced(self.tape, self.value**g, (self, slope))

    def __neg__(self) -> "Traced":
        return self.__mul__(-1)

    def __sub__(self, b: Any) -> "Traced":
        return self.__add__(-b)

    def __rsub__(self, b: Any) -> "Traced":
        return self.__neg__().__add__(b)

    def __truediv__(self, b: Any) -> "Traced":
        return self.__mul__(b.__pow__(-1)) if isinstance(b, Traced) else Traced(self.tape, self.value / b, (self, 1 / self.tape.mp.mpf(b)))

    def __rtruediv__(self, b: Any) -> "Traced":
        return self.__pow__(-1).__mul__(b)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __abs__(self) -> "Traced":
        """With the derivative 0 at 0."""
        return Traced(self.tape, abs(self.value), (self, self.tape.mp.sign(self.value)))

    def __lt__(self, b: Any) -> bool:
        return bool(self.value < (b.value if isinstance(b, Traced) else b))

    def __gt__(self, b: Any) -> bool:
        return bool(self.value > (b.value if isinstance(b, Traced) else b))

    __radd__, __rmul__ = __add__, __mul__


SLOPES: dict[str, Callable[[Number, Number], Number]] = {  # of a function, from its argument and its value
    "exp": lambda x, y: y,
    "log": lambda x, y: 1 / x,
    "tanh": lambda x, y: 1 - y * y,
    "sqrt": lambda x, y: 1 / (2 * y),
}


class Tape:
    """An mpmath context whose functions take `Traced` numbers too, and the record of what they did."""

    def __init__(self, mp: Any) -> None:
        self.mp = mp
        self.steps: list[tuple[tuple[int, Number], ...]] = []

    def __getattr__(self, name: str) -> Any:
        function, slope = getattr(self.mp, name), SLOPES.get(name)
        if slope is None:
            return function

        def traced(x: Any) -> Any:
            if not isinstance(x, Traced):
                return function(x)
            y = function(x.value)
            return Traced(self, y, (x, slope(x.value, y)))

        return traced

    def fsum(self, terms: Iterable[Any]) -> Any:
        """The sum of traced and other numbers."""
        held = list(terms)
        total = self.mp.fsum(v.value if isinstance(v, Traced) else v for v in held)
        parents = [(v, 1) for v in held if isinstance(v, Traced)]
        return Traced(self, total, *parents) if parents else total


class Slopes(NamedTuple):
    """A value, its derivatives, and the sizes of what each derivative is the sum of."""

    value: Number
    by: list[Number]
    sizes: list[Number]


def slopes(mp: Any, f: Callable[[Tape, list[Any]], Any], x: Sequence[Number]) -> Slopes:
    """The value of `f` at `x` and its exact derivatives."""
    tape = Tape(mp)
    result = f(tape, [Traced(tape, v) for v in x])
    if not isinstance(result, Traced):
        return Slopes(result, [mp.mpf(0)] * len(x), [mp.mpf(0)] * len(x))
    by, sizes = [mp.mpf(0)] * len(tape.steps), [mp.mpf(0)] * len(x)
    by[result.place] = mp.mpf(1)
    for place in range(len(tape.steps) - 1, -1, -1):
        if by[place]:
            for parent, slope in tape.steps[place]:
                by[parent] += slope * by[place]
                if parent < len(x):
                    sizes[parent] += abs(slope * by[place])
    return Slopes(result.value, by[: len(x)], sizes)


def remembered(mp: Any, loss: Loss) -> Callable[[Mapping[str, Any]], Number]:
    """The textbook at a point, by the names of its arguments, worked out once: difference quotients of values and of other quotients ask for the same neighbours."""
    known: dict[tuple[Any, ...], Number] = {}

    def book(point: Mapping[str, Any]) -> Number:
        key = tuple((name, getattr(number, "_mpf_", number)) for name, number in point.items())
        if key not in known:
            known[key] = loss.textbook(mp, **point)
        return known[key]

    return book


class Book(NamedTuple):
    """The textbook of a loss under some settings, and what it is differentiated with."""

    mp: Any
    loss: Loss
    settings: Mapping[str, Any]
    power: int
    shaken: float  # the relative step of `felt`, for a loss that needs it
    at: Callable[[Mapping[str, Any]], Number]


@lru_cache(maxsize=2)
def _book(loss_name: str, settings: tuple[tuple[str, Any], ...], dtype: torch.dtype) -> Book:
    from losskit import LOSSES

    loss = LOSSES[loss_name]
    mp, power = context(dtype)
    numbers = number_settings(mp, loss, dict(settings))
    step = ROUNDINGS * torch.finfo(real_dtype(dtype)).eps
    shaken = step if loss.cancels or (loss.target == "unit" and not expected_over_labels(mp, loss, numbers)) else 0.0
    return Book(mp, loss, numbers, power, shaken, remembered(mp, loss))


@lru_cache(maxsize=512)
def _exact(
    loss_name: str, settings: tuple[tuple[str, Any], ...], xs: tuple[float, ...], ts: tuple[float, ...], dtype: torch.dtype, to_target: bool
) -> list[Exact]:
    book = _book(loss_name, settings, dtype)
    return [exact_point(book, book.mp.mpf(x), book.mp.mpf(t), to_target) for x, t in zip(xs, ts, strict=True)]


def expected_over_labels(mp: Any, loss: Loss, settings: Mapping[str, Any]) -> bool:
    """Whether the loss for a soft target is the expected one, as cross-entropy is: then it has two terms, one a label."""
    x, t = mp.mpf("0.7"), mp.mpf("0.3")
    no, soft, yes = (loss.textbook(mp, x, label, **settings) for label in (mp.mpf(0), t, mp.mpf(1)))
    return bool(abs(soft - t * yes - (1 - t) * no) < mp.mpf("1e-12"))


def felt(f: Callable[[Number], Number], t: Number, shaken: Number) -> Number:
    """How much `f` changes by a rounding of a soft target, or of what it leaves to 1, whichever is smaller: its change by a few of them, over their size.

    Nothing that rounds its steps can be expected to be nearer. A finite step, not a derivative: beside a kink it sees the other side.
    """
    step = shaken * min(t, 1 - t)
    return max(abs(f(t + step) - f(t)), abs(f(t - step) - f(t))) / shaken


def shifts(mp: Any, loss: Loss, point: Mapping[str, Any], step: Number) -> list[dict[str, Any]]:
    """The arguments with one of them, or with the residual, off by a relative step; that of an operand of either sign is absolute, as if for its exponential."""
    x, t = point["x"], point["t"]
    least = mp.mpf(1 if point.get("log_input", True) else 0)  # a mean is off by a share of it
    found = [dict(point) | ({"t": x - (x - t) * (1 + step)} if loss.cancels == "residual" else {"x": x + step * max(abs(x), least)})]
    for operand in loss.operands_of(point):
        y = point[operand.name]
        found.append(dict(point) | {operand.name: y + step if operand.range == "real" else y * (1 + step)})
    return found


def felt_by_terms(mp: Any, loss: Loss, quantity: Callable[[Mapping[str, Any]], Number | None], point: Mapping[str, Any], step: Number) -> Number:
    """How much a quantity feels a rounding of each argument: for a loss whose terms may cancel."""
    if not loss.cancels:
        return mp.mpf(0)
    here = quantity(point) or 0
    return sum(abs((quantity(there) or 0) - here) for there in shifts(mp, loss, point, step)) / step


def size(x: Number | None) -> Number:
    """|x|; 0 for a derivative that does not exist."""
    return 0 if x is None else abs(x)


def exact_point(book: Book, x: Number, t: Number, to_target: bool) -> Exact:
    """Value and derivatives at one point."""
    mp, loss, settings, power, shaken, at = book

    def f(x: Number, t: Number, **other: Any) -> Number:
        return at({**settings, **other, "x": x, "t": t})

    grad_x = derivative(mp, lambda x: f(x, t), x, power)
    grad_t = derivative(mp, lambda t: f(x, t), t, power) if to_target else None
    value = f(x, t)
    scale, scale_x, scale_t = abs(value), size(grad_x), size(grad_t)
    if loss.target == "unit":
        smoothing = settings.get("label_smoothing") or mp.mpf(0)
        soft = t * (1 - smoothing) + smoothing / 2
        plain = {"label_smoothing": mp.mpf(0)} if "label_smoothing" in settings else {}
        no, yes = mp.mpf(0), mp.mpf(1)
        if shaken and 0 < t < 1:
            scale += felt(partial(f, x), t, shaken)
            scale_x += felt(lambda t: derivative(mp, lambda x: f(x, t), x, power) or 0, t, shaken)
        elif 0 < soft < 1:
            by_label = [size(derivative(mp, lambda x, label=label: f(x, label, **plain), x, power)) for label in (no, yes)]
            scale_x = (1 - soft) * by_label[0] + soft * by_label[1]
        if to_target:
            by_target = felt(lambda t: derivative(mp, lambda u: f(x, u), t, power) or 0, t, shaken) if shaken and 0 < t < 1 else 0
            scale_t = max((1 - smoothing) * (abs(f(x, no, **plain)) + abs(f(x, yes, **plain))), scale_t + by_target)
    if loss.cancels and shaken:
        point, step = {**settings, "x": x, "t": t}, mp.mpf(shaken)
        scale += felt_by_terms(mp, loss, at, point, step)
        scale_x += felt_by_terms(mp, loss, lambda p: derivative(mp, lambda x: f(**{**p, "x": x}), p["x"], power), point, step)
        if to_target:
            scale_t += felt_by_terms(mp, loss, lambda p: derivative(mp, lambda t: f(**{**p, "t": t}), p["t"], power), point, step)
    return Exact(value, grad_x, grad_t, scale_x, scale_t, scale)


def held(settings: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Settings to remember results by."""
    return tuple(sorted((k, v[0] if isinstance(v, list) and len(v) == 1 else v) for k, v in settings.items()))


def exact(loss: Loss, settings: Mapping[str, Any], x: Tensor, t: Tensor, *, to_target: bool = False) -> list[Exact]:
    """The oracle on every item of two tensors, which are taken as the exact numbers they hold. Results are kept for the next engine."""
    return _exact(loss.name, held(settings), tuple(x.reshape(-1).tolist()), tuple(t.reshape(-1).tolist()), x.dtype, to_target)


def limit(loss: Loss, settings: Mapping[str, Any], positive: bool, t: float, dtype: torch.dtype = torch.float32) -> tuple[float | None, float | None]:
    """Value and derivative by the input as the input goes to an infinity; None where the limit is infinite."""
    book = _book(loss.name, held(settings), dtype)._replace(shaken=0.0)
    mp, sign = book.mp, 1 if positive else -1
    near, far = (exact_point(book, sign * mp.mpf(10) ** p, mp.mpf(t), False) for p in FAR)

    def settled(a: Number, b: Number) -> float | None:
        return float(b) if abs(a - b) < mp.mpf("1e-15") * max(1, abs(b)) else None

    return settled(near.value, far.value), settled(near.grad_input, far.grad_input)


class Worst(NamedTuple):
    """The largest error, the item it belongs to, what was expected and what came."""

    error: float
    place: int
    expected: float
    got: float


def worst_error(got: Tensor, expected: Sequence[Number | None], scale: Sequence[Number] | None = None, dtype: torch.dtype | None = None) -> Worst:
    """The largest relative error, over the items whose exact result is a normal number of the dtype.

    Elsewhere: a smaller result may be off by the smallest normal number at most (else the error is infinite); one too large to be stored need only not be NaN.
    """
    info = torch.finfo(dtype or got.dtype)
    worst = Worst(0.0, 0, 0.0, 0.0)
    for i, (g, e) in enumerate(zip(got.detach().reshape(-1).tolist(), expected, strict=True)):
        if e is None:
            continue
        against = abs(e) if scale is None else scale[i]
        if abs(e) > info.max or against > info.max:
            error = float("inf") if g != g else 0.0
        elif g != g or g in (float("inf"), float("-inf")):
            error = float("inf")
        elif abs(e) < info.tiny:
            error = float(abs(g - e) / against) if against >= info.tiny else 0.0 if abs(g - e) <= info.tiny else float("inf")
        else:
            error = float(abs(g - e) / against)
        if error > worst.error:
            worst = Worst(error, i, float(e), g)
    return worst
