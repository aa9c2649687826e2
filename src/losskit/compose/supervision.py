"""Deep supervision: one loss at several resolutions of one target."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from losskit.compose.composed import Composed, Terms, a_loss, terms_of
from losskit.compose.weights import number
from losskit.contract import checks


class DeepSupervision(Composed):
    """One loss of a list of outputs, the largest first, against one target, which is resized to each of them; as nnU-Net trains.

    Formula:
        sum_i w_i L(output_i, target_i); target_i has the size of output_i. By default w_i is 2^-i, 0 for the last of several outputs, over the sum of these.

    Args:
        loss: a loss of (input, target), a sum of several included, with the class axis second.
        weights: a number >= 0 for each output, taken as they are. None: halving, see above.

    Shape:
        outputs: a list or tuple of (N, C, d1, ...), the largest first; one tensor is a list of one. target: (N, d1, ...) or (N, C, d1, ...); mask and sample_weight broadcast to
            what the loss takes beside the whole target. A list of targets, or masks, has one for each output, and is not resized. Along each of the axes d1, ... position i of n is read at floor((i + 1/2) m / n) of the m there are: the nearest to its
            centre, torch's "nearest-exact", in whole numbers, so that labels of any integer dtype stay what they are.

    Attributes:
        parts: after a call, the value at each output times its weight, "0", "1", ...; of a sum "0/dice", "0/ce", ... They add up to the total.

    Raises:
        TypeError: `loss` is no module, outputs are no tensors. ValueError: as many weights as outputs are needed, an output is larger than the one before it, a weight is negative
        or NaN, `dim` of a loss is not 1.

    Edge cases:
        An output of weight 0 is not computed, and its head has no gradient (None). Under DistributedDataParallel, which waits for each, give it a small weight.

    Differs from others:
        The weights, and where labels are read, are nnU-Net's. There a data loader resizes the labels. One output has the weight 1 (nnU-Net divides 0 by 0).

    Reference:
        Lee et al., Deeply-Supervised Nets, 2015; Isensee et al., nnU-Net: a Self-Configuring Method for Deep Learning-Based Biomedical Image Segmentation, 2021.

    Example:
        >>> import torch, losskit
        >>> loss = losskit.DeepSupervision(losskit.CrossEntropyLoss())
        >>> labels = torch.tensor([[0, 0, 1, 1, 0, 0, 1, 1]])
        >>> outputs = [torch.zeros(1, 2, 8), torch.zeros(1, 2, 4), torch.zeros(1, 2, 2)]
        >>> loss(outputs, labels), loss.parts  # 2/3 log 2 + 1/3 log 2
        (tensor(0.6931), {'0': tensor(0.4621), '1': tensor(0.2310)})
    """

    def __init__(self, loss: nn.Module, weights: Sequence[float] | None = None) -> None:
        super().__init__({"each": a_loss(loss, "loss")}, None)
        for module in loss.modules():
            if getattr(module, "dim", 1) != 1:
                raise ValueError(f"dim of {type(module).__name__} must be 1 in DeepSupervision, which resizes the axes after (N, C), got {module.dim!r}")
        self.weights = None if weights is None else check_weights(weights)

    @property
    def settings(self) -> dict[str, Any]:
        """As of every loss made of losses."""
        return {"loss": self.losses["each"], "weights": self.weights}

    def terms(self, tensors: tuple[Any, ...], given: Mapping[str, Any]) -> Terms:
        """As of every loss made of losses."""
        outputs, *beside = tensors
        outputs = check_outputs((outputs,) if isinstance(outputs, Tensor) else outputs)
        weights = halving(len(outputs)) if self.weights is None else self.weights
        if len(weights) != len(outputs):
            raise ValueError(f"weights has {len(weights)} numbers, but there are {len(outputs)} outputs: give one for each, or leave weights out")
        found: Terms = {}
        for place, (output, weight) in enumerate(zip(outputs, weights, strict=True)):
            if weight:
                others = tuple(at(x, place, output, len(outputs), "target") for x in beside)
                own = {name: at(x, place, output, len(outputs), name) for name, x in given.items()}
                found |= {name: value * weight for name, value in terms_of(self.losses["each"], str(place), (output, *others), own).items()}
        return found

    def __repr__(self) -> str:
        weights = "" if self.weights is None else f", weights={list(self.weights)!r}"
        return f"DeepSupervision({self.losses['each']!r}{weights})"


def check_weights(weights: Sequence[float]) -> tuple[float, ...]:
    """A number for each output, of which one is not 0."""
    if isinstance(weights, (str, Mapping)) or not hasattr(weights, "__iter__"):
        raise TypeError(f"weights must be a list of numbers, one for each output, got {type(weights).__name__}")
    found = tuple(number(f"weights[{place}]", value) for place, value in enumerate(weights))
    if not any(found):
        raise ValueError(f"weights must not all be 0, got {list(found)!r}: leave weights out to have them halve")
    return found


def check_outputs(outputs: Any) -> Sequence[Tensor]:
    """Pictures, none larger than the one before it."""
    if not isinstance(outputs, (list, tuple)) or not outputs:
        raise TypeError(f"outputs must be a list of tensors, the largest first, got {type(outputs).__name__}{'' if outputs else ' of nothing'}")
    for place, x in enumerate(outputs):
        if not isinstance(x, Tensor):
            raise TypeError(f"outputs[{place}] must be a tensor, got {type(x).__name__}")
        if x.dim() < 3 or x.dim() != outputs[0].dim():
            raise ValueError(f"outputs must have shape (N, C, d1, ...) with as many axes each, but outputs[{place}] has shape {checks.shown(x.shape)}")
        if place and any(now > before for now, before in zip(x.shape[2:], outputs[place - 1].shape[2:], strict=True)):
            raise ValueError(
                f"outputs must come the largest first, but outputs[{place}] has shape {checks.shown(x.shape)} after {checks.shown(outputs[place - 1].shape)}: try outputs[::-1]"
            )
    return outputs


def halving(count: int) -> tuple[float, ...]:
    """nnU-Net's weights: each half of the one before it, none for the last of several, with the sum 1."""
    weights = [0.5**place for place in range(count)]
    if count > 1:
        weights[-1] = 0.0
    return tuple(weight / sum(weights) for weight in weights)


def at(x: Any, place: int, output: Tensor, count: int, name: str) -> Any:
    """What belongs to an output: of a list its own, a tensor at its size, anything else as it is."""
    if isinstance(x, (list, tuple)):
        if len(x) != count:
            raise ValueError(f"{name} is a list of {len(x)}, but there are {count} outputs: give one for each, or the largest alone, which is resized")
        return x[place]
    return resized(x, output.shape[2:]) if isinstance(x, Tensor) else x


def resized(x: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor beside the whole target, at the positions nearest to those of fewer; axes that broadcast stay as they are."""
    axes = len(shape)
    for axis, size in zip(range(-axes, 0), shape, strict=True):
        if -axis <= x.dim() and x.shape[axis] not in (1, size):
            there = x.shape[axis]
            places = (torch.arange(size, dtype=torch.long, device=x.device) * 2 + 1) * there // (2 * size)
            x = x.index_select(axis, places)
    return x
