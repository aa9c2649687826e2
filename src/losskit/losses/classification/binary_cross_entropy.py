"""Binary cross-entropy of probabilities."""

from torch import Tensor

from losskit.contract import checks
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.elementwise import Operand, elementwise
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.engines.language import log1m_floored, log_floored, reciprocal, unit
from losskit.losses.classification.binary_cross_entropy_with_logits import parameters


def formula(x, t, positive, negative, keep, smooth):
    t = unit(t)
    p = unit(x)
    yes = positive * (t * keep + smooth)
    no = negative * ((1.0 - t) * keep + smooth)
    log_p = log_floored(p)
    log_q = log1m_floored(p)
    return -(yes * log_p + no * log_q), no * reciprocal(1.0 - p) - yes * reciprocal(p), keep * (negative * log_q - positive * log_p)


def with_tensor(x, t, pos_weight, negative, keep, smooth):
    """pos_weight is read beside the input."""
    value, slope, slope_t = formula(x, t, pos_weight, negative, keep, smooth)
    return value, slope, slope_t, -(unit(t) * keep + smooth) * log_floored(unit(x))


def textbook(mp, x, t, weight, pos_weight, label_smoothing):
    t = t * (1 - label_smoothing) + label_smoothing / 2
    yes, no = (t if pos_weight is None else pos_weight * t), 1 - t
    return (1 if weight is None else weight) * -((yes * mp.log(x) if yes else 0) + (no * mp.log(1 - x) if no else 0))  # 0 log 0 = 0


@loss(
    textbook=textbook,
    module="BCELoss",
    task="binary classification",
    formula="-(t log p + (1 - t) log(1 - p))",
    input="probability",
    target="unit",
    torch="binary_cross_entropy",
    arguments=({}, {"label_smoothing": 0.2}, {"label_smoothing": 1e-4}, {"pos_weight": [3.0]}, {"weight": [0.5]}),
    chinese="""
    二元交叉熵：输入是概率，与 torch 的 binary_cross_entropy 一致；目标是 0/1 标签或 [0, 1] 内的概率。输入是 logits 时用 binary_cross_entropy_with_logits。
    何时用：模型只给出概率时；自己的网络最好输出 logits，接近 0 与 1 的概率在 float32 里已经丢了位数。
    边界：概率恰为 0 或 1 且判错时按最小正数计（float32 下损失 103.28），梯度很大但有限，不会出现无穷大；等于 ignore_index 或 missing（可为 NaN）的目标视为不存在。
    """,
)
def binary_cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    weight: Numbers | None = None,
    pos_weight: Numbers | None = None,
    label_smoothing: float = 0.0,
    ignore_index: int | None = None,
    missing: float | None = None,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Binary cross-entropy of probabilities, as torch's function of this name; binary and multi-label.

    Formula:
        -(w t' log p + (1 - t') log(1 - p)), w = pos_weight, t' = t (1 - s) + s/2 with s = label_smoothing.
        Derivative by p: (1 - t')/(1 - p) - w t'/p; by w: -t' log p.

    Args:
        input: probabilities p in [0, 1], any shape. Rounding outside [0, 1] up to 1e-6 is accepted. Logits: `binary_cross_entropy_with_logits`.
        target: 0/1 labels of any dtype, or probabilities in [0, 1]; the same shape.
        weight, pos_weight, label_smoothing, ignore_index, missing: as in `binary_cross_entropy_with_logits`.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, an argument is not a number. ValueError: a probability or target outside [0, 1], `label_smoothing` outside
            [0, 1],
        shapes differ, weights are not finite, `reduction` is unknown.

    When to use:
        A model that returns only probabilities. Your own models should return logits: near a probability of 1, float32 keeps 7 digits of the probability but
        all those of its logit.

    Edge cases:
        A probability of exactly 0 or 1 on the wrong side is read as the smallest positive number: it costs 103.28 in float32, with a large but finite gradient
        (weights of any kind multiply it, and above 1 take it to infinity).

    Differs from torch:
        A probability or target outside [0, 1] raises with its position; log is not cut off at -100, so that tiny probabilities keep their gradients; works
        under autocast. `pos_weight` and `label_smoothing` are new.

    Reference:
        Good, Rational Decisions, 1952.

    Example:
        >>> import torch
        >>> binary_cross_entropy(torch.tensor([0.7, 0.2]), torch.tensor([1.0, 0.0]), reduction="none")
        tensor([0.3567, 0.2231])
    """
    return elementwise(
        formula if pos_weight is None else with_tensor,
        input,
        target,
        parameters(label_smoothing, pos_weight),
        operands=() if pos_weight is None else (Operand("pos_weight", pos_weight, weight=True),),
        weight=weight,
        unit={"input": "for logits, call binary_cross_entropy_with_logits"} | checks.UNIT_TARGET,
        mask=mask,
        ignore_index=ignore_index,
        missing=missing,
        sample_weight=sample_weight,
        normalizer=normalizer,
        reduction=reduction,
    )
