"""Keras 3 on PyTorch: a loss as `model.compile(loss=...)` calls it."""

from typing import Any

from torch import Tensor, nn

from losskit.contract.module import LossModule
from losskit.contract.topk import TopK
from losskit.integrations.masks import whole


class KerasLoss:
    """A loss as Keras calls it, (y_true, y_pred): `model.compile(optimizer="adam", loss=KerasLoss(losskit.CrossEntropyLoss(dim=-1)))`.

    Keras is given a loss for each item, which it weighs, masks and averages itself. Its classes are the last axis: set `dim=-1` where there are more than two.
    It hands over labels as floating-point numbers, with an axis more or without; they become labels again.

    Args:
        loss: a module of losskit, which is moved to the model's device. Losses of overlap need average="none" if Keras is to weigh samples. A sum of losses, or any
            other module, is called as it is and gives one number, which weights of samples multiply as a whole.

    Edge cases:
        Losses of numbers by themselves are averaged over the last axis, as Keras' own are, so that there is one weight for each sample. Ignored labels cost 0 and are counted by Keras in its mean; `sample_weight` or a mask leave them out.
    """

    __name__ = "losskit"

    def __init__(self, loss: nn.Module) -> None:
        if isinstance(loss, LossModule) and isinstance(loss.settings.get("reduction"), TopK):
            raise ValueError("reduction of a KerasLoss is Keras' own, which averages all items, and TopK would not be seen: leave it out")
        self.loss = loss

    def __call__(self, y_true: Tensor, y_pred: Tensor) -> Tensor:
        """One loss for each item."""
        self.loss.to(y_pred.device)
        if y_true.shape == (*y_pred.shape[:-1], 1) != y_pred.shape:
            y_true = y_true.squeeze(-1)
        if y_true.dim() == y_pred.dim() - 1:
            y_true = whole(y_true)
        if not isinstance(self.loss, LossModule):
            total: Tensor = self.loss(y_pred, y_true)
            return total
        settings: dict[str, Any] = self.loss.settings
        if "reduction" in settings:
            settings["reduction"] = "none"
        each: Tensor = self.loss.loss.function(y_pred, y_true, **settings)
        return each.mean(-1) if each.dim() > 1 and each.shape == y_pred.shape else each
