"""MONAI and segmentation_models.pytorch: masks with an axis for a channel, or without the one that the scores have."""

from typing import Any

from torch import Tensor, nn

from losskit.contract import checks


class MaskLoss(nn.Module):
    """A loss of scores (N, C, ...) that takes its masks as MONAI and segmentation_models.pytorch do.

    Class labels may be (N, 1, ...), and floating point if they are whole numbers. With one channel of scores, (N, 1, ...), masks may be (N, ...). Masks of the scores'
    shape, one-hot or soft, stay as they are; so do labels (N, ...), which need none of this. `to_onehot_y` has no counterpart: labels are read as they are.

    Args:
        loss: any module that is called with scores and masks, such as `losskit.DiceCELoss(task="multiclass", **losskit.like("monai", "dice_ce"))`.

    Raises:
        ValueError: labels are no whole numbers. (Not on a GPU, where looking at them would wait for the device; `losskit.validate()` looks there, too.)
    """

    def __init__(self, loss: nn.Module) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, input: Tensor, target: Tensor, **given: Any) -> Any:
        """The loss; masks and whatever else the loss takes by name are handed on."""
        if input.dim() > 1 and target.shape != input.shape:
            if target.shape == (len(input), 1, *input.shape[2:]):
                target = target.squeeze(1)
            if target.shape == (len(input), *input.shape[2:]):
                target = target.unsqueeze(1) if input.shape[1] == 1 else whole(target)
        return self.loss(input, target, **given)


def whole(labels: Tensor) -> Tensor:
    """Labels as integers."""
    if not labels.is_floating_point():
        return labels
    rounded = labels.long()
    if checks.readable(labels) and not bool((labels == rounded).all()):
        raise ValueError("target holds labels in floating point that are no whole numbers: give class labels, or a mask for each class, of the input's shape")
    return rounded
