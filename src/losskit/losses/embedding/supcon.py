"""Supervised contrastive loss: each vector is to find all others of its label."""

import torch
from torch import Tensor

from losskit.contract import checks, contrasts, groups, ranks, tensors
from losskit.contract.checks import Reduction
from losskit.contract.contrasts import Batch
from losskit.contract.groups import Group
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.losses.classification import cross_entropy
from losskit.losses.embedding.info_nce import similarity


def textbook(mp, embeddings, labels, temperature, normalize):
    """Of one batch: a loss per vector, None where it has no other of its label."""
    losses = [None] * len(labels)
    for i, x in enumerate(embeddings):
        scores = {j: similarity(mp, x, y, normalize) / temperature for j, y in enumerate(embeddings) if j != i}
        own = [s for j, s in scores.items() if labels[j] == labels[i]]
        if own:
            losses[i] = mp.fsum(mp.log(mp.fsum(mp.exp(s - o) for s in scores.values())) for o in own) / len(own)
    return losses


@loss(
    textbook=textbook,
    module="SupConLoss",
    task="embedding",
    pattern="vectors",
    formula="-mean(log p_k),  k over the others of its label,  p = softmax(s / T),  s_j the dot product with each other vector",
    target="label",
    compares="alike",
    beside=("exclude",),
    arguments=({"temperature": 0.07, "normalize": True}, {"temperature": 2.0}),
    tolerance=2e-6,
    cancels="input",
    chinese="""
    有监督对比损失（SupCon）：输入是一批嵌入向量（实数）和类别标签；每个向量要在其他向量中认出所有同类的向量。
    何时用：有标签的对比预训练，之后再训练线性分类器；也可用 bool 矩阵直接给出谁与谁是正样本，exclude 去掉假负样本。
    边界：没有同类的向量不计；自己不与自己比较；N x N 的相似度矩阵从不完整存在；被遮住的向量既不当锚点，也不当候选。
    """,
)
def supcon_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    exclude: Tensor | None = None,
    temperature: float | Tensor = 0.07,
    normalize: bool = False,
    process_group: Group | None = None,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Supervised contrastive loss of embeddings (real values) and their labels: each vector is to find all others of its label among the batch.

    Formula:
        The mean of -log p_ik over the others k of the label of i. p_ij is the softmax of z_i . z_j / T over all j but i itself. The mean is outside of the logarithm, which
        the paper calls L_out. Derivative by the score z_i . z_j: (p_ij - 1 / n) / T for each of the n others of the label, p_ij / T for the rest.

    Args:
        embeddings: vectors (N, D), any finite value whose products are finite; (..., N, D) are batches of their own. Several views of a sample are vectors of one label.
        labels: one label per vector, (N,) or (..., N), of any dtype: equal ones belong together. Or bool, (N, N): True where the second belongs to the first.
        exclude: bool, (N, N), True where the second is no candidate for the first: false negatives. Over ranks its columns, and those of labels that are bool, are the vectors of
            all, in their order.
        temperature: T > 0, a number or a tensor of one number, with a gradient if it requires one.
        normalize: True divides each vector by its length, so that scores are cosines / T.
        process_group: as in `info_nce_loss`. Vectors of one label belong together wherever they are.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`. A vector left out is neither an anchor nor a candidate, and one of weight 0 is
            left out.

    Returns:
        A scalar, or with reduction="none" the shape (..., N); in [0, inf).

    Raises:
        TypeError: `embeddings` is not floating point, a setting is not a number. ValueError: shapes do not fit, `temperature` <= 0, weights are not finite, `reduction` is
        unknown.

    When to use:
        Pretraining with labels, before a linear classifier is trained on top. Without labels: `nt_xent_loss`. Triplets in place of a softmax: `batch_hard_triplet_loss`.

    Edge cases:
        A vector is neither candidate nor positive of itself. One without a positive is absent: "mean" divides by the others, and "none" has 0 there. The N x N scores are never whole, see `linear_scores`, nor is what labels put
        together, unless `exclude` is given. A vector of zeros has no direction: with normalize=True its cosines are 0, and it gets no gradient. A NaN costs every vector that has a positive NaN. Half precision is multiplied in float32.

    Differs from the authors' code:
        There embeddings come as (samples, views, D), and losses are multiplied by T / base_temperature, which is 1 by default. A vector without a positive counts there,
        with a loss of 0.

    Reference:
        Khosla et al., Supervised Contrastive Learning, 2020: L_out; T is that of their code.

    Example:
        >>> import torch, losskit
        >>> embeddings, labels = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]]), torch.tensor([0, 0, 1, 1])
        >>> losskit.supcon_loss(embeddings, labels, temperature=0.5, reduction="none")
        tensor([0.2941, 0.9488, 1.9392, 0.3622])
    """
    group = groups.group_of("process_group", process_group)
    with groups.refusals_told(group, embeddings, ranks.Told()):
        tensors.check("embeddings", embeddings)
        tensors.check("labels", labels, "embeddings")
        tensors.beside("labels", labels, "embeddings", embeddings)
        given = contrasts.compared({"embeddings": embeddings}, normalize, mask, sample_weight, normalizer, reduction, labels)
        (x,) = given.vectors
        heat = contrasts.one("temperature", temperature, "embeddings", x, positive=True)
        items = x.shape[-2]
        without = None if exclude is None else contrasts.pairs("exclude", exclude, "embeddings", x, None if group else items)
        wide = (*x.shape[:-1], labels.shape[-1] if group and labels.dim() else items)  # candidates of other ranks are not yet known
        by_pairs = labels.dtype is torch.bool and labels.shape == wide
        if not by_pairs and labels.shape != x.shape[:-1]:
            fix = f": try labels.reshape{checks.shown(x.shape[:-1])}" if labels.numel() == x[..., 0].numel() else ""
            fix = ": try labels.bool(), if they say who belongs to whom" if labels.shape == wide else fix
            raise ValueError(f"labels must hold one label per vector, shape {checks.shown(x.shape[:-1])}, got shape {checks.shown(labels.shape)}{fix}")
    labels = labels.detach()
    if group is not None:
        numbers = {"temperature": heat}
        spread = ranks.Spread("labels", cross_entropy.soft, given, "embeddings", numbers, normalizer, reduction, exclude=without, labels=labels)
        return groups.finished(ranks.over_ranks(spread, group), process_group)
    if by_pairs or without is not None:
        alike = contrasts.alike_by_pairs(labels if by_pairs else labels[..., :, None] == labels[..., None, :], given.counts, without)
    else:
        alike = contrasts.alike_by_labels(labels, given.counts)

    def losses(batch: Batch) -> Tensor:
        (rows,) = batch.vectors
        own = torch.arange(items, dtype=torch.long, device=rows.device)
        gone = own if without is None else contrasts.a_set(without, batch.place, 2) | (own[:, None] == own)
        return contrasts.softmax(cross_entropy.soft, batch, rows, rows, alike.of(batch.place), heat, gone, (1.0, 0.0))

    return contrasts.over_sets(given.without(~alike.some), losses, normalizer, reduction, beside=(heat,))
