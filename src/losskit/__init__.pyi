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
from losskit.losses.classification.cross_entropy import cross_entropy as cross_entropy
from losskit.losses.classification.entropy import entropy as entropy
from losskit.losses.classification.focal import focal_loss as focal_loss
from losskit.losses.classification.generalized_cross_entropy import generalized_cross_entropy as generalized_cross_entropy
from losskit.losses.classification.js_divergence import js_divergence as js_divergence
from losskit.losses.classification.kl_divergence import kl_divergence as kl_divergence
from losskit.losses.classification.nll import nll_loss as nll_loss
from losskit.losses.classification.poly import poly_loss as poly_loss
from losskit.losses.classification.symmetric_cross_entropy import symmetric_cross_entropy as symmetric_cross_entropy
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

    alpha: float
    scale: float
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, alpha: float = 1.0, scale: float = 1.0, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class BinaryCrossEntropyLoss(LossModule):
    """Binary cross-entropy of logits (default) or, with from_logits=False, of probabilities; binary and multi-label."""

    weight: torch.Tensor | None
    pos_weight: torch.Tensor | None
    label_smoothing: float
    from_logits: bool
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, weight: torch.Tensor | None | collections.abc.Sequence[float] = None, pos_weight: torch.Tensor | None | collections.abc.Sequence[float] = None, label_smoothing: float = 0.0, from_logits: bool = True, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class CharbonnierLoss(LossModule):
    """Charbonnier loss between real values `input` and `target`: an absolute error that is smooth at 0."""

    eps: float
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, eps: float = 0.001, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class CrossEntropyLoss(LossModule):
    """Cross-entropy of class logits (default) or, with from_logits=False, of class probabilities, against class labels or probabilities."""

    weight: torch.Tensor | None
    ignore_index: int
    label_smoothing: float
    z_loss: float
    softcap: float | None
    dim: int
    from_logits: bool
    log_input: bool
    inplace: bool
    return_parts: bool
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, weight: torch.Tensor | None | collections.abc.Sequence[float] = None, ignore_index: int = -100, label_smoothing: float = 0.0, z_loss: float = 0.0, softcap: float | None = None, dim: int = 1, from_logits: bool = True, log_input: bool = False, inplace: bool = False, return_parts: bool = False, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class Entropy(LossModule):
    """Entropy of softmax(input), from class logits; there is no target."""

    dim: int
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, dim: int = 1, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class FocalLoss(LossModule):
    """Focal loss of logits (default) or, with from_logits=False, of probabilities: cross-entropy that fades for items already right."""

    task: Literal["binary", "multilabel", "multiclass"]
    alpha: float | torch.Tensor | None
    gamma: float
    from_logits: bool
    label_smoothing: float
    dim: int
    ignore_index: int
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, task: Literal["binary", "multilabel", "multiclass"] = "binary", alpha: float | torch.Tensor | None | collections.abc.Sequence[float] = None, gamma: float = 2.0, from_logits: bool = True, label_smoothing: float = 0.0, dim: int = 1, ignore_index: int = -100, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class GeneralizedCrossEntropyLoss(LossModule):
    """Generalized cross-entropy of class logits against class labels: bounded, for labels that may be wrong."""

    q: float
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    return_parts: bool
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, q: float = 0.7, weight: torch.Tensor | None | collections.abc.Sequence[float] = None, ignore_index: int = -100, dim: int = 1, return_parts: bool = False, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class HuberLoss(LossModule):
    """Huber loss between real values `input` and `target`: half the square within `delta`, linear beyond."""

    delta: float
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, delta: float = 1.0, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class JSDivergence(LossModule):
    """Jensen-Shannon divergence between softmax(input), from class logits, and the probabilities `target`: symmetric and bounded."""

    dim: int
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, dim: int = 1, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class KLDivergence(LossModule):
    """Kullback-Leibler divergence KL(target || softmax(input / temperature)) of class logits against probabilities."""

    log_target: bool
    temperature: float
    dim: int
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, log_target: bool = False, temperature: float = 1.0, dim: int = 1, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class L1Loss(LossModule):
    """Absolute error (L1, MAE) between real values `input` and `target`."""

    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class L2Loss(LossModule):
    """Half the squared error (L2) between real values `input` and `target`."""

    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class LogCoshLoss(LossModule):
    """Log-cosh loss between real values `input` and `target`: about r^2 / 2 near 0 and |r| - log 2 far out, smooth everywhere."""

    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class MSELoss(LossModule):
    """Squared error (MSE) between real values `input` and `target`."""

    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class NLLLoss(LossModule):
    """Negative log-likelihood of class log-probabilities (the output of log_softmax) against class labels."""

    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, weight: torch.Tensor | None | collections.abc.Sequence[float] = None, ignore_index: int = -100, dim: int = 1, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class PolyLoss(LossModule):
    """Poly loss (Poly-1) of class logits against class labels: cross-entropy plus epsilon (1 - p_y)."""

    epsilon: float
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    return_parts: bool
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, epsilon: float = 1.0, weight: torch.Tensor | None | collections.abc.Sequence[float] = None, ignore_index: int = -100, dim: int = 1, return_parts: bool = False, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class QuantileLoss(LossModule):
    """Quantile (pinball) loss between real values `input` and `target`: the best constant input is the quantile of the targets."""

    quantile: float
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, quantile: float = 0.5, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class SmoothL1Loss(LossModule):
    """Smooth L1 between real values `input` and `target`: squared within `beta`, absolute beyond."""

    beta: float
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, beta: float = 1.0, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...

class SymmetricCrossEntropyLoss(LossModule):
    """Symmetric cross-entropy of class logits against class labels: alpha H(t, p) + beta H(p, t)."""

    alpha: float
    beta: float
    log_zero: float
    weight: torch.Tensor | None
    ignore_index: int
    dim: int
    return_parts: bool
    reduction: Literal["none", "mean", "sum"]

    def __init__(self, *, alpha: float = 0.1, beta: float = 1.0, log_zero: float = -4.0, weight: torch.Tensor | None | collections.abc.Sequence[float] = None, ignore_index: int = -100, dim: int = 1, return_parts: bool = False, reduction: Literal["none", "mean", "sum"] = "mean") -> None: ...
