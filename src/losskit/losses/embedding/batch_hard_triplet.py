"""Batch-hard triplet loss: each vector of a batch is an anchor, with the farthest of its own label and the nearest of another."""

from typing import Literal

import torch
from torch import Tensor

from losskit.contract import checks, tensors
from losskit.contract.checks import Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.vectors import distance, hardest, picked, seen


def textbook(mp, embeddings, labels, margin, p):
    """Of one batch: a loss per anchor, None where one has no positive or no negative."""

    def far(x, y):
        sizes = [abs(u - v) for u, v in zip(x, y, strict=True)]
        return max(sizes) if p == mp.inf else mp.fsum(s**p for s in sizes) ** (1 / p)

    losses = [None] * len(labels)
    for i, (x, label) in enumerate(zip(embeddings, labels, strict=True)):
        others = [(far(x, y), other) for j, (y, other) in enumerate(zip(embeddings, labels, strict=True)) if j != i]
        alike, apart = [d for d, other in others if other == label], [d for d, other in others if other != label]
        if alike and apart:
            short = max(alike) - min(apart)
            losses[i] = mp.log(1 + mp.exp(short)) if margin == "soft" else max(short + margin, mp.mpf(0))
    return losses


@loss(
    textbook=textbook,
    module="BatchHardTripletLoss",
    task="embedding",
    pattern="vectors",
    formula='max(far - near + margin, 0);  log(1 + exp(far - near))  if margin = "soft";  far, near to the hardest positive and negative',
    target="label",
    compares="triplet",
    arguments=({}, {"margin": 0.7}, {"margin": 2.5, "p": 1.0}, {"p": float("inf")}),
    tolerance=2e-6,
    cancels="residual",
    chinese="""
    批内最难三元组损失：输入是一批嵌入向量（实数）和类别标签；每个向量轮流作锚点，取同类中最远的作正样本、异类中最近的作负样本。
    何时用：行人重识别、人脸、检索；每批取 P 个类、每类 K 个样本，不用事先挑选三元组。margin="soft" 为 softplus，不会因满足间隔而停止学习。
    边界：没有同类或没有异类的锚点不计；完全相同的向量距离为 0，梯度为 0 而不是 NaN；被遮住的向量既不作锚点，也不作候选；同样难的取第一个。
    """,
)
def batch_hard_triplet_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    margin: float | Literal["soft"] = "soft",
    p: float = 2.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Batch-hard triplet loss of embeddings (real values) and their labels: the farthest of the same label is to be nearer than the nearest of another.

    Formula:
        max(far - near + margin, 0), or log(1 + exp(far - near)) with margin="soft"; far is the largest distance ||x - y||_p of an anchor x to the others of its
        label, near the smallest to those of other labels.

    Args:
        embeddings: vectors (N, D), any finite value; (..., N, D) are batches of their own, each searched by itself.
        labels: one label per vector, (N,) or (..., N), of any dtype: equal ones belong together. No gradient.
        margin: by how much nearer the positive must be to cost nothing, > 0; or "soft", a softplus, which never stops pulling.
        p: of the norm, >= 1, math.inf included. For cosines, give vectors of length 1.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`. A vector left out is neither an anchor nor searched, and one of weight
            0 is left out.

    Returns:
        A scalar, or with reduction="none" the labels' shape; in [0, inf).

    Raises:
        TypeError: `embeddings` is not floating point, a setting is not a number. ValueError: shapes do not fit, `margin` <= 0, `p` < 1, weights are not finite,
        `reduction` is unknown.

    When to use:
        Retrieval, faces, re-identification, with batches of some labels and some vectors of each: the batch is searched for the triplets that teach most. Start
        from a trained network, or with margin="soft": all vectors in one point is a state that hard triplets find, too.

    Edge cases:
        An anchor without a positive or without a negative is absent: "mean" divides by the others, and "none" has 0 there. Vectors that are the same have
        distance 0, with gradient 0. Of candidates that are equally hard the first is taken. A vector with NaN or an infinite number costs all anchors of its batch
        NaN. Distances are differences first, squares after: none is lost far from the origin, and the candidates of (N, D) are found in memory for some rows of
        the N x N distances at a time.

    Differs from the authors' code:
        There 1e-12 is added to each squared distance, so vectors that are the same are 1e-6 apart. An anchor without a positive counts there, with a distance of 0
        to it.

    Reference:
        Hermans, Beyer and Leibe, In Defense of the Triplet Loss for Person Re-Identification, 2017; margin="soft" is the default of their code, too.

    Example:
        >>> import torch
        >>> embeddings, labels = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 4.0], [9.0, 9.0]]), torch.tensor([0, 0, 1, 2])
        >>> batch_hard_triplet_loss(embeddings, labels, margin=0.5, reduction="none")
        tensor([1.5000, 2.5000, 0.0000, 0.0000])
        >>> batch_hard_triplet_loss(embeddings, labels)
        tensor(1.7201)
    """
    if isinstance(margin, str) and margin != "soft":
        raise TypeError(f"margin must be a number, or 'soft', got str: {margin!r}")
    margin = "soft" if margin == "soft" else checks.number("margin", margin, above=0.0)
    p = checks.number("p", p, low=1.0, infinite=True)
    tensors.check("embeddings", embeddings)
    tensors.check("labels", labels, "embeddings")
    tensors.beside("labels", labels, "embeddings", embeddings)
    given = seen({"embeddings": embeddings}, mask, sample_weight, normalizer, reduction, labels)
    (x,) = given.vectors
    if x.dim() < 2:
        raise ValueError(
            f"embeddings must hold a batch of vectors, shape (N, D) or (..., N, D), got shape {checks.shown(x.shape)}: try embeddings.unsqueeze(0)"
        )
    if labels.shape != x.shape[:-1]:
        fix = f": try labels.reshape{checks.shown(x.shape[:-1])}" if labels.numel() == x[..., 0].numel() else ""
        raise ValueError(f"labels must hold one label per vector, shape {checks.shown(x.shape[:-1])}, got shape {checks.shown(labels.shape)}{fix}")
    far, near, found = hardest(x.detach(), labels.detach(), given.counts, p)
    short = distance(x, picked(x, far), p, 0.0) - distance(x, picked(x, near), p, 0.0)
    each = -torch.nn.functional.logsigmoid(-short) if margin == "soft" else torch.relu(short + margin)
    return given.without(~found).reduced(torch.where(found, each, 0.0), normalizer, reduction)
