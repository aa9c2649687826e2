"""Hinge embedding loss: distances of pairs that belong together or not."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.elementwise import elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import maximum, sign, signed_label, where
from losskit.losses.classification import hinge


def formula(x, t, margin):
    """The derivative by the target is that of the line through the losses of both labels."""
    short = maximum(margin - x, 0.0)
    same = signed_label(t) > 0.0
    known = 0.0 * signed_label(t)  # NaN for what is no label, else 0
    return where(same, x, short) + known, where(same, 1.0 + 0.0 * sign(x), -sign(short)) + known, 0.5 * (x - short)


def textbook(mp, x, t, margin):
    return (1 + t) / 2 * x + (1 - t) / 2 * max(margin - x, mp.mpf(0))


@loss(
    textbook=textbook,
    module="HingeEmbeddingLoss",
    task="binary classification",
    formula="x  if t = 1,  max(margin - x, 0)  if t = -1",
    torch="hinge_embedding_loss",
    arguments=({"margin": 1.0}, {"margin": 3.5}),
    ranges=hinge.RANGES,
    chinese="""
    合页嵌入损失：输入是一对样本的距离，目标是 1（同类）或 -1（异类）；同类直接最小化距离，异类只要求距离不小于 margin。
    何时用：孪生网络、半监督嵌入等只知道两个样本是否同类，并且已经算出距离时。
    边界：输入为负数时同类的损失也为负，与 torch 一致；目标为其他数（如 0）会报错，0/1 标签用 target * 2 - 1 转换。
    """,
)
def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    *,
    margin: float = 1.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Hinge embedding loss of distances (real values) against labels -1 and 1: near for pairs that belong together, at least `margin` for the others.

    Formula:
        x if t = 1, max(margin - x, 0) if t = -1; derivative 1, or -1 where x < margin, else 0.

    Args:
        input: distances x of the pairs, any shape, any real value, as a rule >= 0.
        target: labels t, 1 for a pair that belongs together, -1 for the others, the same shape, of any dtype.
        margin: the distance from which on pairs that do not belong together cost nothing, any real number.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in (-inf, inf), for distances >= 0 in [0, inf).

    Raises:
        TypeError: `input` is not floating point, `margin` is not a number. ValueError: a target that is neither -1 nor 1, shapes differ, weights are not
        finite, `reduction` is unknown.

    When to use:
        Siamese networks and embeddings where all that is known of two samples is whether they belong together.

    Edge cases:
        A target of 0, as in labels of 0 and 1, raises, and so does any number but -1 and 1 (on a GPU the item is NaN): try target * 2 - 1. At a distance of
        exactly `margin` the gradient is 0.

    Differs from torch:
        The same for labels -1 and 1. For any other number torch adds both losses.

    Reference:
        Hadsell, Chopra and LeCun, Dimensionality Reduction by Learning an Invariant Mapping, 2006.

    Example:
        >>> import torch
        >>> hinge_embedding_loss(torch.tensor([0.25, 0.25, 3.0]), torch.tensor([1, -1, -1]), reduction="none")
        tensor([0.2500, 0.7500, 0.0000])
    """
    margin = checks.number("margin", margin)
    return elementwise(
        formula, input, target, (margin,), ranges=hinge.RANGES, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction
    )
