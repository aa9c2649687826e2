"""A prediction and a target from files, as a loss takes them: what was converted is noted, and what does not fit is one line."""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from losskit.cli import coco, readers, room, stop
from losskit.contract.registry import Loss

PASSES = 16  # bytes per number of the prediction: as float32, its gradient, the losses of items, where they lie
WHOLE = {torch.uint8: 255.0, torch.bool: 1.0}


@dataclass(frozen=True)
class Batch:
    """What the files hold, and for each pair of boxes its category and picture."""

    input: Tensor
    target: Tensor | None
    mask: Tensor | None = None
    pictures: tuple[bool, bool, bool] = (False, False, False)  # files of one sample, without an axis for samples
    names: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    boxes: str | None = None  # their format, where the files say so
    all: tuple[Tensor, Tensor] | None = None  # boxes without a partner, too
    scaled: bool = False  # whether the prediction's numbers, up to 255, were read as up to 1

    def noted(self, note: str, **changes: Any) -> "Batch":
        """The same, changed, with a word about it."""
        return replace(self, notes=(*self.notes, note), **changes)


def load(pred: str, target: str | None, mask: str | None = None) -> Batch:
    """Read the files, after a look at their headers."""
    ends = [text is not None and text.lower().endswith(".json") for text in (pred, target)]
    if any(ends):
        return of_boxes(pred, target, mask)
    sources = [readers.describe(name, text) if text is not None else None for name, text in (("pred", pred), ("target", target), ("mask", mask))]
    first = sources[0]
    assert first is not None
    for source in sources:
        if source is not None and 0 in source.shape:
            stop(f"{source.told} holds no items: shape {source.shape}")
    need = sum(source.nbytes + 8 * math.prod(source.shape) for source in sources if source is not None) + PASSES * math.prod(first.shape)
    room.check([source.told for source in sources if source is not None], need)
    x, t, m = (None if source is None else readers.loaded(source) for source in sources)
    assert x is not None
    return Batch(x, t, None if m is None else m != 0, tuple(source is not None and source.picture for source in sources))  # type: ignore[arg-type]


def of_boxes(pred: str, target: str | None, mask: str | None) -> Batch:
    """COCO's JSON on both sides."""
    if target is None or mask is not None or not (pred.lower().endswith(".json") and target.lower().endswith(".json")):
        stop("COCO's JSON goes with another: --pred results.json --target annotations.json, and no --mask")
    for name, text in (("pred", pred), ("target", target)):
        if not Path(text).is_file():
            stop(f"--{name} {text}: there is no such file")
    room.check([f"--pred {pred}", f"--target {target}"], coco.TEXT * sum(Path(text).stat().st_size for text in (pred, target)))
    found = coco.pairs(Path(pred), Path(target))
    batch = Batch(found.input, found.target, names=found.names, places=found.places, boxes="xywh", all=found.all)
    crowds = f"; {found.crowds} that mark crowds are left out" if found.crowds else ""
    return batch.noted(f"{len(found.names)} pairs of boxes; {found.unmatched} of --pred have no partner, {found.missed} of --target were not found{crowds}")


def fitted(batch: Batch, loss: Loss, settings: dict[str, Any]) -> tuple[Batch, dict[str, Any]]:
    """The batch as this loss takes it, and its settings with what the files say of them."""
    if len(loss.tensors) > 2 or loss.pattern == "vectors":
        stop(f"{loss.name} takes {', '.join(loss.tensors)}: files hold a prediction and a target, compare it in Python")
    if loss.target == "none":
        batch = replace(batch, target=None)
    elif batch.target is None:
        stop(f"{loss.name} needs a target: give --target")
    if batch.boxes and loss.pattern != "boxes":
        stop(f"{loss.name} is no loss of boxes, which COCO's JSON holds: try giou_loss")
    batch, settings = as_predictions(batch, loss, dict(settings))
    if loss.pattern == "boxes":
        settings = ({"box_format": batch.boxes} if batch.boxes else {}) | settings
        return replace(batch, target=None if batch.target is None else batch.target.to(batch.input.dtype)), settings
    batch = with_axes(batch, loss, settings.get("task"))
    if batch.target is not None:
        batch = as_targets(batch, loss, settings)
    return batch, settings


def as_predictions(batch: Batch, loss: Loss, settings: dict[str, Any]) -> tuple[Batch, dict[str, Any]]:
    """Predictions are floating point; whole numbers of pictures are probabilities of one class."""
    x = batch.input
    if not x.is_floating_point():
        hard = x.dtype is torch.bool or bool(((x == 0) | (x == 1)).all())
        if hard or batch.pictures[0]:
            largest = 1.0 if hard else WHOLE.get(x.dtype, 65535.0)
            batch = batch.noted(f"the prediction holds {named(x)}: it is read as numbers from 0 to 1", input=x.float() / largest, scaled=not hard)
            if "from_logits" in loss.settings and "from_logits" not in settings:
                settings["from_logits"] = False
        else:
            batch = batch.noted(f"the prediction holds {named(x)}: it is read as float32", input=x.float())
    elif "from_logits" in loss.settings and settings.get("from_logits", True) is True and bool(((x >= 0) & (x <= 1)).all()):
        batch = batch.noted("all predictions are in [0, 1], and are read as logits: if they are probabilities, add --set from_logits=false")
    return batch, settings


def with_axes(batch: Batch, loss: Loss, task: Any) -> Batch:
    """An axis for samples, where files hold one of them; none for the class of a mask that has only one."""
    x, t, m = batch.input, batch.target, batch.mask
    labels = t is not None and (loss.pattern == "rows" or task == "multiclass") and loss.target in ("label", "unit", "position") and not loss.multilabel
    if labels and t is not None:
        if batch.pictures[1] and x.shape == t.shape and x.dim() == 2:
            stop(
                f"{loss.name} of classes takes a score of each: a prediction of shape (C, {x.shape[0]}, {x.shape[1]}) beside this target, got {tuple(x.shape)}"
            )
        if t.dim() == x.dim() and t.shape[1:2] == (1,) and x.shape[1] != 1 and t.shape[2:] == x.shape[2:]:
            batch = batch.noted(f"the target's axis of 1 was dropped: shape {tuple(t.shape)}", target=t.squeeze(1))
        elif t.dim() == x.dim() - 1 and x.shape[1:] == t.shape and (batch.pictures[1] or (x.shape[0], *x.shape[2:]) != t.shape):
            batch = batch.noted(f"one sample: {tuple(x.shape)} beside {tuple(t.shape)}", input=x[None], target=t[None], mask=None if m is None else m[None])
        elif t.dim() == x.dim() - 2 and x.shape[0] == 1 and x.shape[2:] == t.shape:
            batch = replace(batch, target=t[None], mask=m[None] if m is not None and m.shape == t.shape else m)
        return batch
    if (
        t is not None
        and x.shape != t.shape
        and [n for n in x.shape if n != 1] == [n for n in t.shape if n != 1]
        and (task == "binary" or loss.pattern == "elementwise")
    ):
        batch = batch.noted(f"the prediction of shape {tuple(x.shape)} was laid as the target, {tuple(t.shape)}", input=x.reshape(t.shape))
        x = batch.input
    if any(batch.pictures[:2]) and (t is None or x.shape == t.shape):
        axes = (None, None) if loss.pattern == "windows" and x.dim() == 2 else (None,)
        batch = replace(batch, input=x[axes], target=None if t is None else t[axes], mask=m[axes] if m is not None and m.shape == x.shape else m)
    return batch


def as_targets(batch: Batch, loss: Loss, settings: dict[str, Any]) -> Batch:
    """Labels are whole numbers; masks of pictures, 0 and 255, are 0 and 1; what is real has the prediction's dtype."""
    x, t = batch.input, batch.target
    assert t is not None
    labels = t.shape != x.shape and (loss.pattern == "rows" or settings.get("task") == "multiclass") and loss.target != "position"
    if labels:
        if t.is_floating_point():
            if not bool(((t == t.round()) | t.isnan()).all()):
                stop(f"the target holds labels, and {float(t[t != t.round()][0])!r} is no whole number")
            if not bool(t.isnan().any()):
                batch = batch.noted(f"the target's {named(t)} labels are whole numbers, read as int64", target=t.long())
        return replace(batch, target=t.long()) if t.dtype is torch.bool else batch
    if loss.target == "set":
        return replace(batch, target=t.bool()) if bool(((t == 0) | (t == 1)).all()) else batch
    if loss.target in ("unit", "label") and not t.is_floating_point() and bool((t == 255).any()) and settings.get("ignore_index") != 255:
        if bool(((t == 0) | (t == 255)).all()):
            return batch.noted("the target holds 0 and 255: they are read as 0 and 1", target=(t == 255).to(x.dtype))
        if batch.pictures[1]:
            stop("the target holds 255 and other numbers: where 255 stands for what does not count, add --ignore-index 255")
    if (loss.pattern == "windows" or (batch.scaled and loss.target == "real")) and batch.pictures[1] and not t.is_floating_point():
        return batch.noted("the target's numbers are read as from 0 to 1", target=(t.to(torch.float64) / WHOLE.get(t.dtype, 65535.0)).to(x.dtype))
    if loss.target == "real" or loss.pattern == "windows":
        return replace(batch, target=t.to(x.dtype))
    return batch


def named(x: Tensor) -> str:
    """A dtype without torch's name."""
    return str(x.dtype).removeprefix("torch.")
