"""CLIP's loss: each picture is to find its text, and each text its picture."""

from torch import Tensor

from losskit.contract import contrasts, groups, ranks
from losskit.contract.checks import Reduction
from losskit.contract.contrasts import Batch
from losskit.contract.groups import Group
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import OperandFacts, loss
from losskit.losses.classification import cross_entropy
from losskit.losses.embedding import info_nce


def textbook(mp, image_features, text_features, logit_scale, normalize):
    """Of one batch: a loss per pair."""
    there, back = (info_nce.textbook(mp, *sides, 1 / logit_scale, normalize) for sides in ((image_features, text_features), (text_features, image_features)))
    return [(a + b) / 2 for a, b in zip(there, back, strict=True)]


@loss(
    textbook=textbook,
    module="CLIPLoss",
    task="embedding",
    pattern="vectors",
    formula="-(log p_i + log q_i) / 2,  p = softmax(c s),  q = softmax(c r),  s_j the dot product of image i with text j, r_j that of text i with image j",
    target="none",
    compares="own",
    beside=("exclude",),
    arguments=({"logit_scale": 1 / 0.07, "normalize": True}, {"logit_scale": 0.5}),
    operands=(OperandFacts("logit_scale", "> 0", predicted=True, single=True),),
    tolerance=2e-6,
    cancels="input",
    chinese="""
    CLIP 损失：输入是一批图像特征和文本特征（实数），第 i 张图配第 i 段文本；图要在所有文本中认出自己的那段，文本也要认出自己的图，取两者的平均。
    何时用：图文等两塔模型的对比预训练；logit_scale 可以学习，exclude 去掉假负样本。
    边界：只有一对时损失为 0；被遮住的一对两边都不参与；N x N 的相似度矩阵从不完整存在，两个方向共用一次乘积。
    """,
)
def clip_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: float | Tensor = 1 / 0.07,
    *,
    exclude: Tensor | None = None,
    normalize: bool = False,
    process_group: Group | None = None,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """CLIP's loss of image and text embeddings (real values): each picture is to find its text among those of the batch, and each text its picture.

    Formula:
        -(log p_ii + log q_ii) / 2 for pair i. p_ij is the softmax of c x_i . y_j over the texts j, q_ij that of c x_j . y_i over the pictures j; c is the logit scale.
        Derivative by the score x_i . y_j: c (p_ij + q_ji - 2 [i = j]) / 2, of all pairs' losses added up.

    Args:
        image_features: vectors x, (N, D), any finite value whose products are finite; (..., N, D) are batches of their own.
        text_features: vectors y of the same shape; text i belongs to picture i.
        logit_scale: c > 0, what multiplies the scores, as open_clip's model gives it: the exponential of its parameter. A number or a tensor of one number, with a
            gradient if it requires one.
        exclude: bool, (N, N), True where text j is no candidate for picture i, and the picture none for the text: false negatives. Never a pair's own.
            Over ranks its columns are the texts of all, in their order.
        normalize: True divides each vector by its length. open_clip's model does that.
        process_group: as in `info_nce_loss`.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`. A pair left out is compared with no other, and one of weight 0 is left out.

    Returns:
        A scalar, or with reduction="none" the shape (..., N); in [0, inf).

    Raises:
        TypeError: features are not floating point, a setting is not a number. ValueError: shapes do not fit, `logit_scale` <= 0, `exclude` takes a pair itself, weights are
        not finite, `reduction` is unknown.

    When to use:
        Two-tower pretraining, of pictures and texts or of any other pairs. One direction only: `info_nce_loss`; every pair by itself, which needs no softmax over the batch:
        `siglip_loss`.

    Edge cases:
        Both directions share one product: its scores are made some pictures at a time, once in the forward and once in the backward, and whole only where PyTorch operations
        run: for second derivatives, under transforms, and in compiled graphs of small batches or on GPUs. One pair alone costs 0. A sure pair keeps the digits of its small loss. A NaN costs every pair NaN. Half precision is multiplied in float32.
        Over ranks, see `info_nce_loss`, the scores are made once for each direction's sums, and once for the gradients of both.

    Differs from other libraries:
        The same value as open_clip's ClipLoss on one rank. Over ranks open_clip gathers all features on each, of batches of one size; with
        local_loss it leaves out the gradients that reach other ranks' features, unless it is given gather_with_grad, too. `logit_scale` of a module may also be held by it: CLIPLoss(logit_scale=torch.nn.Parameter(...)).

    Reference:
        Radford et al., Learning Transferable Visual Models From Natural Language Supervision, 2021; the default scale is where theirs starts.

    Example:
        >>> import torch, losskit
        >>> image, text = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [0.0, 1.0]])
        >>> losskit.clip_loss(image, text, 2.0, reduction="none")
        tensor([0.5881, 0.3200])
    """
    group = groups.group_of("process_group", process_group)
    with groups.refusals_told(group, image_features, ranks.Told()):
        given = contrasts.compared({"image_features": image_features, "text_features": text_features}, normalize, mask, sample_weight, normalizer, reduction)
        x = given.vectors[0]
        scale = contrasts.one("logit_scale", logit_scale, "image_features", x, positive=True)
        without = None if exclude is None else contrasts.pairs("exclude", exclude, "image_features", x, None if group else x.shape[-2])
    if group is not None:
        spread = ranks.Spread("both", cross_entropy.soft, given, "image_features", {"logit_scale": scale}, normalizer, reduction, exclude=without)
        return groups.finished(ranks.over_ranks(spread, group), process_group)
    heat = scale.reciprocal()
    if without is not None:
        contrasts.own_kept("exclude", without)

    def losses(batch: Batch) -> Tensor:
        gone = None if without is None else contrasts.a_set(without, batch.place, 2)
        images, texts = batch.vectors
        return contrasts.both_sides(cross_entropy.formula, batch, images, texts, heat, gone)

    return contrasts.over_sets(given, losses, normalizer, reduction, each=True, beside=(heat,))
