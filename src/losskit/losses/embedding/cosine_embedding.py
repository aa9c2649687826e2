"""Cosine embedding loss: pairs that belong together point the same way, others do not."""

import torch
from torch import Tensor

from losskit.contract import checks, reduce, tensors
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.vectors import directions, seen
from losskit.losses.classification import hinge

RANGE, HINT = hinge.RANGES["target"]


def textbook(mp, input1, input2, target, margin):
    """Of one pair and its label."""
    dot, square, other = (mp.fsum(u * v for u, v in zip(a, b, strict=True)) for a, b in ((input1, input2), (input1, input1), (input2, input2)))
    cos = dot / mp.sqrt(square * other)
    return 1 - cos if target == 1 else max(cos - margin, mp.mpf(0))


@loss(
    textbook=textbook,
    module="CosineEmbeddingLoss",
    task="embedding",
    pattern="vectors",
    formula="1 - cos  if t = 1,  max(cos - margin, 0)  if t = -1,  cos = x1 . x2 / (|x1| |x2|)",
    torch="cosine_embedding_loss",
    arguments=({}, {"margin": 0.3}, {"margin": -0.5}),
    ranges=hinge.RANGES,
    tolerance=2e-6,
    cancels="input",
    chinese="""
    余弦嵌入损失：输入是两组嵌入向量（实数）和标签 1（同类）或 -1（异类）；同类要求方向一致，异类要求余弦不超过 margin。
    何时用：文本、图像、句子配对等只比较方向、长度无意义的任务。
    边界：零向量没有方向，余弦按 0 算，这一对没有梯度；1 - cos 按方向差计算，夹角很小时也不丢位数；标签为其他数（如 0）会报错，0/1 标签用 target * 2 - 1 转换。
    """,
)
def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    *,
    margin: float = 0.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cosine embedding loss of pairs of vectors (real values) against labels -1 and 1: one direction for pairs that belong together, another for the others.

    Formula:
        1 - cos if t = 1, max(cos - margin, 0) if t = -1, with cos = x1 . x2 / (|x1| |x2|) along the last axis. 1 - cos is computed as
        |x1 / |x1| - x2 / |x2||^2 / 2, which keeps the digits of small angles.

    Args:
        input1: vectors x1, (D,), (N, D) or (..., D), any finite value.
        input2: vectors x2, of the same shape.
        target: labels t, 1 for a pair that belongs together, -1 for the others; the shape without the last axis, any dtype. No gradient.
        margin: the cosine up to which pairs that do not belong together cost nothing, in [-1, 1].
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the target's shape; in [0, 2].

    Raises:
        TypeError: an embedding is not floating point, `margin` is not a number. ValueError: a target that is neither -1 nor 1, shapes do not fit, `margin` is
        out of its range, weights are not finite, `reduction` is unknown.

    When to use:
        Pairs of texts, pictures, sentences, where directions are compared and lengths mean nothing.

    Edge cases:
        A vector of zeros has no direction: its cosine is 0, and neither vector of the pair gets a gradient. Equal vectors with t = 1 cost exactly 0, with gradient
        0. At a cosine of exactly `margin` the gradient is 0. Vectors of 1e30 or of 1e-30 have the losses of those of 1. A target of 0, as in labels of 0 and 1,
        raises, and so does any number but -1 and 1 (on a GPU the item is NaN): try target * 2 - 1.

    Differs from torch:
        The same up to rounding for vectors of ordinary length. torch adds 1e-12 to each squared length: vectors shorter than 1e-6 lose their cosine, and one of
        zeros gets a gradient of up to 1e6. For labels that are neither -1 nor 1 torch's loss is 0. Shapes must be equal: torch broadcasts. In float32, torch
        gives 1 - cos of vectors an angle of 1e-4 apart no digit.

    Reference:
        Chopra, Hadsell and LeCun, Learning a Similarity Metric Discriminatively, with Application to Face Verification, 2005; the cosine is torch's.

    Example:
        >>> import torch, losskit
        >>> x1, x2 = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]), torch.tensor([[3.0, 4.0], [3.0, 4.0], [-3.0, 4.0]])
        >>> losskit.cosine_embedding_loss(x1, x2, torch.tensor([1, -1, -1]), margin=0.5, reduction="none")
        tensor([0.4000, 0.1000, 0.0000])
    """
    margin = checks.number("margin", margin, low=-1.0, high=1.0)
    tensors.check("target", target, "input1")
    given = seen({"input1": input1, "input2": input2}, mask, sample_weight, normalizer, reduction, target)
    x, y = given.vectors
    if target.shape != x.shape[:-1]:
        fix = f": try target.reshape{checks.shown(x.shape[:-1])}" if target.numel() == x[..., 0].numel() else ""
        raise ValueError(f"target must hold one label for each pair, shape {checks.shown(x.shape[:-1])}, got shape {checks.shown(target.shape)}{fix}")
    tensors.beside("target", target, "input1", input1)
    labels = target.detach().to(x.dtype)
    (u, none), (v, neither) = directions(x), directions(y)
    lost = torch.where(none | neither, 1.0, 0.5 * (u - v).square().sum(-1))
    each = torch.where(labels == 1.0, lost, torch.where(labels == -1.0, torch.relu((u * v).sum(-1) - margin), torch.nan))
    result = given.reduced(each, normalizer, reduction)
    if reduce.nan_seen("torch", x, result):
        checks.in_range("target", labels, RANGE, labels, given.counts, HINT)
    return result
