"""Negative log-likelihood: cross-entropy of log-probabilities."""

from torch import Tensor

from losskit.contract.checks import Numbers, Reduction
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.losses.classification.cross_entropy import cross_entropy


def textbook(mp, x, t, weight):
    return -(1 if weight is None else weight[t]) * x[t]


@loss(
    textbook=textbook,
    module="NLLLoss",
    task="classification",
    pattern="rows",
    formula="-x_y,  x the log-probabilities",
    input="log-probability",
    target="label",
    torch="nll_loss",
    arguments=({}, {"weight": [0.5, 2.0, 1.0]}),
    chinese="""
    负对数似然：输入是各类别的对数概率（log_softmax 的输出），目标是类别编号。
    何时用：模型的最后一层已经是 log_softmax 时；否则直接用 cross_entropy，更快也更准。
    边界：每一行的概率之和必须为 1，否则报错：把 logits 误当作对数概率是常见的错误。
    """,
)
def nll_loss(
    input: Tensor,
    target: Tensor,
    *,
    weight: Numbers | None = None,
    ignore_index: int = -100,
    dim: int = 1,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Negative log-likelihood of class log-probabilities (the output of log_softmax) against class labels.

    Formula:
        -w_y x_y. Derivative by x_j: -w_y [j = y].

    Args:
        input: log-probabilities, (C,), (N, C) or (N, C, d1, ...); their exponentials sum to 1 along `dim`.
        target: class labels of any integer dtype, the input's shape without the class axis.
        weight, ignore_index, dim, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape without the class axis; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, labels are not integers. ValueError: shapes do not fit, there is one class only, a label is no class, a row
            does not sum to 1,
        weights are not finite, `reduction` is unknown.

    When to use:
        A model that ends in log_softmax. Otherwise `cross_entropy` on its logits: faster, and exact for confident items.

    Edge cases:
        The same as `cross_entropy(from_logits=False, log_input=True)`.

    Differs from torch:
        Rows that are not log-probabilities raise; torch accepts logits passed by mistake, and trains on a wrong loss. All items ignored give 0, not NaN.

    Reference:
        Fisher, On the Mathematical Foundations of Theoretical Statistics, 1922.

    Example:
        >>> import torch
        >>> nll_loss(torch.tensor([[0.7, 0.1, 0.2]]).log(), torch.tensor([0]))
        tensor(0.3567)
    """
    return cross_entropy(
        input,
        target,
        weight=weight,
        ignore_index=ignore_index,
        dim=dim,
        from_logits=False,
        log_input=True,
        mask=mask,
        sample_weight=sample_weight,
        normalizer=normalizer,
        reduction=reduction,
    )
