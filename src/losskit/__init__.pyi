"""Written by `python -m losskit.contract.stubs` from the registry; not to be edited."""

import collections.abc
from typing import Literal

import torch

from losskit.contract.checks import validate as validate
from losskit.contract.engine import engine_for as engine_for
from losskit.contract.module import LossModule as LossModule
from losskit.contract.registry import LOSSES as LOSSES
from losskit.contract.registry import Loss as Loss
from losskit.engines.dispatch import EngineError as EngineError
from losskit.engines.dispatch import use_engine as use_engine
from losskit.losses.classification.binary_cross_entropy import binary_cross_entropy as binary_cross_entropy
from losskit.losses.classification.focal import focal_loss as focal_loss
from losskit.losses.regression.barron import barron_loss as barron_loss
from losskit.losses.regression.charbonnier import charbonnier_loss as charbonnier_loss
from losskit.losses.regression.huber import huber_loss as huber_loss
from losskit.losses.regression.l1 import l1_loss as l1_loss
from losskit.losses.regression.l2 import l2_loss as l2_loss
from losskit.losses.regression.log_cosh import log_cosh_loss as log_cosh_loss
from losskit.losses.regression.mse import mse_loss as mse_loss
from losskit.losses.regression.quantile import quantile_loss as quantile_loss
from losskit.losses.regression.smooth_l1 import smooth_l1_loss as smooth_l1_loss

__version__: str

class BarronLoss(LossModule):
    """Barron's general robust loss between real values `input` and `target`: `alpha` sets how much outliers count."""

    def __init__(self, *, alpha: float = 1.0, scale: float = 1.0, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class BinaryCrossEntropyLoss(LossModule):
    """Binary cross-entropy of logits (default) or, with from_logits=False, of probabilities; binary and multi-label."""

    def __init__(self, *, weight: torch.Tensor | collections.abc.Sequence[float] | None = None, pos_weight: torch.Tensor | collections.abc.Sequence[float] | None = None, label_smoothing: float = 0.0, from_logits: bool = True, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class CharbonnierLoss(LossModule):
    """Charbonnier loss between real values `input` and `target`: an absolute error that is smooth at 0."""

    def __init__(self, *, eps: float = 0.001, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class FocalLoss(LossModule):
    """Focal loss of logits (default) or, with from_logits=False, of probabilities: cross-entropy that fades for items already right."""

    def __init__(self, *, task: Literal["binary", "multilabel"] = "binary", alpha: float | None = None, gamma: float = 2.0, from_logits: bool = True, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class HuberLoss(LossModule):
    """Huber loss between real values `input` and `target`: half the square within `delta`, linear beyond."""

    def __init__(self, *, delta: float = 1.0, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class L1Loss(LossModule):
    """Absolute error (L1, MAE) between real values `input` and `target`."""

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class L2Loss(LossModule):
    """Half the squared error (L2) between real values `input` and `target`."""

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class LogCoshLoss(LossModule):
    """Log-cosh loss between real values `input` and `target`: about r^2 / 2 near 0 and |r| - log 2 far out, smooth everywhere."""

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class MSELoss(LossModule):
    """Squared error (MSE) between real values `input` and `target`."""

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class QuantileLoss(LossModule):
    """Quantile (pinball) loss between real values `input` and `target`: the best constant input is the quantile of the targets."""

    def __init__(self, *, quantile: float = 0.5, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class SmoothL1Loss(LossModule):
    """Smooth L1 between real values `input` and `target`: squared within `beta`, absolute beyond."""

    def __init__(self, *, beta: float = 1.0, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...
