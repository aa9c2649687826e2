"""ArcFace: cross-entropy of cosines, of which the label's angle gets a margin."""

import math
from collections.abc import Callable
from typing import Any

from torch import Tensor

from losskit.contract import checks, cosines
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.cosines import cosine_of
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import maximum, sqrt, where
from losskit.losses.classification import cosface


def formula(nll, hit, miss, spread, lse, weight, cosine, rest, sine, edge):
    """Cross-entropy: the margin is in the label's score already."""
    return weight * nll, weight, 0.0, 0.0


def turned(c, cosine, rest, sine, edge):
    """cos(angle + margin), and its derivative by the cosine c, sin(angle + margin) / sin(angle); beyond an angle of pi - margin, what goes on from -1 with slope 1.

    The margin's cosine comes in two parts, so that near pi - margin, where the derivative is 0, c + cosine + rest keeps its digits: there sin(a + m) is
    (cos m - c)(cos m + c) / (sin a cos m - c sin m). The derivative is infinite at 1: there the sine's square is `edge`.
    """
    c = cosine_of(c)
    square = (1.0 - c) * (1.0 + c)  # exact to rounding; 1 - c * c loses three digits near 1
    own = where(square > 0.0, sqrt(maximum(square, 1e-30)), 0.0)
    under = sqrt(where(square > edge, square, edge))
    whole = cosine + rest
    above = (c + cosine) + rest
    value = where(above < 0.0, c - (1.0 - whole), c * whole - own * sine)
    falling = (whole - c) * above / where(c < 0.0, under * (under * whole - c * sine), 1.0)
    return value, where(above < 0.0, 1.0, where(c < 0.0, falling, whole + sine * c / under))


def textbook(mp, x, t, margin, scale, weight):
    c, cosine, sine = x[t], mp.cos(margin), mp.sin(margin)
    own = c * cosine - (1 - c * c) ** mp.mpf("0.5") * sine if c > -cosine else c + cosine - 1  # cos(a + m) = cos a cos m - sin a sin m
    scores = [scale * (own if j == t else v) for j, v in enumerate(x)]
    return (1 if weight is None else weight[t]) * (mp.log(mp.fsum(mp.exp(v) for v in scores)) - scores[t])


@loss(
    textbook=textbook,
    module="ArcFaceLoss",
    task="classification",
    pattern="rows",
    formula="-log p_y,  p = softmax(scale z),  z_y = cos(arccos(x_y) + margin),  z_j = x_j",
    input="cosine",
    target="label",
    arguments=({}, {"margin": 0.2, "scale": 16.0}, {"margin": 1.2, "scale": 30.0, "weight": [0.5, 2.0, 1.0]}),
    tolerance=1e-5,
    chinese="""
    ArcFace（角度间隔 softmax）：输入是样本向量与各类中心向量夹角的余弦（N, C），目标是类别编号。标签那一类的夹角先加上 margin（弧度），再乘 scale 做交叉熵。
    何时用：人脸识别、行人重识别、商品检索等，训练时类别固定、测试时要区分没见过的类别。
    边界：输入必须是余弦，先用 F.normalize 归一化；夹角超过 pi - margin 后改为斜率 1 的直线，仍然单调、连续；余弦恰为 1 时梯度有限。
    """,
)
def arcface_loss(
    input: Tensor,
    target: Tensor,
    *,
    margin: float = 0.5,
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
    """ArcFace loss of cosines against class labels: cross-entropy after the angle to the label's centre has been made larger by `margin`.

    Formula:
        -log p_y, p = softmax(scale z), z_j = x_j = cos(theta_j) for the other classes, z_y = phi(x_y) = cos(theta_y + margin). Beyond theta_y = pi - margin, where
        that would rise again, phi(x_y) = x_y - (1 - cos(margin)). Derivative by x_j: scale p_j; by x_y: -scale (1 - p_y) sin(theta_y + margin) / sin(theta_y).

    Args:
        input: cosines of the angles between an embedding and the centres of all classes, (C,), (N, C) or (N, C, d1, ...), in [-1, 1]; -inf for a class that is ruled
            out. The class axis is `dim`. F.linear(F.normalize(x), F.normalize(centres)) gives them; `linear_scores` of the same factors never makes them whole, and
            takes dim=-1.
        target: class labels of any integer dtype, the input's shape without the class axis.
        margin: what is added to the label's angle, in radians, from 0 to pi / 2; 0.5 is 28.6 degrees.
        scale: what multiplies the cosines, > 0.
        sub_centers: how many centres a class has (sub-center ArcFace): the input then holds C * sub_centers cosines, those of a class next to each other, of which the
            largest counts.
        weight, ignore_index, dim, return_parts, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`. The parts are those of scale z.

    Returns:
        A scalar, or with reduction="none" the input's shape without the class axis; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, labels are not integers, an argument is not a number. ValueError: shapes do not fit, there is one class only, a label
            is no class, the label's score lies outside [-1, 1] by more than 0.02, `margin` outside [0, pi / 2], `scale` <= 0, the number of scores is no multiple of
        `sub_centers`, weights are not finite, `reduction` is unknown.

    When to use:
        Faces, persons, products: classes are known in training, and the embeddings must tell others apart afterwards. For millions of classes, `sampled_classes`; a
        margin that does not depend on the angle, `cosface_loss`.

    Edge cases:
        The loss falls as the label's cosine rises, everywhere, and has no jump. At a cosine of 1 the derivative, which is infinite there, is finite: that of the
        nearest angle that rounding tells from 0 (2.4e-4 in float32); what reaches a normalised embedding has the factor sin(theta_y) and is small. Cosines beyond 1 by
        rounding count as 1. margin=0 is `cross_entropy` of scale x.

    Differs from other libraries:
        insightface goes on with x_y - margin sin(margin) beyond pi - margin, a jump of 0.117 at margin=0.5; the slope is the same. pytorch-metric-learning's margin is in
        degrees, and it owns the centres.

    Reference:
        Deng et al., ArcFace: Additive Angular Margin Loss for Deep Face Recognition, 2019; Deng et al., Sub-center ArcFace: Boosting Face Recognition by Large-scale
        Noisy Web Faces, 2020.

    Example:
        >>> import torch
        >>> arcface_loss(torch.tensor([[0.8, 0.1, -0.2], [0.3, 0.4, 0.2]]), torch.tensor([0, 1]), scale=16.0, reduction="none")
        tensor([0.0066, 6.3994])
    """
    margin = cosines.angle("margin", margin)
    checks.floating("input", input)
    cosine = math.cos(margin)
    upper = (many := cosine * (2.0**29 + 1.0)) - (many - cosine)  # its first 24 bits
    form: Callable[..., Any] = formula
    lowered: Callable[..., Any] = turned
    params: tuple[float, ...] = (upper, cosine - upper, math.sin(margin), cosines.edge_of(input.dtype))
    if margin == 0.0:  # at a cosine of -1, `turned` has a derivative of 0 / 0
        form, lowered, params = cosface.formula, cosface.lowered, (0.0,)
    result: Tensor = cosines.with_margin(
        form, lowered, params, input, target, scale=scale, sub_centers=sub_centers, weight=weight, ignore_index=ignore_index, dim=dim,
        return_parts=return_parts, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction,
    )  # fmt: skip
    return result
