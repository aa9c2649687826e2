"""Margin ranking loss: of two scores, the right one above by a margin."""

from typing import Any

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import LABELS, OperandFacts, loss
from losskit.engines.language import maximum, sign, signed_label, where


def formula(x, other, t, margin):
    """At exactly the margin there is a gradient, as in torch: with a margin of 0, equal scores are pulled apart."""
    apart = x - other
    short = margin - signed_label(t) * apart
    inside = where(short < 0.0, 0.0, 1.0 + 0.0 * sign(short))  # NaN where `short` is
    pull = t * inside
    return maximum(short, 0.0), -pull, pull, where(inside == 0.0, 0.0, -apart * inside)


def textbook(mp, x, t, target, margin):
    return max(margin - target * (x - t), mp.mpf(0))


@loss(
    textbook=textbook,
    module="MarginRankingLoss",
    task="binary classification",
    formula="max(margin - t (x1 - x2), 0),  t = -1 or 1",
    torch="margin_ranking_loss",
    arguments=({"target": 1.0}, {"target": -1.0, "margin": 0.3}),
    operands=(OperandFacts("target", LABELS, predicted=True, numbers=(-1.0, 1.0)),),
    cancels="residual",
    chinese="""
    间隔排序损失：输入是两组得分（实数），目标 1 表示第一个应排在前面，-1 表示第二个应排在前面；应在前的得分至少要高出 margin，不足的部分就是损失。
    何时用：排序学习、成对比较、奖励模型等只知道两者谁更好的任务；需要概率时用 `soft_margin_loss(input1 - input2, target)`。
    边界：间隔恰为 margin 时仍有梯度，与 torch 一致，所以 margin=0 时相等的得分会被拉开；目标为其他数（如 0）会报错，0/1 标签用 target * 2 - 1 转换。
    """,
)
def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Numbers | float = 1.0,
    *,
    margin: float = 0.0,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Margin ranking loss of pairs of scores (real values) against labels -1 and 1: the score that is to rank higher is to be above the other by `margin`.

    Formula:
        max(margin - t (x1 - x2), 0); derivative -t by x1 and t by x2 where t (x1 - x2) <= margin, else 0.

    Args:
        input1: scores x1, any shape, any real value.
        input2: scores x2 of what each is compared with, the same shape.
        target: labels t of any dtype, 1 where x1 is to rank higher, -1 where x2 is: of the inputs' shape, or of one that broadcasts to it; a vector holds one label per
            class; or one label for all.
        margin: by how much the higher score is to be above, any real number.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input1` is not floating point, `margin` is not a number. ValueError: a label that is neither -1 nor 1, shapes do not fit, weights are not
        finite, `reduction` is unknown.

    When to use:
        Learning to rank, preferences, reward models: all that is known is which of two is better. For probabilities take
        `soft_margin_loss(input1 - input2, target)`.

    Edge cases:
        At exactly the margin there is a gradient: with a margin of 0, equal scores cost 0 and are pulled apart. A target of 0, as in labels of 0 and 1, raises, and
        so does any number but -1 and 1 (on a GPU the item is NaN): try target * 2 - 1. The gradients by x1 and x2 add up to 0.

    Differs from torch:
        The same values and gradients for labels -1 and 1; torch takes any number for a label. Scores must be of one shape: torch broadcasts. A label may be left
        out, if the first score is to rank higher everywhere.

    Reference:
        Herbrich, Graepel and Obermayer, Large Margin Rank Boundaries for Ordinal Regression, 2000.

    Example:
        >>> import torch, losskit
        >>> x1, x2 = torch.tensor([0.5, 0.5, 2.0]), torch.tensor([0.0, 0.0, 0.0])
        >>> losskit.margin_ranking_loss(x1, x2, torch.tensor([1, -1, 1]), margin=1.0, reduction="none")
        tensor([0.5000, 1.5000, 0.0000])
    """
    margin = checks.number("margin", margin)
    checks.floating("input1", input1)
    checks.alike({"input1": input1, "input2": input2})
    operands = (Operand("target", target, LABELS),)
    how: dict[str, Any] = dict(mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    return elementwise(formula, input1, input2, (margin,), operands=operands, **how)
