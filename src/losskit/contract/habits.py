"""Arguments as torch and other libraries have them: what to write here. Asked only when a call does not fit, so it costs nothing."""

import inspect
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

import torch
from torch import Tensor

from losskit.contract.names import near
from losskit.engines.dispatch import use_engine

# other libraries' names, and ours for the same thing; of several the first that a loss has
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "avg_factor": ("normalizer",),
    "batch": ("over",),
    "class_weight": ("weight",),
    "class_weights": ("weight",),
    "epsilon": ("label_smoothing",),  # timm's and fastai's
    "ignored_index": ("ignore_index",),
    "ignore_label": ("ignore_index",),
    "include_background": ("background",),
    "lambda_ce": ("ce_weight",),
    "lambda_dice": ("dice_weight",),
    "lambda_focal": ("focal_weight",),
    "log_targets": ("log_target",),
    "mode": ("task", "box_format"),
    "reduction_override": ("reduction",),
    "smooth_dr": ("smooth",),
    "smooth_factor": ("label_smoothing",),
    "smooth_nr": ("smooth",),
    "squared_pred": ("power",),
    "use_sigmoid": ("task",),
    "weights": ("weight", "sample_weight"),
    "weight": ("sample_weight",),
    "xywh": ("box_format",),
}
# and what has no name of its own here
INSTEAD: Mapping[str, str] = {
    "activated": "from_logits=False says so, where a loss takes both",
    "eps": "none is needed, values and gradients are exact without: leave it out",
    "epsilon": "none is needed, values and gradients are exact without: leave it out",
    "ignore_index": "for items that do not count, give mask= (True = counts)",
    "jaccard": "that is a loss of its own, jaccard_loss",
    "loss_weight": "multiply the loss by it",
    "num_classes": "the input's shape says it: leave it out",
    "sample_weight": "there is no loss per item: mask= leaves items out",
    "sigmoid": 'inputs are logits unless from_logits=False: leave it out, with task="binary" or "multilabel"',
    "softmax": 'inputs are logits unless from_logits=False: leave it out, with task="multiclass"',
    "to_onehot_y": "labels are taken as they are: leave it out",
    "use_softmax": "inputs are logits unless from_logits=False: leave it out",
}
REDUCTIONS = {"avg": "mean", "average": "mean", "elementwise_mean": "mean", "add": "sum", "total": "sum", "false": "none", "null": "none"}


LATER = "give it when calling the module"


def meant(value: object, options: Sequence[str]) -> str:
    """What a word may be meant for, as the end of a message; nothing if nobody knows."""
    word = str(value).casefold()
    close = [word] if word in options else [REDUCTIONS[word]] if REDUCTIONS.get(word) in options else near(word, options, 1) if isinstance(value, str) else []
    return f": did you mean {close[0]!r}?" if close else ""


def legacy(given: Mapping[str, Any]) -> str:
    """torch's arguments before it had `reduction`."""
    reduction = "none" if given.get("reduce") is False else "sum" if given.get("size_average") is False else "mean"
    return f"torch, too, has replaced it: write reduction={reduction!r}"


def instead(name: str, given: Mapping[str, Any], settings: Collection[str], called: Collection[str]) -> str:
    """What to write in place of an argument that a loss does not have."""
    if name in ("size_average", "reduce") and "reduction" in settings:
        return legacy(given)
    if name in called:
        return LATER
    ours = next((other for other in SYNONYMS.get(name, ()) if other in settings or other in called), None)
    if ours is not None:
        return f"here it is {ours}=" + (f", {LATER}" if ours in called else "")
    if name in INSTEAD:
        return INSTEAD[name] if "from_logits" in settings or "from_logits" not in INSTEAD[name] else ""
    close = near(name, [*settings, *called], 1)
    return f"did you mean {close[0]}=?" if close else ""


def unknown(who: str, given: Mapping[str, Any], settings: Sequence[str], called: Sequence[str] = (), places: Sequence[str] = ()) -> str:
    """Arguments that a loss does not have, and what to write. Functions have `places` for tensors, too; modules are given some of a function's arguments when they are
    made, and the others, `called`, later.
    """
    told = []
    for name in (name for name in given if name not in settings and name not in places):
        way = instead(name, given, (*settings, *places), called)
        told.append(repr(name) + (f" ({way})" if way else ""))
    return f"{who} has no argument {', '.join(told)}; it takes: {', '.join(settings)}"


def at_call(who: str, named: Mapping[str, Any], settings: Sequence[str], taken: Sequence[str], placed: int) -> str:
    """What a module's call was given and does not take: a setting, another name, or too many tensors without one."""
    wrong = [name for name in named if name not in taken]
    if wrong and wrong[0] in settings:
        value = named[wrong[0]]
        given = "..." if isinstance(value, Tensor) else repr(value)
        return f"{wrong[0]} is a setting, not an argument of the call: write {who}(..., {wrong[0]}={given}), or set module.{wrong[0]} before the call"
    if wrong:
        way = instead(wrong[0], named, taken, ())
        return f"{who}'s call has no argument {wrong[0]!r}" + (f" ({way})" if way else "") + f"; it takes: {', '.join(taken)}"
    return f"{who}'s call was given {placed} arguments without a name; it takes: {', '.join(taken)}; all but tensors by name"


def missing(who: str, name: str, kind: Any, example: Any) -> str:
    """A setting without a default."""
    known = (True, False) if kind is bool else get_args(kind) if get_origin(kind) is Literal else ()
    which = f"one of {', '.join(map(repr, known))}" if known else f"a scale of your data, for example {name}={example!r}"
    return f"{who} needs {name}=: {which}"


def by_name(
    who: str,
    placed: Sequence[Any],
    named: Mapping[str, Any],
    theirs: Callable[..., Any] | None,
    settings: Sequence[str],
    call: Callable[..., Any],
    before: str = "",
) -> str:
    """What to write in place of settings without a name, if a `call` with them goes through. Those of a loss that torch has, too, have torch's order; what is left at
    None there is nothing.
    """
    order = list(inspect.signature(theirs).parameters)[before.count(",") + 1 if before else 0 :] if theirs else settings
    given = {key: value for key, value in zip(order, placed, strict=False) if value is not None}
    if len(placed) == 1 and isinstance(placed[0], str) and placed[0] in REDUCTIONS.values() and "reduction" in settings:
        given = {"reduction": placed[0]}
    given |= named
    try:
        if len(placed) > len(order):
            raise TypeError
        call(**given)
    except Exception:  # what would be written is not taken, either
        return f"{who} takes its settings by name, and has {', '.join(settings)}"
    shown = (f"{key}={'...' if isinstance(value, Tensor) else repr(value)}" for key, value in given.items())
    return f"{who} takes its settings by name: write {who}({', '.join([before, *shown] if before else shown)})"


def misfit(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Why a call of a loss does not fit its signature, and what to write; None if it is none of these."""
    parameters = inspect.signature(function).parameters
    places = [name for name, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    settings = [name for name in parameters if name not in places]
    if len(args) > len(places):
        theirs = getattr(torch.nn.functional, function.__name__, None)
        return by_name(function.__name__, args[len(places) :], kwargs, theirs, settings, tried(function, args[: len(places)]), ", ".join(places))
    if not set(kwargs) <= set(parameters):
        return unknown(f"{function.__name__}()", kwargs, settings, places=places)
    absent = [name for name, p in parameters.items() if p.default is p.empty and name not in kwargs and name not in places[: len(args)]]
    if absent and absent[0] in settings:
        return missing(function.__name__, absent[0], parameters[absent[0]].annotation, example_of(function, absent[0]))
    return None


def tried(function: Callable[..., Any], args: Sequence[Any]) -> Callable[..., Any]:
    """The call of a loss for the answer alone: without a graph, it writes nowhere and meets nobody."""
    quiet = {"inplace": False, "normalizer": None, "process_group": None, "class_group": None}
    quiet = {name: value for name, value in quiet.items() if name in inspect.signature(function).parameters}

    def call(**given: Any) -> None:
        with use_engine("torch"), torch.no_grad():
            function(*args, **{**given, **quiet})

    return call


def example_of(function: Callable[..., Any], name: str) -> Any:
    """A value of a setting without a default."""
    from losskit.contract.registry import LOSSES

    found: Iterable[Any] = (each[name] for loss in LOSSES.values() if loss.name == function.__name__ for each in loss.arguments if name in each)
    return next(iter(found), None)
