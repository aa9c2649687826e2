"""Argument checks. Each message names the argument, shows what came and what was expected, and where it can be said, the one-line fix."""

import itertools
import math
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from numbers import Real
from typing import Any, get_args

import torch
from torch import Tensor

from losskit.contract import habits, tensors
from losskit.contract.topk import Kept, TopK
from losskit.engines import private
from losskit.engines.private import compiling

Reduction = Kept | TopK
REDUCTIONS: tuple[Kept, ...] = get_args(Kept)
Numbers = Tensor | Sequence[float]  # weights: a tensor, or a list that becomes one

# arguments that must lie in [0, 1], and what to do where they do not
UNIT_INPUT = {"input": "for logits, leave from_logits=True"}
UNIT_TARGET = {"target": "targets are probabilities or 0/1 labels{mark}"}  # {mark}: what to do with a whole number that marks what is absent
SOFT_TARGET = {"target": "targets are probabilities. To leave an item out, use mask= (True = counts), without the class axis"}

_validating: ContextVar[bool] = ContextVar("losskit_validate", default=False)
_shapes_alone: ContextVar[bool] = ContextVar("losskit_shapes_alone", default=False)


@contextmanager
def validate() -> Iterator[None]:
    """Check values on every device inside the block, at the cost of one synchronisation per call.

    On CPU the values of targets, probabilities and weights are always checked. On a GPU a check would stall the stream, so outside this block an item
    with a bad value gives NaN instead of an error. The same holds for tensor subclasses; inside the block they are checked, unless they dispatch their
    operations themselves. Inside torch.func transforms, and while tracing or compiling, there are no values to check.

    >>> import torch, losskit
    >>> with losskit.validate():
    ...     losskit.binary_cross_entropy_with_logits(torch.tensor([0.5]), torch.tensor([1.0]))
    tensor(0.4741)
    """
    token = _validating.set(True)
    try:
        yield
    finally:
        _validating.reset(token)


@contextmanager
def shapes_alone() -> Iterator[None]:
    """A call inside is checked for what its tensors are, not for what they hold: a module checks its settings so, on tensors of nothing."""
    token = _shapes_alone.set(True)
    try:
        yield
    finally:
        _shapes_alone.reset(token)


def readable(x: Tensor) -> bool:
    """Whether the values of `x` may be read now: it has some, nothing is being traced, and reading forces no synchronisation (or `validate` allows one).

    A subclass that only carries a name or facts (a picture's mask, an annotated tensor) holds its numbers as plain tensors do; one with a dispatch of its own
    may hold none.
    """
    if traced() or x.is_meta or _shapes_alone.get():
        return False
    if type(x) is Tensor or isinstance(x, torch.nn.Parameter):
        return x.is_cpu or _validating.get()
    return _validating.get() and type(x).__torch_dispatch__ is Tensor.__torch_dispatch__


def traced() -> bool:
    """Whether this call is being compiled, transformed or recorded: no tensor has numbers then."""
    if compiling() or private.transforming() or private.dispatching():
        return True
    return private.tracing() is not None


def values(x: Tensor) -> Tensor:
    """The numbers of a readable tensor without its graph and without what a subclass makes of operations."""
    return x.detach().as_subclass(Tensor)


def shown(shape: Sequence[int]) -> str:
    """A shape as people write it."""
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"


def number(
    name: str,
    value: float,
    *,
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    below: float | None = None,
    infinite: bool = False,
) -> float:
    """A number argument within its range: low <= value <= high, above < value < below; finite unless `infinite`."""
    if type(value) is not float and (isinstance(value, bool) or not isinstance(value, Real)):
        raise TypeError(f"{name} must be a number, got {type(value).__name__}: {value!r}")
    try:  # comparisons only from here on: the compiler cannot trace math.isfinite of a dynamic number
        result = float(value)
    except OverflowError:
        raise ValueError(f"{name} must be within float32's range (1e-37 to 1e37), got a number too large for any float") from None
    if 1e37 <= abs(result) < math.inf or (above == 0.0 and 0.0 < result <= 1e-37):
        raise ValueError(f"{name} must be within float32's range (1e-37 to 1e37), got {value!r}")
    if (
        (low is None or result >= low)
        and (high is None or result <= high)
        and (above is None or result > above)
        and (below is None or result < below)
        and (result == result if infinite else -math.inf < result < math.inf)
    ):
        return result
    if result != result:
        raise ValueError(f"{name} must not be NaN, got {value!r}")
    if not infinite and abs(result) == math.inf:
        raise ValueError(f"{name} must be finite, got {value!r}")
    limits = ((">=", low), (">", above), ("<=", high), ("<", below))
    expected = " and ".join(f"{sign} {limit:g}" for sign, limit in limits if limit is not None)
    raise ValueError(f"{name} must be {expected}, got {value!r}")


def is_tensor_or_list(name: str, value: object) -> bool:
    """Whether a setting that may be one number is given as a tensor, as a list of numbers or as an array; what is neither raises."""
    if type(value) is float or isinstance(value, Real):
        return False
    if isinstance(value, Tensor) or listed(value) or hasattr(value, "__array__"):
        return True
    raise TypeError(f"{name} must be a number, a tensor or a list of numbers, got {type(value).__name__}: {reprlib.repr(value)}")


def flag(name: str, value: object) -> None:
    """A yes or no."""
    if value is not True and value is not False:
        raise TypeError(f"{name} must be True or False, got {type(value).__name__}: {value!r}")


def flags(**values: object) -> None:
    """Several of them."""
    for name, value in values.items():
        if value is not True and value is not False:
            flag(name, value)


def one_of(name: str, value: object, options: Sequence[str]) -> None:
    """A string argument with a fixed set of values."""
    if value not in options:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}{habits.meant(value, options)}")


def exactly_one(**given: Any) -> tuple[str, Any]:
    """The one argument that was given of several that say the same; the others are None."""
    found = [name for name, value in given.items() if value is not None]
    if len(found) != 1:
        *first, last = given
        raise ValueError(f"exactly one of {', '.join(first)} and {last} must be given, got {' and '.join(found) or 'none'}")
    return found[0], given[found[0]]


def both(input: Tensor, target: Tensor) -> None:
    """Input and target: real tensors, the input of a floating-point dtype."""
    tensors.check("input", input)
    tensors.check("target", target)
    if not input.is_floating_point():
        swapped = f", and target is {target.dtype}: if they are swapped, exchange them; else" if target.is_floating_point() else ":"
        raise TypeError(f"input must be a floating-point tensor, got {input.dtype}{swapped} try input.float()")


def pair(input: Tensor, target: Tensor) -> None:
    """Input and target of one shape on one device."""
    both(input, target)
    if input.shape != target.shape:
        raise ValueError(
            f"target has shape {shown(target.shape)} but input has shape {shown(input.shape)}: they must be equal, nothing is broadcast. {_shape_fix(input, target)}"
        )
    tensors.beside("target", target, "input", input)


def _shape_fix(input: Tensor, target: Tensor) -> str:
    """What was probably meant; shapes alone do not tell, so a fix that could pair the wrong numbers says what must hold for it."""
    x, t = input.shape, target.shape
    for axis in range(len(x)):
        if x[axis] == 1 and without(x, axis) == t:
            return f"Try target.unsqueeze({axis})"
    for axis in range(len(t)):
        if t[axis] == 1 and without(t, axis) == x:
            return f"Try target.squeeze({axis})"
    fix = moved(t, x)
    if fix:
        return fix
    if input.numel() == target.numel():
        return "Try target.reshape(input.shape), if the order of the elements agrees"
    if len(x) > 1 and without(x, 1) == t:  # broadcast, sample n's target would meet channel n where there are as many
        return f"Try target.unsqueeze(1).expand_as(input), if one target for all {x[1]} channels is meant"
    try:
        wide = torch.broadcast_shapes(x, t)
    except RuntimeError:
        return "Check that both come from the same batch"
    if wide == x:
        return "Try target.expand_as(input), if one target for many inputs is meant"
    return "Try input.expand_as(target), if one input for many targets is meant" if wide == t else "Check that both come from the same batch"


def without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    """A shape without an axis."""
    return (*shape[:axis], *shape[axis + 1 :])


def moved(t: Sequence[int], shape: Sequence[int]) -> str:
    """The fix for a target that has the right axes in another order, of which one is out of place; "" for others."""
    if sorted(t) == sorted(shape):
        for start, end in itertools.permutations(range(len(t)), 2):
            rest = without(t, start)
            if (*rest[:end], t[start], *rest[end:]) == tuple(shape):
                return f"Try target.movedim({start}, {end}), if its axes are in another order"
    return ""


def floating(name: str, x: Tensor, beside: str = "") -> None:
    """A tensor of a floating-point dtype."""
    tensors.check(name, x, beside)
    if not x.is_floating_point():
        raise TypeError(f"{name} must be a floating-point tensor, got {x.dtype}: try {name}.float()")


def alike(given: Mapping[str, Tensor]) -> None:
    """Tensors of one shape on one device, by the names of their arguments."""
    (first, x), *others = given.items()
    for name, y in others:
        tensors.check(name, y, first)
        if y.shape != x.shape:
            few, many, wide = (name, first, x.shape) if fits(y.shape, x.shape) else (first, name, y.shape)
            fix = f". Try {few}.expand{shown(wide)}, if one for many of {many} is meant" if fits(y.shape, x.shape) or fits(x.shape, y.shape) else ""
            raise ValueError(f"{name} has shape {shown(y.shape)} but {first} has shape {shown(x.shape)}: they must be equal, nothing is broadcast{fix}")
        tensors.beside(name, y, first, x)


def fits(shape: Sequence[int], wide: Sequence[int]) -> bool:
    """Whether a shape broadcasts to another, their last axes aligned, as everywhere in torch."""
    offset = len(wide) - len(shape)
    return offset >= 0 and all(n == 1 or n == wide[offset + d] for d, n in enumerate(shape))


def broadcastable(name: str, x: Tensor, input: Tensor, to: str = "input") -> None:
    """A mask or weight: a tensor on the input's device that broadcasts to its shape (or to the target's: `to` names it)."""
    tensors.check(name, x)
    tensors.beside(name, x, to, input)
    shape = input.shape
    if not fits(x.shape, shape):
        fix = ""
        if len(shape) > 2 and x.shape == without(shape, 1):
            fix = f". For one value for all {shape[1]} channels, try {name}.unsqueeze(1)"
        elif x.dim() == 1 and len(shape) > 1 and x.shape[0] == shape[0]:
            fix = f". For one value per sample, try {name}.reshape(-1{', 1' * (len(shape) - 1)})"
        raise ValueError(f"{name} has shape {shown(x.shape)}, which does not broadcast to the {to}'s shape {shown(shape)}{fix}")


def listed(value: object) -> bool:
    """Whether a setting is a list: also one of a library's own, as configurations hold (Hydra's is neither a list nor a tuple)."""
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def row(name: str, value: Any, allowed: str = "") -> list[Any]:
    """The numbers of a list or an array, in their order; a set or a dictionary has none, and text is no list."""
    given = value.tolist() if hasattr(value, "tolist") else value
    if not listed(given):
        raise TypeError(f"{name} must be {allowed}a list of numbers, got {type(value).__name__}: {reprlib.repr(value)}")
    return list(given)


def plain(value: Any) -> Any:
    """Lists all the way down, as torch takes them."""
    return [plain(each) for each in value] if listed(value) else value


def home() -> torch.device:
    """Where a module puts the numbers it is made with: the default device, as modules of torch do, unless numbers are lost there."""
    default = torch.get_default_device()
    return torch.device("cpu") if default.type == "meta" else default


def numbers(name: str, value: Any, dtype: torch.dtype, device: torch.device, allowed: str = "a tensor") -> Tensor:
    """Weights as a tensor: one as it is; a list, or whatever else holds numbers in a row, as one of this dtype on this device."""
    if isinstance(value, Tensor):
        return value
    try:
        return torch.tensor(value if hasattr(value, "__array__") else [plain(each) for each in value], dtype=dtype, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = ValueError if listed(value) else TypeError
        told = ". Give a list with one number for each class" if isinstance(value, Real) else f" ({error})"
        raise kind(f"{name} must be {allowed} or a list of numbers, got {type(value).__name__}: {reprlib.repr(value)}{told}") from None


def mask(x: Tensor, input: Tensor, to: str = "input") -> None:
    """The mask: bool, True = counts."""
    broadcastable("mask", x, input, to)
    if x.dtype is not torch.bool:
        raise TypeError(f"mask must be a bool tensor (True = counts), got {x.dtype}: try mask.bool(), or sample_weight= for weights")


def weights(name: str, x: Tensor, input: Tensor, mask: Tensor | None, to: str = "input", summed: bool = False) -> None:
    """Weights: real, finite where they count; and not negative where "mean" divides by their sum, which would cancel (`summed`)."""
    broadcastable(name, x, input, to)
    finite(name, x, input.shape, mask, ". To leave items out, use mask= (True = counts)", summed)


def finite(name: str, x: Tensor, shape: Sequence[int] | None = None, counts: Tensor | None = None, fix: str = "", summed: bool = False) -> None:
    """Numbers that are finite, spread over a shape, where they count (and not negative, see `weights`); checked only where that forces no synchronisation."""
    if not readable(x) or not x.numel() or not x.dtype.is_signed:
        return
    numbers = values(x)
    low, high = (float(end) for end in numbers.aminmax())
    if (0.0 if summed else -math.inf) <= low and -math.inf < low and high < math.inf:  # both are NaN if one of the numbers is
        return
    numbers = numbers.expand(numbers.shape if shape is None else shape)
    bad = ~torch.isfinite(numbers)
    if summed:
        bad = bad | (numbers < 0)
    if counts is not None:
        bad = bad & counts
    if bool(bad.any()):
        place = tuple(bad.nonzero()[0].tolist())
        where = f" at index {place}" if place else ""
        if math.isfinite(numbers[place].item()):
            what = 'must not be negative where "mean" divides by its sum'
            fix = '. For weights of either sign, give the denominator, normalizer=, or take reduction="sum"'
        else:
            what = "must be finite"
        raise ValueError(f"{name} {what}, got {numbers[place].item()}{where}{fix}")


OUTSIDE: Mapping[str, Callable[[Tensor], Tensor]] = {  # of each range, which numbers do not lie in it; NaN does
    "> 0": lambda x: x <= 0,
    ">= 0": lambda x: x < 0,
    "> -1": lambda x: x <= -1,
    "!= 0": lambda x: x == 0,
    "-1 or 1": lambda x: ((x if x.is_signed() else x.float()).abs() != 1) & (x == x),  # of bool there is no size
    "from -10 to 4": lambda x: (x < -10) | (x > 4),
    "from 0 to 1": lambda x: (x < 0) | (x > 1),
    "from 0 to 2": lambda x: (x < 0) | (x > 2),
}
FREE = {
    "-1 or 1": "for labels of 0 and 1, try {name} * 2 - 1",
    "from 0 to 1": "for a free parameter, try torch.sigmoid({name})",
    "from -10 to 4": "for a free parameter between 0 and 2, try 2 * torch.sigmoid({name})",
    "from 0 to 2": "for a free parameter between 0 and 2, try 2 * torch.sigmoid({name})",
}
FREE_POSITIVE = "for a free parameter, try torch.nn.functional.softplus({name})"


def in_range(name: str, x: Tensor, range: str, input: Tensor, counts: Tensor | None, fix: str = "") -> None:
    """Raises for the first number of an operand outside its range, among the items that count; called only after a NaN has been seen."""
    numbers = values(x).expand(input.shape)
    bad = OUTSIDE[range](numbers)
    if counts is not None:
        bad = bad & counts
    if bool(bad.any()):
        place = tuple(bad.nonzero()[0].tolist())
        where = f" at index {place}" if x.dim() else ""
        fix = fix or FREE.get(range, FREE_POSITIVE)
        raise ValueError(f"{name} must be {range}, got {numbers[place].item():g}{where}: {fix.format(name=name)}")


def in_unit(hints: Mapping[str, str], numbers: Sequence[Tensor], counts: Tensor | None) -> None:
    """Raises for the first value outside [0, 1] among the items that count, with the argument's hint; called only after a NaN has been seen."""
    for (name, hint), tensor in zip(hints.items(), numbers, strict=True):
        x = values(tensor)
        bad = (x < -1e-6) | (x > 1 + 1e-6)
        if counts is not None:
            bad = bad & counts
        if bool(bad.any()):
            place = tuple(bad.nonzero()[0].tolist())
            value = x[place].item()
            mark = f". If {value:g} marks what to leave out, pass ignore_index={value:.0f}, or mask=target != {value:.0f}" if float(value).is_integer() else ""
            raise ValueError(f"{name} must lie in [0, 1] (rounding up to 1e-6 is accepted), got {value} at index {place}: {hint.format(mark=mark)}")
