"""Jensen-Shannon divergence between a target distribution and the softmax of scores."""

from torch import Tensor

from losskit.contract.checks import Reduction
from losskit.contract.distributions import distributions
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import log1p, log_floored, where


def formula(logp, p, q, t, weight):
    """With m = (p + t) / 2 and d = (p - t) / (p + t): p = m (1 + d), t = m (1 - d), and every class's share of the sum is positive."""
    both = p + t
    half = 2.0 / where(both == 0.0, 1.0, both)
    d = 0.5 * half * (p - t)
    up = where(d < -0.5, log_floored(half * p), log1p(d))  # where one is much smaller than the other, d is rounded to 1
    down = where(d > 0.5, log_floored(half * t), log1p(-d))
    e = d * d
    series = e * (1.0 + e * (1.0 / 6.0 + e * (1.0 / 15.0 + e * (1.0 / 28.0 + e * (1.0 / 45.0 + e * (1.0 / 66.0))))))
    share = where(e < 0.01, series, (1.0 + d) * up + (1.0 - d) * down)  # where the difference would cancel, its series
    return 0.25 * both * share, 0.5 * p * up, 0.5 * down


def textbook(mp, x, t):
    total = mp.log(mp.fsum(mp.exp(v) for v in x))
    p = [mp.exp(v - total) for v in x]
    m = [(u + v) / 2 for u, v in zip(t, p, strict=True)]
    return mp.fsum(a * mp.log(a / b) for side in (p, t) for a, b in zip(side, m, strict=True) if a) / 2  # 0 log 0 = 0


@loss(
    textbook=textbook,
    module="JSDivergence",
    task="classification",
    pattern="rows",
    formula="(KL(t || m) + KL(p || m)) / 2,  m = (p + t) / 2,  p = softmax(x)",
    input="logit",
    target="distribution",
    tolerance=1e-5,
    chinese="""
    JS 散度：输入是各类别的 logits，目标是概率分布。对称，且以 log 2 为上界。
    何时用：两个分布谁也不比谁更"真"时（一致性正则、互学习）；目标中有 0 时也不会出现无穷大。
    边界：两个分布相同为 0，完全不相交为 log 2；相距很远时梯度很小，学得慢。
    """,
)
def js_divergence(
    input: Tensor,
    target: Tensor,
    *,
    dim: int = 1,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Jensen-Shannon divergence between softmax(input), from class logits, and the probabilities `target`: symmetric and bounded.

    Formula:
        (KL(t || m) + KL(p || m)) / 2, m = (p + t) / 2, p = softmax(x), with 0 log 0 = 0.
        Derivative by x_j: p_j (g_j - sum_k p_k g_k), g_j = log(p_j / m_j) / 2.

    Args:
        input: logits, (C,), (N, C) or (N, C, d1, ...), any real value, -inf for a class that is ruled out; the class axis is `dim`.
        target: probabilities of the input's shape that sum to 1 along `dim`. It may require a gradient.
        dim, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape without the class axis; in [0, log 2].

    Raises:
        TypeError: `input` or `target` is not floating point. ValueError: shapes differ, there is one class only, a target row does not sum to 1, weights are
            not finite, `reduction` is unknown.

    When to use:
        Consistency between two predictions, where neither is the truth.

    Edge cases:
        Equal distributions give 0 up to rounding; disjoint ones log 2, with a vanishing gradient.

    Differs from torch:
        torch has none. kornia's `js_div_loss_2d` takes probabilities of images.

    Reference:
        Lin, Divergence Measures Based on the Shannon Entropy, 1991.

    Example:
        >>> import torch
        >>> js_divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
        tensor(0.0285)
    """
    result: Tensor = distributions(
        formula,
        input,
        target,
        dim=dim,
        mask=mask,
        sample_weight=sample_weight,
        normalizer=normalizer,
        reduction=reduction,
    )
    return result
