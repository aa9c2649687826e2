"""Generalized cross-entropy: between cross-entropy and the absolute error, for labels that may be wrong."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.rows import Labelled, rows
from losskit.engines.language import exp_product, expm1_product


def formula(nll, hit, miss, spread, lse, weight, minus_q, inverse_q):
    return -weight * inverse_q * expm1_product(minus_q, nll), weight * exp_product(minus_q, nll), 0.0, 0.0


def textbook(mp, x, t, q, weight):
    p = mp.exp(x[t]) / mp.fsum(mp.exp(v) for v in x)
    return (1 if weight is None else weight[t]) * (1 - p ** mp.mpf(q)) / mp.mpf(q)


@loss(
    textbook=textbook,
    module="GeneralizedCrossEntropyLoss",
    task="classification",
    pattern="rows",
    formula="(1 - p_y^q) / q,  p = softmax(x)",
    input="logit",
    target="label",
    arguments=({"q": 0.7}, {"q": 0.2}, {"q": 1.0, "weight": [0.5, 2.0, 1.0]}),
    tolerance=1e-5,
    chinese="""
    广义交叉熵：输入是各类别的 logits，目标是类别编号。q 趋于 0 时是交叉熵，q = 1 时是 1 - p_y（与 MAE 相当）。
    何时用：标签有噪声时。错误的标签最终损失有上界 1/q，梯度随 p_y 变小，不会被反复死记。
    边界：q 越大越耐噪声，但学得越慢；一开始 p_y 极小的样本几乎没有梯度，可先用交叉熵热身。
    """,
)
def generalized_cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    q: float = 0.7,
    weight: Numbers | None = None,
    ignore_index: int = -100,
    dim: int = 1,
    return_parts: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Generalized cross-entropy of class logits against class labels: bounded, for labels that may be wrong.

    Formula:
        (1 - p_y^q) / q, p = softmax(x). Derivative by x_j: p_y^q (p_j - [j = y]): cross-entropy's, times p_y^q.

    Args:
        input: logits, (C,), (N, C) or (N, C, d1, ...), any real value, -inf for a class that is ruled out; the class axis is `dim`.
        target: class labels of any integer dtype, the input's shape without the class axis.
        q: from 0 (cross-entropy, not included) to 1 (1 - p_y, as the absolute error); the paper uses 0.7.
        weight, ignore_index, dim, return_parts, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape without the class axis; in [0, 1/q], times the class's weight.

    Raises:
        TypeError: `input` is not floating point, labels are not integers, an argument is not a number. ValueError: shapes do not fit, there is one class
            only, a label is no class,
        `q` outside (0, 1], weights are not finite, `reduction` is unknown.

    When to use:
        Some of the labels are wrong. With clean labels `cross_entropy` learns faster.

    Edge cases:
        An item with a tiny p_y has hardly any gradient: this is what ignores wrong labels, and also what makes the start slow.

    Differs from torch:
        torch has none. keras' `CategoricalGeneralizedCrossEntropy` takes probabilities.

    Reference:
        Zhang and Sabuncu, Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy Labels, 2018.

    Example:
        >>> import torch
        >>> generalized_cross_entropy(torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 2]), reduction="none")
        tensor([0.2205, 0.9463])
    """
    q = checks.number("q", q, above=0.0, high=1.0)
    checks.flag("return_parts", return_parts)
    result: Tensor = rows(
        Labelled(formula, (-q, 1.0 / q)),
        input,
        target,
        dim=dim,
        ignore_index=ignore_index,
        weight=weight,
        mask=mask,
        sample_weight=sample_weight,
        normalizer=normalizer,
        reduction=reduction,
        return_parts=return_parts,
    )
    return result
