"""Fused passes as operators of PyTorch: what a compiled graph calls in place of plain operations, so that it runs the loops that eager calls run, bit for bit.

An operator takes numbers and tensors. What else describes a pass (the formula, its dtypes and axes) is a plan, kept here under a name made of its contents, which
the graph holds: the compiler calls `planned` while it traces and takes the name as a constant. Operators are registered with the first plan.
"""

import hashlib
import operator
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from losskit.engines import call as calls
from losskit.engines import dispatch, forced, laid, private
from losskit.engines.language import derivatives, fingerprint
from losskit.engines.protocol import PatternName
from losskit.engines.scores import made_of

# numbers of the first operand, of a graph of fixed sizes, below which plain operations take less time than calling an operator, two cores measured. Elementwise losses
# are little work for each number, which the compiler does beside what else it has to do there.
SMALL, SMALL_ELEMENTWISE = 1 << 16, 1 << 22
WHY_NOT = "in a compiled graph it is one pass without by-products, with gradients to the operands of a formula alone, and this is not"
WIDE = 1024  # classes of a softmax whose sums of overlap have a fused pass
CALLED = ("elementwise", "rows", "distributions", "boxes")  # products come as one of these
CALLS: dict[str, Any] = {
    kind.__name__: kind for kind in (calls.Call, calls.Rows, calls.Distributions, calls.Boxes, calls.Overlap, calls.Product, calls.Teacher, calls.Alike)
}
PLANS: dict[str, tuple[PatternName, Any]] = {}


def apart(value: Any, numbers: list[float], tensors: list[Tensor]) -> Any:
    """What of a call is the same in every step: the call with marks where its numbers and tensors were, which are added to the lists."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return ("tensor",)
    if isinstance(value, float):
        numbers.append(value)
        return ("number",)
    if isinstance(value, int) and not isinstance(value, bool):
        return ("same", operator.index(value))  # an axis or a label is the same in every call of a graph, also where sizes may vary
    if isinstance(value, tuple):
        name = type(value).__name__
        return ("parts", name, *[apart(each, numbers, tensors) for each in value])
    return ("same", value)


def together(part: Any, numbers: Iterator[float], tensors: Iterator[Tensor]) -> Any:
    """The call again."""
    kind, *rest = part
    if kind == "tensor":
        return next(tensors)
    if kind == "number":
        return next(numbers)
    if kind == "same":
        return rest[0]
    name, *parts = rest
    found = [together(each, numbers, tensors) for each in parts]
    return CALLS[name](*found) if name in CALLS else tuple(found)


def words(part: Any) -> str:
    """A plan as text: of a function, what makes it the same machine code."""
    if isinstance(part, tuple):
        return f"({' '.join(map(words, part))})"
    return fingerprint(part).hex() if isinstance(part, FunctionType) else repr(part)


@private.constant_to_the_compiler
def planned(pattern: PatternName, parts: Any, wants: tuple[bool, ...]) -> str:
    """The name of a plan, which is kept; none of a formula without a derivative by an operand that wants a gradient."""
    from losskit.engines import registered  # noqa: F401

    if pattern == "elementwise" and any(wants[derivatives(parts[2][1]) :]):
        return ""
    label = f"{pattern}_{hashlib.sha256(words((pattern, parts)).encode()).hexdigest()[:24]}"
    PLANS[label] = pattern, parts
    return label


def call_of(plan: str, numbers: Tensor, tensors: list[Tensor]) -> tuple[PatternName, Any]:
    """The pattern and the call of a plan."""
    if plan not in PLANS:
        raise RuntimeError(f"{plan} was compiled in another process, whose formulas this one does not know: call torch.compile here")
    pattern, parts = PLANS[plan]
    return pattern, together(parts, iter(numbers.tolist()), iter(tensors))


def run(pattern: PatternName, call: Any, operands: tuple[Tensor, ...], scale: float | Tensor | None, by_products: bool) -> Tensor | None:
    """A pass that is being compiled, as an operator: the scaled sum, or without a scale one loss per item. None where plain operations are to be compiled."""
    if not compiled():
        return None
    if pattern not in CALLED:
        plain_alone()
        return None
    size = operands[0].numel()
    made = made_of(operands[0])
    if made is not None and not (made.summed and scale is None):  # type: ignore[union-attr]
        call, operands = laid.product(pattern, call, operands)
        pattern = "products"
    found = None
    if not by_products and take(call, operands, size, SMALL_ELEMENTWISE if pattern == "elementwise" else SMALL, scale):
        found = each(pattern, call, operands) if scale is None else total(pattern, call, operands, scale)
    if found is None:
        plain_alone()
    return found


def plain_alone() -> None:
    """A pass that is no operator: in a compiled graph it is plain operations, or refused."""
    if compiled() and forced.engine == "cpu":
        raise dispatch.refused("cpu", WHY_NOT)


def compiled() -> bool:
    """Whether a graph is being made that runs here: not one for export, and no transform of functions."""
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting() and forced.engine in (None, "cpu") and not private.transforming()


def take(call: Any, operands: tuple[Tensor, ...], size: int, small: int, scale: float | Tensor | None = None) -> bool:
    """Whether a pass is to be an operator: where eager calls run fused, gradients go to operands alone, and it is no small one."""
    others = (*call.tensors(), scale) if isinstance(scale, Tensor) else call.tensors()
    for x in (*operands, *others):
        if type(x) not in dispatch.PLAIN or x.dtype not in dispatch.FUSED or x.layout is not torch.strided or not x.is_cpu:
            return False
    if torch.is_grad_enabled():
        for x in others:
            if x.requires_grad:
                return False
    return forced.engine == "cpu" or not private.certain(size < small)


def in_graph(number: float | Tensor) -> Tensor:
    """A number as a tensor: a number of a schedule, or of sizes that vary, would have to be the same in every call of a graph."""
    return number.double() if isinstance(number, Tensor) else torch.ones((), dtype=torch.float64, device="cpu") * number


def _split(pattern: PatternName, call: Any, operands: tuple[Tensor, ...]) -> tuple[str, Tensor, list[Tensor], list[bool]]:
    """A plan, the numbers and tensors of a call, and which operands want a gradient."""
    numbers: list[float] = []
    tensors: list[Tensor] = []
    recorded = torch.is_grad_enabled()
    wants = [recorded and x.requires_grad for x in operands]
    plan = planned(pattern, apart(call, numbers, tensors), tuple(wants))
    given = torch.stack([in_graph(number) for number in numbers]) if numbers else torch.empty(0, dtype=torch.float64, device="cpu")
    return plan, given, tensors, wants


def total(pattern: PatternName, call: Any, operands: tuple[Tensor, ...], scale: float | Tensor) -> Tensor | None:
    """The scaled sum of the losses."""
    plan, numbers, tensors, wants = _split(pattern, call, operands)
    if not plan:
        return None
    found: Tensor = torch.ops.losskit.total(plan, numbers, list(operands), tensors, in_graph(scale), wants)[0]
    return found


def shape_of(pattern: PatternName, call: Any, operands: tuple[Tensor, ...]) -> list[int]:
    """The shape of the items' losses."""
    shape = list(operands[0].shape)
    if pattern == "products":
        return [*shape[:-1], operands[1].shape[0]] if call.pattern == "elementwise" and not call.summed else shape[:-1]
    if pattern == "boxes":
        return shape[:-1]
    if pattern != "elementwise":
        del shape[call.dim]
    return shape


def each(pattern: PatternName, call: Any, operands: tuple[Tensor, ...]) -> Tensor | None:
    """One loss per item."""
    plan, numbers, tensors, wants = _split(pattern, call, operands)
    if not plan:
        return None
    found: Tensor = torch.ops.losskit.each(plan, numbers, list(operands), tensors, shape_of(pattern, call, operands), wants)
    return found


def sums(call: calls.Overlap, x: Tensor, t: Tensor) -> Tensor | None:
    """The sums of each sample and class, likewise."""
    if not compiled():
        return None
    if (call.link == "softmax" and x.shape[call.dim] > WIDE) or not take(call, (x, t), x.numel(), SMALL):
        plain_alone()
        return None
    plan, numbers, tensors, wants = _split("overlap", call, (x, t))
    found: Tensor = torch.ops.losskit.sums(plan, numbers, [x, t], tensors, [x.shape[0], x.shape[call.dim], len(calls.SUM_NAMES)], wants)
    return found
