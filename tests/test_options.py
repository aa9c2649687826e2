"""An option is honoured or refused: over the registry, each option in each context changes the value or the gradient, or raises."""

from typing import Any, Literal, get_args, get_origin

import pytest
import torch
from contexts import CONTEXTS, Context
from torch import Tensor

import losskit

VALUES: dict[str, list[Any]] = {  # of options whose type does not say what else they may be
    "dim": [5],  # an axis that is there may make no difference; one that is not must raise
    "power": [2],
    "temperature": [2.0],
    "quantile": [0.3],
    "image_size": [(2.0, 3.0)],
    "smooth": [0.25, (0.5, 1.0)],
    "softcap": [3.0],
    "sub_centers": [2],  # which three scores are not: as an axis that is not there
    "label_smoothing": [0.3],
    "q": [0.3],
    "log_zero": [-2.0],
    "ignore_index": [1],
    "missing": [1.0],
    "window_size": [5],
    "spacing": [(2.0,)],
    "process_group": ["world"],
    "class_group": ["world"],
    "sequence_dim": [0],
}


def alternatives(context: Context, name: str) -> list[Any]:
    """Values of an option other than the default, from its type, or from the table."""
    default = context.loss.settings[name]
    kind = context.loss.function.__annotations__[name]
    inside = get_args(kind)
    if name in VALUES:
        return [value for value in VALUES[name] if value != default]
    if get_origin(kind) is Literal:
        return [value for value in inside if value != default]
    if losskit.TopK in inside:
        return [*(value for value in get_args(inside[0]) if value != default), losskit.TopK(0.6)]
    if kind is bool:
        return [not default]
    found: list[Any] = []
    if Tensor in inside:
        classes = 3 if context.axis == 1 or context.loss.pattern == "elementwise" else 1
        found.append([0.5, 0.25, 0.75][:classes])
    if kind is float or float in inside:
        found.append(0.3 if default is None or default is type or not isinstance(default, float) else default * 0.5 + 0.1)
    return found


# company in which an option may make a difference that it does not make alone
COMPANY: tuple[dict[str, Any], ...] = (
    {},
    {"empty": "skip"},
    {"smooth": 0.5},
    {"over": "batch"},
    {"normalizer": 3.0},
    {"background": False},
    {"classes": "present"},
    {"normalizer": 3.0, "average": "macro"},
)


def batches(context: Context) -> list[tuple[Tensor, ...]]:
    """An ordinary one, and one with classes that are absent; targets that may be chances are so, too."""
    twins = [context, context._replace(kind="chance")] if context.kind == "unit" and context.loss.pattern != "ranked" else [context]
    return [twin.tensors(bare=bare) for twin in twins for bare in (False, True)]


def equal(context: Context, name: str, value: object) -> bool:
    """Whether a value means what the default means: of one class every average is that class, and "auto" is one of the others."""
    task = context.settings.get("task")
    if name == "average":
        return task == "binary"
    return name == "classes" and value == ("present" if task == "multiclass" else "all")


def outcome(context: Context, tensors: tuple[Tensor, ...], **options: Any) -> tuple[Tensor, ...] | str:
    """Value and gradient, and how many parts are returned beside; or what was raised."""
    x, *target = tensors
    x = x.detach().clone().requires_grad_()
    try:
        with losskit.use_engine("torch"):
            value, *parts = result if isinstance(result := context(x, *target, **options), tuple) else (result,)
    except (TypeError, ValueError) as error:
        return str(error)
    (slope,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), slope, *(torch.zeros(()) for _ in parts)


def same(a: tuple[Tensor, ...] | str, b: tuple[Tensor, ...] | str) -> bool:
    """Whether an option did nothing."""
    if isinstance(a, str) or isinstance(b, str):
        return False
    return len(a) == len(b) and all(p.shape == q.shape and torch.allclose(p, q, rtol=1e-6, atol=1e-9) for p, q in zip(a, b, strict=True))


def difference(context: Context, name: str, value: object) -> bool:
    """Whether an option does anything, or is refused, alone or in company."""
    for company in COMPANY:
        if name in company or not company.keys() <= {*context.loss.settings, "normalizer"}:
            continue
        for tensors in batches(context):
            if not same(outcome(context, tensors, **company), outcome(context, tensors, **company, **{name: value})):
                return True
    return False


@pytest.mark.sparse(3)
@pytest.mark.parametrize("context", [c for c in CONTEXTS if c.kind != "chance"], ids=str)
def test_honoured_or_refused(context: Context) -> None:
    for name in context.loss.settings:
        if name in context.settings:
            continue
        values = alternatives(context, name)
        assert values, f"no other value of {name} is known: give VALUES one"
        for value in values:
            assert difference(context, name, value) or equal(context, name, value), f"{context}: {name}={value!r} is accepted, and does nothing"
