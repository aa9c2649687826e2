"""The contract for boxes: four numbers along the last axis, five of turned boxes, or six in space, one loss per pair."""

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

from torch import Tensor

from losskit.contract import checks, reduce, tensors
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import no_script
from losskit.contract.topk import tell
from losskit.engines.axes import written_out
from losskit.engines.call import Boxes, real_dtype

BoxFormat = Literal["xyxy", "xywh", "cxcywh"]
TurnedBoxFormat = Literal["xyxy", "xywh", "cxcywh", "cxcywha"]
ANGLES = ("cxcywhr", "xywhr", "xyxyr", "xywha", "cxcywht", "xywht", "le90", "oc", "le135")  # what others call boxes with an angle


def boxes(
    formula: Callable[..., Any],
    input: Tensor,
    target: Tensor,
    params: tuple[float, ...] = (),
    *,
    space: bool = False,
    turned: Callable[..., Any] | None = None,
    degrees: bool = False,
    box_format: TurnedBoxFormat,
    mask: Tensor | None,
    sample_weight: Tensor | None,
    normalizer: Normalizer | None,
    reduction: Reduction,
) -> Tensor:
    """A loss of boxes under the contract: a formula over axes, in the plane, and if told in `space`; and the formula of the same loss of `turned` boxes, if it has one."""
    reduce.check(reduction, normalizer)
    given = params
    check_format(box_format, turned is not None, degrees)
    angled = box_format == "cxcywha"
    check_pair(input, target, space, angled, turned is not None)
    axes = 3 if input.shape[-1] == 6 else 2  # the compiler then knows the number
    if angled:
        assert turned is not None
        formula, params = turned, (*params, math.pi / 180.0 if degrees else 1.0)
    factor = None
    if mask is not None or sample_weight is not None:
        one = input.select(-1, 0)
        for name, x in (("mask", mask), ("sample_weight", sample_weight)):
            check_whole(name, x, one, input.shape[-1])
        factor = reduce.item_factor(one, mask, sample_weight, real_dtype(input.dtype), reduce.by_weights(reduction, normalizer))
    tell(normalizer, factor)
    if reduce.learned(sample_weight):
        factor = reduce.unless_nothing_counts(factor, normalizer, input, one.shape)
        assert factor is not None
        how: dict[str, Any] = dict(
            space=space, turned=turned, degrees=degrees, box_format=box_format, mask=factor != 0, sample_weight=None, normalizer=None, reduction="none"
        )
        count = reduce.weight_of(factor, one.numel(), real_dtype(input.dtype))
        return reduce.reduced(boxes(formula, input, target, given, **how), factor, count, input, normalizer=normalizer, reduction=reduction)
    engine, operands, call = tensors.on_engine((input, target), Boxes(written_out(formula, axes), params, box_format, factor))
    scale: float | Tensor | None = None if reduction == "none" else 1.0
    if reduction == "mean":
        count = reduce.denominator_of(reduce.weight_of(factor, input.numel() // input.shape[-1], real_dtype(input.dtype)), normalizer, input)
        scale = reduce.scale_of(engine, input, count)
    return reduce.run("boxes", engine, call, operands, scale)[0]


def check_format(box_format: object, turned: bool, degrees: bool) -> None:
    """How boxes are written; `turned`: whether they may have an angle."""
    checks.flag("degrees", degrees)
    known = get_args(TurnedBoxFormat if turned else BoxFormat)
    if isinstance(box_format, str) and box_format not in known and (box_format in ANGLES or box_format == "cxcywha"):
        fix = (
            "'cxcywha' has centre, width, height and angle, clockwise as the picture is seen (y points down), in radians, or in degrees with degrees=True. Angles that "
            "turn the other way, as torchvision's, change their sign"
            if turned
            else "boxes with an angle have iou_loss, giou_loss, diou_loss, probiou_loss and pairwise_iou"
        )
        raise ValueError(f"box_format must be one of {', '.join(map(repr, known))}; got {box_format!r}: {fix}")
    checks.one_of("box_format", box_format, known)
    if degrees and box_format != "cxcywha":
        raise ValueError(f"degrees=True is of boxes with an angle, and box_format={box_format!r} has none: leave degrees out, or give box_format='cxcywha'")


def check_whole(name: str, x: Tensor | None, one: Tensor, numbers: int) -> None:
    """A mask or weight is of boxes, not of their coordinates."""
    if isinstance(x, Tensor) and x.dim() == one.dim() + 1 and x.shape[-1] in (1, numbers) and x.shape[:-1] == one.shape:
        raise ValueError(f"{name} has shape {checks.shown(x.shape)}, but takes one value per box, shape {checks.shown(one.shape)}: try {name}[..., 0]")


def check_pair(input: Tensor, target: Tensor, space: bool, angled: bool = False, turned: bool = False) -> None:
    """Boxes of one shape (..., 4), or (..., 6), or with an angle (..., 5)."""
    checks.pair(input, target)
    check_boxes("input", input, space, angled, turned)
    if not target.is_floating_point():
        raise TypeError(f"target must be boxes of a floating-point dtype, got {target.dtype}: try target.float()")


def check_boxes(name: str, x: Tensor, space: bool, angled: bool = False, turned: bool = False) -> None:
    """Four numbers along the last axis, or six, or with an angle five; `turned`: whether they may have one."""
    if angled:
        if x.dim() and x.shape[-1] == 5:
            return
        raise ValueError(f"{name} must hold boxes with an angle along the last axis, shape (..., 5), got shape {checks.shown(x.shape)}")
    if x.dim() and (x.shape[-1] == 4 or (space and x.shape[-1] == 6)):
        return
    if turned and x.dim() and x.shape[-1] == 5:
        raise ValueError(f"{name} has five numbers per box, shape {checks.shown(x.shape)}: boxes with an angle need box_format='cxcywha'")
    shapes = "(..., 4), or in space (..., 6)" if space else "(..., 4)"
    only = ". Boxes in space have iou_loss, giou_loss and diou_loss" if not space and x.dim() and x.shape[-1] == 6 else ""
    raise ValueError(f"{name} must hold boxes along the last axis, shape {shapes}, got shape {checks.shown(x.shape)}{only}")


@no_script
def degenerate_boxes(boxes: Tensor, *, box_format: TurnedBoxFormat = "xyxy") -> Tensor:
    """How many boxes have no area (in space: no volume), their corners being out of order, on one line, or NaN: a 0-d integer tensor, for logging, without synchronising the device.

    Losses of boxes take them as they come (see `iou_loss`). Many of them among predictions say that a model is badly initialised or its rate too high; any
    among targets, that data are wrong.

    >>> import torch
    >>> degenerate_boxes(torch.tensor([[0.0, 0.0, 2.0, 2.0], [3.0, 0.0, 1.0, 2.0], [1.0, 1.0, 1.0, 4.0]]))
    tensor(2)
    """
    tensors.check("boxes", boxes)
    check_format(box_format, True, False)
    check_boxes("boxes", boxes, True, box_format == "cxcywha", True)
    if box_format == "cxcywha":
        return (~(boxes[..., 2:4].detach() > 0).all(-1) | boxes.detach().isnan().any(-1)).sum()
    first, second = boxes.detach().chunk(2, -1)
    positive = second > (first if box_format == "xyxy" else 0)
    return (~positive.all(-1)).sum()
