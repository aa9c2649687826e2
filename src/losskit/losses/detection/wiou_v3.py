"""WIoU, version 3: the only box loss with state (a running mean), and so a module without a function."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from losskit.contract import checks, reduce
from losskit.contract.arithmetic import Arithmetic
from losskit.contract.boxes import BoxFormat
from losskit.contract.checks import Reduction
from losskit.contract.groups import Ranks
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import refuse_script
from losskit.contract.topk import TopK
from losskit.losses.detection.iou import iou_loss
from losskit.losses.detection.wiou import wiou_loss


class WIoUv3Loss(Arithmetic, nn.Module):
    """WIoU loss (Wise-IoU, version 3) between predicted and target boxes: version 1, with less weight for boxes much better or much worse than most.

    Formula:
        r R (1 - IoU), with R (1 - IoU) of `wiou_loss`; beta = (1 - IoU) / mean says how much worse than most a box is, r = beta / (delta alpha^(beta - delta)).
        r is 1 at beta = delta, largest at beta = 1 / log(alpha), and constant in the derivatives. First, in training,
        mean <- (1 - momentum) mean + momentum (mean of 1 - IoU over the boxes that count).

    Args:
        alpha: how fast boxes worse than most lose their weight, > 1.
        delta: at which beta a box has the weight 1, > 0.
        momentum: how far one batch moves the mean, in [0, 1]. The paper advises 1 - 0.05^(1 / n) with n the number of batches until the training slows down;
            the default is about that of its code, n = 34 epochs of 890.
        box_format: "xyxy", "xywh" or "cxcywh", as in `iou_loss`.
        reduction: "none", "mean" or "sum".

    Shape:
        input, target: (..., 4). mask, sample_weight: (...). "mean" divides by the boxes that count, or the sum of their sample weights, or by normalizer=: r
            is part of the loss.

    Raises:
        TypeError: a setting is not a number, input or target is not floating point. ValueError: a setting is out of its range, and as `wiou_loss`.

    When to use:
        Labels of mixed quality: the worst boxes often have wrong labels, and should not dominate the loss.

    Edge cases:
        `mean` is a buffer, 1 at first, saved with the model, moved only in training mode, before it is used, and by boxes that count and are no NaN. Ranks of a
        distributed training have one mean each; DistributedDataParallel sends that of rank 0 to all before each forward. Boxes out of order: as `iou_loss`, but
        as the worst boxes weigh least, being out of order may cost less than being in order; the gradient leads back all the same. All else as `wiou_loss`.

    Differs from the paper's code:
        There the mean is a variable of the class, shared by all models and not saved.

    Reference:
        Tong et al., Wise-IoU: Bounding Box Regression Loss with Dynamic Focusing Mechanism, 2023.

    Example:
        >>> import torch, losskit
        >>> loss = losskit.WIoUv3Loss(momentum=0.1)
        >>> input, target = torch.tensor([[0.0, 0.0, 2.0, 1.0], [0.0, 0.0, 1.0, 1.0]]), torch.tensor([[1.0, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 0.9]])
        >>> loss(input, target)
        tensor(0.3767)
        >>> loss.mean  # was 1; the losses are 0.667 and 0.1
        tensor(0.9383)
        >>> loss.eval()(input, target)  # the mean stays
        tensor(0.3767)
    """

    mean: Tensor
    __prepare_scriptable__ = refuse_script

    def __init__(
        self, *, alpha: float = 1.9, delta: float = 3.0, momentum: float = 1e-4, box_format: BoxFormat = "xyxy", reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.alpha = checks.number("alpha", alpha, above=1.0)
        self.delta = checks.number("delta", delta, above=0.0)
        self.momentum = checks.number("momentum", momentum, low=0.0, high=1.0)
        if isinstance(reduction, TopK):
            raise TypeError("reduction of WIoUv3Loss cannot be TopK, for it weighs the boxes by their losses already: try WIoULoss(reduction=TopK(...))")
        self.box_format, self.reduction = box_format, reduction
        nothing = torch.empty(0, 4, dtype=torch.float32, device="cpu")
        wiou_loss(nothing, nothing, box_format=box_format, reduction=reduction)  # raises what is wrong with them
        self.register_buffer("mean", torch.ones((), dtype=torch.float32, device=checks.home()))

    def forward(
        self, input: Tensor, target: Tensor, *, mask: Tensor | None = None, sample_weight: Tensor | None = None, normalizer: Normalizer | None = None
    ) -> Tensor:
        """The loss of `input` against `target`; in training mode, the mean moves first, as in the authors' code."""
        lost, weight = self._weighed(input, target, mask, sample_weight, reduce.by_weights(self.reduction, normalizer))
        if reduce.by_weights(self.reduction, normalizer):  # by those that were given, not by what becomes of them
            normalizer = replace(normalizer, normalizer=weight.sum()) if isinstance(normalizer, Ranks) else weight.sum()
        counts = (weight != 0) & ~lost.isnan()
        if self.training:
            average = torch.where(counts, lost, 0.0).sum() / counts.sum()
            self.mean.lerp_(torch.where(counts.any(), average, self.mean).to(self.mean.dtype), self.momentum)
        beta = torch.where(counts, lost, 0.0) / self.mean.clamp_min(1e-12)
        focus = beta / self.delta * torch.exp((self.delta - beta) * math.log(self.alpha))
        weight = torch.where(counts, weight * focus, weight)
        return wiou_loss(input, target, box_format=self.box_format, mask=mask, sample_weight=weight, normalizer=normalizer, reduction=self.reduction)

    @torch.no_grad()
    def _weighed(self, input: Tensor, target: Tensor, mask: Tensor | None, sample_weight: Tensor | None, summed: bool) -> tuple[Tensor, Tensor]:
        """1 - IoU of each pair, and how much it counts."""
        lost = iou_loss(input, target, box_format=self.box_format, mask=mask, reduction="none")
        weight = torch.ones_like(lost)
        if sample_weight is not None:
            checks.weights("sample_weight", sample_weight, lost, mask, "target", summed)
            weight = sample_weight.to(lost.dtype).expand_as(lost)
        return lost, weight if mask is None else torch.where(mask, weight, 0.0)

    @property
    def settings(self) -> dict[str, Any]:
        """Every setting, as the constructor takes it."""
        return {name: getattr(self, name) for name in ("alpha", "delta", "momentum", "box_format", "reduction")}

    def to_config(self) -> dict[str, Any]:
        """The module's settings as plain data, as of `losskit.LossModule`. The mean is no setting: checkpoints hold it."""
        from losskit.contract.config import to_config

        return to_config(self)

    def extra_repr(self) -> str:
        """The settings."""
        return f"alpha={self.alpha:g}, delta={self.delta:g}, momentum={self.momentum:g}, box_format={self.box_format!r}, reduction={self.reduction!r}"
