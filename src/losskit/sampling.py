"""A sample of the classes, for a softmax over so many that a step need not compare an item with all of them."""

from typing import NamedTuple

import torch
from torch import Tensor

from losskit.contract import checks, labels, tensors
from losskit.contract.registry import no_script

ABSENT = -100  # the label of absent items among the sampled classes


class SampledClasses(NamedTuple):
    """Classes to compare items with, and the items' labels among them."""

    classes: Tensor  # (sampled,), int64, rising: every class that is a label, and random others
    target: Tensor  # the target's shape, int64: where the label stands in `classes`; -100 for absent items


@no_script
def sampled_classes(target: Tensor, num_classes: int, rate: float, *, generator: torch.Generator | None = None, ignore_index: int = -100) -> SampledClasses:
    """Every class that is a label of this batch, and random others up to a share `rate` of all classes: Partial FC.

    A loss over `linear_scores(x, centres[classes])` with the new labels costs `rate` times as much, and no centre but the sampled ones has a gradient.

    Args:
        target: class labels of any integer dtype and shape.
        num_classes: how many classes there are, at least 2.
        rate: the share of the classes to keep, above 0, at most 1, rounded down; never fewer than the labels of the batch, or than 2. The paper uses 0.1.
        generator: draws the others, on the target's device; None: that of PyTorch.
        ignore_index: the label of items that are absent.

    Returns:
        `SampledClasses(classes, target)`, a named tuple: the classes, (sampled,), int64, rising; the labels as places among them, of the target's shape, int64. Absent
        items have the label -100, whatever `ignore_index` is.

    Raises:
        TypeError: `target` does not hold integers, `num_classes` is no whole number. ValueError: a label is no class, `num_classes` < 2, `rate` outside (0, 1].

    When to use:
        Softmax losses over hundreds of thousands of classes and more, such as `arcface_loss` of faces, where the product with all centres is most of a step.

    Edge cases:
        The others are drawn evenly, each class at most once. The loss of the sample is at most that of all classes, for terms of the denominator are missing, and no
        correction is made for it: it is not to be compared between rates, and its gradient is biased towards the sampled classes. rate=1 gives all classes, and the
        loss of all. Where the labels of a batch may be more classes than `rate` allows, a GPU is waited for, to count them.

    Differs from other libraries:
        insightface's PartialFC owns the centres and their optimiser, spreads classes over ranks, and draws by itself. Sampling by frequency (log-uniform) with a
        correction of the scores, as TensorFlow's `sampled_softmax_loss` does, is not included.

    Reference:
        An et al., Killing Two Birds with One Stone: Efficient and Robust Training of Face Recognition CNNs by Partial FC, 2022.

    Example:
        >>> import torch, losskit
        >>> from torch.nn.functional import normalize
        >>> target = torch.tensor([70, 3, 70, -100])
        >>> classes, labels = losskit.sampled_classes(target, num_classes=100, rate=0.05, generator=torch.Generator().manual_seed(0))
        >>> len(classes), classes[labels[:3]]
        (5, tensor([70,  3, 70]))
        >>> x, centres = torch.eye(4, 8), torch.eye(100, 8)
        >>> scores = losskit.linear_scores(normalize(x, dim=-1), normalize(centres[classes], dim=-1))
        >>> losskit.cosface_loss(scores, labels, scale=4.0).shape
        torch.Size([])
    """
    tensors.check("target", target)
    if target.is_floating_point() or target.dtype is torch.bool:
        raise TypeError(f"target must be class labels of an integer dtype, got {target.dtype}: try target.long()")
    if isinstance(num_classes, bool) or not isinstance(num_classes, int):
        raise TypeError(f"num_classes must be a whole number, got {type(num_classes).__name__}: {num_classes!r}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}: a softmax over one class is 1 everywhere")
    rate = checks.number("rate", rate, above=0.0, high=1.0)
    labels.index(ignore_index)
    if checks.readable(target):
        labels.refuse(target, num_classes, ignore_index, None, "there are")
    kept = labels.kept(target, ignore_index)
    label = torch.where(kept, target, 0).long()
    known = (label >= 0) & (label < num_classes)
    label = torch.where(known, label, 0)
    order = torch.rand(num_classes, generator=generator, dtype=torch.float32, device=target.device)
    first = (kept & known).reshape(-1) * 2.0  # before all others
    order.scatter_reduce_(0, label.reshape(-1), first.to(order.dtype), "amax")
    size = max(int(rate * num_classes), 2)
    if size < min(target.numel(), num_classes):
        size = max(size, int((order == 2.0).sum()))
    classes = order.topk(size).indices.sort().values
    place = torch.empty(num_classes, dtype=torch.int64, device=target.device)
    place[classes] = torch.arange(size, dtype=torch.int64, device=target.device)
    return SampledClasses(classes, torch.where(kept, torch.where(known, place[label], size), ABSENT))  # a label that is no class stays none
