"""Fused passes as operators of PyTorch: what a compiled graph calls in place of plain operations, so that it runs the loops that eager calls run, bit for bit.

An operator takes numbers and tensors. What else describes a pass (the formula, its dtypes and axes) is a plan, kept here under a name made of its contents, which
the graph holds: the compiler calls `planned` while it traces and takes the name as a constant. Operators are registered with the first plan.
"""

import hashlib
import operator
from collections.abc import Iterator
from functools import cache
from itertools import repeat
from pathlib import Path
from types import FunctionType
from typing import Any

import torch
from torch import Tensor

from losskit.engines import dispatch, forced, laid, private
from losskit.engines.call import RANKED, SUM_NAMES, Boxes, Look, Looked, Results
from losskit.engines.language import derivatives, fingerprint
from losskit.engines.private import compiling
from losskit.engines.protocol import PatternName
from losskit.engines.scores import made_of

# numbers of the first operand, or of the matrix of scores or pairs, of a graph of fixed sizes, below which plain operations take less time than calling an operator: of
# rows, two cores measured. Elementwise losses are little work for each number, which the compiler does beside what else it has to do there.
SMALL, SMALL_ELEMENTWISE = 1 << 16, 1 << 22
WHY_NOT = "in a compiled graph it is one pass with gradients to the operands of a formula alone, and this is not"
WIDE = 1024  # classes of a softmax that passes over samples and classes hold at once
LONG = 1 << 31  # errors: more than are sorted together
PLANS: dict[str, tuple[str, Any]] = {}  # by the pass's name: a pattern's, or that of a module around one


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
        return ("parts", type(value), *[apart(each, numbers, tensors) for each in value])
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
    form, *parts = rest
    found = [together(each, numbers, tensors) for each in parts]
    return tuple(found) if form is tuple else form(*found)


def words(part: Any) -> str:
    """A plan as text: of a function, what makes it the same machine code."""
    if isinstance(part, tuple):
        return f"({' '.join(map(words, part))})"
    return fingerprint(part).hex() if isinstance(part, FunctionType) else repr(part)


@cache
def edition() -> str:
    """What operators give decides what graphs on disk are made for."""
    here = Path(__file__).parent
    return hashlib.sha256(b"".join((here / f"{name}.py").read_bytes() for name in ("registered", "values", "call"))).hexdigest()


@private.constant_to_the_compiler
def planned(pattern: str, parts: Any, wants: tuple[bool, ...]) -> str:
    """The name of a plan, which is kept; none of a formula without a derivative by an operand that wants a gradient."""
    from losskit.engines import registered  # noqa: F401

    if pattern == "elementwise" and any(wants[derivatives(parts[2][1]) :]):
        return ""
    label = f"{pattern}_{hashlib.sha256(words((edition(), pattern, parts)).encode()).hexdigest()[:24]}"
    PLANS[label] = pattern, parts
    return label


def pattern_of(plan: str) -> str:
    """The pattern of a plan."""
    if plan not in PLANS:
        raise RuntimeError(f"{plan} was compiled in another process, whose formulas this one does not know: call torch.compile here")
    return PLANS[plan][0]


def call_like(plan: str, tensors: list[Tensor]) -> Any:
    """The call of a plan where numbers cannot be read: some stand in their places."""
    pattern_of(plan)
    return together(PLANS[plan][1], repeat(1.0), iter(tensors))


def call_of(plan: str, numbers: Tensor, tensors: list[Tensor]) -> tuple[str, Any]:
    """The pattern and the call of a plan."""
    pattern = pattern_of(plan)
    return pattern, together(PLANS[plan][1], iter(numbers.tolist()), iter(tensors))


def compiled() -> bool:
    """Whether a graph is being made that runs here: not one for export, and neither transforms of functions nor forward-mode derivatives go through it."""
    if not compiling() or torch.compiler.is_exporting() or forced.engine not in (None, "cpu"):
        return False
    return not private.transforming() and private.levels._current_level < 0


def plain_alone() -> None:
    """A pass that is no operator: in a compiled graph it is plain operations, or refused."""
    if compiled() and forced.engine == "cpu":
        raise dispatch.refused("cpu", WHY_NOT)


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


def run(pattern: PatternName, call: Any, operands: tuple[Tensor, ...], scale: float | Tensor | None, by_products: bool) -> tuple[Tensor, Results | None] | None:
    """A pass that is being compiled, as an operator: the scaled sum, or without a scale one loss per item; and by-products. None where plain operations are to be compiled."""
    if not compiled():
        return None
    size = pairs_of(operands) if pattern == "pairs" else operands[0].numel()
    parts, name = 0 if not by_products else 3 if pattern == "rows" else 2, str(pattern)
    made = made_of(operands[0])
    if made is not None:
        call, operands = laid.product(pattern, call, operands)
        name = "products"
    found = None
    if take(call, operands, size, SMALL_ELEMENTWISE if name == "elementwise" else SMALL, scale):
        found = each(name, call, operands, parts) if scale is None else total(name, call, operands, scale, parts)
    if found is None:
        plain_alone()
        return None
    value, *seen = found
    if not parts:
        return value, None
    losses, lse, *right = seen if scale is not None else (value.detach(), *seen)
    return value, Results(None, losses, (), lse, right[0] if right else None)


def values(name: str, call: Any, operands: tuple[Tensor, ...], size: int) -> list[Tensor] | None:
    """What a pass gives that is no pattern with one loss per item, and what it leaves: as an operator, if it is compiled and of such a `size`."""
    if not compiled():
        return None
    found = each(name, call, operands) if has_loops(name, call, operands[0]) and take(call, operands, size, SMALL) else None
    if found is None:
        plain_alone()
    return found


def looked(pattern: PatternName, call: Any, operands: tuple[Tensor, ...], look: Look) -> tuple[Tensor, Results] | None:
    """One loss per item of scores that are a product, and what looks at the scores, likewise; None of other scores, which are whole."""
    if made_of(operands[0]) is None:
        return None
    size = operands[0].numel()
    product, operands = laid.product(pattern, call, operands)
    found = values("looked", Looked(product, look), operands, size)
    return None if found is None else (found[0], Results(None, None, seen=tuple(found[1:])))


def best(call: Boxes, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor] | None:
    """The best match of each box, likewise."""
    if not compiled():
        return None
    if not take(call, (a, b), pairs_of((a, b)), SMALL):
        plain_alone()
        return None
    a, b = a.detach(), b.detach()
    plan, numbers, tensors, _ = split("pairs", call, (a, b))
    value, index = torch.ops.losskit.best(plan, numbers, [a, b], tensors)
    return value, index


def has_loops(name: str, call: Any, x: Tensor) -> bool:
    """Whether there are, for such an input."""
    if name not in ("overlap", "ranked"):
        return True
    if call.link == "softmax" and x.shape[call.dim] > WIDE:
        return False
    if name == "overlap":
        return True
    sorted_together = x.numel() if call.joint else x.numel() // max(x.shape[0] * x.shape[call.dim], 1)
    return x.dtype is not torch.float64 and 0 < sorted_together < LONG


def pairs_of(operands: tuple[Tensor, ...]) -> int:
    """How many pairs of boxes there are."""
    a, b = operands[:2]
    return a.numel() // a.shape[-1] * b.shape[-2]


def in_graph(number: float | Tensor) -> Tensor:
    """A number as a tensor: a number of a schedule, or of sizes that vary, would have to be the same in every call of a graph."""
    return number.double() if isinstance(number, Tensor) else torch.ones((), dtype=torch.float64, device="cpu") * number


def split(name: str, call: Any, operands: tuple[Tensor, ...]) -> tuple[str, Tensor, list[Tensor], list[bool]]:
    """A plan, the numbers and tensors of a call, and which operands want a gradient."""
    numbers: list[float] = []
    tensors: list[Tensor] = []
    recorded = torch.is_grad_enabled()
    wants = [recorded and x.requires_grad for x in operands]
    plan = planned(name, apart(call, numbers, tensors), tuple(wants))
    given = torch.stack([in_graph(number) for number in numbers]) if numbers else torch.empty(0, dtype=torch.float64, device="cpu")
    return plan, given, tensors, wants


def total(name: str, call: Any, operands: tuple[Tensor, ...], scale: float | Tensor, parts: int = 0) -> list[Tensor] | None:
    """The scaled sum of the losses, and by-products."""
    plan, numbers, tensors, wants = split(name, call, operands)
    if not plan:
        return None
    shape = shape_of(name, call, operands) if parts else []
    found: list[Tensor] = torch.ops.losskit.total(plan, numbers, list(operands), tensors, in_graph(scale), wants, shape, parts)
    return [found[0], *[x.detach() for x in found[2:]]]


def each(name: str, call: Any, operands: tuple[Tensor, ...], parts: int = 0) -> list[Tensor] | None:
    """What a pass gives for each item, or each sample and class; and by-products, or what it leaves for its backward."""
    plan, numbers, tensors, wants = split(name, call, operands)
    if not plan:
        return None
    found: list[Tensor] = torch.ops.losskit.each(plan, numbers, list(operands), tensors, wants, shape_of(name, call, operands), parts)
    return [found[0], *[x.detach() for x in found[1:]]]


def shape_of(name: str, call: Any, operands: tuple[Tensor, ...]) -> list[int]:
    """The shape of what a pass gives."""
    shape = list(operands[0].shape)
    if name == "products":
        return [*shape[:-1], operands[1].shape[0]] if call.pattern == "elementwise" and not call.summed else shape[:-1]
    if name == "pairs":
        return [*shape[:-1], operands[1].shape[-2]]
    if name in ("boxes", "both", "looked"):
        return shape[:-1]
    if name == "overlap":
        return [shape[0], shape[call.dim], len(SUM_NAMES)]
    if name == "ranked":
        return [1 if call.joint else shape[0], shape[call.dim], len(RANKED)]
    if name != "elementwise":
        del shape[call.dim]
    return shape
