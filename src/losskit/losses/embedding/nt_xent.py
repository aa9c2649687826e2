"""NT-Xent, SimCLR's loss: each view is to find the other view of its picture among all views of the batch."""

import torch
from torch import Tensor

from losskit.contract import contrasts, groups, ranks
from losskit.contract.checks import Reduction
from losskit.contract.contrasts import Batch
from losskit.contract.groups import Group
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.losses.classification import cross_entropy
from losskit.losses.embedding.info_nce import similarity


def textbook(mp, input1, input2, temperature, normalize):
    """Of one batch: a loss per pair, the mean of those of both its views."""
    views, count = [*input1, *input2], len(input1)

    def lost(i, own):
        scores = [similarity(mp, views[i], y, normalize) / temperature for y in views]
        return mp.log(1 + mp.fsum(mp.exp(s - scores[own]) for j, s in enumerate(scores) if j not in (i, own)))

    return [(lost(i, i + count) + lost(i + count, i)) / 2 for i in range(count)]


@loss(
    textbook=textbook,
    module="NTXentLoss",
    task="embedding",
    pattern="vectors",
    formula="-log p_i,  p = softmax(s / T),  s_j the cosine of a view with each other view, s_i that with its own, averaged over both views",
    target="none",
    compares="own",
    arguments=({}, {"temperature": 2.0, "normalize": False}),
    tolerance=2e-6,
    cancels="input",
    chinese="""
    NT-Xent（SimCLR 的损失）：输入是同一批样本的两个视图的嵌入向量（实数）；每个视图要在全部 2N - 1 个其他视图中认出同一样本的另一个视图。
    何时用：自监督对比学习；批越大，负样本越多。
    边界：自己不与自己比较；只有一对时损失为 0；被遮住的样本两个视图都不参与；2N x 2N 的相似度矩阵从不完整存在。
    """,
)
def nt_xent_loss(
    input1: Tensor,
    input2: Tensor,
    *,
    temperature: float | Tensor = 0.5,
    normalize: bool = True,
    process_group: Group | None = None,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """NT-Xent, the loss of SimCLR, of the embeddings (real values) of two views of each sample: each view is to find the other among all other views of the batch.

    Formula:
        -(log p_ik + log p_ki) / 2 for each pair of views i, k. p_ij is the softmax of s_ij / T over the 2N views j but i itself, s the cosine. Derivative by s_ij of the loss
        of view i: (p_ij - [j = k]) / T.

    Args:
        input1: embeddings of one view of each sample, (N, D), any finite value; (..., N, D) are batches of their own.
        input2: embeddings of the other view, of the same shape.
        temperature: T > 0, a number or a tensor of one number, with a gradient if it requires one.
        normalize: True takes cosines; False dot products of the vectors as they come.
        process_group: as in `info_nce_loss`. Both views of a sample are on one rank.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`. A pair left out is neither compared nor a candidate, and one of weight 0
            is left out.

    Returns:
        A scalar, or with reduction="none" the shape (..., N); in [0, inf).

    Raises:
        TypeError: embeddings are not floating point, a setting is not a number. ValueError: shapes differ, `temperature` <= 0, weights are not finite, `reduction` is
        unknown.

    When to use:
        Self-supervised contrastive learning, with large batches. With labels: `supcon_loss`, of which this is the case where each sample has a label of its own.

    Edge cases:
        A view is no candidate of itself. One pair alone costs 0. The 2N x 2N scores are never whole, see `linear_scores`. A vector of zeros has no direction: its cosines
        are 0, and it gets no gradient. A NaN costs every pair NaN. Half precision is multiplied in float32.

    Differs from other libraries:
        The two views come as two tensors; in the official code, and in lightly, as halves of one batch. There a view is ruled out as its own candidate by taking 1e9 from
        its score.

    Reference:
        Chen et al., A Simple Framework for Contrastive Learning of Visual Representations, 2020.

    Example:
        >>> import torch, losskit
        >>> one, other = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[3.0, 4.0], [0.0, 2.0]])
        >>> losskit.nt_xent_loss(one, other, reduction="none")
        tensor([0.9268, 0.5909])
    """
    group = groups.group_of("process_group", process_group)
    with groups.refusals_told(group, input1, ranks.Told()):
        given = contrasts.compared({"input1": input1, "input2": input2}, normalize, mask, sample_weight, normalizer, reduction)
        heat = contrasts.one("temperature", temperature, "input1", given.vectors[0], positive=True)
    if group is not None:
        spread = ranks.Spread("views", cross_entropy.soft, given, "input1", {"temperature": heat}, normalizer, reduction)
        return groups.finished(ranks.over_ranks(spread, group), process_group)

    def losses(batch: Batch) -> Tensor:
        views = torch.cat(batch.vectors)
        count, places = len(views) // 2, torch.arange(len(views), dtype=torch.long, device=views.device)
        twice = batch._replace(factor=None if batch.factor is None else batch.factor.repeat(2))
        found = contrasts.softmax(cross_entropy.formula, twice, views, views, places.roll(count), heat, places)
        return 0.5 * (found if batch.scale is not None else found.view(2, count).sum(0))

    return contrasts.over_sets(given, losses, normalizer, reduction, beside=(heat,))
