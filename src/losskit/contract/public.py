"""What stands around every loss: a call over ranks tells the others if it refuses its input, and a call with DTensors is made of calls with what this rank holds."""

import sys
from collections.abc import Callable, Mapping
from functools import update_wrapper
from importlib import import_module
from types import FunctionType
from typing import Any, TypeVar

import torch

from losskit.contract import groups, habits
from losskit.contract.groups import Ranks
from losskit.contract.mined import mined
from losskit.contract.topk import TopK
from losskit.engines.private import compiling

LossFunction = TypeVar("LossFunction", bound=Callable[..., Any])


def public(function: LossFunction, joins: bool) -> LossFunction:
    """A loss as it is called. `joins`: with process_group= it joins sums over the ranks."""
    ranks, modules, compiled, over, placed, spread, refuse = Ranks, sys.modules, compiling, over_ranks, any_placed, of_placed, refuse_misfit
    top, hardest = TopK, of_hardest

    def call(*args: Any, **kwargs: Any) -> Any:
        if kwargs and type(kwargs.get("reduction")) is top:
            return hardest(function, args, kwargs)
        if (kwargs or "torch.distributed.tensor" in modules) and not compiled():
            if "torch.distributed.tensor" in modules and placed(args, kwargs):
                return spread(function, args, kwargs)
            if type(kwargs.get("normalizer")) is ranks or (joins and kwargs.get("process_group") is not None):
                return over(function, args, kwargs)
        try:
            return function(*args, **kwargs)
        except TypeError as error:
            if not compiled() and error.__traceback__ is not None and error.__traceback__.tb_next is None:  # it was not even called
                refuse(function, args, kwargs)
            raise

    # a code of its own, for the compiler counts graphs per code; and at home where whoever looks for the functions of a module looks
    code = call.__code__.replace(co_name=function.__name__)
    return update_wrapper(FunctionType(code, function.__globals__, function.__name__, None, call.__closure__), function)  # type: ignore[return-value]


def refuse_misfit(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Says what to write, where arguments do not fit the signature."""
    told = habits.misfit(function, args, kwargs)
    if told is not None:
        raise TypeError(told) from None


def any_placed(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    """Whether a tensor is a DTensor, whose parts are on several ranks."""
    kind = sys.modules["torch.distributed.tensor"].DTensor
    return any(type(x) is kind for x in (*args, *kwargs.values()))


def over_ranks(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The loss, where its ranks meet before the pass."""
    group = kwargs.get("process_group")
    tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
    with groups.meets(kwargs["normalizer"] if group is None else group, tensors, agrees=group is not None):
        return function(*args, **kwargs)


def of_hardest(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The loss of its hardest items, likewise."""

    def chosen(*args: Any, **kwargs: Any) -> Any:
        return mined(function, args, kwargs)

    if compiling():
        return chosen(*args, **kwargs)
    chosen = update_wrapper(chosen, function)
    if "torch.distributed.tensor" in sys.modules and any_placed(args, kwargs):
        return of_placed(chosen, args, kwargs)
    if type(kwargs.get("normalizer")) is Ranks:
        return over_ranks(chosen, args, kwargs)
    return chosen(*args, **kwargs)


def of_placed(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
    """The loss of DTensors."""
    return import_module("losskit.contract.placed").loss_of(function, args, kwargs)
