"""Formulas of boxes on Python's numbers: the textbook, difference quotients, and what they promise of boxes out of order, for every formula of a loss."""

from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType
from typing import Any, NamedTuple

from losskit import LOSSES
from losskit.engines.axes import written_out
from losskit.testing.boxes import combinations, exact_pair, in_order, ordinary


class Formulas(NamedTuple):
    """Names in the loss's file, each with the settings it stands for; the parameters of them all."""

    settings: dict[str, dict[str, Any]]
    params: tuple[float, ...] = ()


FORMULAS = (
    {"iou_loss": Formulas({"linear": {}, "square": {"mode": "square"}, "logarithm": {"mode": "log"}})}
    | {"probiou_loss": Formulas({"l1": {}, "l2": {"mode": "l2"}})}
    | {
        f"{name}_loss": Formulas({"formula": settings}, params)
        for name, settings, params in (
            ("giou", {}, ()),
            ("diou", {}, ()),
            ("ciou", {"alpha_gradient": True}, (1.0,)),
            ("eiou", {}, ()),
            ("focal_eiou", {"gamma": 0.5}, (0.5, 0.0)),
            ("alpha_iou", {"power": 3.0}, (3.0, 2.0)),
            ("mpdiou", {"image_size": (3.0, 4.0)}, (0.2,)),
            ("inner_iou", {"ratio": 0.75}, (0.75,)),
            ("nwd", {"constant": 2.0}, (0.5**1.5,)),
            ("siou", {"theta": 4.0}, (4.0, 3.0)),
            ("wiou", {}, ()),
        )
    }
)
CORNERS = ("mpdiou_loss", "nwd_loss")  # the distance of the corners itself draws those out of order back
HELD = (
    "ciou_loss",
    "focal_eiou_loss",
    "probiou_loss",
    "wiou_loss",
)  # they keep something of a box out of order: no derivative of their value, where it is compared

ORDINARY = [x + t for x, t in zip(*(boxes.tolist() for boxes in ordinary(12)), strict=True)]
ORDINARY += [[0.0, 0.0, 1.0, 2.0, 5.0, 3.0, 6.0, 7.0], [0.0, 1.0, 1.0, 2.0, 5.0, 0.0, 6.0, 4.0]]  # apart along both axes, along one
A, B = combinations([0.0, 1.0, 1.5, 4.0], [0.0, 0.01, 3.0, 4.0])
EVERY_WAY = list(zip(A.tolist(), in_order(A).tolist(), B.tolist(), strict=True))
EVERY_WAY.append(([0.03, -0.001, -0.03, 0.001], [-0.03, -0.001, 0.03, 0.001], [-2.0, -300.0, 2.0, 300.0]))


@cache
def exact(loss: str, formula: str) -> list[Any]:
    """The textbook on every ordinary pair."""
    return [exact_pair(LOSSES[loss], FORMULAS[loss].settings[formula], p[:4], p[4:]) for p in ORDINARY]


def require(law: str, loss: str, module: ModuleType) -> None:
    """A law holds of every formula of a loss."""
    for name in FORMULAS[loss].settings:
        LAWS[law](loss, name, lambda *numbers, name=name: written_out(getattr(module, name), 2)(*numbers, *FORMULAS[loss].params))


Formula = Callable[..., Any]


def value(loss: str, name: str, formula: Formula) -> None:
    """The textbook's."""
    for p, right in zip(ORDINARY, exact(loss, name), strict=True):
        assert abs(formula(*p)[0] - right.value) <= 1e-12 * right.value


def gradient(loss: str, name: str, formula: Formula) -> None:
    """The textbook's."""
    for p, right in zip(ORDINARY, exact(loss, name), strict=True):
        assert all(abs(s - e) <= 1e-9 for s, e in zip(formula(*p)[1:], right.grad_input + right.grad_target, strict=True))


def disorder_costs(loss: str, name: str, formula: Formula) -> None:
    """A box out of order is never better than the one in order."""
    for a, ordered, b in EVERY_WAY:
        assert formula(*a, *b)[0] >= formula(*ordered, *b)[0] - 1e-12


def identical_boxes(loss: str, name: str, formula: Formula) -> None:
    """Cost nothing, and rest."""
    for a, ordered, b in EVERY_WAY:
        assert not (a == ordered == b and any(formula(*a, *b)))


def back_to_order(loss: str, name: str, formula: Formula) -> None:
    """The gradient of a box out of order leads back."""
    for a, _, b in EVERY_WAY:
        slopes = formula(*a, *b)[1:]
        assert not any(a[i] > a[i + 2] and b[i] != b[i + 2] and slopes[i] <= slopes[i + 2] for i in (0, 1))


def price_alone_moves(loss: str, name: str, formula: Formula) -> None:
    """Nothing but its price moves the corners of a box out of order apart."""
    for a, _, b in EVERY_WAY if loss not in CORNERS else ():
        slopes = formula(*a, *b)[1:]
        for i in (0, 1):
            size, wrong = abs(b[i + 2] - b[i]), a[i] - a[i + 2]
            assert wrong <= 0 or not size or abs(slopes[i] - slopes[i + 2] - 2 * size / (wrong + size) ** 2) <= 1e-9


def gradient_everywhere(loss: str, name: str, formula: Formula) -> None:
    """A difference quotient, also at ties and out of order."""
    for a, _, b in EVERY_WAY if loss not in HELD else ():
        if smooth(a, b):
            slopes = formula(*a, *b)[1:5]
            assert all(abs(m - s) <= 0.02 * (1 + abs(s)) for m, s in zip(quotients(formula, a, b), slopes, strict=True))


def quotients(formula: Formula, a: list[float], b: list[float]) -> Iterator[float]:
    """The derivatives by the first box as differences to both sides: at a kink, half of each."""
    for k in range(4):
        low, high = list(a), list(a)
        low[k] -= 1e-6
        high[k] += 1e-6
        yield (formula(*high, *b)[0] - formula(*low, *b)[0]) / 2e-6


def smooth(a: list[float], b: list[float]) -> bool:
    """Whether differences show the derivative: targets with an area, boxes that do not touch, no size or length out of order of 0, nothing identical."""
    for i in (0, 1):
        first, last = (a[i], a[i + 2]) if a[i] <= a[i + 2] else ((a[i] + a[i + 2]) / 2,) * 2
        low, high = sorted((b[i], b[i + 2]))
        if min(abs(v) for v in (high - low, a[i + 2] - a[i], min(last, high) - max(first, low))) < 1e-3:
            return False
    return a != b


LAWS = {law.__name__: law for law in (value, gradient, disorder_costs, identical_boxes, back_to_order, price_alone_moves, gradient_everywhere)}
