"""Hard mining as a reduction: its settings, and what tells how much each item counts. `public.py` sees that a loss is asked for it, `mined.py` does it."""

import math
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any, Literal, get_args

from torch import Tensor

Per = Literal["batch", "sample"]
Kept = Literal["none", "mean", "sum"]


@dataclass(frozen=True, eq=False, slots=True)
class TopK:
    """A reduction that keeps the items with the largest losses, as in online hard example mining (OHEM): `reduction=TopK(0.2)`, of any loss with a loss per item.

    Formula:
        mean of {l_i : i among the m items with the largest l_i}; m = max(min_kept, min(keep n, |{l_i > threshold}|)), at most n. l_i are the losses that
        reduction="none" gives, n is how many items count. keep n is rounded down.

    Args:
        keep: a share in (0, 1], a float, or a number of items, an int. (1.0 keeps all, 1 keeps one.) None: as many as `threshold` says.
        threshold: items with a loss above it are kept, but no more than `keep`. None: as many as `keep` says.
        min_kept: so many items are kept in any case, as far as there are any: an int >= 0, or a share of those that count, a float in (0, 1].
        per: "batch": m of all items; "sample": m of the items of each sample, along axis 0.
        reduction: of the kept items, "mean", "sum", or "none", where those left out have a loss of 0.

    Weights:
        `sample_weight` and the weights of classes multiply the losses, as with "none", and so take part in the choice. The mean divides by what "mean" would divide
        by if the kept items were all there are: their number, the sum of their weights, or `normalizer`. With 1.0 it is reduction="mean".

    Absent items:
        Items that are masked, ignored, or have weight 0 are never kept, and not among the n. (An item whose class has weight 0 counts if label smoothing gives it a
        loss.) Of equal losses the first are kept. A NaN counts as the largest loss.

    Gradient:
        That of the kept items' losses; the choice is held constant. All others have the gradient 0.

    Raises:
        TypeError: a setting is not a number. ValueError: neither `keep` nor `threshold` is given, a share is outside (0, 1], a count is negative. The loss raises where it
        has no loss per item, as those of overlap.

    Reference:
        Shrivastava et al., Training Region-Based Object Detectors with Online Hard Example Mining, 2016. Bootstrapped cross-entropy: Wu et al., 2016.

    Example:
        >>> import torch, losskit
        >>> x, t = torch.tensor([1.0, 2.0, 4.0, 3.0]), torch.zeros(4)
        >>> losskit.mse_loss(x, t, reduction=TopK(0.5))  # (16 + 9) / 2
        tensor(12.5000)
        >>> losskit.mse_loss(x, t, reduction=TopK(threshold=5.0, min_kept=3))  # (16 + 9 + 4) / 3
        tensor(9.6667)
        >>> losskit.mse_loss(x, t, reduction=TopK(0.5), mask=torch.tensor([True, True, False, True]))  # one of three
        tensor(9.)
    """

    keep: int | float | None = None  # in this order: readers of configurations take the first type that fits, and 1 is no share
    threshold: float | None = None
    min_kept: int | float = 1
    per: Per = "batch"
    reduction: Kept = "mean"

    def __post_init__(self) -> None:
        if self.keep is None and self.threshold is None:
            raise ValueError("TopK needs keep=, a share such as 0.2 or a number of items, or threshold=: try TopK(0.2)")
        if self.keep is not None:
            object.__setattr__(self, "keep", amount("keep", self.keep, 1))
        object.__setattr__(self, "min_kept", amount("min_kept", self.min_kept, 0))
        if self.threshold is not None:
            if isinstance(self.threshold, bool) or not isinstance(self.threshold, Real):
                raise TypeError(f"threshold must be a number, got {type(self.threshold).__name__}: {self.threshold!r}")
            if not math.isfinite(self.threshold):
                raise ValueError(f"threshold must be finite, got {self.threshold!r}: leave it out to keep a share alone")
            object.__setattr__(self, "threshold", float(self.threshold))
        for name, value, known in (("per", self.per, get_args(Per)), ("reduction", self.reduction, get_args(Kept))):
            if value not in known:
                raise ValueError(f"{name} of TopK must be one of {', '.join(map(repr, known))}, got {value!r}")

    def _settings(self) -> dict[str, tuple[type, Any]]:
        """What it is made of: one item and all of them, 1 and 1.0, are not the same."""
        return {each.name: (type(value := getattr(self, each.name)), value) for each in fields(self)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TopK) and self._settings() == other._settings()

    def __hash__(self) -> int:
        return hash(tuple(self._settings().items()))

    def __repr__(self) -> str:
        defaults = {each.name: (type(each.default), each.default) for each in fields(self)}
        told = [f"{name}={value!r}" for name, (kind, value) in self._settings().items() if (kind, value) != defaults[name]]
        return f"TopK({', '.join(told)})"


def amount(name: str, value: float, least: int) -> float:
    """A share or a number of items."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} of TopK must be a share (a float) or a number of items (an int), got {type(value).__name__}: {value!r}")
    if isinstance(value, Integral):
        if value < least:
            raise ValueError(f"{name} of TopK must be at least {least} item{'s' if least != 1 else ''}, got {value}: for a share give a float in (0, 1]")
    elif not 0.0 < value <= 1.0:
        hint = f": for {value:g} percent try {value / 100:g}, for a number of items an int" if 1.0 < value <= 100.0 else ""
        raise ValueError(f"{name} of TopK must be a share in (0, 1], got {value!r}{hint}")
    return int(value) if isinstance(value, Integral) else float(value)


class Shares:
    """In place of a normalizer, where what becomes of the items is decided afterwards: it is told how much each counts in the denominator of "mean".

    The loss is called with reduction="none". `divides`: the denominator will be the sum of these.
    """

    def __init__(self, divides: bool) -> None:
        self.divides = divides
        self.told = False
        self.of_items: Tensor | None = None

    def tell(self, of_items: Tensor | None) -> None:
        """One number per item, which may be a bool or broadcast; None: each counts once. Who comes last knows best: a loss may be made of others."""
        self.told, self.of_items = True, of_items


def refusal(name: str) -> str:
    """What is said of a loss without items."""
    return f"{name} has no loss per item of which TopK could keep some, and takes no reduction: mine a loss of items, such as cross_entropy, and add the two"


def tell(normalizer: Any, of_items: Tensor | None) -> None:
    """Tell how much each item counts, if anybody asks."""
    if isinstance(normalizer, Shares):
        normalizer.tell(of_items)
