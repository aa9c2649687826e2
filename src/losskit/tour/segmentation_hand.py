"""Chapter 4, by hand: two overlapping masks, their Dice coefficient number by number, and what losskit says."""

from collections.abc import Sequence

import torch
from torch import Tensor

import losskit
from losskit.tour.chapter import Block, Cell, Figure, Heading, Paragraph, Table, Text
from losskit.tour.figures import both, write

TRUTH = ((1, 1, 1, 0, 0), (1, 1, 1, 0, 0), (1, 1, 1, 0, 0), (0, 0, 0, 0, 0))  # A
FOUND = ((0, 0, 0, 0, 0), (0, 1, 1, 1, 0), (0, 1, 1, 1, 0), (0, 0, 0, 0, 0))  # B
SOFT = ((0.0, 0.0, 0.0, 0.0, 0.0), (0.1, 0.8, 0.9, 0.6, 0.0), (0.1, 0.9, 0.8, 0.4, 0.0), (0.0, 0.0, 0.0, 0.0, 0.0))
HIT, FALSE = (1, 2), (1, 3)  # a pixel of both masks, and one that is only found
LABEL = 0.8  # of every pixel, where labels are soft
Grid = Sequence[Sequence[float]]


def by_hand() -> tuple[Block, ...]:
    """The example, step by step."""
    plain, square = soft_labels()
    return (
        Heading(Text("By hand: two overlapping masks", "手算：两个重叠的掩码")),
        Paragraph(
            Text(
                "The article that losskit grew from gives the Dice coefficient as 2|A∩B| / (|A| + |B|), with the sum of the element products for A∩B; the picture of its example is lost. "
                "Here is one: A is the true mask, B what was found. It is a coefficient, 1 for full overlap; the loss is 1 minus it.",
                "losskit 所依据的文章给出 Dice 系数 2|A∩B| / (|A| + |B|)，其中 A∩B 取逐元素乘积之和；它的示例图已经丢失。这里另举一例：A 是真实掩码，B 是预测掩码。它是一个系数，完全重叠时为 1；损失等于 1 减去它。",
            )
        ),
        Figure(
            (drawing(FOUND, Text("Hard masks of 0 and 1", "0/1 硬掩码")), drawing(SOFT, Text("Probabilities in place of B", "用概率代替 B"))),
            Text(
                "Outlined: A. Filled: B, fainter where the probability is smaller. In the squares: the product of the two. Right: what they sum up to.",
                "线框：A；填色：B，概率越小颜色越淡；格中数字：两者的乘积；右侧：各项之和。",
            ),
        ),
        _steps(),
        Paragraph(
            Text(
                f"When labels are soft themselves, the exponent in the denominator matters: where every pixel has the label {LABEL:g} and the prediction {LABEL:g}, nothing could be better, and yet the coefficient is "
                f"{plain:.4f} with plain sums. With squares (power=2) it is {square:.4f}.",
                f"如果标签本身是软的，分母的幂次就很要紧：每个像素标签为 {LABEL:g}、预测也为 {LABEL:g}，已经不能更好，普通求和的系数却只有 {plain:.4f}；用平方(power=2)则为 {square:.4f}。",
            )
        ),
    )


def as_mask(grid: Grid, **how: bool) -> Tensor:
    """One sample."""
    return torch.tensor([grid], dtype=torch.float32, **how)


def soft_labels() -> tuple[float, float]:
    """The coefficient of a perfect prediction of soft labels, by plain sums and by squares."""
    x = torch.full((1, 20), LABEL)
    return tuple(float(losskit.dice_score(x, x, task="binary", from_logits=False, power=power)) for power in (1, 2))  # type: ignore[return-value]


def sums(b: Grid, power: int = 1) -> tuple[float, float, float]:
    """A∩B, |A| and |B|."""
    pairs = [(t, p) for row, other in zip(TRUTH, b, strict=True) for t, p in zip(row, other, strict=True)]
    return sum(t * p for t, p in pairs), float(sum(t**power for t, _ in pairs)), sum(p**power for _, p in pairs)


def drawing(b: Grid, title: Text) -> str:
    """The grid with both masks and the products, and the sums beside it."""
    cell, left, top, rows, columns = 44.0, 2.0, 30.0, len(TRUTH), len(TRUTH[0])
    parts = [write(0, 14, both(title), 14, bold=True)]
    for row in range(rows):
        for column in range(columns):
            x, y, product = left + column * cell, top + row * cell, TRUTH[row][column] * b[row][column]
            parts.append(
                f'<rect x="{x:g}" y="{y:g}" width="{cell:g}" height="{cell:g}" fill="var(--c1)" fill-opacity="{0.5 * b[row][column]:.3g}" stroke="var(--grid)"/>'
            )
            if TRUTH[row][column] or b[row][column]:
                parts.append(
                    write(x + cell / 2, y + cell / 2 + 5, f"{product:g}", 14, anchor="middle", colour="ink" if product else "soft", bold=bool(product))
                )
    side = 3 * cell
    parts.append(f'<rect x="{left:g}" y="{top:g}" width="{side:g}" height="{side:g}" fill="none" stroke="var(--c0)" stroke-width="3"/>')
    parts += [
        write(left + 4, top + 14, "A", 13, colour="c0", bold=True),
        write(left + 4 * cell - 3, top + 3 * cell - 4, "B", 13, anchor="end", colour="c1", bold=True),
    ]
    i, a, p = sums(b)
    first, second = (" + ".join(f"{t * v:g}" for t, v in zip(TRUTH[row], b[row], strict=True) if t * v) for row in (1, 2))
    lines = (
        (f"|A∩B| = {first}", "ink"),
        (f"+ {second} = {i:g}", "ink"),
        (f"|A| = {a:g}", "c0"),
        (f"|B| = {p:g}", "c1"),
        (f"2 · {i:g} / ({a:g} + {p:g})", "ink"),
        (f"= {2 * i / (a + p):.4f}", "ink"),
    )
    beside = left + columns * cell + 18
    parts += [write(beside, top + 18 + 28 * n, words, 14, colour=colour, bold=n == len(lines) - 1) for n, (words, colour) in enumerate(lines)]
    return f'<svg viewBox="0 0 {beside + 185:g} {top + rows * cell + 3:g}">{"".join(parts)}</svg>'


def _steps() -> Table:
    """Coefficient, loss and gradient of hard masks, of probabilities, and with squares; the lines that begin with losskit are its answers."""
    cases = ((FOUND, 1), (SOFT, 1), (SOFT, 2))
    counts = [sums(b, power) for b, power in cases]
    dice = [2 * i / (a + p) for i, a, p in counts]
    iou = [i / (a + p - i) for i, a, p in counts]
    gradients = [
        [(d * b[y][x] ** (power - 1) * power - 2 * TRUTH[y][x]) / (a + p) for (b, power), (_, a, p), d in zip(cases, counts, dice, strict=True)]
        for y, x in (HIT, FALSE)
    ]
    said = [_said(b, power) for b, power in cases]
    lines: tuple[tuple[Text, Sequence[float]], ...] = (
        (Text("A∩B: sum of t p", "A∩B：t p 之和"), [c[0] for c in counts]),
        (Text("|A|: sum of t (of t²)", "|A|：t(或 t²)之和"), [c[1] for c in counts]),
        (Text("|B|: sum of p (of p²)", "|B|：p(或 p²)之和"), [c[2] for c in counts]),
        (Text("Dice: 2 A∩B / (|A| + |B|)", "Dice：2 A∩B / (|A| + |B|)"), dice),
        (Text("losskit.dice_score", "losskit.dice_score"), [s[0] for s in said]),
        (Text("IoU: A∩B / (|A| + |B| - A∩B)", "IoU：A∩B / (|A| + |B| - A∩B)"), iou),
        (Text("losskit.jaccard_score", "losskit.jaccard_score"), [s[1] for s in said]),
        (Text("loss: 1 - Dice", "损失：1 - Dice"), [1.0 - d for d in dice]),
        (Text("losskit.dice_loss, smooth=0", "losskit.dice_loss，smooth=0"), [s[2] for s in said]),
        (Text("its derivative by p, a pixel in A and B", "对 p 的导数，A 与 B 共有的像素"), gradients[0]),
        (Text("losskit, gradient", "losskit，梯度"), [s[3] for s in said]),
        (Text("its derivative by p, a pixel in B only", "对 p 的导数，只在 B 中的像素"), gradients[1]),
        (Text("losskit, gradient", "losskit，梯度"), [s[4] for s in said]),
    )
    return Table(
        (
            Text("Step (t: true mask, p: found)", "步骤(t：真实掩码，p：预测)"),
            Text("hard masks", "硬掩码"),
            Text("probabilities", "概率"),
            Text("probabilities, squares (power=2)", "概率，平方(power=2)"),
        ),
        tuple((Cell(name), *(Cell(f"{v:.4f}") for v in numbers)) for name, numbers in lines),
        Text(
            f"Derivative: (Dice - 2 t) / (|A| + |B|), or with squares 2 (p Dice - t) / (|A| + |B|); {HIT[0] + 1}nd row, {HIT[1] + 1}rd square, and the one to its right. The larger the masks, the smaller each pixel's pull. "
            f"IoU follows from Dice, D / (2 - D): {dice[0]:.4f} / {2 - dice[0]:.4f} = {iou[0]:.4f}, so the two put predictions of one mask in the same order.",
            f"导数：(Dice - 2 t) / (|A| + |B|)，用平方时为 2 (p Dice - t) / (|A| + |B|)；取第 {HIT[0] + 1} 行第 {HIT[1] + 1} 格及其右邻。掩码越大，每个像素的拉力越小。IoU 可由 Dice 得出，D / (2 - D)："
            f"{dice[0]:.4f} / {2 - dice[0]:.4f} = {iou[0]:.4f}，因此对同一掩码，两者给预测排出的次序相同。",
        ),
    )


def _said(b: Grid, power: int) -> tuple[float, float, float, float, float]:
    """losskit's score, index, loss, and gradient at two pixels."""
    p, t = as_mask(b, requires_grad=True), as_mask(TRUTH)
    loss = losskit.dice_loss(p, t, task="binary", from_logits=False, smooth=0.0, power=power)
    (slope,) = torch.autograd.grad(loss, p)
    with torch.no_grad():
        dice, iou = (float(score(p, t, task="binary", from_logits=False, power=power)) for score in (losskit.dice_score, losskit.jaccard_score))
    return dice, iou, float(loss.detach()), float(slope[0][HIT]), float(slope[0][FALSE])
