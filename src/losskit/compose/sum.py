"""Sums of losses of one input and target, written as arithmetic or as a dictionary."""

import re
from collections.abc import Iterator, Mapping
from numbers import Real
from typing import Any, NamedTuple

from torch import Tensor, nn

from losskit.compose.composed import Composed, Part, Share, Terms, Weight, Where, a_loss, a_value, terms_of, with_mask
from losskit.compose.weights import UncertaintyWeight, number
from losskit.contract import checks, together
from losskit.contract.registry import Loss


class Leaf(NamedTuple):
    """A part that is no sum, by its path; and which functions say where it counts."""

    path: str
    loss: nn.Module
    where: tuple[tuple[str, Where], ...]


class Sum(Composed):
    """A weighted sum of losses: `0.5 * DiceLoss(...) + CrossEntropyLoss(...)`, or with names of your own `Sum({"dice": (0.5, DiceLoss(...)), "ce": CrossEntropyLoss()})`.

    Formula:
        sum_i w_i L_i(input, target).

    Args:
        losses: by name, a loss, or (weight, loss). A loss is a module: one of losskit's, another sum, or any `torch.nn.Module` that gives a tensor. A weight is a number >=
            0; a schedule, a function of the step that gives one (see `set_step`); or `UncertaintyWeight()`, which is learned. A tuple of weights is their product.
        where: by name, a function of the call's tensors that gives a mask: the part counts only there. It is joined to mask=.

    Shape:
        As the parts have it, which are all called with what the sum is called with, mask=, sample_weight= and normalizer= included. The total has the parts' shape,
        which is one for all: a scalar, unless they have reduction="none".

    Attributes:
        parts: after a call, the value of each part times its weights, by name, detached: they add up to the total. Nothing is synchronised; `.item()` does that. Parts of
            parts are "outer/inner".
        losses: the losses, by name; `sum["dice"]` is one of them.

    Passes:
        Losses of overlap (Dice, Jaccard, Tversky, ...) and losses of items (cross-entropy, focal, ...) of the same logits share one pass, as in `dice_ce_loss`, where both
        mean the same items: both of logits, one ignore_index, no sample_weight, normalizer or process_group. The values are the same.

    Arithmetic:
        number * loss, loss * number, loss / number, loss + loss, sum([loss, loss]). Parts are named by their classes, "dice", "cross_entropy", "dice_2". The losses are
        not copied. A schedule or an `UncertaintyWeight` may stand in place of the number.

    Raises:
        TypeError: a part is no module, a weight is no number. ValueError: no parts, a weight that is negative or NaN, a name that is taken, shapes of parts that differ.
        RuntimeError: a weight is a schedule, and no step was set.

    Edge cases:
        A part of weight 0 is computed, and adds 0, whatever its value. Weights are settings, not state: a checkpoint holds none of them, but for learned ones.

    Example:
        >>> import torch, losskit
        >>> loss = 0.5 * losskit.DiceLoss(task="multiclass", smooth=0.0) + losskit.CrossEntropyLoss()
        >>> logits = torch.tensor([[[3.0, 0.0, -2.0], [0.0, 1.0, 2.0]]])
        >>> loss(logits, torch.tensor([[0, 1, 1]]))
        tensor(0.1862)
        >>> loss.parts
        {'dice': tensor(0.0596), 'cross_entropy': tensor(0.1267)}
        >>> 2 * losskit.L1Loss() + losskit.MSELoss()
        Sum(
          (l1): 2 * L1Loss(reduction='mean')
          (mse): 1 * MSELoss(reduction='mean')
        )
    """

    def __init__(self, losses: Mapping[str, Part], *, where: Mapping[str, Where] | None = None) -> None:
        super().__init__(losses, where)

    def leaves(self, prefix: str = "", where: tuple[tuple[str, Where], ...] = ()) -> Iterator[Leaf]:
        """The parts that are no sums, here and in parts of parts."""
        for name, loss in self.losses.items():
            own = (*where, (name, self._where[name])) if name in self._where else where
            if isinstance(loss, Sum) and is_flat(loss):
                yield from loss.leaves(f"{prefix}{name}/", own)
            else:
                yield Leaf(prefix + name, loss, own)

    def terms(self, tensors: tuple[Any, ...], given: Mapping[str, Any]) -> Terms:
        """As of every loss made of losses. Parts that count everywhere are computed together."""
        found: dict[str, Terms] = {}
        alike = []
        for leaf in self.leaves():
            own = given
            for name, function in leaf.where:
                own = with_mask(own, function, name, tensors)
            if leaf.where or isinstance(leaf.loss, Composed):
                found[leaf.path] = terms_of(leaf.loss, leaf.path, tensors, own)
            else:
                alike.append(leaf)
        for leaf, value in zip(alike, together.losses([leaf.loss for leaf in alike], tensors, given), strict=True):
            found[leaf.path] = {leaf.path: a_value(value, leaf.path)}
        return self.assembled("", found)

    def assembled(self, prefix: str, found: Mapping[str, Terms]) -> Terms:
        """The parts in order, times their weights."""
        result: Terms = {}
        for name, loss in self.losses.items():
            path = prefix + name
            result |= self.weighed(name, path, loss.assembled(f"{path}/", found) if isinstance(loss, Sum) and is_flat(loss) else found[path])
        return result


def is_flat(loss: Sum) -> bool:
    """Whether calling a sum is adding up its parts, and no more: it is of no class made of it, and has no hooks."""
    return type(loss) is Sum and together.untouched(loss)


class Entry(NamedTuple):
    """A part on its way from one sum to another."""

    name: str
    share: Share
    learned: UncertaintyWeight | None
    loss: nn.Module
    where: Where | None


def entries(loss: Any) -> list[Entry]:
    """The parts of a sum, or a loss as its own only part."""
    if not isinstance(loss, Sum) or not is_flat(loss):
        return [Entry(name_of(loss), Share(named=False), None, a_loss(loss, name_of(loss)), None)]
    learned: Mapping[str, Any] = dict(loss.learned.items())
    return [Entry(name, loss._shares[name], learned.get(name), part, loss._where.get(name)) for name, part in loss.losses.items()]


def name_of(loss: Any) -> str:
    """A name from a loss's class: "dice" of DiceLoss, "deep_supervision" of DeepSupervision."""
    known = getattr(loss, "loss", None)
    name = (
        known.name.removesuffix("_loss")
        if isinstance(known, Loss)
        else re.sub(r"(?<=[a-z]{2})(?=[A-Z])", "_", type(loss).__name__.removesuffix("Loss")).lower()
    )
    taken = not name or name.startswith("_") or hasattr(nn.ModuleDict, name)
    return f"{name}_loss".lstrip("_") if taken else name


def made(parts: list[Entry]) -> Sum:
    """A sum of these parts. Names made of classes give way to others."""
    result = Sum.__new__(Sum)
    taken: dict[str, Entry] = {part.name: part for part in parts if part.share.named}
    if len(taken) < sum(part.share.named for part in parts):
        twice = next(part.name for part in parts if part.share.named and taken[part.name] is not part)
        raise ValueError(f'both sums have a part {twice!r}: give one of them another name, or keep them apart, losskit.Sum({{"first": a, "second": b}})')
    names: list[str] = []
    for part in parts:
        name, count = part.name, 1
        while not part.share.named and (name in taken or name in names):
            count += 1
            name = f"{part.name}_{count}"
        names.append(name)
    Composed.__init__(
        result,
        {name: part.loss for name, part in zip(names, parts, strict=True)},
        {name: part.where for name, part in zip(names, parts, strict=True) if part.where is not None},
    )
    for name, part in zip(names, parts, strict=True):
        result._shares[name] = part.share
        if part.learned is not None:
            result.learned[name] = part.learned
    return result


def scaled(loss: Any, weight: Weight) -> Any:
    """A loss times a weight."""
    if isinstance(weight, Composed) or (isinstance(weight, nn.Module) and not isinstance(weight, UncertaintyWeight)):
        raise TypeError("a loss cannot be multiplied by a loss: a weight is a number, a function of the step or losskit.UncertaintyWeight()")
    if isinstance(weight, Real) and not isinstance(weight, bool):
        factor = number("weight", weight)
        return made([part._replace(share=part.share._replace(factor=part.share.factor * factor)) for part in entries(loss)])
    if isinstance(weight, Tensor) or not callable(weight):
        number("weight", weight)  # raises
    if isinstance(loss, Sum) and (len(loss.losses) > 1 or loss.learned or any(share.schedule for share in loss._shares.values())):
        raise TypeError('a schedule or a learned weight belongs to one loss: name the sum as a part, losskit.Sum({"both": (weight, sum)})')
    (part,) = entries(loss)
    given = entries(Sum({"loss": (weight, part.loss)}))[0]
    return made([part._replace(share=given.share._replace(factor=part.share.factor, named=part.share.named), learned=given.learned)])


def divided(loss: Any, by: float) -> Any:
    """A loss over a number."""
    if isinstance(by, bool) or not isinstance(by, Real):
        raise TypeError(f"a loss can be divided by a number alone, got {type(by).__name__}")
    return scaled(loss, 1.0 / checks.number("the number that divides a loss", by, above=0.0))


def added(first: Any, second: Any) -> Any:
    """A loss plus a loss; 0 plus a loss, with which `sum` begins, is that loss."""
    for one, other in ((first, second), (second, first)):
        if isinstance(one, Real) and not isinstance(one, bool):
            if one == 0:
                return other
            raise TypeError(
                f"a number cannot be added to a loss, got {one!r}: it changes no gradient. Add it to the value, or give a loss a weight, {one!r} * loss"
            )
        if not isinstance(one, nn.Module):
            a_loss(one, getattr(one, "__name__", type(one).__name__))
    return made(entries(first) + entries(second))
