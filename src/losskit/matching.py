"""Matching a set of predictions to the objects of each picture: what a match costs, and the cheapest matches. As DETR and its descendants train."""

import operator
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from losskit.contract import checks, tensors
from losskit.contract.boxes import BoxFormat, check_format
from losskit.contract.registry import no_script
from losskit.engines.call import real_dtype
from losskit.pairwise import Kind, pairwise_iou

ClassCost = Literal["focal", "softmax"]


class Matches(NamedTuple):
    """Which prediction was matched to which object, ready to index: `boxes[matches.predicted]` beside `target_boxes[matches.target]`.

    In the order of layers, pictures and predictions.
    """

    layer: Tensor  # (M,), int64; 0 where predictions have no axis of layers
    image: Tensor  # (M,), int64: the picture
    query: Tensor  # (M,), int64: the prediction
    target: Tensor  # (M,), int64: the object, among those of all pictures
    layered: bool  # whether predictions have an axis of layers

    @property
    def predicted(self) -> tuple[Tensor, ...]:
        """The index of the matched predictions in tensors (images, queries, ...), or (layers, images, queries, ...)."""
        return (self.layer, self.image, self.query) if self.layered else (self.image, self.query)


@no_script
@torch.no_grad()
def matching_cost(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    target_boxes: Tensor,
    targets_per_image: Sequence[int],
    *,
    class_cost: ClassCost = "focal",
    cost_class: float = 2.0,
    cost_bbox: float = 5.0,
    cost_giou: float = 2.0,
    alpha: float = 0.25,
    gamma: float = 2.0,
    kind: Kind = "giou",
    box_format: BoxFormat = "cxcywh",
    masks: Tensor | None = None,
    target_masks: Tensor | None = None,
    cost_mask: float = 5.0,
    cost_dice: float = 5.0,
) -> Tensor:
    """What it costs to match each prediction of a picture to each of its objects, for all pictures and layers of a decoder at once.

    Formula:
        cost_class c + cost_bbox |b - b'|_1 + cost_giou (-giou(b, b')), with c = -p_y of a softmax; or of the focal loss, with p the sigmoid of the label's logit,
        c = alpha (1 - p)^gamma (-log p) - (1 - alpha) p^gamma (-log(1 - p)). With masks besides cost_mask times the mean binary cross-entropy over positions, and
        cost_dice times 1 - (2 sum p t + 1) / (sum p + sum t + 1).

    Args:
        logits: class scores, (images, queries, classes), or (layers, images, queries, classes).
        boxes: predicted boxes, (..., 4), of the same leading shape.
        labels: the objects' classes, (T,), those of the first picture first.
        target_boxes: their boxes, (T, 4).
        targets_per_image: how many objects each picture has; whole numbers, for reading them from a GPU would wait for it.
        class_cost: "focal" (Deformable DETR, DINO, RT-DETR) or "softmax" (DETR, whose last class is no object and is no label).
        cost_class, cost_bbox, cost_giou: weights, >= 0; DETR has 1, 5, 2 with "softmax".
        alpha, gamma: of the focal cost.
        kind: "giou", "iou", "diou" or "ciou", see `pairwise_iou`.
        box_format: of both boxes; the L1 distance is of the numbers as they are given.
        masks: logits of masks at positions, (..., queries, P), of the same leading shape: all positions, or some that were drawn.
        target_masks: the objects' masks at these positions, (T, P), 0 or 1 or between.
        cost_mask, cost_dice: weights of the masks' costs, >= 0.

    Returns:
        (queries, T), or (layers, queries, T): column j has the costs of the predictions of object j's own picture. Nothing is computed or kept for other pictures. float32,
        or float64 for float64 input; without a graph. `assign` finds the matches.

    Raises:
        TypeError, ValueError: shapes do not fit, labels are no class, `targets_per_image` does not add up to T, a weight is negative; masks without target_masks.

    Edge cases:
        Every finite input has a finite cost: logarithms are of logits, boxes may be degenerate or out of order, and what overflows is the largest number. NaN in a
        prediction is NaN in its row, which `assign` refuses.

    Differs from DETR's code:
        There a matrix of all pictures' predictions and all pictures' objects is made, of which the blocks on its diagonal are used. -log(p + 1e-8) is cut off at 18.4,
        here it goes on; matches are the same where both are finite. Boxes out of order stop the training there.

    Reference:
        Carion et al., End-to-End Object Detection with Transformers, 2020; Zhu et al., Deformable DETR, 2021; Cheng et al., Mask2Former, 2022.

    Example:
        >>> import torch, losskit
        >>> logits = torch.tensor([[[2.0, -2.0], [-2.0, 2.0], [0.0, 0.0]]])  # one picture, three predictions, two classes
        >>> boxes = torch.tensor([[[0.2, 0.2, 0.2, 0.2], [0.7, 0.7, 0.2, 0.2], [0.5, 0.5, 0.5, 0.5]]])
        >>> labels, targets = torch.tensor([1, 0]), torch.tensor([[0.7, 0.7, 0.2, 0.3], [0.2, 0.3, 0.2, 0.2]])
        >>> cost = losskit.matching_cost(logits, boxes, labels, targets, [2])
        >>> cost
        tensor([[ 7.9414, -2.6409],
                [-3.3075,  6.9414],
                [ 4.4155,  5.6932]])
        >>> matches = losskit.assign(cost, [2])
        >>> matches.query, matches.target
        (tensor([0, 1]), tensor([1, 0]))
        >>> losskit.giou_loss(boxes[matches.predicted], targets[matches.target], box_format="cxcywh")
        tensor(0.5000)
    """
    checks.one_of("class_cost", class_cost, get_args(ClassCost))
    weights = {"cost_class": cost_class, "cost_bbox": cost_bbox, "cost_giou": cost_giou, "cost_mask": cost_mask, "cost_dice": cost_dice}
    weights = {name: checks.number(name, value, low=0.0) for name, value in weights.items()}
    alpha, gamma = checks.number("alpha", alpha, low=0.0, high=1.0), checks.number("gamma", gamma, low=0.0)
    check_format(box_format, False, False)
    counts = check(logits, boxes, labels, target_boxes, targets_per_image)
    check_masks(masks, target_masks, logits, labels)
    device = logits.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):  # products of half precision would be subtracted from sums that are not
        with torch.autocast(device, enabled=False):
            return matching_cost(
                logits, boxes, labels, target_boxes, targets_per_image, class_cost=class_cost, alpha=alpha, gamma=gamma, kind=kind, box_format=box_format, masks=masks,
                target_masks=target_masks, **weights,
            )  # fmt: skip
    labels, real = labels.long(), real_dtype(logits.dtype)
    scores = -logits.to(real).softmax(-1) if class_cost == "softmax" else logits
    cost = torch.empty((*logits.shape[:-3], logits.shape[-2], len(labels)), dtype=real, device=logits.device)
    start = 0
    for image, count in enumerate(counts):
        own = slice(start, start + count)
        start += count
        if not count:
            continue
        box, target = boxes.select(-3, image).to(real), target_boxes[own].to(real)
        leading = target.expand(*box.shape[:-2], *target.shape)
        terms = {
            "cost_class": of_class(scores.select(-3, image)[..., labels[own]].to(real), class_cost, alpha, gamma),
            "cost_bbox": torch.cdist(box, leading, p=1.0),
            "cost_giou": -pairwise_iou(sized(box), sized(leading), kind, box_format).to(real),
        }
        if masks is not None and target_masks is not None:
            terms |= of_masks(masks.select(-3, image).to(real), target_masks[own].to(real))
        largest = 0.1 * torch.finfo(real).max  # infinite terms would cancel, and one times a weight of 0 is no number
        limits = {name: largest / max(weights[name], 1.0) for name in terms}
        cost[..., own] = sum(weights[name] * term.clamp(-limits[name], limits[name]) for name, term in terms.items())
    return cost


def sized(boxes: Tensor) -> Tensor:
    """Boxes whose sides and hulls are numbers: beyond 5e36 sums of coordinates overflow."""
    limit = torch.finfo(torch.float32).max / 64
    return boxes.clamp(-limit, limit)


def of_class(x: Tensor, how: ClassCost, alpha: float, gamma: float) -> Tensor:
    """The cost of the objects' classes: of their logits, or already that of a softmax."""
    if how == "softmax":
        return x
    p, missed = x.sigmoid(), (-x).sigmoid()
    hard, easy = F.softplus(-x), F.softplus(x)  # -log p, -log(1 - p)
    return alpha * missed**gamma * hard - (1.0 - alpha) * p**gamma * easy


def of_masks(x: Tensor, t: Tensor) -> dict[str, Tensor]:
    """The costs of masks: each sum over positions is a product of matrices. None of them cancels."""
    positions, p = max(x.shape[-1], 1), x.sigmoid()
    entropy = F.softplus(-x) @ t.T + F.softplus(x) @ (1.0 - t).T
    dice = 1.0 - (2.0 * (p @ t.T) + 1.0) / (p.sum(-1)[..., None] + t.sum(-1) + 1.0)
    return {"cost_mask": entropy / positions, "cost_dice": dice}


def check(logits: Tensor, boxes: Tensor, labels: Tensor, target_boxes: Tensor, targets_per_image: Sequence[int]) -> list[int]:
    """What `matching_cost` is given; returns the counts."""
    for name, x in (("logits", logits), ("boxes", boxes), ("labels", labels), ("target_boxes", target_boxes)):
        tensors.check(name, x, "logits")
        if x is not logits:
            tensors.beside(name, x, "logits", logits)
        if name != "labels" and not x.is_floating_point():
            raise TypeError(f"{name} must be a floating-point tensor, got {x.dtype}: try {name}.float()")
    if logits.dim() not in (3, 4):
        raise ValueError(f"logits must have the shape (images, queries, classes), or (layers, images, queries, classes), got {checks.shown(logits.shape)}")
    if boxes.shape != (*logits.shape[:-1], 4):
        raise ValueError(f"boxes must have the shape {checks.shown((*logits.shape[:-1], 4))}, a box per prediction of logits, got {checks.shown(boxes.shape)}")
    if labels.dim() != 1 or labels.is_floating_point():
        raise ValueError(
            f"labels must be class numbers of all objects, shape (T,), of an integer dtype, got {checks.shown(labels.shape)}, {labels.dtype}: try torch.cat"
        )
    if target_boxes.shape != (len(labels), 4):
        raise ValueError(
            f"target_boxes must have the shape {checks.shown((len(labels), 4))}, a box per label, got {checks.shown(target_boxes.shape)}: try torch.cat"
        )
    if len(labels) and checks.readable(labels):
        bad = (labels.long() < 0) | (labels.long() >= logits.shape[-1])
        if bool(bad.any()):
            place = int(bad.nonzero()[0])
            raise ValueError(
                f"labels must be from 0 to {logits.shape[-1] - 1}, for logits have {logits.shape[-1]} classes, got {int(labels[place])} at index {place}"
            )
    return counted(targets_per_image, logits.shape[-3], len(labels))


def counted(targets_per_image: Sequence[int], images: int | None, targets: int) -> list[int]:
    """How many objects each picture has."""
    if isinstance(targets_per_image, Tensor):
        raise TypeError(
            "targets_per_image must be a list of whole numbers, got a Tensor, which on a GPU would have to be waited for: try [len(x) for x in targets]"
        )
    try:
        counts = [operator.index(count) for count in targets_per_image if not isinstance(count, bool)]
    except TypeError:
        counts = [-1]
    if any(count < 0 for count in counts):
        raise ValueError(f"targets_per_image must be a list of whole numbers of at least 0, got {targets_per_image!r}: try [len(x) for x in targets]")
    if images is not None and len(counts) != images:
        raise ValueError(f"targets_per_image must have a number for each of the {images} pictures, got {len(counts)}")
    if sum(counts) != targets:
        raise ValueError(f"targets_per_image must add up to the number of objects, {targets}, got {sum(counts)}")
    return counts


def check_masks(masks: Tensor | None, target_masks: Tensor | None, logits: Tensor, labels: Tensor) -> None:
    """Masks go together, and with the rest."""
    if (masks is None) != (target_masks is None):
        raise ValueError("masks and target_masks go together: give both, or leave both out")
    if masks is None or target_masks is None:
        return
    for name, x in (("masks", masks), ("target_masks", target_masks)):
        tensors.check(name, x, "logits")
        tensors.beside(name, x, "logits", logits)
    if masks.shape[:-1] != logits.shape[:-1] or target_masks.shape != (len(labels), masks.shape[-1]):
        raise ValueError(
            f"masks must have the shape {checks.shown(logits.shape[:-1])[:-1]}, P) and target_masks ({len(labels)}, P), got {checks.shown(masks.shape)} and "
            f"{checks.shown(target_masks.shape)}: try flatten(-2) for pictures"
        )


def whole_numbers(given: list[int]) -> Tensor:
    """A tensor of them."""
    return torch.tensor(given, dtype=torch.int64, device="cpu")


@no_script
def assign(cost: Tensor, targets_per_image: Sequence[int]) -> Matches:
    """The matches of predictions and objects with the smallest sum of costs, in each picture and layer: each prediction and each object in at most one.

    Args:
        cost: (queries, T), or (layers, queries, T), as `matching_cost` gives it.
        targets_per_image: how many objects each picture has, which are next to each other.

    Returns:
        `Matches`: of each picture as many as it has objects, or predictions if there are fewer. On the device of `cost`, which is waited for, once.

    Raises:
        ValueError: NaN in the costs (the picture is named), `targets_per_image` does not add up to T. ModuleNotFoundError: SciPy, which solves it, is not installed.

    When to use:
        Between the costs and the loss of the matched pairs. What it divides by over ranks: `normalizer=losskit.Ranks(normalizer=float(len(matches.target)))`.

    Edge cases:
        Pictures without objects have no matches. Of several cheapest assignments the solver's is taken, the same each time.

    Reference:
        Crouse, On implementing 2D rectangular assignment algorithms, 2016, in SciPy.

    Example:
        >>> import torch, losskit
        >>> cost = torch.tensor([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]])
        >>> losskit.assign(cost, [2, 1])  # objects 0 and 1 are the first picture's, object 2 the second's
        Matches(layer=tensor([0, 0, 0]), image=tensor([0, 0, 1]), query=tensor([0, 1, 2]), target=tensor([1, 0, 2]), layered=False)
    """
    tensors.check("cost", cost)
    if cost.dim() not in (2, 3):
        raise ValueError(f"cost must have the shape (queries, objects), or (layers, queries, objects), got {checks.shown(cost.shape)}")
    counts = counted(targets_per_image, None, cost.shape[-1])
    if cost.is_meta or checks.traced():
        raise ValueError("cost has no values that SciPy can read while it is traced, transformed or on meta: match outside of the compiled part")
    try:
        from scipy.optimize import linear_sum_assignment as solve
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("losskit.assign needs SciPy: pip install 'losskit[distance]'", name="scipy") from error
    values = cost.detach().to(torch.float64 if cost.dtype is torch.float64 else torch.float32).cpu().numpy()
    found: list[tuple[int, int, Any, Any]] = []
    for layer, whole in enumerate(values if cost.dim() == 3 else values[None]):
        start = 0
        for image, count in enumerate(counts):
            own = whole[:, start : start + count]
            try:
                queries, targets = solve(own)
            except ValueError:
                raise ValueError(f"cost holds NaN, or no finite match, in picture {image}" + (f" of layer {layer}" if cost.dim() == 3 else "")) from None
            found.append((layer, image, queries, targets + start))
            start += count
    sizes = whole_numbers([len(queries) for _, _, queries, _ in found])
    columns = [whole_numbers([each[k] for each in found]).repeat_interleave(sizes) for k in (0, 1)]
    columns += [torch.cat([torch.from_numpy(each[k]) for each in found]) if found else columns[0] for k in (2, 3)]
    at_home = [column.to(cost.device) for column in columns]
    return Matches(at_home[0], at_home[1], at_home[2], at_home[3], cost.dim() == 3)
