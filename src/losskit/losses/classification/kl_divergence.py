"""Kullback-Leibler divergence of a target distribution from the softmax of scores."""

from collections.abc import Callable
from typing import Any, Literal, get_args

from torch import Tensor

from losskit.contract import checks, items, labels, tensors
from losskit.contract.checks import REDUCTIONS
from losskit.contract.distributions import distributions
from losskit.contract.elementwise import Operand
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.topk import TopK
from losskit.engines.language import exp, log_floored, where

RowReduction = Literal["none", "mean", "sum", "batchmean"]


def formula(logp, p, q, t, weight, square):
    log_t = log_floored(t)
    return where(t == 0.0, 0.0, square * t * (log_t - logp)), -square * t, square * (log_t + 1.0 - logp)


def of_log_target(logp, p, q, t, weight, square):
    mass = exp(t)
    return where(mass == 0.0, 0.0, square * mass * (t - logp)), -square * mass, where(mass == 0.0, 0.0, square * mass * (t + 1.0 - logp))


def softened(logp, p, q, t, weight, temperature):
    """With a temperature per item, which multiplies the loss as well."""
    log_t = log_floored(t)
    square = temperature * temperature
    part = where(t == 0.0, 0.0, t * (log_t - logp))
    return square * part, -square * t, square * (log_t + 1.0 - logp), 2.0 * temperature * part


def softened_of_log_target(logp, p, q, t, weight, temperature):
    mass = exp(t)
    square = temperature * temperature
    part = where(mass == 0.0, 0.0, mass * (t - logp))
    return square * part, -square * mass, where(mass == 0.0, 0.0, square * mass * (t + 1.0 - logp)), 2.0 * temperature * part


def textbook(mp, x, t, log_target, temperature):
    x = [v / temperature for v in x]
    total = mp.log(mp.fsum(mp.exp(v) for v in x))
    if log_target:
        return temperature**2 * mp.fsum(mp.exp(u) * (u - (v - total)) for u, v in zip(t, x, strict=True))
    return temperature**2 * mp.fsum(u * (mp.log(u) - (v - total)) for u, v in zip(t, x, strict=True) if u)  # 0 log 0 = 0


@loss(
    textbook=textbook,
    module="KLDivergence",
    task="classification",
    pattern="rows",
    formula="T^2 sum_j t_j (log t_j - log p_j),  p = softmax(x / T)",
    input="logit",
    target="distribution",
    arguments=({}, {"temperature": 3.0}, {"log_target": True}, {"log_target": True, "temperature": 0.5}),
    tolerance=1e-5,
    chinese="""
    KL 散度：输入是各类别的 logits，目标是概率分布（log_target=True 时是对数概率）。KL(t || p) = 交叉熵 - 熵，其中 p = softmax(x / temperature)。
    何时用：知识蒸馏（教师的输出除以同一温度后取 softmax 作目标），或标签本身就是分布时。
    边界：目标中的 0 按 0 log 0 = 0 计；"mean" 按样本（行）平均，输入为 (N, C) 时也可写作 torch 的 "batchmean"；乘以 temperature 的平方，使梯度的大小不随温度改变。
    """,
)
def kl_divergence(
    input: Tensor,
    target: Tensor,
    *,
    log_target: bool = False,
    temperature: float | Tensor = 1.0,
    dim: int = 1,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: RowReduction | TopK = "mean",
) -> Tensor:
    """Kullback-Leibler divergence KL(target || softmax(input / temperature)) of class logits against probabilities.

    Formula:
        T^2 sum_j t_j (log t_j - log p_j), p = softmax(x / T), with 0 log 0 = 0: cross-entropy minus the target's entropy. Derivative by x_j: T (p_j - t_j).

    Args:
        input: logits, (C,), (N, C) or (N, C, d1, ...), any real value; the class axis is `dim`.
        target: probabilities of the input's shape that sum to 1 along `dim`; with log_target=True their logarithms. It may require a gradient.
        log_target: whether the target is log-probabilities.
        temperature: T > 0, divides the logits; for distillation the teacher's logits are divided by it too. T^2 keeps the gradient's size. A number; or a tensor,
            with or without a gradient, that broadcasts to the shape without the class axis (one number in all, or one per item).
        dim, mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`. For an input (N, C) torch's
            "batchmean" is another name of "mean".

    Returns:
        A scalar, or with reduction="none" the input's shape without the class axis (summed over the classes); in [0, inf).

    Raises:
        TypeError: `input` or `target` is not floating point, `temperature` is neither a number nor a floating-point tensor. ValueError: shapes differ, there is one class only, a target row
            does not sum to 1,
        `temperature` <= 0, weights are not finite, `reduction` is unknown, or "batchmean" of an input that is not (N, C).

    When to use:
        Distillation, and targets that are distributions. With a constant target the gradient is that of `cross_entropy`.

    Edge cases:
        Equal distributions give 0 up to rounding: about 1e-7 in float32, for the terms cancel. A class ruled out by -inf that has target mass gives inf.

    Differs from torch:
        `torch.nn.functional.kl_div` takes log-probabilities and averages over all elements unless told "batchmean", which is "mean" here: over rows.
        For an input (N, C, d1, ...) torch's "batchmean" divides by N alone, not by the rows: that is normalizer=N here, and "batchmean" is refused.

    Reference:
        Kullback and Leibler, On Information and Sufficiency, 1951; distillation: Hinton et al., Distilling the Knowledge in a Neural Network, 2015.

    Example:
        >>> import torch
        >>> kl_divergence(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
        tensor(0.1201)
    """
    checks.flag("log_target", log_target)
    if reduction == "batchmean":
        if isinstance(input, Tensor) and (input.dim() != 2 or labels.class_axis(input, dim) != 1):
            raise ValueError(
                f'reduction="batchmean" divides by the length of axis 0, which is the number of rows for an input of shape (N, C) and dim=1 only, got shape '
                f'{checks.shown(input.shape)} and dim={dim}: try reduction="mean", over all rows, or add normalizer=input.shape[0] to it'
            )
        reduction = "mean"
    elif reduction not in REDUCTIONS:
        checks.one_of("reduction", reduction, get_args(RowReduction))
    heat = items.temperature(tensors.widened(temperature) if isinstance(temperature, Tensor) else temperature)  # which is read twice
    form: Callable[..., Any] = of_log_target if log_target else formula
    params: tuple[float, ...] = (1.0,)
    own: tuple[Operand, ...] = ()
    if isinstance(temperature, Tensor):
        form, params, own = (softened_of_log_target if log_target else softened), (), heat
    elif heat:
        number = float(temperature)
        params = (number * number,)
    how: dict[str, Any] = dict(operands=own, temperature=heat, dim=dim, shift=True, target_is="log_probabilities" if log_target else "probabilities", mask=mask)
    weighing: dict[str, Any] = dict(sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    result: Tensor = distributions(form, input, target, params, **how, **weighing)
    return result
