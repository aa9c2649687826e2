"""timm: the flags of its `BinaryCrossEntropy`, for any loss of 0/1 targets. Against Mixup's soft targets `losskit.CrossEntropyLoss` needs nothing of this."""

import torch
from torch import Tensor, nn

from losskit.contract import checks


class BinaryTargets(nn.Module):
    """A loss of 0/1 targets for labels (N,) or Mixup's soft targets (N, C) beside scores (N, C), with the flags of timm's `BinaryCrossEntropy`.

    Args:
        loss: a module for 0/1 targets: `losskit.BCEWithLogitsLoss()`, whose `weight` and `pos_weight` are timm's, or a `losskit.FocalLoss`.
        smoothing: s in [0, 1): labels become 1 - s + s / C and s / C; with smooth_dense=True targets t become t (1 - s) + s / 2. timm's default is 0.1.
        target_threshold: targets above it count as 1, others as 0.
        sum_classes: add up the classes of an item before the mean over items.
        smooth_dense: smooth targets (N, C), too.

    Raises:
        TypeError, ValueError: as the loss does; `smoothing` outside [0, 1); sum_classes without reduction="mean".
    """

    def __init__(
        self, loss: nn.Module, smoothing: float = 0.1, target_threshold: float | None = None, sum_classes: bool = False, smooth_dense: bool = False
    ) -> None:
        super().__init__()
        self.loss, self.smoothing, self.target_threshold = loss, checks.number("smoothing", smoothing, low=0.0, below=1.0), target_threshold
        self.sum_classes, self.smooth_dense = sum_classes, smooth_dense

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """The loss of scores and targets."""
        s = self.smoothing
        if target.shape != input.shape:
            classes = input.shape[-1]
            target = (target.long().unsqueeze(-1) == torch.arange(classes, dtype=torch.long, device=input.device)).to(input.dtype) * (1.0 - s) + s / classes
        elif self.smooth_dense:
            target = target * (1.0 - s) + 0.5 * s
        if self.target_threshold is not None:
            target = (target > self.target_threshold).to(input.dtype)
        value: Tensor = self.loss(input, target, normalizer=len(input)) if self.sum_classes else self.loss(input, target)
        return value
