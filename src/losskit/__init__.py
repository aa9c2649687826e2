"""losskit: deep learning's loss functions for PyTorch, each written once, fused on CPU and GPU, under one contract.

>>> import torch, losskit
>>> losskit.smooth_l1_loss(torch.tensor([0.0, 4.0]), torch.tensor([0.5, 1.0]))
tensor(1.3125)
>>> losskit.FocalLoss(alpha=0.25, gamma=2.0)(torch.tensor([2.0, -1.0]), torch.tensor([1.0, 0.0]))
tensor(0.0094)
"""

from losskit.contract.checks import validate
from losskit.contract.engine import engine_for
from losskit.contract.module import LossModule, make_module
from losskit.contract.registry import LOSSES, Loss
from losskit.engines.dispatch import EngineError, use_engine

__version__ = "0.1.0"

__all__ = ["LOSSES", "EngineError", "Loss", "LossModule", "engine_for", "use_engine", "validate"]

_public = {name: loss.function for name, loss in LOSSES.items()}
_public |= {loss.module: make_module(loss) for loss in LOSSES.values()}
globals().update(_public)
__all__ += sorted(_public)
