"""Multi-label margin loss: every label's score above that of every other class by a margin of 1."""

import torch
from torch import Tensor

from losskit.contract.checks import Reduction
from losskit.contract.margins import beside_set
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.sets import Sets


def hinges(x: Tensor, sets: Sets) -> tuple[Tensor, Tensor]:
    """The loss of each item and its derivative by each score, without going through the pairs.

    A hinge max(x_i + 1 - x_j, 0) is as long as the gaps between the labels' scores in order, from x_j up to x_i + 1: each gap is a part of as many hinges as there are
    labels at or below it. So nothing is subtracted but neighbours, and all that is added up is positive. Counts are whole numbers, exact in float32.
    """
    labels, order = torch.where(sets.listed, x.gather(-1, sets.places), torch.inf).sort(-1)
    reach = x + 1.0
    below = torch.searchsorted(labels, reach)  # how many labels: one at exactly the margin is not below
    gaps = torch.where(labels[..., 1:] > labels[..., :-1], labels.diff(dim=-1), 0.0)  # of two infinite scores, 0
    counted = torch.arange(1, labels.shape[-1], dtype=x.dtype, device=x.device)
    lower = torch.nn.functional.pad((gaps * (counted * sets.share)).cumsum(-1), (2, 0))  # by how many labels are below
    highest = torch.nn.functional.pad(labels, (1, 0))
    number = below * sets.others
    above = torch.zeros(highest.shape, dtype=x.dtype, device=x.device).scatter_add(-1, below, sets.others)
    above = above.flip(-1).cumsum(-1).flip(-1)[..., 1:]  # of each label in order, how many others reach beyond it
    slope = number.scatter_add(-1, sets.places.gather(-1, order), -above) * sets.share
    nothing = 0.0 * sets.share  # or NaN
    each = torch.where(number != 0.0, lower.gather(-1, below) + slope * (reach - highest.gather(-1, below)), nothing)
    return each.sum(-1), slope


def textbook(mp, x, t):
    labels = t[: t.index(-1)] if -1 in t else t
    return mp.fsum(max(mp.mpf(0), 1 - (x[j] - v)) for j in labels for i, v in enumerate(x) if i not in labels) / len(x)


@loss(
    textbook=textbook,
    module="MultiLabelMarginLoss",
    task="classification",
    pattern="rows",
    formula="1 / C sum_j sum_i max(1 - x_j + x_i, 0),  over labels j and classes i that are none",
    input="logit",
    target="set",
    torch="multilabel_margin_loss",
    tolerance=2e-6,
    chinese="""
    多标签间隔损失：输入是各类别的得分，目标是每个样本的标签集合，用同形的布尔张量表示，或用以 -1 结尾的类别编号列表表示（与 torch 相同）；每个标签的得分要比每个非标签类别至少高 1，不足的部分求和后除以类别数。
    何时用：多标签分类中只关心标签排在其他类别之前、不需要概率时。需要概率或阈值时用 binary_cross_entropy_with_logits。
    边界：没有标签、或所有类别都是标签的样本损失与梯度都是 0；间隔恰为 1 时梯度取 0；列表中重复的类别按次数计算，与 torch 一致。
    """,
)
def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    *,
    dim: int = 1,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Multi-label margin (hinge) loss of class scores (logits) against a set of labels per item: every label's score is to be above every other class's by 1.

    Formula:
        1 / C times the sum of max(1 - x_j + x_i, 0) over the labels j and the classes i that are no label, where C is the number of classes. Derivative by a
        class that is no label: 1 / C for each label that is not above it by 1; by a label: -1 / C for each such class that it is not above by 1.

    Args:
        input: scores x, (C,), (N, C) or (N, C, d1, ...), any real value.
        target: the labels of each item, in the input's shape: bool, True for a label; or its classes in a list of any integer dtype, ended by -1, as in torch.
            What follows the first -1 is not read.
        dim, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape without the class axis; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, `target` is neither bool nor of integers. ValueError: shapes differ, there is one class only, a list holds what is no
        class, or integers are evidently a 0 or 1 per class; weights are not finite, `reduction` is unknown.

    When to use:
        Several labels at once, of which only the order matters: the labels before all else. Nobody reads probabilities, and no threshold is learned; for either take
        `binary_cross_entropy_with_logits`.

    Edge cases:
        An item without labels, or with every class for a label, costs 0 and has the gradient 0. At exactly the margin a pair of scores has the gradient 0. A class
        that is listed twice counts twice. The gradient adds up to 0 over an item's classes. A score of inf or -inf costs nothing on its right side, and inf on the
        other. Labels are not compared with the other classes one by one: time and memory are those of sorting an item's classes.

    Differs from torch:
        The same values and gradients. A bool target, further axes, half precision, integers of any dtype and masks are taken. The class axis is `dim`, 1 by default;
        torch takes the last one, which is the same for (C,) and (N, C). A score that is NaN gives NaN; torch leaves the pairs with it out.

    Reference:
        Crammer and Singer, A Family of Additive Online Algorithms for Category Ranking, 2003; the name is torch's.

    Example:
        >>> import torch
        >>> x = torch.tensor([[0.1, 0.2, 0.4, 0.8], [2.0, 0.5, 0.0, 1.5]])
        >>> multilabel_margin_loss(x, torch.tensor([[3, 0, -1, 1], [0, -1, -1, -1]]), reduction="none")
        tensor([0.8500, 0.1250])
        >>> multilabel_margin_loss(x, torch.tensor([[True, False, False, True], [True, False, False, False]]), reduction="none")
        tensor([0.8500, 0.1250])
    """
    return beside_set(hinges, input, target, dim=dim, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
