"""Similarities of all pairs of boxes, for matching and suppression: the matrix, or the best of each row without the matrix."""

import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from losskit.contract import checks, reduce, tensors
from losskit.contract.boxes import TurnedBoxFormat, check_format
from losskit.contract.registry import no_script
from losskit.engines import dispatch, operators
from losskit.engines.axes import written_out
from losskit.engines.call import Boxes, real_dtype
from losskit.engines.language import where
from losskit.engines.protocol import ENGINES
from losskit.engines.torch import pairs as plain
from losskit.geometry import closed, measured
from losskit.losses.detection.ciou import formula as ciou_loss
from losskit.losses.detection.diou import formula as diou_loss
from losskit.losses.detection.diou import turned_formula as turned_diou
from losskit.losses.detection.giou import formula as giou_loss
from losskit.losses.detection.giou import turned_formula as turned_giou
from losskit.losses.detection.iou import turned_linear as turned_iou

Kind = Literal["iou", "giou", "diou", "ciou"]


def iou(a0, a1, b0, b1, /):  # type: ignore[no-untyped-def]
    """IoU minus the cost of disorder; from 1 - IoU where that is small, so that boxes that coincide have 1 and boxes apart have 0."""
    found, lost = measured(a0, a1, b0, b1)  # type: ignore[no-untyped-call]
    cost = -where(lost < 0.5, 1.0 - lost, found)
    value, ga0, ga1, gb0, gb1 = closed(a0, a1, b0, b1, 0.0, 0.0, 0.0, 0.0, cost, -1.0, 0.0, 0.0)  # type: ignore[no-untyped-call]
    return 0.0 - value, -ga0, -ga1, -gb0, -gb1


def giou(a0, a1, b0, b1, /):  # type: ignore[no-untyped-def]
    """1 - the loss."""
    value, ga0, ga1, gb0, gb1 = giou_loss(a0, a1, b0, b1)  # type: ignore[no-untyped-call]
    return 1.0 - value, -ga0, -ga1, -gb0, -gb1


def diou(a0, a1, b0, b1, /):  # type: ignore[no-untyped-def]
    """1 - the loss."""
    value, ga0, ga1, gb0, gb1 = diou_loss(a0, a1, b0, b1)  # type: ignore[no-untyped-call]
    return 1.0 - value, -ga0, -ga1, -gb0, -gb1


def ciou(a0, a1, b0, b1, /):  # type: ignore[no-untyped-def]
    """1 - the loss, alpha constant in the derivatives."""
    value, ga0, ga1, gb0, gb1 = ciou_loss(a0, a1, b0, b1, 0.0)  # type: ignore[no-untyped-call]
    return 1.0 - value, -ga0, -ga1, -gb0, -gb1


FORMULAS: dict[str, Callable[..., Any]] = {"iou": iou, "giou": giou, "diou": diou, "ciou": ciou}
TURNED: dict[str, Callable[..., Any]] = {"iou": turned_iou, "giou": turned_giou, "diou": turned_diou}  # the losses
PAIRS = 1 << 18  # of turned boxes at a time in `best_match`


class BoxMatch(NamedTuple):
    """Of each box of a: its largest similarity, and which box of b has it."""

    value: Tensor  # (..., N), float32, or float64 for float64 boxes; attached to the graph
    index: Tensor  # type: ignore[assignment]  # (..., N), int64; not the method of tuples


@no_script
def pairwise_iou(a: Tensor, b: Tensor, kind: Kind = "iou", box_format: TurnedBoxFormat = "xyxy", *, degrees: bool = False) -> Tensor:
    """Similarity of every box of a with every box of b: IoU, GIoU, DIoU or CIoU, differentiable in both.

    On fused engines the matrix is written once and nothing else is: no tensor of overlaps or corners, and none is kept for the backward, which reads what comes in
    and the boxes, and passes over stretches of the matrix to which nothing comes in. Of turned boxes each pair is written out, ten numbers beside its similarity, and as many
    for gradients.

    Formula:
        1 - the loss of the pair, box a as the input and box b as the target: iou = |A & B| / |A or B|, giou = iou - |C minus (A or B)| / |C|,
        diou = iou - d^2 / c^2, ciou = diou - alpha v, as `iou_loss`, `giou_loss`, `diou_loss`, `ciou_loss` define them (alpha constant in the derivative).

    Args:
        a: boxes, (N, 4), or (B, N, 4) for B samples; float32, float64, float16 or bfloat16.
        b: boxes, (M, 4), or (B, M, 4). Nothing is broadcast: expand the boxes that all samples share. The dtype need not be that of a.
        kind: "iou", "giou", "diou" or "ciou".
        box_format: "xyxy" (two corners), "xywh" (the smaller corner and the size) or "cxcywh" (centre and size), of both. "cxcywha" of turned boxes, (N, 5): centre, size
            and angle, as in `iou_loss`, for all kinds but "ciou".
        degrees: True: angles of turned boxes are in degrees.

    Returns:
        (N, M) or (B, N, M), float32, or float64 if either is; half-precision boxes are computed in float32. Boxes in order have iou in [0, 1], giou and diou in
        [-1, 1], ciou in (-1.5, 1].

    Raises:
        TypeError: a or b is no tensor, or not of a floating-point dtype. ValueError: the shapes do not end in 4 or differ before the last two axes, `kind` or
        `box_format` is unknown.

    When to use:
        Costs for assigning predictions to objects, suppressing duplicates, losses over all pairs. If only the best of each row is wanted, `best_match` needs no
        matrix. For box i of one tensor with box i of another, the losses and their scores (`iou`, `giou`, ...) are the same thing without the other pairs.

    Edge cases:
        Every finite box has finite similarities and gradients. Boxes that coincide have 1, points and lines too; boxes apart have iou 0, exactly. A box of a
        out of order (x2 < x1) counts as its middle, with a cost for the disorder as in the losses, so its similarity may lie below the range above; corners
        of b may come in any order. For boxes in order, swapping a and b transposes the matrix up to rounding. NaN in a box is NaN in its row or column. No
        boxes: an empty matrix, zero gradients.

    Differs from torchvision:
        `torchvision.ops.box_iou` and `generalized_box_iou` divide by areas as they are: NaN for two boxes without area. `distance_box_iou` and
        `complete_box_iou` add 1e-7 to a denominator: two boxes of side 1e-4, one moved by half of that, have DIoU 0.3145 there and 0.2564 here. Corners out
        of order give areas below 0 there, and similarities of any size, -inf included. All of them build tensors of (N, M, 2) on the way, and autograd keeps
        what they hold.

    Reference:
        Rezatofighi et al., Generalized Intersection over Union, 2019; Zheng et al., Distance-IoU Loss, 2020.

    Example:
        >>> import torch, losskit
        >>> a = torch.tensor([[0.0, 0.0, 2.0, 2.0], [4.0, 0.0, 5.0, 1.0]])
        >>> b = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0], [4.0, 0.0, 6.0, 2.0]])
        >>> losskit.pairwise_iou(a, b)
        tensor([[1.0000, 0.3333, 0.0000],
                [0.0000, 0.0000, 0.2500]])
        >>> losskit.pairwise_iou(a, b, "giou")
        tensor([[ 1.0000,  0.3333, -0.3333],
                [-0.5000, -0.3750,  0.2500]])
        >>> losskit.pairwise_iou(a, b, "ciou")
        tensor([[ 1.0000,  0.2564, -0.4000],
                [-0.4310, -0.3250,  0.1875]])

        A loss over all pairs, here the largest overlap of each prediction with any object, pushed up:

        >>> a = a.requires_grad_()
        >>> (1 - losskit.pairwise_iou(a, b).amax(1)).sum().backward()
        >>> a.grad
        tensor([[ 0.0000,  0.0000,  0.0000,  0.0000],
                [ 0.0938,  0.0938, -0.2500, -0.2500]])
    """
    a, b, call, engine = prepared(a, b, kind, box_format, degrees)
    return 1.0 - each(a, b, call, engine) if call.form == "cxcywha" else reduce.run("pairs", engine, call, (a, b), None)[0]


@no_script
def best_match(a: Tensor, b: Tensor, kind: Kind = "iou", box_format: TurnedBoxFormat = "xyxy", *, degrees: bool = False) -> BoxMatch:
    """For each box of a the box of b most similar to it, and how similar: the row maxima of `pairwise_iou`, without the matrix; of turned boxes 262,144 pairs at a time.

    Formula:
        index_i = the first j with the largest similarity of a_i and b_j, value_i = that similarity.

    Args:
        a: boxes, (N, 4) or (B, N, 4); anchors or predictions.
        b: boxes, (M, 4) or (B, M, 4); the objects.
        kind: "iou", "giou", "diou" or "ciou".
        box_format: "xyxy", "xywh", "cxcywh" or "cxcywha", of both, as in `pairwise_iou`.
        degrees: True: angles of turned boxes are in degrees.

    Returns:
        `BoxMatch(value, index)`, a named tuple of tensors of shape (N,) or (B, N): the values as in `pairwise_iou`, differentiable in both boxes of each
        match; the indices int64.

    Raises:
        TypeError, ValueError: as `pairwise_iou`.

    When to use:
        Assigning each anchor to an object, each prediction to what it should be scored against. For the best anchor of each object, swap a and b.

    Edge cases:
        Of equal similarities the first counts, so with "iou" a box that meets none has value 0 and index 0: compare the value, or take another kind. NaN is
        larger than every number, as in `torch.max`: a box of b with NaN is then the match of all, and seen. No boxes in b: value -inf and index -1, nothing
        matches (torch's `max` raises). The last bit of a value may differ between engines, and so the choice between two that are equal but for rounding.

    Differs from torchvision:
        `torchvision.ops.box_iou(a, b).max(1)` needs several tensors of the matrix's size and twice it, gives NaN for two boxes without area, and raises without
        objects.

    Reference:
        The matching of anchors to objects: Ren et al., Faster R-CNN: Towards Real-Time Object Detection with Region Proposal Networks, 2015.

    Example:
        >>> import torch, losskit
        >>> anchors = torch.tensor([[0.0, 0.0, 2.0, 2.0], [3.0, 0.0, 5.0, 2.0], [8.0, 8.0, 9.0, 9.0]])
        >>> objects = torch.tensor([[4.0, 0.0, 6.0, 2.0], [0.0, 0.0, 2.0, 3.0]])
        >>> match = losskit.best_match(anchors, objects)
        >>> match.value, match.index
        (tensor([0.6667, 0.3333, 0.0000]), tensor([1, 0, 0]))
        >>> match.value >= 0.5  # what is no background
        tensor([ True, False, False])
        >>> losskit.best_match(objects, anchors, "giou").index  # the best anchor of each object
        tensor([1, 0])
    """
    a, b, call, engine = prepared(a, b, kind, box_format, degrees)
    if b.shape[-2] == 0:
        nothing = a.select(-1, 0).to(real_dtype(a.dtype)) + b.sum((-2, -1))[..., None]  # of no boxes 0, but attached to the graph of both
        return BoxMatch(torch.where(torch.zeros_like(nothing, dtype=torch.bool), nothing, -torch.inf), torch.full_like(nothing, -1, dtype=torch.int64))
    if call.form == "cxcywha":
        index = closest(a.detach(), b.detach(), call, engine)
        partners = tensors.widened(b).gather(-2, index.unsqueeze(-1).expand(*index.shape, 5))
        return BoxMatch(1.0 - reduce.run("boxes", engine, call, (a, partners), None)[0], index)
    given = operators.best(call, a, b) if ENGINES[engine].plain else None
    loops = plain if ENGINES[engine].plain else dispatch.pattern(engine, "pairs")
    value, index = loops.best(call, a, b) if given is None else given
    if (loops is plain and given is None) or (torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)):
        partners = tensors.widened(b).gather(-2, index.unsqueeze(-1).expand(*index.shape, b.shape[-1]))
        value, _ = reduce.run("boxes", engine, call, (a, partners), None)
    return BoxMatch(value, index)


def prepared(a: Tensor, b: Tensor, kind: Kind, box_format: TurnedBoxFormat, degrees: bool) -> tuple[Tensor, Tensor, Boxes, dispatch.EngineName]:
    """The boxes, in dtypes that are computed in the same one; the call, of turned boxes that of the loss; the engine."""
    checks.one_of("kind", kind, get_args(Kind))
    check_format(box_format, True, degrees)
    angled = box_format == "cxcywha"
    if angled and kind not in TURNED:
        raise ValueError(f"kind={kind!r} is of aligned boxes, and box_format='cxcywha' of turned ones: give kind='iou', 'giou' or 'diou'")
    check_sides(a, b, 5 if angled else 4)
    if real_dtype(a.dtype) is not real_dtype(b.dtype):
        a, b = a.double(), b.double()
    call = Boxes(TURNED[kind], (math.pi / 180.0 if degrees else 1.0,), box_format) if angled else Boxes(written_out(FORMULAS[kind], 2), (), box_format)
    engine, (a, b), call = tensors.on_engine((a, b), call)
    return a, b, call, engine


def each(a: Tensor, b: Tensor, call: Boxes, engine: dispatch.EngineName) -> Tensor:
    """The loss of each pair of turned boxes, as of so many boxes and targets."""
    shape = (*a.shape[:-1], *b.shape[-2:])
    a, b = tensors.widened(a), tensors.widened(b)
    return reduce.run("boxes", engine, call, (a.unsqueeze(-2).expand(shape), b.unsqueeze(-3).expand(shape)), None)[0]


def closest(a: Tensor, b: Tensor, call: Boxes, engine: dispatch.EngineName) -> Tensor:
    """Which turned box of b has the least loss beside each of a, so many pairs at a time."""
    rows = max(1, PAIRS // max(1, b.shape[:-1].numel()))
    return torch.cat([(-each(some, b, call, engine)).max(-1).indices for some in a.split(rows, -2)], -1)


def check_sides(a: Tensor, b: Tensor, numbers: int) -> None:
    """Boxes of shapes (..., N, 4) and (..., M, 4); turned ones have five numbers."""
    for name, x in (("a", a), ("b", b)):
        tensors.check(name, x)
        if not x.is_floating_point():
            raise TypeError(f"{name} must be boxes of a floating-point dtype, got {x.dtype}: try {name}.float()")
        if x.dim() < 2 or x.shape[-1] != numbers:
            fix = f": for a single box, try {name}[None]" if x.shape == (numbers,) else ""
            raise ValueError(f"{name} must hold boxes along its last axis, shape (N, {numbers}) or (B, N, {numbers}), got shape {checks.shown(x.shape)}{fix}")
    if a.shape[:-2] != b.shape[:-2]:
        few, many, one = ("a", b, a) if a.dim() < b.dim() else ("b", a, b)
        shared = f" Try {few}.expand{checks.shown((*many.shape[:-2], *one.shape[-2:]))} for boxes that all samples share" if one.dim() < many.dim() else ""
        raise ValueError(
            f"a has shape {checks.shown(a.shape)} and b has shape {checks.shown(b.shape)}: the axes before the last two must be equal, nothing is broadcast.{shared}"
        )
    tensors.beside("b", b, "a", a)
