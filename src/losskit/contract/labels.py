"""Checks of class labels, and of positions between classes, and the messages when they are wrong."""

import math
from functools import reduce
from operator import and_
from typing import Literal

import numpy
import torch
from torch import Tensor

from losskit.contract import tensors
from losskit.contract.checks import Numbers, both, moved, number, numbers, readable, shown, values, without
from losskit.engines.call import real_dtype
from losskit.engines.language import ROUNDING
from losskit.engines.scores import Scores

PART = 1 << 24  # labels looked at together: a volume of them is never copied whole


def soft(input: Tensor, target: Tensor) -> bool:
    """Whether the target is probabilities, by its shape and dtype."""
    if not (isinstance(target, Tensor) and target.is_floating_point()):
        return False
    tensors.check("input", input)
    tensors.check("target", target)
    return target.shape == input.shape


def class_axis(input: Tensor, dim: int) -> int:
    """The class axis as a number from 0; that of a single item without a batch is its only one."""
    tensors.check("input", input)
    return axis_of(input, dim)


def axis_of(input: Tensor, dim: int) -> int:
    """The class axis of a tensor that was looked at."""
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise TypeError(f"dim must be an integer, got {type(dim).__name__}: {dim!r}")
    if input.dim() == 0:
        raise ValueError("input has no dimension for the classes: expected (C,), (N, C) or (N, C, ...)")
    if input.dim() == 1 and dim in (-1, 0, 1):
        return 0
    if not -input.dim() <= dim < input.dim():
        raise ValueError(f"dim must be an axis of the input's shape {shown(input.shape)}, got {dim}")
    if type(input) is Scores and dim % input.dim() != input.dim() - 1:
        raise ValueError(f"dim={dim} names the class axis, and that of scores that are a product is their last one: give dim=-1")
    return dim % input.dim()


def count(input: Tensor, dim: int) -> int:
    """How many classes there are."""
    axis = class_axis(input, dim)  # before its shape, which not everything has
    return input.shape[axis]


# what to do with a single class; {axis} is its axis
ONE_SCORE = "For one score and a label of 0 or 1 per item, try binary_cross_entropy_with_logits(input.squeeze({axis}), target)"
ONE_CHANNEL = 'For one score per item, try task="binary"'
ONE_LABEL = 'For one score and a label of 0 or 1 per item, try input.squeeze({axis}) and task="binary"'
ONE_BIN = "A position lies between two bins: try more of them"


def several(input: Tensor, axis: int, fix: str, why: str = "and a softmax over one class is 1 everywhere") -> int:
    """How many classes there are: at least two, for of one the loss is constant. `why`, unless it is because a softmax over one is 1 whatever the score."""
    classes = input.shape[axis]
    if classes < 2:
        many = "one class" if classes else "no classes"
        told = f", {why}. {fix.format(axis=axis)}" if classes else ""
        raise ValueError(f"input has {many} along axis {axis}: its shape is {shown(input.shape)}{told}")
    return classes


def beside(input: Tensor, dim: int, task: str) -> None:
    """`dim` of a task that needs no class axis: of "multilabel" it must be an axis all the same, "binary" has none to name."""
    if task == "binary" and dim != 1:
        raise ValueError(f'dim={dim!r} names the class axis, and task="binary" has none: leave dim out')
    if dim != 1:
        class_axis(input, dim)


def pair(input: Tensor, target: Tensor, dim: int, fix: str = ONE_SCORE) -> int:
    """Scores and labels: the target has the input's shape without the class axis, which is returned. `fix` is for a single class."""
    both(input, target)
    axis = axis_of(input, dim)
    if input.shape[axis] < 2:
        several(input, axis, fix)
    aligned(input, target, axis, dim, "labels")
    return axis


def positions(input: Tensor, target: Tensor, dim: int) -> int:
    """Scores and positions between the classes, likewise; no gradient goes to them."""
    both(input, target)
    axis = axis_of(input, dim)
    several(input, axis, ONE_BIN)
    aligned(input, target, axis, dim, "positions")
    if target.requires_grad and torch.is_grad_enabled():
        raise ValueError("target must not require a gradient, none is defined for a position: try target.detach()")
    return axis


def aligned(input: Tensor, target: Tensor, axis: int, dim: int, what: Literal["labels", "positions"]) -> None:
    """Scores, whose class axis is known, and one number per item."""
    wide = input.shape
    shape = (*wide[:axis], *wide[axis + 1 :])
    if target.shape != shape:
        raise ValueError(
            f"target has shape {shown(target.shape)}, but {what} for an input of shape {shown(input.shape)} with its {input.shape[axis]} classes along "
            f"dim={dim} have shape {shown(shape)}. {_shape_fix(input, target, axis, shape, what)}"
        )
    if target.device != input.device:
        tensors.beside("target", target, "input", input)
    if what == "labels" and target.is_floating_point():
        raise TypeError(f"target must be class labels of an integer dtype, got {target.dtype}: try target.long(). Probabilities have the input's shape")


def one_hot_labels(target: Tensor, axis: int) -> str:
    """How one writes the labels of a one-hot target; torch has no argmax of bool."""
    return f"target{'.long()' if target.dtype is torch.bool else ''}.argmax({axis})"


def _shape_fix(input: Tensor, target: Tensor, axis: int, shape: tuple[int, ...], what: Literal["labels", "positions"]) -> str:
    if what == "positions" and target.dim() == input.dim() and 1 < (sides := target.shape[axis]) < input.shape[axis] and input.shape[axis] % sides == 0:
        return f"If {sides} sides of {input.shape[axis] // sides} bins lie in that axis, try input.unflatten({axis}, ({sides}, -1)) and dim={axis + 1}"
    if what == "labels" and target.shape == input.shape and target.is_floating_point():
        return f"This loss takes labels only: try {one_hot_labels(target, axis)}. cross_entropy takes probabilities"
    if what == "labels" and target.shape == input.shape:
        return f"For one-hot labels, try {one_hot_labels(target, axis)}; for probabilities, target.float()"
    if target.dim() == input.dim() and target.shape[axis] == 1 and (*target.shape[:axis], *target.shape[axis + 1 :]) == shape:
        return f"Try target.squeeze({axis})"
    for other in range(target.dim()):
        if target.dim() == input.dim() and target.shape[other] == input.shape[axis] and without(target.shape, other) == shape:
            return f"For one-hot labels along axis {other}, try {one_hot_labels(target, other)}"
    for other in range(input.dim()):
        if target.shape == (*input.shape[:other], *input.shape[other + 1 :]):
            return f"Try dim={other}, if the classes are there"
    fix = moved(target.shape, shape)
    if fix:
        return fix
    if target.numel() == math.prod(shape):
        return f"Try target.reshape{shown(shape)}, if the order of the items agrees"
    return "Check that both come from the same batch"


def class_weights(weight: Numbers, input: Tensor, classes: int, name: str = "weight", learned: bool = False) -> Tensor:
    """One finite number per class, as a tensor beside the input; `learned`: it may require a gradient."""
    weight = numbers(name, weight, real_dtype(input.dtype), input.device)
    tensors.check(name, weight)
    if weight.shape != (classes,):
        raise ValueError(f"{name} has shape {shown(weight.shape)}, expected one number for each of the {classes} classes: {shown((classes,))}")
    tensors.beside(name, weight, "input", input)
    if weight.requires_grad and torch.is_grad_enabled() and not learned:
        raise ValueError(f"{name} must not require a gradient, none is defined for it: try {name}.detach()")
    if readable(weight) and not bool(torch.isfinite(weight).all()):
        place = int((~torch.isfinite(weight)).nonzero()[0])
        raise ValueError(f"{name} must be finite, got {weight[place].item()} for class {place}. To leave a class out, give it weight 0")
    return tensors.lasting(weight)


def class_vector(name: str, given: Numbers, input: Tensor) -> Tensor:
    """A weight of each number as a tensor that broadcasts to the input. A vector has one number per class: it lies along axis 1, or the last of (C,) and (N, C)."""
    x = numbers(name, given, real_dtype(input.dtype), input.device)
    tensors.check(name, x)
    if x.dim() != 1 or x.shape[0] == 1 or not input.dim():
        return x
    axis = min(1, input.dim() - 1)
    if x.shape[0] == input.shape[axis]:
        return x if axis == input.dim() - 1 else along(x, input, axis)
    other = [d for d, n in enumerate(input.shape) if n == x.shape[0]]
    form = ["-1" if d == other[0] else "1" for d in range(input.dim())] if other else []
    fix = (
        f". For one number {'per sample' if other[0] == 0 else f'for each place along axis {other[0]}'}, try {name}.reshape({', '.join(form)})" if other else ""
    )
    raise ValueError(
        f"{name} has shape {shown(x.shape)}, and a vector holds one number per class: the input's shape {shown(input.shape)} has {input.shape[axis]} along axis {axis}{fix}"
    )


def along(vector: Tensor, input: Tensor, axis: int) -> Tensor:
    """One number per class, in a shape of all the input's axes."""
    return vector.reshape(*(1,) * axis, -1, *(1,) * (input.dim() - axis - 1))


def index(ignore_index: int) -> int:
    """The label that marks an item as absent."""
    if isinstance(ignore_index, bool) or not isinstance(ignore_index, int):
        raise TypeError(f"ignore_index must be an integer, got {type(ignore_index).__name__}: {ignore_index!r}")
    if not -(2**63) <= ignore_index < 2**63:
        raise ValueError(f"ignore_index must be a number of 64 bits, as labels are, got {ignore_index!r}")
    return ignore_index


def of_labels(weight: Tensor, target: Tensor) -> Tensor:
    """The number of each label's class; not by indexing, which `vmap` cannot do with the label of a single item."""
    return torch.nn.functional.embedding(target, weight[:, None])[..., 0]


def exact(weight: Tensor) -> Tensor:
    """Class weights in float64, where the device has it: what the items add to their gradient is added up there, in the order of the items, and rounded once."""
    return weight.to(torch.float32 if weight.device.type == "mps" else torch.float64)


def kept(target: Tensor, mark: float) -> Tensor:
    """Which numbers are not those that mark what is absent. torch would read -100 as 156 for labels of uint8."""
    if target.is_floating_point():
        return ~target.isnan() if mark != mark else target != mark
    if target.dtype is torch.bool:
        target = target.to(torch.uint8)
    info = torch.iinfo(target.dtype)
    if not info.min <= mark <= info.max or mark != int(mark):
        return torch.ones_like(target, dtype=torch.bool)
    return target != int(mark)


def present(target: Tensor, ignore_index: int | None, missing: float | None, mask: Tensor | None) -> Tensor:
    """A mask of the numbers that neither marks as absent, and that the given mask, a bool tensor, does not."""
    marks: list[float] = [] if ignore_index is None else [index(ignore_index)]
    if missing is not None:
        marks.append(math.nan if missing != missing else number("missing", missing, infinite=True))
    found = [kept(target, mark) for mark in marks] + ([] if mask is None else [mask])
    return reduce(and_, found)


def only_labels(ignore_index: int, input: Tensor) -> None:
    """Refuses to ignore a label where the target is distributions."""
    if index(ignore_index) != -100:
        raise ValueError(
            f"ignore_index={ignore_index} is a label, and the target holds probabilities, of the input's shape {shown(input.shape)}: leave items out with mask= "
            "(True = counts), without the class axis"
        )


def refuse(target: Tensor, classes: int, ignore_index: int, counts: Tensor | None, whose: str = "the input has") -> None:
    """Raises for the first label among the items that count that is neither a class nor `ignore_index`."""
    flat, weights = target.reshape(-1), None if counts is None else counts.reshape(-1)
    place: tuple[int, ...] = ()
    for start in range(0, flat.numel(), PART):
        labels = flat[start : start + PART].long()
        bad = (labels != ignore_index) & ((labels < 0) | (labels >= classes))
        if weights is not None:
            bad = bad & (weights[start : start + PART] != 0)
        if bool(bad.any()):
            first = start + int(bad.nonzero()[0])
            place = tuple(int(i) for i in numpy.unravel_index(first, target.shape))
            value = int(labels[first - start]) % 2**64 if flat.dtype is torch.uint64 else int(flat[first])
            break
    else:
        return
    fix = f"If {value} marks items to leave out, pass ignore_index={value}" if value in (255, -1, -100) else "Labels count from 0"
    where = f" at index {place}" if place else ""
    raise ValueError(f"target must hold labels from 0 to {classes - 1} ({whose} {classes} classes) or ignore_index={ignore_index}, got {value}{where}. {fix}")


def refuse_positions(target: Tensor, classes: int, counts: Tensor | None) -> None:
    """Raises for the first position among the items that count that lies outside the classes; called only after a NaN has been seen."""
    y = values(target).double()
    bad = ~((y >= -ROUNDING * classes) & (y <= classes - 1 + ROUNDING * classes))
    if counts is not None:
        bad = bad & (counts != 0)
    if bool(bad.any()):
        place = tuple(bad.nonzero()[0].tolist())
        where = f" at index {place}" if place else ""
        raise ValueError(
            f"target must hold positions from 0 to {classes - 1} (the input has {classes} bins), got {y[place].item():.7g}{where}. "
            f"Try target.clamp(0, {classes - 1}), or leave such items out with mask= (True = counts)"
        )
