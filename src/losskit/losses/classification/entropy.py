"""Entropy of the softmax of scores."""

from torch import Tensor

from losskit.contract.checks import Reduction
from losskit.contract.distributions import distributions
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import where


def formula(logp, p, q, t, weight):
    part = where(p == 0.0, 0.0, -p * logp)
    return part, part - p, 0.0


def textbook(mp, x, t):
    total = mp.log(mp.fsum(mp.exp(v) for v in x))
    return -mp.fsum(mp.exp(v - total) * (v - total) for v in x)


@loss(
    textbook=textbook,
    module="Entropy",
    task="classification",
    pattern="rows",
    formula="-sum_j p_j log p_j,  p = softmax(x)",
    input="logit",
    target="none",
    tolerance=1e-5,
    chinese="""
    熵：输入是各类别的 logits，没有目标。衡量预测的不确定程度。
    何时用：最小化它使无标签样本的预测更确定（半监督、域适应）；最大化它（取负）鼓励探索，防止过分自信。
    边界：均匀分布时最大，为 log C；确定的预测为 0；概率为 0 的类别按 0 log 0 = 0 计。
    """,
)
def entropy(
    input: Tensor,
    *,
    dim: int = 1,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Entropy of softmax(input), from class logits; there is no target.

    Formula:
        -sum_j p_j log p_j, p = softmax(x), with 0 log 0 = 0. Derivative by x_j: -p_j (log p_j + H).

    Args:
        input: logits, (C,), (N, C) or (N, C, d1, ...), any real value, -inf for a class that is ruled out; the class axis is `dim`.
        dim, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape without the class axis; in [0, log C].

    Raises:
        TypeError: `input` is not floating point. ValueError: `dim` is no axis, there is one class only, weights are not finite, `reduction` is unknown.

    When to use:
        Minimise it on unlabelled items to make predictions sharper; maximise it to keep a policy exploring.

    Edge cases:
        Equal logits give log C with a zero gradient; a confident row keeps the digits of its small entropy. kl_divergence = cross_entropy - entropy of the
        target.

    Differs from torch:
        torch has it in `torch.distributions.Categorical(logits=x).entropy()`.

    Reference:
        Shannon, A Mathematical Theory of Communication, 1948.

    Example:
        >>> import torch
        >>> entropy(torch.tensor([[0.0, 0.0, 0.0, 0.0], [9.0, 0.0, 0.0, 0.0]]), reduction="none")
        tensor([1.3863, 0.0037])
    """
    result: Tensor = distributions(
        formula,
        input,
        input,
        target_is="nothing",
        dim=dim,
        mask=mask,
        sample_weight=sample_weight,
        normalizer=normalizer,
        reduction=reduction,
    )
    return result
