"""Cross-entropy of class scores: the softmax loss."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.distributed import ProcessGroup

from losskit.contract import checks, groups, items, labels
from losskit.contract.checks import Numbers, Reduction
from losskit.contract.distributions import Masses, distributions, from_distributions, of_masses
from losskit.contract.elementwise import Operand
from losskit.contract.reduce import Normalizer
from losskit.contract.registry import loss
from losskit.contract.rows import Labelled, rows
from losskit.contract.shards import Told, among
from losskit.contract.spread import Spread, spread_rows
from losskit.engines.language import absolute, exp_neg, expm1, log_floored, minimum, reciprocal, unit, where


def formula(nll, hit, miss, spread, lse, weight):
    return weight * nll, weight, 0.0, 0.0


def smoothed(nll, hit, miss, spread, lse, weight, keep, square):
    """`spread` carries the smoothed mass and the class weights of its classes; the squared log-sum-exp is weighted like the item."""
    return keep * weight * nll + spread + square * weight * lse * lse, keep * weight, 1.0, 2.0 * square * weight * lse


def smoothed_by_item(nll, hit, miss, spread, lse, weight, s, square):
    """Each item with a smoothing of its own; the share of a class in `spread` is 1 / C times its weight."""
    s = unit(s)
    keep = 1.0 - s
    value = where(keep == 0.0, 0.0, keep * weight * nll) + where(s == 0.0, 0.0, s * spread)
    return value + square * weight * lse * lse, keep * weight, s, 2.0 * square * weight * lse, spread - weight * nll


def over_ranks(nll, hit, miss, spread, lse, weight, rest, own, keep, square, here, whole):
    """`rest` is the log-sum-exp of the other ranks' scores, `own` the weight of the label's class, with a minus where that is another rank's."""
    mine, theirs, below, level = among(lse, rest)
    w = absolute(own)
    pulled = square * w * level
    held = where(own > 0.0, keep * w, 0.0)
    value = where(held == 0.0, 0.0, held * (nll + below)) + spread + here * minimum(below, 1e30) + where(own > 0.0, pulled * level, 0.0)
    away = keep * w - held + (whole - here) + 2.0 * pulled
    return value, held, 1.0, mine * away - theirs * (held + here), 0.0 * w, 0.0 * w


def soft(logp, p, q, t, weight, keep, smooth):
    mass = weight * (t * keep + smooth)
    return where(mass == 0.0, 0.0, -mass * logp), -mass, where(weight == 0.0, 0.0, -weight * keep * logp)


def soft_by_item(logp, p, q, t, weight, s, each):
    """Each item with a smoothing of its own, of which a class gets `each`."""
    s = unit(s)
    keep = 1.0 - s
    mass = weight * (t * keep + s * each)
    value = where(mass == 0.0, 0.0, -mass * logp)
    return value, -mass, where(weight == 0.0, 0.0, -weight * keep * logp), where(weight == 0.0, 0.0, weight * (t - each) * logp)


def soft_cap(x, cap):
    """cap tanh(x / cap), and its derivative."""
    a = absolute(x) / cap
    u = expm1(-2.0 * a)
    e = exp_neg(2.0 * a)
    t = -u / (2.0 + u)
    return cap * where(x < 0.0, -t, t), 4.0 * e / ((1.0 + e) * (1.0 + e))


def capped(softcap: float) -> tuple[Callable[..., Any], float]:
    """What stands between logits and scores."""
    return soft_cap, checks.number("softcap", softcap, above=0.0)


def of_probability(x, t):
    """-t log x of one class."""
    p = unit(x)
    log_p = log_floored(p)
    return where(t == 0.0, 0.0, -t * log_p), -t * reciprocal(p), -log_p


def of_log_probability(x, t):
    """-t x of one class, x its log-probability."""
    return where(t == 0.0, 0.0, -t * x), -t, -x


def textbook(mp, x, t, weight, label_smoothing, z_loss, softcap, temperature, from_logits, log_input):
    if not from_logits:
        x = x if log_input else [mp.log(v) for v in x]
    elif softcap is not None:
        x = [softcap * mp.tanh(v / softcap) for v in x]
    x = [v / temperature for v in x]
    lse = mp.log(mp.fsum(mp.exp(v) for v in x)) if from_logits else 0
    own = [1] * len(x) if weight is None else weight
    smooth = label_smoothing / len(x)
    value = mp.fsum(w * ((1 - label_smoothing) * (j == t) + smooth) * (lse - v) for j, (v, w) in enumerate(zip(x, own, strict=True)))
    return value + z_loss * own[t] * lse**2


@loss(
    textbook=textbook,
    module="CrossEntropyLoss",
    task="classification",
    pattern="rows",
    formula="-log p_y,  p = softmax(x)",
    input="logit",
    target="label",
    torch="cross_entropy",
    arguments=(
        {},
        {"label_smoothing": 0.1},
        {"z_loss": 1e-3},
        {"softcap": 20.0},
        {"weight": [0.5, 2.0, 1.0, 1.5]},
        {"from_logits": False},
        {"from_logits": False, "log_input": True, "label_smoothing": 0.1},
        {"label_smoothing": 0.2, "z_loss": 1e-2, "softcap": 30.0, "weight": [1.0, 0.5, 3.0, 1.0]},
        {"temperature": 2.5},
    ),
    tolerance=4e-6,
    chinese="""
    交叉熵（含 softmax）：输入是各类别的 logits，类别轴默认为第 1 维；目标是类别编号，或每类的概率。
    何时用：多分类与语义分割的默认选择。label_smoothing 防止过分自信，weight 补偿类别不均衡，ignore_index 或 mask 去掉不计的样本。
    边界：很有把握的正确预测保留微小的损失与梯度（不会被舍入成 0）；logit 为 -inf 的类别概率恰为 0；全部忽略时损失为 0、梯度为 0，不是 NaN。
    """,
)
def cross_entropy(
    input: Tensor,
    target: Tensor,
    *,
    weight: Numbers | None = None,
    ignore_index: int = -100,
    label_smoothing: float | Tensor = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    temperature: float | Tensor = 1.0,
    dim: int = 1,
    from_logits: bool = True,
    log_input: bool = False,
    inplace: bool = False,
    return_parts: bool = False,
    class_group: ProcessGroup | None = None,
    mask: Tensor | None = None,
    sample_weight: Tensor | None = None,
    normalizer: Normalizer | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy of class logits (default) or, with from_logits=False, of class probabilities, against class labels or probabilities.

    Formula:
        -w_y log p_y for a label y, -sum_j w_j t_j log p_j for probabilities t; p = softmax(x). Smoothing s replaces the target t by t (1 - s) + s / C.
        z_loss adds z w_y lse^2 with lse = log sum_j exp(x_j); softcap replaces x by c tanh(x / c), temperature then by x / T. Derivative by x_j:
        w_y (p_j - [j = y]) / T; by T: w_y (x_y - sum_j p_j x_j) / T^2; by s: sum_j w_j (-log p_j) / C + w_y log p_y.

    Args:
        input: logits, (C,), (N, C) or (N, C, d1, ...), any real value, -inf for a class that is ruled out; the class axis is `dim`.
        target: class labels of any integer dtype, the input's shape without the class axis; or probabilities of the input's shape, which sum to 1.
        weight: one number per class, (C,). With labels "mean" divides by the weights of the labels that count, as in torch. It may require a gradient, not
            with inplace=True.
        ignore_index: the label of items that are absent; where the target is probabilities, mask= leaves items out.
        label_smoothing: s in [0, 1]: a number; or a tensor, with or without a gradient, that broadcasts to the shape without the class axis (one number in all, or
            one per item).
        z_loss: z >= 0, pulls the log-sum-exp towards 0 (1e-4 is usual).
        softcap: c > 0, bounds the logits softly to (-c, c).
        temperature: T > 0, divides the logits, after softcap; a number or a tensor as label_smoothing. Learned on held-out logits it calibrates a classifier.
        dim: the class axis.
        from_logits: False if the input is probabilities along `dim`, which must sum to 1, or their logarithms.
        log_input: with from_logits=False, whether the input is log-probabilities.
        inplace: let the gradient take the memory of the logits, which are lost: for large vocabularies. One backward only. Not for float16, whose gradient
            must be multiplied by the loss scale before it is rounded; in bfloat16 it is rounded twice unless the incoming gradient is a power of 2.
        class_group: the process group over whose ranks the classes are spread. The input holds the logits of this rank's classes, `weight` their weights, a target of
            probabilities theirs, which sum to 1 over all ranks; shards may be of any size, in the order of the ranks. Every rank holds all labels, which count through the
            ranks, and returns the loss of all classes, with the gradient of its own logits, weights and probabilities, and the whole gradient of `temperature` and
            `label_smoothing`. All ranks call forward and backward alike. It has no second derivatives, and an offset that logits have in common costs digits.
        return_parts: also return what the pass knows besides: (loss, parts) with parts.losses, .lse, .accuracy, .items; detached, without a synchronisation.
            With class_group they are those of all classes, the same on every rank, for which the ranks wait for each other.
        mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.

    Returns:
        A scalar, or with reduction="none" the input's shape without the class axis; in [0, inf).

    Raises:
        TypeError: `input` is not floating point, labels are not integers, an argument is not a number. ValueError: shapes do not fit, there is one class
            only, a label is no class,
        probabilities do not sum to 1, `label_smoothing` outside [0, 1], `z_loss` < 0, `softcap` <= 0, `temperature` <= 0, weights are not finite, `reduction` is unknown.

    When to use:
        One right class of several. Noisy labels: smoothing, `generalized_cross_entropy`; rare classes: `weight`, `focal_loss(task="multiclass")`.

    Edge cases:
        A logit of -inf rules a class out: its probability and gradient are 0. If it is the label's, the loss is inf, with a finite gradient. All items
        ignored: 0. `temperature` divides differences of logits, so that a common offset costs no digits: of logits near 1e4 and T = 2.5, x / T given to torch is
        off by 2e-4 in float32.

    Differs from torch:
        Labels of every integer dtype; all items ignored give 0, not NaN; confident items keep their digits (a logit 20 above the others: 2.06e-9, torch: 0);
        half-precision inputs give a float32 value; labels out of range raise with their position; probabilities are checked.

    Reference:
        Good, Rational Decisions, 1952; smoothing: Szegedy et al., Rethinking the Inception Architecture, 2016.

    Example:
        >>> import torch
        >>> cross_entropy(torch.tensor([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), torch.tensor([0, 2]), reduction="none")
        tensor([0.2395, 1.5514])
        >>> cross_entropy(torch.tensor([[0.7, 0.1, 0.1, 0.1]]), torch.tensor([0]), from_logits=False)  # cat, dog, sheep, pig
        tensor(0.3567)
    """
    common: dict[str, Any] = dict(dim=dim, weight=weight, mask=mask, sample_weight=sample_weight, normalizer=normalizer, reduction=reduction)
    if class_group is not None:
        groups.checked("class_group", class_group)
        with groups.refusals_told(class_group, input, Told()):
            own, smoothing, heat, square, link = _numbers(label_smoothing, temperature, z_loss, softcap)
            checks.flags(from_logits=from_logits, log_input=log_input, inplace=inplace, return_parts=return_parts)
            for name, given in dict(from_logits=not from_logits, log_input=log_input, inplace=inplace).items():
                if given:
                    raise ValueError(f"{name}={name != 'from_logits'} does not go with class_group: leave it out")
        of_ranks = Spread(over_ranks, soft, (1.0 - smoothing,), smoothing, square, link, (), heat)
        if own:
            of_ranks = of_ranks._replace(soft=soft_by_item, keep=(), operands=own)
        return spread_rows(of_ranks, input, target, class_group, ignore_index=ignore_index, return_parts=return_parts, **common)  # type: ignore[no-any-return]
    own, smoothing, heat, square, link = _numbers(label_smoothing, temperature, z_loss, softcap)
    checks.flags(from_logits=from_logits, log_input=log_input, inplace=inplace, return_parts=return_parts)
    if not from_logits:
        if square or link or heat or inplace or return_parts:
            raise ValueError("z_loss, softcap, temperature, inplace and return_parts need logits: leave from_logits=True")
        of = of_log_probability if log_input else of_probability
        return from_distributions(of, input, target, logs=log_input, ignore_index=ignore_index, label_smoothing=own or smoothing, **common)
    if log_input:
        raise ValueError("log_input=True says that the input is log-probabilities: add from_logits=False")
    form: Callable[..., Any]
    params: tuple[float, ...]
    share = smoothing / max(labels.count(input, dim), 1) if smoothing else 0.0  # an input without classes is refused later, with the other checks
    if labels.soft(input, target):
        each = (lambda t, s: t * (1.0 - items.unit(s)) + share * items.unit(s)) if own else (lambda t: t * (1.0 - smoothing) + share if smoothing else t)
        if inplace:
            raise ValueError("inplace=True needs class labels, and the target is probabilities. Leave inplace out")
        form, params = (soft_by_item, (share,)) if own else (soft, (1.0 - smoothing, share))
        how: dict[str, Any] = dict(link=link, square=square, ignore_index=ignore_index, return_parts=return_parts, operands=own, temperature=heat)
        how |= dict(masses=Masses(each, of_masses))
        result: Tensor = distributions(form, input, target, params, **how, **common)
        return result
    if own:
        form, params = smoothed_by_item, (square,)
    elif smoothing or square:
        form, params = smoothed, (1.0 - smoothing, square)
    else:
        form, params = formula, ()
    spread_by = label_smoothing if isinstance(label_smoothing, Tensor) else None
    described = Labelled(form, params, share, link, operands=own, temperature=heat, spread_by=spread_by)
    result = rows(described, input, target, ignore_index=ignore_index, inplace=inplace, return_parts=return_parts, **common)
    return result


def _numbers(label_smoothing: float | Tensor, temperature: float | Tensor, z_loss: float, softcap: float | None) -> tuple[Any, float, Any, float, Any]:
    """The settings that are numbers, or operands, checked: a smoothing for each item or a number, the temperature, z_loss, and what stands between logits and scores."""
    own = (Operand("label_smoothing", label_smoothing, "from 0 to 1"),) if isinstance(label_smoothing, Tensor) else ()
    smoothing = 1.0 if own else checks.number("label_smoothing", label_smoothing, low=0.0, high=1.0)  # type: ignore[arg-type]
    heat = items.temperature(temperature)
    square = checks.number("z_loss", z_loss, low=0.0)
    return own, smoothing, heat, square, None if softcap is None else capped(softcap)
