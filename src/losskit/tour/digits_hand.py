"""Chapter 3, by hand: cat, dog, sheep or pig? Cross-entropy of four classes, number by number, and what losskit says."""

import math
from collections.abc import Sequence

import torch

import losskit
from losskit.contract.registry import LOSSES
from losskit.curves import module
from losskit.tour.chapter import Block, Cell, Heading, Paragraph, Session, Table, Text
from losskit.tour.digits_run import ENTRIES, PLAIN

ARTICLE = (0.7, 0.2, 0.1, 0.1)  # as printed in the article that losskit grew from
ROW = (0.6, 0.2, 0.1, 0.1)  # what it must have meant
SHIFT = 2.0  # logits are logarithms of probabilities up to a constant: any will do
SMOOTHING = 0.1
Numbers = Sequence[float]


def by_hand() -> tuple[Block, ...]:
    """The example, step by step."""
    return (
        Heading(Text("By hand: cat, dog, sheep or pig?", "手算：猫、狗、羊还是猪？")),
        Paragraph(
            Text(
                "The article that losskit grew from explains cross-entropy by four classes: what is a cat gets the predictions 0.7, 0.2, 0.1, 0.1. That is no distribution, and losskit says so:",
                "losskit 所依据的文章用四个类别讲解交叉熵：真实类别是猫，预测分布写作 0.7、0.2、0.1、0.1。这并不是概率分布，losskit 会直接指出：",
            )
        ),
        Session(f">>> losskit.cross_entropy(torch.tensor([{list(ARTICLE)}]), torch.tensor([0]), from_logits=False)\n{refusal()}"),
        Paragraph(
            Text(
                f"With {ROW[0]:g} for the cat it is one. Every line below is worked out from its formula; the lines that begin with losskit are what losskit answers.",
                f"把猫的概率改成 {ROW[0]:g} 就对了。下表每行按公式手算；以 losskit 开头的行是 losskit 给出的结果。",
            )
        ),
        _steps(),
        _pulls(),
    )


def refusal() -> str:
    """What losskit says to the article's row."""
    try:
        losskit.cross_entropy(torch.tensor([ARTICLE]), torch.tensor([0]), from_logits=False)
    except ValueError as error:
        return f"ValueError: {error}"
    raise AssertionError("a row that sums to 1.1 was taken for probabilities")


def _said(row: Numbers, label_smoothing: float = 0.0) -> tuple[float, list[float]]:
    """Value and gradient of cross-entropy for a row of logits, label cat."""
    x = torch.tensor([row], requires_grad=True)
    value = losskit.cross_entropy(x, torch.tensor([0]), label_smoothing=label_smoothing)
    (slope,) = torch.autograd.grad(value, x)
    return float(value.detach()), slope[0].tolist()


def _steps() -> Table:
    """Cross-entropy, softmax, gradient, smoothing, entropy and divergence."""
    q, t = ROW, (1.0, 0.0, 0.0, 0.0)
    soft = [(1.0 - SMOOTHING) * v + SMOOTHING / len(q) for v in t]
    logits = [math.log(v) + SHIFT for v in q]
    exponentials = [math.exp(v) for v in logits]
    softmax = [v / sum(exponentials) for v in exponentials]
    x = torch.tensor([logits])
    of_probabilities = float(losskit.cross_entropy(torch.tensor([q]), torch.tensor([0]), from_logits=False))
    (value, slope), (smooth_value, smooth_slope) = _said(logits), _said(logits, SMOOTHING)
    entropy = float(losskit.entropy(torch.tensor([soft]).log()))
    divergence = float(losskit.kl_divergence(x, torch.tensor([soft])))
    lines: tuple[tuple[Text, Numbers | None, float | None], ...] = (
        (Text("predicted probabilities q", "预测概率 q"), q, sum(q)),
        (Text("label t: cat, one-hot", "标签 t：猫，one-hot"), t, sum(t)),
        (Text("cross-entropy: -t log q", "交叉熵：-t log q"), *_summed([-a * math.log(b) for a, b in zip(t, q, strict=True)])),
        (Text("losskit, from the probabilities", "losskit，输入概率"), None, of_probabilities),
        (Text(f"logits x = log q + {SHIFT:g} (any constant will do)", f"logits x = log q + {SHIFT:g}(常数可任取)"), logits, None),
        (Text("exp x", "exp x"), *_summed(exponentials)),
        (Text("softmax: exp x / sum", "softmax：exp x / 总和"), *_summed(softmax)),
        (Text("losskit, from the logits", "losskit，输入 logits"), None, value),
        (Text("gradient by the logits: q - t", "对 logits 的梯度：q - t"), *_summed([b - a for a, b in zip(t, q, strict=True)])),
        (Text("losskit, gradient", "losskit，梯度"), *_summed(slope)),
        (
            Text(
                f"label smoothing {SMOOTHING:g}: t' = {1 - SMOOTHING:g} t + {SMOOTHING:g} / 4",
                f"标签平滑 {SMOOTHING:g}：t' = {1 - SMOOTHING:g} t + {SMOOTHING:g} / 4",
            ),
            *_summed(soft),
        ),
        (Text("cross-entropy: -t' log q", "交叉熵：-t' log q"), *_summed([-a * math.log(b) for a, b in zip(soft, q, strict=True)])),
        (Text("losskit, label_smoothing=0.1", "losskit，label_smoothing=0.1"), None, smooth_value),
        (Text("gradient: q - t'", "梯度：q - t'"), *_summed([b - a for a, b in zip(soft, q, strict=True)])),
        (Text("losskit, gradient", "losskit，梯度"), *_summed(smooth_slope)),
        (Text("entropy of t': -t' log t'", "t' 的熵：-t' log t'"), *_summed([-a * math.log(a) for a in soft])),
        (Text("losskit, entropy", "losskit，熵"), None, entropy),
        (Text("KL divergence: t' log(t' / q)", "KL 散度：t' log(t' / q)"), *_summed([a * math.log(a / b) for a, b in zip(soft, q, strict=True)])),
        (Text("losskit, KL divergence", "losskit，KL 散度"), None, divergence),
    )
    rows = tuple((Cell(name), *(Cell("" if v is None else _shown(v)) for v in (*(numbers or (None,) * 4), total))) for name, numbers, total in lines)
    return Table(
        (Text("Step", "步骤"), Text("cat", "猫"), Text("dog", "狗"), Text("sheep", "羊"), Text("pig", "猪"), Text("sum", "合计")),
        rows,
        Text(
            f"KL divergence is cross-entropy minus entropy: {smooth_value:.4f} - {entropy:.4f} = {smooth_value - entropy:.4f}. A one-hot label has the entropy 0, so there the two are the same. "
            "The gradient sums to 0: what the label gains the others lose. With smoothing the pull ends where q equals t', not at certainty.",
            f"KL 散度 = 交叉熵 - 熵：{smooth_value:.4f} - {entropy:.4f} = {smooth_value - entropy:.4f}。one-hot 标签的熵为 0，这时两者相等。梯度之和为 0：标签得到的正是其他类别失去的。标签平滑后，拉力在 q 等于 t' 处消失，而不是一直拉到百分之百。",
        ),
    )


def _summed(numbers: Numbers) -> tuple[Numbers, float]:
    """Numbers and their sum."""
    return numbers, math.fsum(numbers)


def _shown(number: float) -> str:
    """Four decimals; whole numbers plain."""
    return f"{round(number):d}" if abs(number - round(number)) < 5e-8 else f"{number:.4f}"


def _pulls() -> Table:
    """Every loss of the chapter for the same row when the label is right, and when it is not."""
    rows = []
    ratio: dict[str, float] = {}
    logits = torch.tensor([ROW]).log()
    for entry in ENTRIES:
        said = []
        for label in (0, 3):
            x = logits.clone().requires_grad_()
            value = module(LOSSES[entry.loss], entry.settings)(x, torch.tensor([label]))
            (slope,) = torch.autograd.grad(value, x)
            said += [float(value.detach()), -float(slope[0, label])]
        ratio[entry.name] = said[3] / said[1]
        rows.append((Cell(entry.name, code=True), Cell(entry.formula), *(Cell(f"{v:.4f}") for v in said), Cell(f"{ratio[entry.name]:.2f}")))
    least, most = min(ratio, key=lambda n: ratio[n]), max(ratio, key=lambda n: ratio[n])
    return Table(
        (
            Text("The same row under every loss", "同一行概率，换用各种损失"),
            Text("formula", "公式"),
            Text("label cat (right): value", "标签为猫(正确)：损失值"),
            Text("pull 1", "拉力 1"),
            Text("label pig (wrong): value", "标签为猪(错误)：损失值"),
            Text("pull 2", "拉力 2"),
            Text("pull 2 / pull 1", "拉力 2 / 拉力 1"),
        ),
        tuple(rows),
        Text(
            f"p is the probability of the label, {ROW[0]:g} or {ROW[3]:g}; pull: minus the derivative by the label's logit, by losskit. The wrong label pulls {ratio[PLAIN]:.2f} times as hard as the right one under {PLAIN}, "
            f"{ratio[most]:.2f} times under {most} and {ratio[least]:.2f} times under {least}.",
            f"p 为标签的概率，{ROW[0]:g} 或 {ROW[3]:g}；拉力为对标签 logit 的导数取负，由 losskit 算出。错误标签的拉力与正确标签之比：{PLAIN} 为 {ratio[PLAIN]:.2f}，{most} 为 {ratio[most]:.2f}，{least} 为 {ratio[least]:.2f}。",
        ),
    )
