"""nn.Module classes made from loss functions: the keyword arguments go to the constructor, the tensors to `forward`, the docstring comes along."""

import inspect
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from losskit.contract.registry import TENSOR_ARGUMENTS, Loss
from losskit.engines.dispatch import use_engine

WEIGHTS = ("weight", "pos_weight")  # settings that are tensors: buffers, so that they move and are saved with the module


class LossModule(nn.Module):
    """A loss as a module. Calls are `module(input, target, *, mask=None, sample_weight=None, normalizer=None)`."""

    loss: Loss  # set on each subclass
    __signature__: inspect.Signature

    def __init__(self, **settings: Any) -> None:
        super().__init__()
        unknown = set(settings) - set(self.loss.settings)
        if unknown:
            fits = ", ".join(self.loss.settings)
            hint = " (give it when calling the module)" if unknown & set(TENSOR_ARGUMENTS) else ""
            raise TypeError(f"{self.loss.module} has no argument {', '.join(map(repr, sorted(unknown)))}{hint}; it takes: {fits}")
        self.settings = {}
        for name, value in (self.loss.settings | settings).items():
            if name in WEIGHTS:
                if value is not None and not isinstance(value, Tensor):
                    value = torch.as_tensor(value, dtype=torch.get_default_dtype())
                self.register_buffer(name, value)
            else:
                self.settings[name] = value
        self._check()

    def _check(self) -> None:
        """Bad settings raise here, at the constructor, not in the first training step: a call on no items, without memory behind it."""
        shapes = [getattr(self, name).shape for name in WEIGHTS if getattr(self, name, None) is not None]
        shape = (0, *torch.broadcast_shapes((1,), *shapes))
        empty = torch.empty(shape, device="meta")
        weights = {name: getattr(self, name).to("meta") for name in WEIGHTS if getattr(self, name, None) is not None}
        with use_engine("torch"):
            self.loss.function(empty, empty, **self.settings, **weights)

    def forward(self, input: Tensor, target: Tensor, *, mask: Tensor | None = None, sample_weight: Tensor | None = None, normalizer: Any = None) -> Tensor:
        """The loss of `input` against `target`."""
        weights = {name: getattr(self, name) for name in WEIGHTS if name in self._buffers}
        return self.loss.function(input, target, mask=mask, sample_weight=sample_weight, normalizer=normalizer, **self.settings, **weights)

    if TYPE_CHECKING:

        def __call__(self, input: Tensor, target: Tensor, *, mask: Tensor | None = None, sample_weight: Tensor | None = None, normalizer: Any = None) -> Tensor:
            """What nn.Module's call does with `forward`, typed."""
            ...

    def extra_repr(self) -> str:
        """Every argument, as the constructor takes it."""
        values = {name: self.settings.get(name, self._buffers.get(name)) for name in self.loss.settings}
        return ", ".join(f"{k}={v.tolist() if isinstance(v, Tensor) else repr(v)}" for k, v in values.items())


def make_module(loss: Loss) -> type[LossModule]:
    """The module class of a loss."""
    parameters = [p for p in inspect.signature(loss.function).parameters.values() if p.name in loss.settings]
    constructor = inspect.Signature(parameters)
    docs = (
        inspect.getdoc(loss.function) or ""
    ) + f"\n\nThe module form of :func:`losskit.{loss.name}`: keyword arguments to the constructor, tensors to the call."
    body = {"__doc__": docs, "__module__": "losskit", "loss": loss, "__signature__": constructor}
    return type(loss.module, (LossModule,), body)
