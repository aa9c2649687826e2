"""MMDetection, and what else builds losses of MMEngine's registry: `loss(pred, target, weight=None, avg_factor=None, reduction_override=None)`.

MMDetection needs operators of mmcv, which have no build for every torch. This follows its documented signature, and what its version 3.3.0 does with weights.
"""

from typing import Any

import torch
from torch import Size, Tensor, nn

from losskit.contract.checks import REDUCTIONS
from losskit.contract.config import create
from losskit.contract.module import LossModule


class LosskitLoss(nn.Module):
    """A loss by its name, with its settings, as MMDetection calls it. In a configuration, after `MODELS.register_module(module=LosskitLoss)`:
    `loss_cls=dict(type="LosskitLoss", loss="focal", task="binary", alpha=0.25, loss_weight=1.0, use_sigmoid=True)`.

    Weights multiply the losses of items. "mean" divides by `avg_factor` if it is given, and otherwise by the number of all items, ignored ones included, not by
    their weights. An `avg_factor` of 0 gives 0. Weights with fewer axes than the items, such as one for each anchor, hold for all that is behind.

    Labels (N,) beside scores (N, C) of a loss of 0/1 targets are made one-hot; C, and any other number that is no class, is the background. A pair, labels (N,) and
    qualities (N,), has the quality in the place of the 1, as heads give it to a quality focal loss; its items are the labels, whose losses of all classes add up.
    Targets (N, C) are N C items: without `avg_factor`, MMDetection's quality focal loss divides by N alone.

    Args:
        loss: a name as `losskit.create` takes it, or a module of losskit with a loss for each item, so none of Dice.
        loss_weight: multiplies the loss.
        use_sigmoid: read by MMDetection's heads, which have one score more, for the background, where it is not True. The loss does not depend on it.
        settings: those of the loss.

    Raises:
        TypeError, ValueError: as the loss does; it has no loss per item; `reduction_override` is unknown; an `avg_factor` with "sum".
    """

    def __init__(self, loss: str | LossModule, loss_weight: float = 1.0, use_sigmoid: bool = False, **settings: Any) -> None:
        super().__init__()
        made = create(loss, **settings) if isinstance(loss, str) else loss
        if not isinstance(made, LossModule) or made.settings.get("reduction") not in REDUCTIONS:  # nor of the hardest items alone
            raise ValueError(f"{type(made).__name__} takes no weights of items, which weight and avg_factor are about: call the module itself")
        self.loss, self.loss_weight, self.use_sigmoid = made, loss_weight, use_sigmoid

    def forward(
        self,
        pred: Tensor,
        target: Tensor | tuple[Tensor, Tensor],
        weight: Tensor | None = None,
        avg_factor: float | Tensor | None = None,
        reduction_override: str | None = None,
    ) -> Tensor:
        """The loss of predictions and targets."""
        if reduction_override not in (None, *REDUCTIONS):
            raise ValueError(f"reduction_override must be None or one of {', '.join(map(repr, REDUCTIONS))}, got {reduction_override!r}")
        settings: dict[str, Any] = self.loss.settings
        settings["reduction"] = reduction = reduction_override or settings["reduction"]
        if reduction == "sum" and avg_factor is not None:
            raise ValueError('avg_factor is the denominator of "mean", but the reduction is "sum": leave avg_factor out')
        each = self.loss.loss.pattern == "elementwise" and settings.get("task") != "multiclass"
        target, quality = target if isinstance(target, (tuple, list)) else (target, None)
        if each and pred.dim() == target.dim() + 1 and not target.is_floating_point():
            target = (target.unsqueeze(-1) == torch.arange(pred.shape[-1], dtype=torch.long, device=pred.device)).to(pred.dtype)
            target = target if quality is None else target * quality.unsqueeze(-1)
        elif quality is not None:
            raise ValueError(
                f"a pair of labels and qualities is for losses of 0/1 targets with scores (N, C), not for {type(self.loss).__name__}: give a tensor"
            )
        items = pred.shape if each else pred.shape[:-1] if self.loss.loss.pattern == "boxes" else target.shape
        count = items.numel() if quality is None else quality.numel()
        given: dict[str, Any] = {"normalizer": count if avg_factor is None else avg_factor} if reduction == "mean" else {}
        if weight is not None:
            given["sample_weight"] = laid(weight, items)
        value: Tensor = self.loss.loss.function(pred, target, **given, **settings)
        return self.loss_weight * (value if quality is None or reduction != "none" else value.sum(-1))


def laid(weight: Tensor, items: Size) -> Tensor:
    """Weights as they belong to items: those of a box's four numbers, which are equal, are one; others may be flat, or lack the last axes."""
    if weight.dim() == len(items) + 1:
        return weight.mean(-1)
    return weight.reshape(items if weight.numel() == items.numel() else (*weight.shape, *(1,) * (len(items) - weight.dim())))
