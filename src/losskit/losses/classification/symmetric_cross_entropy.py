"""Symmetric cross-entropy: cross-entropy and its reverse, for labels that may be wrong."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.rows import Labelled, rows


def formula(nll, hit, miss, spread, lse, weight, alpha, reverse):
    return weight * (alpha * nll + reverse * miss), weight * (alpha + reverse * hit), 0.0, 0.0


def textbook(mp, x, t, alpha, beta, log_zero, weight):
    z = mp.fsum(mp.exp(v) for v in x)
    p = [mp.exp(v) / z for v in x]
    reverse = -mp.fsum(v * (0 if j == t else log_zero) for j, v in enumerate(p))
    return (1 if weight is None else weight[t]) * (-alpha * mp.log(p[t]) + beta * reverse)


@loss(
    textbook=textbook,
    module="SymmetricCrossEntropyLoss",
    task="classification",
    pattern="rows",
    formula="-alpha log p_y - beta log_zero (1 - p_y),  p = softmax(x)",
    input="logit",
    target="label",
    arguments=({"alpha": 0.1, "beta": 1.0}, {"alpha": 1.0, "beta": 0.5, "log_zero": -6.0}, {"weight": [0.5, 2.0, 1.0]}),
    tolerance=4e-6,
    chinese="""
    对称交叉熵：输入是各类别的 logits，目标是类别编号。交叉熵 H(t, p) 加上反向交叉熵 H(p, t)，其中 log 0 以常数 log_zero 代替。
    何时用：标签有噪声时；反向项有界，能压住错误标签，正向项保证学得动。
    边界：alpha = 0 时只剩有界的反向项（与 1 - p_y 成正比）；beta = 0 时就是交叉熵的 alpha 倍。
    """,
)
def symmetric_cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.1,
    beta: float = 1.0,
    log_zero: float = -4.0,
    weight: Numbers | None = None,
    ignore_index: int = -100,
    dim: int = 1,
    return_parts: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Symmetric cross-entropy of class logits against class labels: alpha H(t, p) + beta H(p, t).

    Formula:
        -alpha log p_y - beta log_zero (1 - p_y), p = softmax(x): the reverse term -sum_j p_j log t_j reads log 0 as `log_zero`.
        Derivative by x_j: (alpha - beta log_zero p_y) (p_j - [j = y]).

    Args:
        input: logits, (C,), (N, C) or (N, C, d1, ...), any real value, -inf for a class that is ruled out; the class axis is `dim`.
        target: class labels of any integer dtype, the input's shape without the class axis.
        alpha: weight of cross-entropy, >= 0; the paper uses 0.1 (CIFAR-10) to 6 (CIFAR-100).
        beta: weight of the reverse cross-entropy, >= 0.
        log_zero: what log 0 is read as, <= 0.
        weight, ignore_index, dim, return_parts, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape without the class axis; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, labels are not integers, an argument is not a number. ValueError: shapes do not fit, there is one class
            only, a label is no class,
        `alpha` or `beta` < 0, `log_zero` > 0, weights are not finite, `reduction` is unknown.

    When to use:
        Some of the labels are wrong, and `generalized_cross_entropy` learns too slowly.

    Edge cases:
        beta = 0 is alpha times `cross_entropy`; alpha = 0 leaves the bounded reverse term only.

    Differs from torch:
        torch has none.

    Reference:
        Wang et al., Symmetric Cross Entropy for Robust Learning with Noisy Labels, 2019.

    Example:
        >>> import torch
        >>> symmetric_cross_entropy(torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 2]), reduction="none")
        tensor([0.8760, 3.3074])
    """
    alpha = checks.number("alpha", alpha, low=0.0)
    beta = checks.number("beta", beta, low=0.0)
    log_zero = checks.number("log_zero", log_zero, high=0.0)
    checks.flag("return_parts", return_parts)
    result: Tensor = rows(
        Labelled(formula, (alpha, -beta * log_zero)),
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
