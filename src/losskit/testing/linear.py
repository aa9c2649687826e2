"""Losses of a product: the subject of an examination. The head is the identity, so the scores are known, and the laws are those of rows."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from losskit.contract.registry import LOSSES
from losskit.engines.call import real_dtype
from losskit.testing import inputs
from losskit.testing.rows import RowSubject
from losskit.testing.subject import NotOffered

PREFIX = "linear_"


@dataclass(frozen=True)
class LinearSubject(RowSubject):
    """A loss of a product, examined as the loss of rows that it is of the product's scores. Scores are finite: 0 times an infinite one is NaN."""

    infinite: ClassVar[bool] = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", LOSSES[self.loss.name.removeprefix(PREFIX)])

    def __call__(self, x: Tensor, t: Tensor, /, **extra: Any) -> Tensor:
        """The loss of a batch: the classes last, where a product has them, and between input and target the head."""
        dim, dtype = x.dim(), real_dtype(x.dtype)
        x, t = (z.movedim(1, -1) if z.dim() == dim > 1 else z for z in (x, t))
        for name in extra:
            if not self.offers(name):
                raise NotOffered(f"no argument {name}")
        given = inputs.as_arguments({k: v for k, v in self.settings.items() if self.offers(k)}, dtype)
        return self.function(x, torch.eye(x.shape[-1], dtype=x.dtype, device=x.device), t, **given, **extra)
