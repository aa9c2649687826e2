"""A loss for each head of a model that gives a dictionary."""

from collections.abc import Mapping
from typing import Any

from losskit.compose.composed import Composed, Part, Terms, Where, terms_of, with_mask
from losskit.contract.registry import Loss


class PerHead(Composed):
    """A weighted sum of one loss for each head: `PerHead({"mask": DiceLoss(...), "depth": (0.1, L1Loss())})(outputs, targets)`, of dictionaries with these names.

    Formula:
        sum_h w_h L_h(outputs[h], targets[h]).

    Args:
        losses: by head, a loss, or (weight, loss), as in `Sum`.
        where: by head, a function of (outputs, targets), both whole, that gives a mask for this head: boxes count where there is an object, say.

    Shape:
        outputs, targets: dictionaries with a tensor (or what else the head's loss takes) for each head. A loss without a target, such as `Entropy`, needs none. mask, sample_weight
            and normalizer: for all heads, or a dictionary with those of some.

    Attributes:
        parts: after a call, each head's value times its weight, by name, detached. They add up to the total.

    Raises:
        TypeError: outputs or targets are no dictionaries, a part is no module. ValueError: a head is missing in outputs or targets, or has no loss; and as `Sum`.

    Reference:
        Kendall, Gal and Cipolla, Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and Semantics, 2018.

    Example:
        >>> import torch, losskit
        >>> loss = losskit.PerHead({"size": losskit.L1Loss(), "kind": (0.5, losskit.CrossEntropyLoss())})
        >>> outputs = {"size": torch.tensor([3.0, 1.0]), "kind": torch.tensor([[0.0, 0.0], [0.0, 0.0]])}
        >>> loss(outputs, {"size": torch.tensor([1.0, 1.0]), "kind": torch.tensor([0, 1])})
        tensor(1.3466)
        >>> loss.parts
        {'size': tensor(1.), 'kind': tensor(0.3466)}
    """

    def __init__(self, losses: Mapping[str, Part], *, where: Mapping[str, Where] | None = None) -> None:
        super().__init__(losses, where)

    def terms(self, tensors: tuple[Any, ...], given: Mapping[str, Any]) -> Terms:
        """As of every loss made of losses."""
        if len(tensors) != 2 or not all(isinstance(x, Mapping) for x in tensors):
            told = ", ".join(type(x).__name__ for x in tensors)
            raise TypeError(
                f"PerHead takes two dictionaries, loss(outputs, targets), got ({told}): write loss({{{next(iter(self.losses))!r}: output, ...}}, {{...}})"
            )
        outputs, targets = tensors
        alone = [name for name, loss in self.losses.items() if isinstance(facts := getattr(loss, "loss", None), Loss) and facts.target == "none"]
        self._complete("outputs", outputs, [])
        self._complete("targets", targets, alone)
        for name, x in given.items():
            if isinstance(x, Mapping):
                self._complete(name, x, list(self.losses))
        found: Terms = {}
        for name, loss in self.losses.items():
            own = {key: x.get(name) if isinstance(x, Mapping) else x for key, x in given.items()}
            own = {key: x for key, x in own.items() if x is not None}
            if name in self._where:
                own = with_mask(own, self._where[name], name, tensors)
            pair = (outputs[name],) if name in alone else (outputs[name], targets[name])
            found |= self.weighed(name, name, terms_of(loss, name, pair, own))
        return found

    def _complete(self, what: str, given: Mapping[str, Any], spared: list[str]) -> None:
        """Raises for heads that are missing, or unknown."""
        missing = [name for name in self.losses if name not in given and name not in spared]
        unknown = [name for name in given if name not in self.losses]
        if missing:
            raise ValueError(
                f"{what} has no {', '.join(map(repr, missing))}: it has {', '.join(map(repr, given)) or 'nothing'}, and each head with a loss is needed"
            )
        if unknown:
            raise ValueError(
                f"{what} has {', '.join(map(repr, unknown))}, for which there is no loss: the heads are {', '.join(map(repr, self.losses))}. Leave out what is not to be trained"
            )
