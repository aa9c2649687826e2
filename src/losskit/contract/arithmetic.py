"""Arithmetic of losses: `0.5 * DiceLoss(...) + CrossEntropyLoss(...)` is a loss, `losskit.Sum`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, overload

from torch import nn

if TYPE_CHECKING:
    from losskit.compose.sum import Sum
    from losskit.compose.weights import Schedule, UncertaintyWeight


def sums() -> Any:
    """What makes sums. It stands on losses, and is imported when there is one to make."""
    return import_module("losskit.compose.sum")


class Arithmetic:
    """What can be written with losses: number * loss, loss * number, loss / number, loss + loss, sum([loss, loss])."""

    __array_ufunc__ = None  # a number of NumPy's leaves the product to the loss

    def __mul__(self, weight: "float | Schedule | UncertaintyWeight") -> "Sum":
        return sums().scaled(self, weight)  # type: ignore[no-any-return]

    __rmul__ = __mul__

    def __truediv__(self, number: float) -> "Sum":
        return sums().divided(self, number)  # type: ignore[no-any-return]

    @overload
    def __add__(self, other: Literal[0]) -> Self: ...
    @overload
    def __add__(self, other: nn.Module) -> "Sum": ...
    def __add__(self, other: Any) -> Any:
        return sums().added(self, other)

    @overload
    def __radd__(self, other: int) -> Self: ...
    @overload
    def __radd__(self, other: nn.Module) -> "Sum": ...
    def __radd__(self, other: Any) -> Any:
        return sums().added(other, self)

    def __neg__(self) -> NoReturn:
        raise TypeError(NEGATIVE)

    def __sub__(self, other: Any) -> NoReturn:
        raise TypeError(NEGATIVE)

    __rsub__ = __sub__


NEGATIVE = (
    "a loss cannot be subtracted from others: its weight in a sum is a number >= 0. Where it is to be as large as possible, as an entropy is, subtract the values: "
    "total(input, target) - 0.01 * bonus(input)"
)
