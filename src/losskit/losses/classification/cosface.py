"""CosFace: cross-entropy of cosines, of which the label's is lowered by a margin."""

from torch import Tensor

from losskit.contract import checks, cosines
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.cosines import cosine_of
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss


def formula(nll, hit, miss, spread, lse, weight, margin):
    """Cross-entropy: the margin is in the label's score already."""
    return weight * nll, weight, 0.0, 0.0


def lowered(c, margin):
    """The cosine less the margin, and its derivative."""
    return cosine_of(c) - margin, 1.0


def textbook(mp, x, t, margin, scale, weight):
    scores = [scale * (v - margin if j == t else v) for j, v in enumerate(x)]
    return (1 if weight is None else weight[t]) * (mp.log(mp.fsum(mp.exp(v) for v in scores)) - scores[t])


@loss(
    textbook=textbook,
    module="CosFaceLoss",
    task="classification",
    pattern="rows",
    formula="-log p_y,  p = softmax(scale z),  z_y = x_y - margin,  z_j = x_j",
    input="cosine",
    target="label",
    arguments=({}, {"margin": 0.2, "scale": 16.0}, {"margin": 1.5, "scale": 30.0, "weight": [0.5, 2.0, 1.0]}),
    tolerance=5e-6,
    chinese="""
    CosFace（余弦间隔 softmax，又名 AM-Softmax）：输入是样本向量与各类中心向量夹角的余弦（N, C），目标是类别编号。标签那一类的余弦先减去 margin，再乘 scale 做交叉熵。
    何时用：人脸识别、行人重识别、商品检索等；比 ArcFace 简单，余弦为 1 处也没有无穷的导数。
    边界：输入必须是余弦，先用 F.normalize 归一化；margin = 0 就是 scale 倍余弦的交叉熵。
    """,
)
def cosface_loss(
    input: Tensor,
    target: Tensor,
    *,
    margin: float = 0.35,
    scale: float = 64.0,
    sub_centers: int = 1,
    weight: Numbers | None = None,
    ignore_index: int = -100,
    dim: int = 1,
    return_parts: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """CosFace loss (AM-softmax) of cosines against class labels: cross-entropy after the label's cosine has been lowered by `margin`.

    Formula:
        -log p_y, p = softmax(scale z), z_j = x_j for the other classes, z_y = x_y - margin. Derivative by x_j: scale (p_j - [j = y]).

    Args:
        input: cosines of the angles between an embedding and the centres of all classes, (C,), (N, C) or (N, C, d1, ...), in [-1, 1]; -inf for a class that is ruled
            out. The class axis is `dim`. F.linear(F.normalize(x), F.normalize(centres)) gives them; `linear_scores` of the same factors never makes them whole, and
            takes dim=-1.
        target: class labels of any integer dtype, the input's shape without the class axis.
        margin: what is taken from the label's cosine, from 0 to 2. The default is the paper's; insightface takes 0.4.
        scale: what multiplies the cosines, > 0.
        sub_centers: how many centres a class has: the input then holds C * sub_centers cosines, those of a class next to each other, of which the largest counts.
        weight, ignore_index, dim, return_parts, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`. The parts are those of scale z.

    Returns:
        A scalar, or with reduction="none" the input's shape without the class axis; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, labels are not integers, an argument is not a number. ValueError: shapes do not fit, there is one class only, a label
            is no class, the label's score lies outside [-1, 1] by more than 0.02, `margin` outside [0, 2], `scale` <= 0, the number of scores is no multiple of
        `sub_centers`, weights are not finite, `reduction` is unknown.

    When to use:
        As `arcface_loss`; simpler, and its derivative is bounded by `scale` at every angle.

    Edge cases:
        Cosines beyond 1 by rounding count as 1. margin=0 is `cross_entropy` of scale x.

    Differs from other libraries:
        insightface's and pytorch-metric-learning's have the same formula; the latter owns the centres.

    Reference:
        Wang et al., CosFace: Large Margin Cosine Loss for Deep Face Recognition, 2018.

    Example:
        >>> import torch
        >>> cosface_loss(torch.tensor([[0.8, 0.1, -0.2], [0.3, 0.4, 0.2]]), torch.tensor([0, 1]), scale=16.0, reduction="none")
        tensor([3.7214e-03, 4.1990e+00])
    """
    margin = checks.number("margin", margin, low=0.0, high=2.0)
    result: Tensor = cosines.with_margin(
        formula, lowered, (margin,), input, target, scale=scale, sub_centers=sub_centers, weight=weight, ignore_index=ignore_index, dim=dim,
        return_parts=return_parts, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction,
    )  # fmt: skip
    return result
