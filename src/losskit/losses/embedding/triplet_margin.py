"""Triplet margin loss: an anchor nearer to what belongs to it than to what does not."""

import math

import torch
from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.vectors import distance, seen


def textbook(mp, anchor, positive, negative, margin, p, eps, swap):
    """Of one triplet."""

    def far(x, y):
        sizes = [abs(u - v + eps) for u, v in zip(x, y, strict=True)]
        return max(sizes) if p == mp.inf else mp.fsum(s**p for s in sizes) ** (1 / p)

    apart = far(anchor, negative)
    return max(far(anchor, positive) - (min(apart, far(positive, negative)) if swap else apart) + margin, mp.mpf(0))


@loss(
    textbook=textbook,
    module="TripletMarginLoss",
    task="embedding",
    pattern="vectors",
    formula="max(d_pos - d_neg + margin, 0),  d_pos = ||anchor - positive + eps||_p,  d_neg = ||anchor - negative + eps||_p",
    target="none",
    torch="triplet_margin_loss",
    arguments=(
        {},
        {"margin": 0.3, "p": 1.0, "eps": 0.0},
        {"margin": 2.5, "p": 3.0, "swap": True},
        {"margin": 0.7, "p": math.inf, "eps": 0.01, "swap": True},
        {"margin": 1.5, "p": 1.5},
    ),
    tolerance=2e-6,
    cancels="residual",
    chinese="""
    三元组损失：输入是锚点、正样本、负样本三组嵌入向量（实数），要求锚点到正样本的距离比到负样本的距离至少小 margin。
    何时用：检索、人脸识别、行人重识别等只关心谁更近的任务；容易的三元组损失为 0，不产生梯度，所以三元组的选取决定效果（批内最难样本见 batch hard）。
    边界：距离为 0 时梯度为 0，不会出现 NaN；恰好在 margin 上时损失与梯度均为 0；swap=True 时若正样本离负样本更近，以正样本代替锚点。
    """,
)
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float = 1.0,
    p: float = 2.0,
    eps: float = 1e-6,
    swap: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Triplet margin loss of embeddings (real values): the anchor is to be nearer to the positive than to the negative, by `margin`.

    Formula:
        max(d(a, p) - d(a, n) + margin, 0) with d(x, y) = ||x - y + eps||_p along the last axis; swap=True: min(d(a, n), d(p, n)) in place of d(a, n).

    Args:
        anchor: vectors (D,), (N, D) or (..., D), any finite value.
        positive: vectors that belong to the anchors, of the same shape.
        negative: vectors that do not, of the same shape.
        margin: by how much farther the negative must be to cost nothing, > 0.
        p: of the norm, >= 1, math.inf included.
        eps: added to each difference, as torch does, >= 0. With 0, d is a true distance.
        swap: True takes the positive as the anchor where it is nearer to the negative (Balntas 2016).
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the shape without the last axis; in [0, inf).

    Raises:
        TypeError: an embedding is not floating point, a setting is not a number. ValueError: shapes differ or have no last axis, `margin` <= 0, `p` < 1,
        `eps` < 0, weights are not finite, `reduction` is unknown.

    When to use:
        Retrieval, faces, re-identification: where it counts which of two is nearer. Easy triplets cost nothing and teach nothing, so the choice of triplets
        decides.

    Edge cases:
        A distance of 0 has the gradient 0. At exactly the margin the loss and its gradient are 0. Vectors of 1e30 or of 1e-30 keep their digits: squares are of
        scaled numbers. A vector with NaN or an infinite number costs NaN. Of p=inf, the largest differences share the gradient.

    Differs from torch:
        Shapes must be equal: torch broadcasts. At exactly the margin torch's gradient is that of the positive side. `p` below 1, which is no norm, is refused.
        In float32, torch's squares of 1e30 are infinite.

    Reference:
        Schroff, Kalenichenko and Philbin, FaceNet: A Unified Embedding for Face Recognition and Clustering, 2015. swap: Balntas et al., Learning Local Feature
        Descriptors with Triplets and Shallow Convolutional Neural Networks, 2016.

    Example:
        >>> import torch, losskit
        >>> anchor, positive, negative = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 5.5]])
        >>> losskit.triplet_margin_loss(anchor, positive, negative)
        tensor(0.5000)
        >>> losskit.triplet_margin_loss(anchor, positive, negative, swap=True)
        tensor(2.6459)
    """
    margin, p = checks.number("margin", margin, above=0.0), checks.number("p", p, low=1.0, infinite=True)
    eps = checks.number("eps", eps, low=0.0)
    checks.flag("swap", swap)
    given = seen({"anchor": anchor, "positive": positive, "negative": negative}, mask, sample_weight, normalizer, reduction)
    a, b, c = given.vectors
    apart = distance(a, c, p, eps)
    if swap:
        apart = torch.minimum(apart, distance(b, c, p, eps))
    return given.reduced(torch.relu(distance(a, b, p, eps) - apart + margin), normalizer, reduction)
