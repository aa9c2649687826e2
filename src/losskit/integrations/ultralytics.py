"""Ultralytics: losses in the place of those of a criterion, for detectors, segmenters and oriented boxes."""

from typing import Any, TypeVar

import torch
from torch import Tensor, nn

Criterion = TypeVar("Criterion")


def with_losses(criterion: Criterion, *, scores: nn.Module | None = None, boxes: nn.Module | None = None, masks: nn.Module | None = None) -> Criterion:
    """A model's criterion with losses of yours in it: `return with_losses(super().init_criterion(), boxes=losskit.CIoULoss())`. Assignment and gains stay theirs.

    Args:
        criterion: what `init_criterion` of a model gives; it is changed. Of a model without NMS both of its parts are.
        scores: the loss of class scores, with reduction="none"; targets are soft. Theirs is binary cross-entropy.
        boxes: the loss of boxes, with reduction="mean": it is weighted and divided as theirs. Boxes are corners, for which theirs is CIoU; of oriented boxes they are
            centre, size and angle in radians. The loss of the distances' distribution stays.
        masks: the loss of instances' masks, pixel by pixel, with reduction="mean". It counts within the box of each instance, divided by its area. Theirs is binary
            cross-entropy.

    Raises:
        ValueError: a loss has another reduction, or the criterion has nothing of that kind.
    """
    found = [getattr(criterion, name) for name in ("one2many", "one2one") if hasattr(criterion, name)] or [criterion]
    for name, loss, place, reduction in (
        ("scores", scores, "bce", "none"),
        ("boxes", boxes, "bbox_loss", "mean"),
        ("masks", masks, "single_mask_loss", "mean"),
    ):
        if loss is None:
            continue
        if getattr(loss, "reduction", reduction) != reduction:
            raise ValueError(
                f'{name} must be a loss with reduction="{reduction}", got {loss.reduction!r}: try {type(loss).__name__}(..., reduction="{reduction}")'
            )
        for each in found:
            if not hasattr(each, place):
                raise ValueError(f"{type(each).__name__} has no loss of {name}: leave {name} out")
            setattr(each, place, loss if name == "scores" else BoxLoss(getattr(each, place), loss) if name == "boxes" else MaskLoss(loss))
    return criterion


class BoxLoss(nn.Module):
    """Their loss of boxes and distances, with another for the boxes."""

    def __init__(self, theirs: nn.Module, boxes: nn.Module) -> None:
        super().__init__()
        self.theirs, self.boxes = theirs, boxes

    def forward(
        self, pred_dist: Tensor, pred_bboxes: Tensor, anchor_points: Tensor, target_bboxes: Tensor, target_scores: Tensor, target_scores_sum: Tensor,
        fg_mask: Tensor, *rest: Any,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The losses of boxes and of distances."""
        _, distances = self.theirs(pred_dist, pred_bboxes.detach(), anchor_points, target_bboxes, target_scores, target_scores_sum, fg_mask, *rest)
        weight = target_scores[fg_mask].sum(-1)
        found: Tensor = self.boxes(pred_bboxes[fg_mask], target_bboxes[fg_mask], sample_weight=weight, normalizer=target_scores_sum)
        return found, distances


class MaskLoss(nn.Module):
    """The loss of the masks of one picture's instances, each within its box."""

    def __init__(self, masks: nn.Module) -> None:
        super().__init__()
        self.masks = masks

    def forward(self, gt_mask: Tensor, pred: Tensor, proto: Tensor, xyxy: Tensor, area: Tensor) -> Tensor:
        """Of coefficients (N, k) and prototypes (k, H, W), beside masks (N, H, W), boxes on their pixels (N, 4), and the boxes' shares of the picture."""
        logits = torch.einsum("nk,khw->nhw", pred, proto)
        left, top, right, bottom = xyxy[:, :, None, None].unbind(1)
        across, down = (torch.arange(size, device=xyxy.device, dtype=xyxy.dtype) for size in reversed(logits.shape[1:]))
        inside = (across >= left) & (across < right) & (down[:, None] >= top) & (down[:, None] < bottom)
        weight = (1.0 / (area.float() * logits[0].numel())).reshape(-1, 1, 1).expand(logits.shape)
        found: Tensor = self.masks(logits, gt_mask, mask=inside, sample_weight=weight, normalizer=1.0)
        return found
