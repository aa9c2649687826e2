"""Chapter 7, by hand: cross-entropy of two places and three classes, one place at a time, and the head's gradient that adds up on the way."""

import math

import torch

import losskit
from losskit.tour.chapter import Block, Cell, Heading, Paragraph, Table
from losskit.tour.texts import texts

TEXTS = texts("products")

HIDDEN = ((1.0, 0.0), (1.0, 2.0))
HEAD = ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0))
LABELS = (0, 2)


def by_hand() -> tuple[Block, ...]:
    """The example, step by step."""
    head = torch.tensor(HEAD, requires_grad=True)
    value = losskit.linear_cross_entropy(torch.tensor(HIDDEN), head, torch.tensor(LABELS), chunk=1)
    (slope,) = torch.autograd.grad(value, head)
    lines, losses, sums = [], [], [[0.0] * len(HEAD) for _ in HIDDEN[0]]
    for place, (hidden, label) in enumerate(zip(HIDDEN, LABELS, strict=True), 1):
        scores = [math.fsum(a * b for a, b in zip(hidden, row, strict=True)) for row in HEAD]
        exponentials = [math.exp(s) for s in scores]
        p = [e / math.fsum(exponentials) for e in exponentials]
        pull = [(q - (c == label)) / len(HIDDEN) for c, q in enumerate(p)]
        losses.append(-math.log(p[label]))
        lines += [
            (TEXTS("example.scores", place=place), scores),
            (TEXTS("example.softmax"), p),
            (TEXTS("example.loss", label=label + 1), [losses[-1]]),
            (TEXTS("example.pull"), pull),
        ]
        for axis, number in enumerate(hidden):
            sums[axis] = [s + number * q for s, q in zip(sums[axis], pull, strict=True)]
            lines.append((TEXTS("example.adds", axis=axis + 1, number=number), [number * q for q in pull]))
    lines += [(TEXTS("example.mean"), [math.fsum(losses) / len(losses)]), (TEXTS("example.losskit"), [float(value.detach())])]
    for axis, numbers in enumerate(sums):
        lines += [(TEXTS("example.gradient", axis=axis + 1), numbers), (TEXTS("example.losskit_gradient", axis=axis + 1), slope[:, axis].tolist())]
    rows = tuple((Cell(name), *(Cell(f"{v + 0.0:.4f}") for v in numbers), *(Cell("") for _ in range(len(HEAD) - len(numbers)))) for name, numbers in lines)
    return (
        Heading(TEXTS("headings.example")),
        Paragraph(TEXTS("example.meaning", hidden=[list(h) for h in HIDDEN], head=[list(h) for h in HEAD])),
        Table(TEXTS.row("example.headings"), rows, TEXTS("example.caption")),
    )
