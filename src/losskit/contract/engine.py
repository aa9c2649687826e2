"""Asking which engine a call would take."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor

from losskit.contract.module import LossModule
from losskit.engines.dispatch import EngineName, choice


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
    held: dict[str, Any] = {}
    if isinstance(loss, LossModule):
        held = dict(loss.named_buffers())
        loss = loss.loss.function
    arguments = inspect.signature(loss).bind(*args, **(held | kwargs)).arguments
    weights = [v for k, v in arguments.items() if k not in ("input", "target", "normalizer") and isinstance(v, Tensor)]
    return EngineChoice(*choice((arguments["input"], arguments["target"], *weights)))
