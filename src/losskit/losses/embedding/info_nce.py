"""InfoNCE: of all keys, each query is to find its own."""

import torch
from torch import Tensor

from losskit.contract import contrasts, groups, ranks
from losskit.contract.checks import Reduction
from losskit.contract.contrasts import Batch
from losskit.contract.groups import Group
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.losses.classification import cross_entropy


def similarity(mp, x, y, normalize):
    """The dot product, or the cosine."""
    dot = mp.fsum(u * v for u, v in zip(x, y, strict=True))
    if not normalize or not dot:
        return dot
    return dot / mp.sqrt(mp.fsum(u * u for u in x) * mp.fsum(v * v for v in y))


def textbook(mp, query, key, temperature, normalize):
    """Of one batch: a loss per query."""
    losses = []
    for i, x in enumerate(query):
        scores = [similarity(mp, x, y, normalize) / temperature for y in key]
        losses.append(mp.log(1 + mp.fsum(mp.exp(s - scores[i]) for j, s in enumerate(scores) if j != i)))
    return losses


@loss(
    textbook=textbook,
    module="InfoNCELoss",
    task="embedding",
    pattern="vectors",
    formula="-log p_i,  p = softmax(s / T),  s_j the dot product of query i with key j",
    target="none",
    compares="own",
    beside=("negatives", "exclude"),
    arguments=({"temperature": 0.07, "normalize": True}, {"temperature": 2.0}),
    tolerance=2e-6,
    cancels="input",
    chinese="""
    InfoNCE：输入是一批查询向量和同样多的键向量（实数），第 i 个键属于第 i 个查询；每个查询要在所有键中认出自己的那一个。
    何时用：对比学习、检索、句向量；批内其他样本的键就是负样本，negatives 可再加难负样本，exclude 去掉假负样本。
    边界：只有一个键时损失为 0；被遮住的一对既不当查询也不当键；N x M 的相似度矩阵从不完整存在。
    """,
)
def info_nce_loss(
    query: Tensor,
    key: Tensor,
    *,
    negatives: Tensor | None = None,
    exclude: Tensor | None = None,
    temperature: float | Tensor = 0.07,
    normalize: bool = False,
    process_group: Group | None = None,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """InfoNCE (multiple negatives ranking) of query and key embeddings (real values): each query is to find its own key among those of the batch.

    Formula:
        -log p_ii, p_ij = exp(q_i . k_j / T) / sum_j exp(q_i . k_j / T), j over the keys of the batch and the negatives; normalize=True takes cosines. Derivatives:
        of q_i, (sum_j p_ij k_j - k_i) / T; of k_j, sum_i (p_ij - [i = j]) q_i / T.

    Args:
        query: vectors (N, D), any finite value whose products are finite; (..., N, D) are batches of their own.
        key: vectors of the same shape; key i belongs to query i, the others are its negatives.
        negatives: further keys that belong to no query, (K, D), or (..., K, D), such as hard negatives; computed in the dtype of the others.
        exclude: bool, (N, N + K), True where a key is no candidate for a query: false negatives. Never a query's own key. Over ranks its columns are the keys of all,
            in their order, then the negatives of all.
        temperature: T > 0, a number or a tensor of one number, with a gradient if it requires one.
        normalize: True divides each vector by its length, so that scores are cosines / T.
        process_group: the ranks over which the batch is spread. Each holds some of its items, however many, also none, and those of all are candidates. The loss is that of
            the whole batch; with reduction="none" it is that of this rank's items. Each rank gets the whole gradient of its own vectors; of a number, such as a temperature
            or a scale, it gets a part, and the parts of the ranks add up. Given as `losskit.Ranks(group=...)`, gradients are multiplied by the number
            of ranks, for DistributedDataParallel, which averages. All ranks call the loss alike, and what one refuses is raised on all.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`. A pair left out is neither a query nor a candidate, and one of weight 0 is
            left out.

    Returns:
        A scalar, or with reduction="none" the shape (..., N); in [0, inf).

    Raises:
        TypeError: embeddings are not floating point, a setting is not a number. ValueError: shapes do not fit, `temperature` <= 0, `exclude` takes a query's own key,
        weights are not finite, `reduction` is unknown.

    When to use:
        Contrastive pretraining, retrieval, sentence embeddings, with large batches: the other pairs are the negatives. Both directions: `clip_loss`; two views of one
        set: `nt_xent_loss`; labels: `supcon_loss`.

    Edge cases:
        The N x (N + K) scores are never whole: they are made some queries at a time, see `linear_scores`. A single key costs 0. A sure query keeps the digits of its
        small loss. A vector of zeros has no direction: with normalize=True its cosines are 0, and it gets no gradient. A NaN in a key costs every query NaN, one in a query
        its own loss. Half precision is multiplied in float32.
        Over ranks no more than one other rank's vectors are held at a time. The scores are made twice, for the sums and for the gradients, both in the forward; with
        reduction="none", or weights that require a gradient, the ranks exchange their vectors in the backward again, in which all must take part. Second derivatives,
        (..., N, D), transforms and torch.compile are refused there.

    Differs from other libraries:
        Embeddings are taken as they come; MoCo's model, lightly and sentence-transformers divide by lengths, which is normalize=True. Temperature divides;
        sentence-transformers multiplies by a scale, 1 / T.

    Reference:
        van den Oord, Li and Vinyals, Representation Learning with Contrastive Predictive Coding, 2018; He et al., Momentum Contrast, 2020, whose T is the default.

    Example:
        >>> import torch, losskit
        >>> query, key = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [0.0, 1.0]])
        >>> losskit.info_nce_loss(query, key, temperature=0.5, reduction="none")
        tensor([0.2633, 0.5130])
        >>> losskit.info_nce_loss(query, key, negatives=torch.tensor([[0.8, 0.6]]), temperature=0.5)
        tensor(0.8892)
    """
    group = groups.group_of("process_group", process_group)
    with groups.refusals_told(group, query, ranks.Told()):
        given = contrasts.compared({"query": query, "key": key}, normalize, mask, sample_weight, normalizer, reduction)
        x = given.vectors[0]
        heat = contrasts.one("temperature", temperature, "query", x, positive=True)
        extra = None if negatives is None else contrasts.more("negatives", negatives, "key", x, normalize)
        columns = x.shape[-2] + (0 if extra is None else extra.shape[-2])
        without = None if exclude is None else contrasts.pairs("exclude", exclude, "query", x, None if group else columns)
    if group is not None:
        spread = ranks.Spread("rows", cross_entropy.soft, given, "query", {"temperature": heat}, normalizer, reduction, extra, without)
        return groups.finished(ranks.over_ranks(spread, group), process_group)
    if without is not None:
        contrasts.own_kept("exclude", without)

    def losses(batch: Batch) -> Tensor:
        rows, keys = batch.vectors
        keys = keys if extra is None else torch.cat((keys, contrasts.a_set(extra, batch.place, 2)))
        own = torch.arange(len(rows), dtype=torch.long, device=rows.device)
        gone = None if without is None else contrasts.a_set(without, batch.place, 2)
        return contrasts.softmax(cross_entropy.formula, batch, rows, keys, own, heat, gone)

    return contrasts.over_sets(given, losses, normalizer, reduction, beside=(heat,) if extra is None else (heat, extra))
