"""Signed distances to the boundaries of labelled regions: what a boundary loss multiplies probabilities by."""

from collections.abc import Sequence
from numbers import Real
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor

from losskit.contract import checks, tensors
from losskit.contract.labels import class_axis, index
from losskit.contract.overlap import Task
from losskit.contract.registry import no_script


@no_script
def distance_map(
    labels: Tensor,
    *,
    task: Task = "multiclass",
    num_classes: int | None = None,
    spacing: Sequence[float] | None = None,
    ignore_index: int = -100,
    dim: int = 1,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """How far each position of a picture is from the boundary of a class: positive outside the class, 0 on its outermost positions, negative inside.

    What `boundary_loss` takes. Made once, with the data, it costs training nothing. Needs SciPy: `pip install "losskit[distance]"`.

    Formula:
        Outside a class, D: how far it is to the nearest position inside. Inside, D / P - D, with D now to the nearest position outside, and P the distance to the
        one that is nearest counted in positions (as with spacing 1; it may be another one): 0 at P = 1, where an outside position is a neighbour along an axis.
        Between centres, Euclidean. Without spacing D = P, and this is the authors' D outside, 1 - D inside.

    Args:
        labels: class labels of any integer dtype, (N, ...), pictures of any number of axes; with task="binary" or "multilabel" 0/1 masks, (N, ...) or (N, C, ...).
        task: "multiclass": a map for each of `num_classes`; "multilabel": one for each channel; "binary": one for each picture.
        num_classes: C; needed with "multiclass", refused otherwise.
        spacing: how far neighbours are apart along each axis of a picture, in millimetres say; by default 1.
        ignore_index: the label, or the number in a mask, of positions about which nothing is known: they belong to no side, and their distance is 0.
        dim: where the class axis is ("multilabel") or comes to be ("multiclass").
        dtype: of the distances.

    Returns:
        Distances: "multiclass" (N, C, ...), else the shape of `labels`; on the same device (computed on the CPU), without a gradient.

    Raises:
        TypeError: `labels` are neither of an integer dtype nor bool, `dtype` is not floating point. ValueError: a label is no class, a mask holds more than 0 and 1,
        `spacing` does not fit, `num_classes` is missing with "multiclass" or given without it, `dim` is given with "binary".
        ImportError: SciPy is not installed.

    Edge cases:
        A class that fills a picture, or is not in it, has no boundary: its distances are 0 there, so it costs nothing.

    Example:
        >>> import torch, losskit
        >>> losskit.distance_map(torch.tensor([[0, 1, 1, 1, 1]]), num_classes=2)
        tensor([[[ 0.,  1.,  2.,  3.,  4.],
                 [ 1.,  0., -1., -2., -3.]]])
        >>> losskit.distance_map(torch.tensor([[0, 1, 1, 1, 1]]), task="binary", spacing=[2.5])
        tensor([[ 2.5000,  0.0000, -2.5000, -5.0000, -7.5000]])
    """
    checks.one_of("task", task, get_args(Task))
    if (num_classes is None) == (task == "multiclass"):
        raise ValueError(f'num_classes is for task="multiclass", which needs it; got num_classes={num_classes!r} with task={task!r}')
    if num_classes is not None and (isinstance(num_classes, bool) or not isinstance(num_classes, int) or num_classes < 1):
        raise ValueError(f"num_classes must be a whole number of at least 1, got {num_classes!r}")
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise TypeError(f"dtype must be floating point, as torch.float32 is, for distances are fractions, got {dtype!r}")
    if task == "binary" and dim != 1:
        raise ValueError(f'dim is the class axis, which task="binary" does not have, got {dim!r}: leave dim out')
    tensors.check("labels", labels)
    return maps("labels", labels, task, num_classes, spaced(spacing), ignore_index, dim, dtype)


def maps(name: str, given: Tensor, task: Task, classes: int | None, steps: Sequence[float] | None, ignore_index: int, dim: int, dtype: torch.dtype) -> Tensor:
    """The distances of checked tensors; `name` is what the user calls the labels. A target goes with an input, and a new axis of one would not fit the other."""
    if given.is_floating_point():
        raise TypeError(f"{name} must be of an integer dtype or bool, got {given.dtype}: try {name}.long()")
    index(ignore_index)
    axis = class_axis(given if task == "multilabel" else given[None], dim) if task != "binary" else 1
    if axis == 0:
        fix = "" if name == "target" else f": for a single picture, try {name}[None] and dim=1"
        raise ValueError(f"{name} must have samples along axis 0 and classes along another, got shape {checks.shown(given.shape)} and dim={dim}{fix}")
    picture = given.shape[1:axis] + given.shape[axis + 1 :] if task == "multilabel" else given.shape[1:]
    if not picture:
        fix = "" if name == "target" else f": try {name}[None]"
        raise ValueError(f"{name} must hold pictures, (N, ...), got shape {checks.shown(given.shape)}, without an axis of theirs{fix}")
    steps = fitted(steps, picture)
    if given.is_meta or checks.traced():
        raise ValueError(f"{name} has no values that SciPy can read while it is traced, transformed or on meta: give distances, made by losskit.distance_map")
    x = checks.values(given).cpu().numpy()
    x = x.astype(np.uint8) if x.dtype == bool else x
    known = x != ignore_index
    refuse(name, x, known, 2 if classes is None else classes, ignore_index)
    if task == "multilabel":
        x, known = np.moveaxis(x, axis, 1), np.moveaxis(known, axis, 1)
    inside = [x == 1] if classes is None else [x == c for c in range(classes)]
    found = np.stack([signed(one, known, steps, 2 if task == "multilabel" else 1) for one in inside], 1)
    result = torch.from_numpy(found).to(device=given.device, dtype=dtype)
    if classes is None:
        result = result[:, 0]
    return result.movedim(1, axis).contiguous() if task != "binary" else result


def spaced(spacing: Sequence[float] | None) -> list[float] | None:
    """The checked distances of neighbours."""
    if spacing is None:
        return None
    if isinstance(spacing, Real):
        raise TypeError(f"spacing must be a list, one number for each axis of a picture, got {spacing!r}: for two axes, try spacing={[spacing] * 2!r}")
    return [checks.number(f"spacing[{i}]", s, above=0.0) for i, s in enumerate(checks.row("spacing", spacing))]


def fitted(steps: Sequence[float] | None, picture: Sequence[int]) -> list[float]:
    """One distance for each axis of a picture; leading axes of size 1 may go without."""
    if steps is None:
        return [1.0] * len(picture)
    bare = len(picture) - len(steps)
    if bare < 0 or any(n != 1 for n in picture[:bare]):
        raise ValueError(f"spacing has {len(steps)} numbers, expected one for each axis of a picture of shape {checks.shown(picture)}")
    return [1.0] * bare + list(steps)


def refuse(name: str, x: Any, known: Any, classes: int, ignore_index: int) -> None:
    """Raises for the first label that is neither a class nor ignored."""
    bad = known & ((x < 0) | (x >= classes))
    if bad.any():
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        fix = "; for distances in integers, try target.float()" if name == "target" else ""
        raise ValueError(
            f"{name} must hold labels from 0 to {classes - 1} or ignore_index={ignore_index}, got {x[place]} at index {place}. If {x[place]} marks what is unknown, "
            f"pass ignore_index={x[place]}{fix}"
        )


def signed(inside: Any, known: Any, steps: Sequence[float], leading: int) -> Any:
    """The signed distances of pictures, which have `leading` axes before their own."""
    try:
        from scipy.ndimage import distance_transform_edt as nearest  # to the nearest zero
    except ImportError:
        raise ImportError('distances to boundaries are computed by SciPy, which is not installed: try pip install "losskit[distance]"') from None
    result = np.zeros(inside.shape)
    for place in np.ndindex(inside.shape[:leading]):
        one, other = inside[place], known[place] & ~inside[place]
        if one.any() and other.any():
            result[place][other] = nearest(~one, sampling=steps)[other]
            deep = nearest(~other, sampling=steps)[one]
            positions = deep if set(steps) == {1.0} else nearest(~other)[one]
            result[place][one] = deep / positions - deep
    return result
