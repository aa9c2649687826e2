"""Chapter 3, by hand: cat, dog, sheep or pig? Cross-entropy of four classes, number by number, and what losskit says."""

import math
from collections.abc import Sequence

import torch

import losskit
from losskit.contract.registry import LOSSES
from losskit.curves import module
from losskit.tour.chapter import Block, Cell, Heading, Paragraph, Session, Table, Text
from losskit.tour.chapters.digits.experiment import ENTRIES, PLAIN
from losskit.tour.texts import texts

TEXTS = texts("digits")

ARTICLE = (0.7, 0.2, 0.1, 0.1)  # as printed in the article that losskit grew from
ROW = (0.6, 0.2, 0.1, 0.1)  # what it must have meant
SHIFT = 2.0  # logits are logarithms of probabilities up to a constant: any will do
SMOOTHING = 0.1
Numbers = Sequence[float]


def by_hand() -> tuple[Block, ...]:
    """The example, step by step."""
    return (
        Heading(TEXTS("example.heading")),
        Paragraph(TEXTS("example.article")),
        Session(f">>> losskit.cross_entropy(torch.tensor([{list(ARTICLE)}]), torch.tensor([0]), from_logits=False)\n{refusal()}"),
        Paragraph(TEXTS("example.instead", p=ROW[0])),
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
        (TEXTS("example.q"), q, sum(q)),
        (TEXTS("example.t"), t, sum(t)),
        (TEXTS("example.cross"), *_summed([-a * math.log(b) for a, b in zip(t, q, strict=True)])),
        (TEXTS("example.losskit_probabilities"), None, of_probabilities),
        (TEXTS("example.x", shift=SHIFT), logits, None),
        (TEXTS("example.exp"), *_summed(exponentials)),
        (TEXTS("example.softmax"), *_summed(softmax)),
        (TEXTS("example.losskit_logits"), None, value),
        (TEXTS("example.gradient"), *_summed([b - a for a, b in zip(t, q, strict=True)])),
        (TEXTS("example.losskit_gradient"), *_summed(slope)),
        (
            TEXTS("example.smoothing", smoothing=SMOOTHING, rest=1 - SMOOTHING),
            *_summed(soft),
        ),
        (TEXTS("example.smooth_cross"), *_summed([-a * math.log(b) for a, b in zip(soft, q, strict=True)])),
        (TEXTS("example.losskit_smoothing"), None, smooth_value),
        (TEXTS("example.smooth_gradient"), *_summed([b - a for a, b in zip(soft, q, strict=True)])),
        (TEXTS("example.losskit_gradient"), *_summed(smooth_slope)),
        (TEXTS("example.entropy"), *_summed([-a * math.log(a) for a in soft])),
        (TEXTS("example.losskit_entropy"), None, entropy),
        (TEXTS("example.divergence"), *_summed([a * math.log(a / b) for a, b in zip(soft, q, strict=True)])),
        (TEXTS("example.losskit_divergence"), None, divergence),
    )
    rows = tuple((Cell(name), *(Cell("" if v is None else _shown(v)) for v in (*(numbers or (None,) * 4), total))) for name, numbers, total in lines)
    return Table(
        TEXTS.row("example.headings"),
        rows,
        TEXTS("example.caption", smooth_value=smooth_value, entropy=entropy, difference=smooth_value - entropy),
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
        TEXTS.row("example.pulls_headings"),
        tuple(rows),
        TEXTS(
            "example.pulls_caption",
            p=ROW[0],
            small=ROW[3],
            plain_ratio=ratio[PLAIN],
            plain=PLAIN,
            most_ratio=ratio[most],
            most=most,
            least_ratio=ratio[least],
            least=least,
        ),
    )
