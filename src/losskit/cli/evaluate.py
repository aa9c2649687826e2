"""A loss on saved predictions: its value and gradient, what counted, what it is per class, where it sits."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

import losskit
from losskit.cli import stop
from losskit.cli.batch import Batch, fitted
from losskit.contract.config import class_of
from losskit.contract.module import LossModule
from losskit.contract.registry import Loss

WORDS = {"true": True, "false": False, "none": None, "null": None, "inf": math.inf, "-inf": -math.inf, "nan": math.nan}
WORST = 10
CLASSES = 1000  # of more, no table is made
ERRORS = (TypeError, ValueError, IndexError, RuntimeError)


@dataclass(frozen=True)
class Item:
    """One item, or one sample of a picture: where, its loss, and what stands there."""

    place: str
    loss: float
    prediction: str = ""
    target: str = ""


@dataclass(frozen=True)
class Outcome:
    """What was found of one loss."""

    name: str
    settings: Mapping[str, Any]
    value: float
    gradient: float  # its norm
    steepest: float
    items: int
    counts: Mapping[str, int]
    classes: Mapping[str, float] = field(default_factory=dict)
    class_items: Mapping[str, int] = field(default_factory=dict)  # where losses have items
    worst: Sequence[Item] = ()
    notes: Sequence[str] = ()
    batch: Batch | None = None
    heat: Tensor | None = None  # where the loss sits in pictures: (N, ..., height, width)
    heat_of: str = "loss"
    worst_of: str = "loss"

    def plain(self) -> dict[str, Any]:
        """For programs."""
        return {
            "loss": self.name,
            "settings": {
                name: value if isinstance(value, (bool, int, str, float, list)) or value is None else str(value) for name, value in self.settings.items()
            },
            "value": self.value,
            "gradient_norm": self.gradient,
            "largest_gradient": self.steepest,
            "items": self.items,
            "counts": dict(self.counts),
            "classes": dict(self.classes),
            "class_items": dict(self.class_items),
            "worst": [vars(item) for item in self.worst],
            "notes": list(self.notes),
        }


def value_of(text: str) -> Any:
    """A setting's value as people type it: a number, true, none, [0.2, 0.8], a word."""
    word = text.strip()
    if word.casefold() in WORDS:
        return WORDS[word.casefold()]
    if word.startswith(("[", "(")) and word.endswith(("]", ")")):
        return [value_of(each) for each in word[1:-1].split(",") if each.strip()]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(word)
    return word


def losses_of(text: str, option: str = "--loss") -> list[tuple[str, Loss]]:
    """Names as they were given, and the losses they mean."""
    found = []
    for name in (part.strip() for part in text.split(",")):
        try:
            kind = class_of(name, option)
        except ValueError as error:
            stop(str(error))
        loss = getattr(kind, "loss", None)
        if loss is None:
            stop(f"{option} {name} is {kind.__name__}, which no file can ask: for scores there is binary_cross_entropy_with_logits, for boxes wiou_loss")
        found.append((name, loss))
    return found


def settings_of(losses: Sequence[tuple[str, Loss]], given: Sequence[str], shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Settings for each loss: `gamma=2` for those that have it, `focal.gamma=2` for one; `shared` are options of their own."""
    made: list[dict[str, Any]] = [{name: value for name, value in shared.items() if name in loss.settings} for _, loss in losses]
    for name, value in shared.items():
        if not any(name in loss.settings for _, loss in losses):
            stop(
                f"--{name.replace('_', '-')} {value}: {' and '.join(loss.name for _, loss in losses)} {'have' if len(losses) > 1 else 'has'} no {name}: leave it out"
            )
    for text in given:
        path, is_there, value = text.partition("=")
        whose, _, name = path.strip().rpartition(".")
        if not is_there or not name.isidentifier():
            stop(f"--set takes name=value, or loss.name=value, got {text!r}: try --set gamma=2")
        if name == "reduction" and value.strip() == "none":
            stop('--set reduction=none: a loss is shown as one number, leave it out or take "sum"')
        meant = [i for i, (called, loss) in enumerate(losses) if not whose or whose in (called, loss.name, loss.module)]
        if not meant:
            stop(f"--set {text}: no loss here is called {whose!r}, there is {', '.join(called for called, _ in losses)}")
        having = [i for i in meant if name in losses[i][1].settings] or meant[:1]  # of none that has it, the first refuses it, and says what was meant
        for i in having:
            made[i][name] = value_of(value)
    return made


def made(loss: Loss, settings: Mapping[str, Any]) -> LossModule:
    """The module of a loss."""
    module = losskit.create(loss.name, **settings)
    assert isinstance(module, LossModule)
    return module


def evaluate(batch: Batch, loss: Loss, settings: Mapping[str, Any]) -> Outcome:
    """One loss on a batch; whatever it refuses is one line."""
    batch, given = fitted(batch, loss, dict(settings))
    try:
        module = made(loss, given)
        x = batch.input.detach().requires_grad_()
        call = {} if batch.mask is None else {"mask": batch.mask}
        tensors = (x,) if batch.target is None else (x, batch.target)
        refuse_nan(batch, module.settings)
        value = module(*tensors, **call)
        (slope,) = torch.autograd.grad(value, x, allow_unused=True)
    except ERRORS as error:
        stop(f"{loss.name}: {error}")
    slope = torch.zeros_like(x) if slope is None else slope
    each = items_of(loss, given, tensors, call)
    counted = counting(batch, loss, module.settings, each)
    classes = list(per_class(batch, loss, given, each, counted))
    heat, of = pictures(batch, loss, each, slope, module.settings)
    return Outcome(
        loss.name,
        module.settings if not given else {name: module.settings[name] for name in given},
        value.item(),
        float(slope.double().norm()),
        float(slope.abs().max()),
        counted.numel() if counted is not None else len(x),
        counts(batch, loss, module.settings, counted),
        {name: value for name, value, _ in classes},
        {name: count for name, _, count in classes if count is not None},
        worst(batch, each, heat),
        batch.notes,
        batch,
        heat,
        of,
        of if each is None or (heat is not None and len(heat) > 1) else "loss",
    )


def items_of(loss: Loss, settings: Mapping[str, Any], tensors: tuple[Tensor, ...], call: Mapping[str, Any]) -> Tensor | None:
    """The loss of each item, where a loss has items."""
    if "reduction" not in loss.settings:
        return None
    with torch.no_grad():
        found = made(loss, {**settings, "reduction": "none"})(*tensors, **call)
    return found if isinstance(found, Tensor) else found[0]


def labels_along(batch: Batch, loss: Loss, settings: Mapping[str, Any]) -> bool:
    """Whether targets are labels of classes that lie along an axis of the input."""
    t = batch.target
    return t is not None and t.dim() == batch.input.dim() - 1 and not t.is_floating_point() and loss.pattern != "boxes"


def ignored(batch: Batch, settings: Mapping[str, Any]) -> Tensor | None:
    """Which targets are absent: in the target's shape. Labels have the index -100 where a loss for several tasks leaves it open."""
    index, t = settings.get("ignore_index"), batch.target
    if t is None or "ignore_index" not in settings or (index is None and t.dim() != batch.input.dim() - 1):
        return None
    return t == (-100 if index is None else index)


def refuse_nan(batch: Batch, settings: Mapping[str, Any]) -> None:
    """NaN in what counts gives NaN for a loss, and says nothing of the rest."""
    missing = settings.get("missing")
    for name, x in (("--pred", batch.input), ("--target", batch.target)):
        if x is None or not x.is_floating_point() or (name == "--target" and isinstance(missing, float) and math.isnan(missing)):
            continue
        bad = x.isnan()
        absent = [x for x in (ignored(batch, settings), None if batch.mask is None else ~batch.mask) if x is not None]
        for left_out in absent:
            for axis in (None, settings.get("dim", 1), -1):  # of items, or of their numbers
                with suppress(RuntimeError, IndexError):
                    bad = bad & ~(left_out if axis is None else left_out.unsqueeze(axis)).expand(bad.shape)
                    break
        if bool(bad.any()):
            place = [int(i) for i in bad.nonzero()[0]]
            stop(f"{name} holds {int(bad.sum()):,} NaN of {bad.numel():,} numbers, the first at {place}: leave them out with --mask, or mend what made them")


def counting(batch: Batch, loss: Loss, settings: Mapping[str, Any], each: Tensor | None) -> Tensor | None:
    """Which items count: in the items' shape, or in the target's where a loss has none."""
    t = batch.target
    shape = each.shape if each is not None else (t if t is not None else batch.input).shape
    counted = torch.ones(shape, dtype=torch.bool)
    for left_out in (ignored(batch, settings), None if batch.mask is None else ~batch.mask):
        if left_out is not None:
            with suppress(RuntimeError):  # a mask of positions beside losses per class
                counted = counted & ~left_out.expand(shape)
    return counted


def counts(batch: Batch, loss: Loss, settings: Mapping[str, Any], counted: Tensor | None) -> dict[str, int]:
    """How many items were left out, how many samples have nothing in them, how many boxes no area."""
    found = {} if counted is None else {"ignored": int((~counted).sum())}
    t = batch.target
    if loss.pattern == "boxes" and t is not None:
        form = settings["box_format"]
        for name, boxes in zip(("degenerate", "degenerate targets"), batch.all or (batch.input, t), strict=True):
            found[name] = int(losskit.degenerate_boxes(boxes, box_format=form))
    elif t is not None and loss.pattern in ("overlap", "ranked", "operations") and loss.target != "real":
        there = t > 0 if settings.get("ignore_index") is None else (t > 0) & (t != settings["ignore_index"])
        found["empty"] = int((~there.reshape(len(there), -1).any(1)).sum()) if there.dim() else 0
    return found


def per_class(batch: Batch, loss: Loss, settings: Mapping[str, Any], each: Tensor | None, counted: Tensor | None) -> Iterator[tuple[str, float, int | None]]:
    """The loss of each class, where there are classes: the mean over its items, or the loss of its overlap over the batch."""
    if batch.names and each is not None:
        for name in dict.fromkeys(batch.names):
            own = torch.tensor([other == name for other in batch.names])
            yield name, float(each[own].mean()), int(own.sum())
        return
    t, dim = batch.target, settings.get("dim", 1)
    if "average" in loss.settings and t is not None:
        with suppress(*ERRORS), torch.no_grad():
            found = made(loss, {**settings, "average": "none", "over": "batch"})(batch.input, t, **({} if batch.mask is None else {"mask": batch.mask}))
            first = 0 if settings.get("background", True) else 1
            if 1 < found.numel() <= CLASSES:
                yield from ((str(first + number), value, None) for number, value in enumerate(found.flatten().tolist()))
        return
    if each is None or t is None or counted is None or not isinstance(dim, int) or batch.input.dim() <= dim or batch.input.shape[dim] > CLASSES:
        return
    if labels_along(batch, loss, settings) and each.shape == t.shape:
        for label in range(batch.input.shape[dim]):
            own = (t == label) & counted
            if bool(own.any()):
                yield str(label), float(each[own].double().mean()), int(own.sum())
    elif settings.get("task") == "multilabel" and each.shape == batch.input.shape:
        for label in range(each.shape[1]):
            own = counted.select(1, label)
            yield str(label), float(each.select(1, label)[own].double().mean()) if bool(own.any()) else math.nan, int(own.sum())


def pictures(batch: Batch, loss: Loss, each: Tensor | None, slope: Tensor, settings: Mapping[str, Any]) -> tuple[Tensor | None, str]:
    """Where the loss sits: (N, ..., height, width), the losses of pixels, or how steep it is there."""
    x = batch.input
    if loss.pattern in ("boxes", "linear", "vectors") or x.dim() < 3:
        return None, "loss"
    found, of = (each, "loss") if each is not None and each.dim() >= 3 else (slope.abs(), "gradient")
    dim = settings.get("dim", 1)
    classes = found.shape == x.shape and (labels_along(batch, loss, settings) or settings.get("task") == "multilabel" or loss.pattern == "windows")
    if classes and isinstance(dim, int):
        found = found.sum(dim)
    return (found.detach().float(), of) if found.dim() >= 3 and min(found.shape[-2:]) > 1 else (None, "loss")


def by_sample(heat: Tensor) -> Tensor:
    """The sum of each sample."""
    return heat.flatten(1).double().sum(1)


def descending(x: Tensor) -> list[int]:
    """Places, the largest number first, NaN before all."""
    return x.nan_to_num(math.inf).argsort(descending=True, stable=True).tolist()


def worst(batch: Batch, each: Tensor | None, heat: Tensor | None) -> list[Item]:
    """The samples, or the items, whose losses are largest."""
    x, t = batch.input, batch.target
    if heat is not None and len(heat) > 1:
        sums = by_sample(heat)
        return [Item(f"sample {i}", float(sums[i])) for i in descending(sums)[:WORST]]
    each = heat if each is None else each
    if each is None or not each.dim():
        return []
    flat = each.flatten()
    found = []
    for number in descending(flat)[:WORST]:
        place = tuple(int(i) for i in torch.unravel_index(torch.tensor(number), each.shape))
        where = batch.places[place[0]] + f", box {place[0]}" if batch.places else f"[{', '.join(map(str, place))}]"
        found.append(Item(where, float(flat[number]), at(x, place, each), at(t, place, each) if t is not None else ""))
    return found


def at(x: Tensor, place: tuple[int, ...], each: Tensor) -> str:
    """What stands at an item's place: a number, a box, the scores of a row."""
    if x.shape == each.shape:
        return f"{x[place].item():.6g}"
    if x.dim() == each.dim() + 1:
        row = (x if x.shape[:-1] == each.shape else x.movedim(1, -1))[place]
        return ", ".join(f"{number:.4g}" for number in row[:8].tolist()) + (", ..." if len(row) > 8 else "")
    return ""
