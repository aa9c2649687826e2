"""Operands of rows: one number per item, or one in all, beside the class scores."""

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from losskit.contract import checks, labels, reduce
from losskit.contract.elementwise import Operand
from losskit.engines.call import real_dtype
from losskit.engines.dispatch import EngineName

LIMITS: dict[str, dict[str, float]] = {"real": {}, "> 0": {"above": 0.0}, ">= 0": {"low": 0.0}, "from 0 to 1": {"low": 0.0, "high": 1.0}}


def temperature(given: float | Tensor) -> tuple[Operand, ...]:
    """The operand that divides an item's scores; none for a temperature of 1."""
    if type(given) is float and given == 1.0:
        return ()
    if isinstance(given, Tensor):
        return (Operand("temperature", given, "> 0"),)
    number = checks.number("temperature", given, above=0.0)
    return () if number == 1.0 else (Operand("temperature", number, "> 0"),)


def checked(operands: Sequence[Operand], input: Tensor, axis: int) -> tuple[Tensor, ...]:
    """The operands as tensors whose shape broadcasts to the items'."""
    return tuple([_checked(operand, input, axis) for operand in operands])


def _checked(operand: Operand, input: Tensor, axis: int) -> Tensor:
    value: Any = operand.value
    if isinstance(value, Real):
        number = checks.number(operand.name, value, **LIMITS[operand.range])  # type: ignore[arg-type]
        return torch.full((), number, dtype=real_dtype(input.dtype), device=input.device)
    checks.broadcastable(operand.name, value, input.select(axis, 0), "target")
    if not value.is_floating_point():
        raise TypeError(f"{operand.name} must be a floating-point tensor, got {value.dtype}: try {operand.name}.float()")
    return value  # type: ignore[no-any-return]


def refuse(operands: Sequence[Operand], given: Sequence[Tensor], engine: EngineName, items: Tensor, counts: Tensor | None, result: Tensor) -> None:
    """Raises for the first number out of its range among the items that count; it is looked for when a NaN has been seen."""
    if operands and reduce.nan_seen(engine, items, result):
        for operand, x in zip(operands, given, strict=True):
            if operand.range != "real":
                checks.in_range(operand.name, x.detach(), operand.range, items, counts)


def counting(target: Tensor, ignore_index: int | None, factor: Tensor | None) -> Tensor | None:
    """Which items count; None if all do."""
    kept = None if ignore_index is None else labels.kept(target, ignore_index)
    if factor is None:
        return kept
    return factor != 0 if kept is None else kept & (factor != 0)


def unit(s: Tensor) -> Tensor:
    """Numbers from 0 to 1, NaN for others."""
    return torch.where((s >= 0.0) & (s <= 1.0), s, math.nan)
