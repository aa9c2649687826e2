"""Poly loss: cross-entropy with a larger first term of its expansion in 1 - p."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.rows import Labelled, rows
from losskit.engines.language import where


def beyond(m):
    """-log(1 - m) - m for m < 1/4: its series, where the difference would cancel."""
    m2 = m * m
    low = 1.0 / 2.0 + m * (1.0 / 3.0) + m2 * (1.0 / 4.0 + m * (1.0 / 5.0))
    high = 1.0 / 6.0 + m * (1.0 / 7.0) + m2 * (1.0 / 8.0 + m * (1.0 / 9.0))
    return m2 * (low + m2 * m2 * (high + m2 * m2 * (1.0 / 10.0 + m * (1.0 / 11.0) + m2 * (1.0 / 12.0))))


def formula(nll, hit, miss, spread, lse, weight, epsilon, first):
    """`first` is the first coefficient, 1 + epsilon: with epsilon = -1 the loss of a confident item is what lies beyond its first term."""
    rest = where(miss < 0.25, beyond(miss), nll - miss)
    return weight * (first * miss + rest), weight * (first - epsilon * miss), 0.0, 0.0


def textbook(mp, x, t, epsilon, weight):
    p = mp.exp(x[t]) / mp.fsum(mp.exp(v) for v in x)
    return (1 if weight is None else weight[t]) * (-mp.log(p) + epsilon * (1 - p))


@loss(
    textbook=textbook,
    module="PolyLoss",
    task="classification",
    pattern="rows",
    formula="-log p_y + epsilon (1 - p_y),  p = softmax(x)",
    input="logit",
    target="label",
    arguments=({"epsilon": 1.0}, {"epsilon": -1.0}, {"epsilon": 4.0, "weight": [0.5, 2.0, 1.0]}),
    tolerance=4e-6,
    chinese="""
    Poly 损失（Poly-1）：输入是各类别的 logits，目标是类别编号。把交叉熵按 1 - p 展开，再把第一项的系数增大 epsilon。
    何时用：想只调一个数就在交叉熵上再挤出一点精度时；图像分类常取 epsilon = 1 或 2，类别不均衡的检测可取负值。
    边界：epsilon = 0 就是交叉熵；epsilon < -1 时容易样本的梯度会变号，一般不用。
    """,
)
def poly_loss(
    input: Tensor,
    target: Tensor,
    *,
    epsilon: float = 1.0,
    weight: Numbers | None = None,
    ignore_index: int = -100,
    dim: int = 1,
    return_parts: bool = False,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Poly loss (Poly-1) of class logits against class labels: cross-entropy plus epsilon (1 - p_y).

    Formula:
        -log p_y + epsilon (1 - p_y), p = softmax(x): the expansion sum_k (1 - p_y)^k / k of cross-entropy with epsilon added to its first coefficient.
        Derivative by x_j: (1 + epsilon p_y) (p_j - [j = y]).

    Args:
        input: logits, (C,), (N, C) or (N, C, d1, ...), any real value, -inf for a class that is ruled out; the class axis is `dim`.
        target: class labels of any integer dtype, the input's shape without the class axis.
        epsilon: what is added to the first coefficient, any number; the paper uses 1 to 2 for classification, -1 to 2 elsewhere.
        weight, ignore_index, dim, return_parts, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape without the class axis; in [0, inf) for epsilon >= -1.

    Raises:
        TypeError: `input` is not floating point, labels are not integers, an argument is not a number. ValueError: shapes do not fit, there is one class
            only, a label is no class,
        `epsilon` is not finite, weights are not finite, `reduction` is unknown.

    When to use:
        When one extra number to tune on top of cross-entropy may pay off.

    Edge cases:
        epsilon = 0 is `cross_entropy`. Below -1 the gradient of items nearly right changes its sign.

    Differs from torch:
        torch has no poly loss. optax's `poly_loss_cross_entropy` is the same with probabilities for targets.

    Reference:
        Leng et al., PolyLoss: A Polynomial Expansion Perspective of Classification Loss Functions, 2022.

    Example:
        >>> import torch
        >>> poly_loss(torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 2]), reduction="none")
        tensor([0.4526, 2.3395])
    """
    epsilon = checks.number("epsilon", epsilon)
    checks.flag("return_parts", return_parts)
    result: Tensor = rows(
        Labelled(formula, (epsilon, 1.0 + epsilon)),
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
