"""Asking which engine a call would take."""

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from losskit.contract.module import LossModule
from losskit.engines.dispatch import EngineName, asking


class EngineChoice(NamedTuple):
    """An engine and the reason for it."""

    engine: EngineName
    reason: str


def engine_for(loss: Callable[..., Tensor] | LossModule, *args: Any, **kwargs: Any) -> EngineChoice:
    """The engine that would run `loss(*args, **kwargs)` here and now, and why; nothing is computed.

    Raises `EngineError` where the call itself would, under a `use_engine` that cannot run it.

    >>> import torch, losskit
    >>> x = torch.zeros(3)
    >>> losskit.engine_for(losskit.mse_loss, x, x)
    EngineChoice(engine='cpu', reason='plain CPU tensors')
    >>> losskit.engine_for(losskit.MSELoss(), x.to("meta"), x.to("meta"))
    EngineChoice(engine='torch', reason="no fused engine for device 'meta'")
    """
    return EngineChoice(*asking(lambda: loss(*args, **kwargs)))
