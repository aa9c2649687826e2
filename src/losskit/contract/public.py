"""What stands around every loss: a call over ranks tells the others if it refuses its input, and a call with DTensors is made of calls with what this rank holds."""

from collections.abc import Callable
from functools import update_wrapper
from importlib import import_module
from types import FunctionType
from typing import Any, TypeVar

import torch

from losskit.contract import groups
from losskit.contract.groups import Ranks
from losskit.contract.tensors import Placed

LossFunction = TypeVar("LossFunction", bound=Callable[..., Any])


def public(function: LossFunction, joins: bool) -> LossFunction:
    """A loss as it is called. `joins`: with process_group= it joins sums over the ranks."""
    ranks, placed, over, spread, compiled = Ranks, Placed, over_ranks, of_placed, torch.compiler.is_compiling

    def call(*args: Any, **kwargs: Any) -> Any:
        if (type(kwargs.get("normalizer")) is ranks or (joins and kwargs.get("process_group") is not None)) and not compiled():
            return over(function, args, kwargs)
        try:
            return function(*args, **kwargs)
        except placed:
            pass
        return spread(function, args, kwargs)

    home = getattr(function, "__globals__", {})  # whoever looks for the functions of a module looks there
    return update_wrapper(FunctionType(call.__code__, home, call.__name__, None, call.__closure__), function)  # type: ignore[return-value]


def over_ranks(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """What is raised before the ranks have met is told to the others, who would wait for this one."""
    if groups.meeting.get() is not None:  # a loss that is made of another
        return function(*args, **kwargs)
    group = kwargs.get("process_group")
    ranks = group if group is not None else kwargs["normalizer"]
    met: list[bool] = []
    token = groups.meeting.set(met)
    try:
        return function(*args, **kwargs)
    except (TypeError, ValueError, RuntimeError):
        if not met:
            groups.refuse(ranks, [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)], group is not None)
        raise
    except Placed:
        pass
    finally:
        groups.meeting.reset(token)
    return of_placed(function, args, kwargs)


def of_placed(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The loss of DTensors."""
    return import_module("losskit.contract.placed").loss_of(function, args, kwargs)
