"""Sets of classes as targets: a bool for each class, or the classes in a list that ends at -1."""

from typing import NamedTuple

import torch
from torch import Tensor

from losskit.contract import checks, labels
from losskit.contract.checks import shown

END = -1  # in a list of classes: an item's set ends here, whatever follows
# what to do with a single class
ALONE = "and there is no other for a label to be above"
ONE_SCORE = "For one score and a label of 0 or 1 per item, try binary_cross_entropy_with_logits(input, {target})"


class Sets(NamedTuple):
    """A set of classes per item, along the last axis."""

    places: Tensor  # its classes, int64; where `listed` is False, some class
    listed: Tensor
    others: Tensor  # of each class 1.0, or 0.0 if it is in the set; in the dtype computed in
    share: float | Tensor  # one over the number of classes; NaN for an item whose list holds what is no class, with 1 along the last axis


def pair(input: Tensor, target: Tensor, dim: int) -> int:
    """Scores and a set of classes per item, of the input's shape; the class axis."""
    checks.both(input, target)
    axis = labels.axis_of(input, dim)
    classes = input.shape[axis]
    if classes < 2:
        labels.several(input, axis, ONE_SCORE.format(target="target" if target.dtype is torch.bool else f"target != {END}"), ALONE)
    if target.shape != input.shape:
        listed, short = target.shape[axis : axis + 1], checks.without(input.shape, axis)
        if target.shape == short:
            fix = f"For one label per item, try multi_margin_loss(input, target{'' if axis == 1 else f', dim={dim}'})"
        elif target.dim() == input.dim() and checks.without(target.shape, axis) == short and listed[0] < classes and target.dtype is not torch.bool:
            room = (0, 0) * (input.dim() - axis - 1) + (0, classes - listed[0])
            fix = f"For lists of {listed[0]} classes at most, try torch.nn.functional.pad(target, {room}, value={END})"
        else:
            checks.pair(input, target)
        raise ValueError(
            f"target has shape {shown(target.shape)} but input has shape {shown(input.shape)}: a set of classes has a place for each, in a list or as a bool. {fix}"
        )
    checks.pair(input, target)  # their devices
    if target.is_floating_point():
        raise TypeError(
            f"target must be bool, True for each label of an item, or list its classes as integers, ended by {END}; got {target.dtype}. "
            "For a 0 or 1 per class, try target.bool()"
        )
    return axis


def sets(target: Tensor, axis: int, counts: Tensor | None, real: torch.dtype) -> Sets:
    """The set of each item that counts, that of an absent one is empty; as short as the longest, where that may be read. `counts` has 1 along its last axis."""
    target = target.movedim(axis, -1)
    classes, read = target.shape[-1], checks.readable(target)
    share: float | Tensor = 1.0 / classes
    if target.dtype is torch.bool:
        listed = target if counts is None else target & counts
        others = (~listed).to(real)
        if not read:
            places = torch.arange(classes, dtype=torch.long, device=target.device).expand(target.shape)
            return Sets(places, listed, others, share)
        found, places = listed.to(torch.uint8).topk(longest(listed), -1)
        return Sets(places, found.bool(), others, share)
    target = target.long()
    listed = (target == END).cumsum(-1) == 0
    if counts is not None:
        listed = listed & counts
    if read:
        whole = listed[..., -1:] if counts is None else listed[..., -1:] | ~counts
        most = longest(listed)
        target, listed = target[..., :most], listed[..., :most]
    known = (target >= 0) & (target < classes)
    if read:
        refuse(target, axis, classes, listed, known, whole)
    else:
        share = torch.where((listed & ~known).any(-1, keepdim=True), torch.nan, torch.ones((), dtype=real, device=target.device)) / classes
    places = torch.where(listed & known, target, 0)
    others = torch.ones((*places.shape[:-1], classes), dtype=real, device=target.device).scatter(-1, torch.where(listed, places, places[..., :1]), 0.0)
    return Sets(places, listed, others, share)


def longest(listed: Tensor) -> int:
    """How many classes the largest set has; at least one, so that there is a place to read."""
    return max(1, int(listed.sum(-1).max())) if listed.numel() else 1


def refuse(target: Tensor, axis: int, classes: int, listed: Tensor, known: Tensor, whole: Tensor) -> None:
    """Raises for the first list with what is no class, and where lists are a 0 or 1 for each of several classes: none of them has an end (`whole`)."""
    bad = listed & ~known
    if bool(bad.any()):
        place = tuple(bad.nonzero()[0].tolist())
        value = int(target[place])
        place = (*place[:axis], place[-1], *place[axis:-1])
        fix = f"If {value} fills the lists up, try target.masked_fill(target == {value}, {END})" if value in (255, -100) else "Classes count from 0"
        raise ValueError(
            f"target must list classes from 0 to {classes - 1} (the input has {classes}), and {END} after an item's last one, got {value} at index {place}. {fix}"
        )
    if classes > 2 and listed.any() and bool(whole.all()) and bool((~listed | (target < 2)).all()):
        raise ValueError(
            f"target holds 0 and 1 alone, and integers are read as a list of an item's classes, ended by {END}. For a 0 or 1 per class, try target.bool()"
        )
