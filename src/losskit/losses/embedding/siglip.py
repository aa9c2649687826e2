"""SigLIP's loss: each picture with each text, by itself."""

from torch import Tensor

from losskit.contract import contrasts, groups, ranks
from losskit.contract.checks import Reduction
from losskit.contract.contrasts import Batch
from losskit.contract.groups import Group
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import OperandFacts, loss
from losskit.engines.language import absolute, exp_neg, log1p_unit, maximum, where
from losskit.losses.embedding.info_nce import similarity


def formula(x, t, scale, bias):
    z = scale * x + bias
    m = where(t > 0.5, z, -z)
    e = exp_neg(absolute(m))
    miss = where(m > 0.0, e, 1.0) / (1.0 + e)
    slope = where(t > 0.5, -miss, miss)
    return maximum(-m, 0.0) + log1p_unit(e), scale * slope, -2.0 * z * miss, x * slope, slope


def textbook(mp, image_features, text_features, logit_scale, logit_bias, normalize):
    """Of one batch: a loss per picture."""

    def lost(i, j, x, y):
        z = logit_scale * similarity(mp, x, y, normalize) + logit_bias
        return mp.log(1 + mp.exp(-z if i == j else z))

    return [mp.fsum(lost(i, j, x, y) for j, y in enumerate(text_features)) for i, x in enumerate(image_features)]


@loss(
    textbook=textbook,
    module="SigLIPLoss",
    task="embedding",
    pattern="vectors",
    formula="sum_j log(1 + exp(-z_j (c s_j + d))),  z_j = 1 for its own text, -1 for others, s_j the dot product of the image with text j",
    target="none",
    compares="own",
    beside=("exclude",),
    arguments=({"logit_scale": 10.0, "logit_bias": -10.0, "normalize": True}, {"logit_scale": 0.5, "logit_bias": 0.25}),
    operands=(OperandFacts("logit_scale", "> 0", predicted=True, single=True), OperandFacts("logit_bias", predicted=True, single=True)),
    tolerance=2e-6,
    cancels="input",
    chinese="""
    SigLIP 损失：输入是一批图像特征和文本特征（实数），第 i 张图配第 i 段文本；每张图与每段文本各自做一次二分类，不需要整批的 softmax。
    何时用：图文等两塔模型的对比预训练，批较小或很大时都合适；logit_scale 与 logit_bias 可以学习。
    边界：每张图的损失是与所有文本的损失之和，平均时除以图的个数，与论文一致；N x N 的相似度矩阵从不完整存在；被遮住的一对两边都不参与。
    """,
)
def siglip_loss(
    image_features: Tensor,
    text_features: Tensor,
    logit_scale: float | Tensor = 10.0,
    logit_bias: float | Tensor = -10.0,
    *,
    exclude: Tensor | None = None,
    normalize: bool = False,
    process_group: Group | None = None,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """SigLIP's loss of image and text embeddings (real values): whether a picture and a text belong together, asked of each with each.

    Formula:
        sum_j log(1 + exp(-z_ij (c x_i . y_j + d))), z_ij = 1 for a pair, -1 for others, c the logit scale, d its bias. Derivative by the score x_i . y_j:
        -c z_ij sigmoid(-z_ij (c x_i . y_j + d)).

    Args:
        image_features: vectors x, (N, D), any finite value whose products are finite; (..., N, D) are batches of their own.
        text_features: vectors y of the same shape; text i belongs to picture i.
        logit_scale: c > 0, what multiplies the scores, as open_clip's model gives it: the exponential of its parameter. A number or a tensor of one number, with a
            gradient if it requires one.
        logit_bias: d, likewise, of any sign.
        exclude: bool, (N, N), True where a picture and a text are not asked: false negatives. Over ranks its columns are the texts of all, in their order.
        normalize: True divides each vector by its length. open_clip's model does that.
        process_group: as in `info_nce_loss`. Each picture is asked about the texts of all ranks.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`. A pair left out is compared with no other, and one of weight 0 is left out.

    Returns:
        A scalar, or with reduction="none" the shape (..., N), a picture's losses added up; in [0, inf).

    Raises:
        TypeError: features are not floating point, a setting is not a number. ValueError: shapes do not fit, `logit_scale` <= 0, weights are not finite, `reduction` is
        unknown.

    When to use:
        Two-tower pretraining whose batch needs no common softmax: small batches, or very large ones.

    Edge cases:
        The N x N scores are never whole, nor is what belongs together, see `linear_scores`. The mean divides by the number of pictures, not of pairs, as the paper does. A
        sure pair keeps the digits of its small loss. Over ranks one round gives loss and gradients. A NaN in a text costs every picture NaN, one in a picture its own loss. Half precision is multiplied in float32.

    Differs from other libraries:
        The same value as open_clip's SigLipLoss on one rank, and as the mean of the paper's pseudocode. Over ranks open_clip passes texts on from rank to rank, too, of batches
        of one size, and each rank has the loss of its own pictures; here it is that of all. There `logit_bias` is None by default, which is 0.

    Reference:
        Zhai et al., Sigmoid Loss for Language Image Pre-Training, 2023; the defaults are where theirs start.

    Example:
        >>> import torch, losskit
        >>> image, text = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.6, 0.8], [0.0, 1.0]])
        >>> losskit.siglip_loss(image, text, 2.0, -1.0, reduction="none")
        tensor([0.9114, 1.3507])
    """
    group = groups.group_of("process_group", process_group)
    with groups.refusals_told(group, image_features, ranks.Told()):
        given = contrasts.compared({"image_features": image_features, "text_features": text_features}, normalize, mask, sample_weight, normalizer, reduction)
        x = given.vectors[0]
        scale = contrasts.one("logit_scale", logit_scale, "image_features", x, positive=True)
        bias = contrasts.one("logit_bias", logit_bias, "image_features", x)
        without = None if exclude is None else contrasts.pairs("exclude", exclude, "image_features", x, None if group else x.shape[-2])
    if group is not None:
        numbers = {"logit_scale": scale, "logit_bias": bias}
        spread = ranks.Spread("elements", formula, given, "image_features", numbers, normalizer, reduction, exclude=without)
        return groups.finished(ranks.over_ranks(spread, group), process_group)

    def losses(batch: Batch) -> Tensor:
        gone = None if without is None else contrasts.a_set(without, batch.place, 2)
        images, texts = batch.vectors
        return contrasts.by_themselves(formula, batch, images, texts, (scale, bias), gone)

    return contrasts.over_sets(given, losses, normalizer, reduction, beside=(scale, bias))
