"""Losses computed by hand whose printed formula is no arithmetic on a few numbers: sums over other vectors, windows, errors in order. Compared with the loss as
the others are."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Worked(NamedTuple):
    """Lines of LaTeX, each a formula with numbers; what is given; and the number at the end."""

    given: list[str]
    lines: list[str]
    value: float
    call: str  # in Python


def number(x: float) -> str:
    """A number as one writes it by hand."""
    return f"{x:.4g}" if x == 0 or 1e-3 <= abs(x) < 1e5 else f"{x:.3e}"


n = number
Numbers = Sequence[float]
P, T = (0.9, 0.8, 0.3, 0.1), (1.0, 1.0, 0.0, 0.0)  # probabilities of four pixels, and what they are
SCORES, RIGHT = (2.0, 1.0, -1.0), (0.5, 0.3, 0.2)  # logits of three classes, a distribution over them
FIRST, SECOND = ((1.0, 0.0), (0.0, 1.0)), ((0.8, 0.6), (0.0, 1.0))  # pairs of vectors
PICTURES = (0.2, 0.4, 0.6, 0.8), (0.1, 0.5, 0.5, 0.9)  # of one window
SCALE, DIVISOR = 2.0, 0.5  # of scores, and the temperature that is the same


def row(values: Numbers) -> str:
    """(1, 2, 3)."""
    return f"({', '.join(map(n, values))})"


def tensor(values: object) -> str:
    """As Python takes it."""
    return f"torch.tensor({json.dumps(values)})"


def softmax(values: Numbers) -> list[float]:
    """Shares of the exponentials."""
    parts = [math.exp(x) for x in values]
    return [x / sum(parts) for x in parts]


def dot(a: Numbers, b: Numbers) -> float:
    """The product of two vectors."""
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def shared(name: str, scores: Numbers) -> str:
    """The line of a softmax."""
    return rf"{name} = \operatorname{{softmax}}{row(scores)} = {row(softmax(scores))}"


def last(text: str, value: float) -> str:
    """The line of the loss."""
    return rf"\mathrm{{loss}} = {text} = {n(value)}"


def margin_ranking() -> Worked:
    """A score that ought to be above another."""
    value = max(0.1 - (0.5 - 0.8), 0)
    given = ["x_1 = 0.5", "x_2 = 0.8", "t = 1", r"\mathrm{margin} = 0.1"]
    return Worked(
        given, [last(r"\max(0.1 - 1 \cdot (0.5 - 0.8),\, 0)", value)], value, f"losskit.margin_ranking_loss({tensor([0.5])}, {tensor([0.8])}, margin=0.1)"
    )


def multi_margin() -> Worked:
    """Each other class may come near."""
    x = (1.2, 1.0, -1.0)
    costs = [max(1 - x[0] + other, 0) for other in x[1:]]
    text = rf"\frac{{1}}{{3}} \left(\max(1 - 1.2 + 1,\, 0) + \max(1 - 1.2 - 1,\, 0)\right) = \frac{{{n(costs[0])} + {n(costs[1])}}}{{3}}"
    return Worked([f"x = {row(x)}", "y = 0"], [last(text, sum(costs) / 3)], sum(costs) / 3, f"losskit.multi_margin_loss({tensor([x])}, {tensor([0])})")


def multilabel_margin() -> Worked:
    """One label, two classes that are none."""
    x = (0.9, 0.2, 0.4)
    costs = [max(1 - x[0] + other, 0) for other in x[1:]]
    text = rf"\frac{{1}}{{3}} \left(\max(1 - 0.9 + 0.2,\, 0) + \max(1 - 0.9 + 0.4,\, 0)\right) = \frac{{{n(costs[0])} + {n(costs[1])}}}{{3}}"
    call = f"losskit.multilabel_margin_loss({tensor([x])}, {tensor([[0, -1, -1]])})"
    return Worked([f"x = {row(x)}", r"\mathrm{labels} = \{0\}"], [last(text, sum(costs) / 3)], sum(costs) / 3, call)


def multilabel_soft_margin() -> Worked:
    """A yes and a no."""
    x, t = (0.5, -1.0), (1.0, 0.0)
    p = [1 / (1 + math.exp(-s)) for s in x]
    value = -(math.log(p[0]) + math.log(1 - p[1])) / 2
    lines = [rf"p = \sigma(x) = {row(p)}", last(rf"-\frac{{1}}{{2}} \left(\log {n(p[0])} + \log(1 - {n(p[1])})\right)", value)]
    return Worked([f"x = {row(x)}", f"t = {row(t)}"], lines, value, f"losskit.multilabel_soft_margin_loss({tensor([x])}, {tensor([t])})")


def triplet_margin() -> Worked:
    """Distances 5 and 6."""
    a, p, q = (0.0, 0.0), (3.0, 4.0), (0.0, 6.0)
    given = [rf"\mathrm{{{name}}} = {row(v)}" for name, v in (("anchor", a), ("positive", p), ("negative", q))] + [r"\mathrm{margin} = 2"]
    lines = [r"d_{\mathrm{pos}} = \sqrt{3^2 + 4^2} = 5", r"d_{\mathrm{neg}} = \sqrt{0^2 + 6^2} = 6", last(r"\max(5 - 6 + 2,\, 0)", 1.0)]
    return Worked(given, lines, 1.0, f"losskit.triplet_margin_loss({tensor([a])}, {tensor([p])}, {tensor([q])}, margin=2.0)")


def batch_hard() -> Worked:
    """The first of four vectors."""
    vectors, labels = [[0.0, 0.0], [0.0, 1.0], [3.0, 0.0], [3.0, 4.0]], [0, 0, 1, 1]
    given = [rf"z_{k} = {row(v)}" for k, v in enumerate(vectors)] + [r"\mathrm{labels} = (0, 0, 1, 1)"]
    value = math.log1p(math.exp(1 - 3))
    lines = [r"\mathrm{far} = |z_0 - z_1| = 1", r"\mathrm{near} = \min(|z_0 - z_2|, |z_0 - z_3|) = \min(3, 5) = 3", last(r"\log(1 + \exp(1 - 3))", value)]
    return Worked(given, lines, value, f'losskit.batch_hard_triplet_loss({tensor(vectors)}, {tensor(labels)}, reduction="none")[0]')


def cosine_embedding() -> Worked:
    """Two vectors that belong together."""
    a, b = FIRST[0], SECOND[0]
    lines = [rf"\cos = \frac{{1 \cdot 0.8 + 0 \cdot 0.6}}{{1 \cdot 1}} = {n(dot(a, b))}", last(f"1 - {n(dot(a, b))}", 1 - dot(a, b))]
    return Worked(
        [f"x_1 = {row(a)}", f"x_2 = {row(b)}", "t = 1"], lines, 1 - dot(a, b), f"losskit.cosine_embedding_loss({tensor([a])}, {tensor([b])}, {tensor([1.0])})"
    )


def margined(name: str, margin: float) -> Callable[[], Worked]:
    """Cosines of three classes, of which the first is right."""

    def made() -> Worked:
        x, scale = (0.8, 0.3, 0.1), 4.0
        arc = name == "arcface_loss"
        z = math.cos(math.acos(x[0]) + margin) if arc else x[0] - margin
        scores = [scale * s for s in (z, *x[1:])]
        value = -math.log(softmax(scores)[0])
        how = rf"\cos(\arccos {n(x[0])} + {n(margin)})" if arc else f"{n(x[0])} - {n(margin)}"
        lines = [f"z_y = {how} = {n(z)}", shared("p", scores), last(rf"-\log {n(softmax(scores)[0])}", value)]
        given = [f"x = {row(x)}", "y = 0", rf"\mathrm{{margin}} = {n(margin)}", rf"\mathrm{{scale}} = {n(scale)}"]
        return Worked(given, lines, value, f"losskit.{name}({tensor([x])}, {tensor([0])}, scale={scale})")

    return made


def linear_cross_entropy() -> Worked:
    """A hidden state, and a head of three classes."""
    h, head = (1.0, 2.0), ((1.0, 1.0), (0.0, 1.0), (-1.0, 0.0))
    scores = [dot(w, h) for w in head]
    value = -math.log(softmax(scores)[0])
    lines = [rf"W h = {row(scores)}", shared("p", scores), last(rf"-\log {n(softmax(scores)[0])}", value)]
    given = [f"h = {row(h)}", rf"W = ({', '.join(map(row, head))})", "y = 0"]
    return Worked(given, lines, value, f"losskit.linear_cross_entropy({tensor([h])}, {tensor(head)}, {tensor([0])})")


def js_divergence() -> Worked:
    """From the mixture to both."""
    p = softmax(SCORES)
    m = [(a + b) / 2 for a, b in zip(p, RIGHT, strict=True)]
    away = [sum(a * math.log(a / b) for a, b in zip(one, m, strict=True)) for one in (RIGHT, p)]
    sums = [" + ".join(rf"{n(a)} \log \frac{{{n(a)}}}{{{n(b)}}}" for a, b in zip(one, m, strict=True)) for one in (RIGHT, p)]
    lines = [shared("p", SCORES), rf"m = \frac{{p + t}}{{2}} = {row(m)}"]
    lines += [rf"\mathrm{{KL}}({name} \Vert m) = {text} = {n(v)}" for name, text, v in zip("tp", sums, away, strict=True)]
    value = sum(away) / 2
    lines.append(last(rf"\frac{{{n(away[0])} + {n(away[1])}}}{{2}}", value))
    return Worked([f"x = {row(SCORES)}", f"t = {row(RIGHT)}"], lines, value, f"losskit.js_divergence({tensor([SCORES])}, {tensor([RIGHT])})")


def distribution_focal() -> Worked:
    """A position between the first two classes."""
    p = softmax(SCORES)
    value = -(0.7 * math.log(p[0]) + 0.3 * math.log(p[1]))
    lines = [shared("p", SCORES), r"j = \lfloor 0.3 \rfloor = 0", last(rf"-\left(0.7 \log {n(p[0])} + 0.3 \log {n(p[1])}\right)", value)]
    return Worked([f"x = {row(SCORES)}", "y = 0.3"], lines, value, f"losskit.distribution_focal_loss({tensor([SCORES])}, {tensor([0.3])})")


def inner_iou() -> Worked:
    """Both boxes at three quarters of their size."""
    a, b = (1.375, 1.25, 3.625, 2.75), (2.375, 1.375, 4.625, 3.625)
    i = (a[2] - b[0]) * (a[3] - b[1])
    union = 2.25 * 1.5 + 2.25 * 2.25 - i
    lines = [f"A' = {row(a)}", f"B' = {row(b)}", rf"|A' \cap B'| = {n(a[2] - b[0])} \cdot {n(a[3] - b[1])} = {n(i)}"]
    lines += [rf"|A' \cup B'| = {n(2.25 * 1.5)} + {n(2.25**2)} - {n(i)} = {n(union)}", last(rf"1 - \frac{{{n(i)}}}{{{n(union)}}}", 1 - i / union)]
    call = f"losskit.inner_iou_loss({tensor([(1.0, 1.0, 4.0, 3.0)])}, {tensor([(2.0, 1.0, 5.0, 4.0)])}, ratio=0.75)"
    return Worked(["A = (1, 1, 4, 3)", "B = (2, 1, 5, 4)", r"\mathrm{ratio} = 0.75"], lines, 1 - i / union, call)


def siou() -> Worked:
    """Centres (1, 1/2) apart, an enclosing box of 4 and 3."""
    angle = 2 * 1 * 0.5 / 1.25
    d = sum(1 - math.exp(-(2 - angle) * q**2) for q in (1 / 4, 0.5 / 3))
    s = (1 - math.exp(-0 / 3)) ** 4 + (1 - math.exp(-1 / 3)) ** 4
    value = 1 - 4 / 11 + (d + s) / 2
    lines = [rf"\mathrm{{IoU}} = \frac{{4}}{{6 + 9 - 4}} = {n(4 / 11)}", rf"L = \sin 2 a = \frac{{2 \cdot 1 \cdot 0.5}}{{1^2 + 0.5^2}} = {n(angle)}"]
    lines.append(rf"D = 1 - e^{{-{n(2 - angle)} \cdot (1 / 4)^2}} + 1 - e^{{-{n(2 - angle)} \cdot (0.5 / 3)^2}} = {n(d)}")
    lines.append(rf"S = \left(1 - e^{{-0 / 3}}\right)^4 + \left(1 - e^{{-1 / 3}}\right)^4 = {n(s)}")
    lines.append(last(rf"1 - {n(4 / 11)} + \frac{{{n(d)} + {n(s)}}}{{2}}", value))
    call = f"losskit.siou_loss({tensor([(1.0, 1.0, 4.0, 3.0)])}, {tensor([(2.0, 1.0, 5.0, 4.0)])})"
    return Worked(["A = (1, 1, 4, 3)", "B = (2, 1, 5, 4)", r"\theta = 4"], lines, value, call)


def probiou() -> Worked:
    """Boxes of sides (3, 2) and (3, 3), whose centres are (1, 1/2) apart: the covariances add up to (9 + 9) / 12 and (4 + 9) / 12."""
    x, y = 18 / 12, 13 / 12
    far, shape = (1 / x + 0.25 / y) / 4, math.log(x * y / 4 / math.sqrt(0.75**2 * (1 / 3) * 0.75)) / 2
    value = math.sqrt(1 - math.exp(-far - shape))
    lines = [rf"A + A^* = \mathrm{{diag}}\left(\frac{{9 + 9}}{{12}}, \frac{{4 + 9}}{{12}}\right) = \mathrm{{diag}}({n(x)}, {n(y)})"]
    lines.append(
        rf"B = \frac{{1}}{{4}} \left(\frac{{1^2}}{{{n(x)}}} + \frac{{0.5^2}}{{{n(y)}}}\right) + \frac{{1}}{{2}} \log \frac{{{n(x)} \cdot {n(y)} / 4}}{{\sqrt{{0.75 \cdot {n(1 / 3)} \cdot 0.75 \cdot 0.75}}}} = {n(far + shape)}"
    )
    lines.append(last(rf"\sqrt{{1 - e^{{-{n(far + shape)}}}}}", value))
    call = f"losskit.probiou_loss({tensor([(1.0, 1.0, 4.0, 3.0)])}, {tensor([(2.0, 1.0, 5.0, 4.0)])})"
    return Worked(["A = (1, 1, 4, 3)", "A^* = (2, 1, 5, 4)"], lines, value, call)


def similarity() -> tuple[list[str], float]:
    """SSIM of one uniform window."""
    x, t = PICTURES
    mx, mt = sum(x) / 4, sum(t) / 4
    vx, vt, cov = dot(x, x) / 4 - mx * mx, dot(t, t) / 4 - mt * mt, dot(x, t) / 4 - mx * mt
    c1, c2 = 0.01**2, 0.03**2
    value = (2 * mx * mt + c1) * (2 * cov + c2) / ((mx**2 + mt**2 + c1) * (vx + vt + c2))
    means = [rf"m_x = {n(mx)},\; m_t = {n(mt)},\; v_x = {n(vx)},\; v_t = {n(vt)},\; \mathrm{{cov}} = {n(cov)}", r"c_1 = 0.01^2,\; c_2 = 0.03^2"]
    above = rf"(2 \cdot {n(mx)} \cdot {n(mt)} + c_1)(2 \cdot {n(cov)} + c_2)"
    below = rf"({n(mx)}^2 + {n(mt)}^2 + c_1)({n(vx)} + {n(vt)} + c_2)"
    return [*means, rf"\mathrm{{SSIM}} = \frac{{{above}}}{{{below}}} = {n(value)}"], value


def pictured(name: str) -> Callable[[], Worked]:
    """Pictures of two by two pixels."""

    def made() -> Worked:
        lines, found = similarity()
        x, t = PICTURES
        value, text = 1 - found, f"1 - {n(found)}"
        if name == "l1_ssim_loss":
            off = sum(abs(a - b) for a, b in zip(x, t, strict=True)) / 4
            value, text = 0.85 * (1 - found) / 2 + 0.15 * off, rf"0.85 \cdot \frac{{1 - {n(found)}}}{{2}} + 0.15 \cdot {n(off)}"
            lines.append(rf"\operatorname{{mean}} |x - t| = {n(off)}")
        pixels = ", ".join(tensor([[[list(one[:2]), list(one[2:])]]]) for one in (x, t))
        call = f'losskit.{name}({pixels}, data_range=1.0, window="uniform", window_size=2)'
        return Worked([f"x = {row(x)}", f"t = {row(t)}"], [*lines, last(text, value)], value, call)

    return made


def boundary() -> Worked:
    """Four pixels in a line, of which two are of the class."""
    p, d = (0.9, 0.6, 0.4, 0.1), (-1.0, 0.0, 1.0, 2.0)
    value = dot(p, d) / 4
    text = r"\frac{0.9 \cdot (-1) + 0.6 \cdot 0 + 0.4 \cdot 1 + 0.1 \cdot 2}{4}"
    call = f'losskit.boundary_loss({tensor([p])}, {tensor([[1, 1, 0, 0]])}, task="binary", from_logits=False)'
    return Worked([f"p = {row(p)}", "t = (1, 1, 0, 0)"], [f"d = {row(d)}", last(text, value)], value, call)


def dice_and(name: str, gamma: float) -> Callable[[], Worked]:
    """Dice, and a second loss of the same four pixels."""

    def made() -> Worked:
        right = [p if t else 1 - p for p, t in zip(P, T, strict=True)]
        i, dice = dot(P, T), 1 - (2 * dot(P, T) + 1) / (sum(P) + sum(T) + 1)
        costs = [(1 - p) ** gamma * -math.log(p) for p in right]
        power = [rf"(1 - {n(p)})^{n(gamma)} " if gamma else "" for p in right]
        mean = " + ".join(rf"{w}\log {n(p)}" for w, p in zip(power, right, strict=True))
        lines = [f"p_y = {row(right)}", rf"\mathrm{{Dice}} = 1 - \frac{{2 \cdot {n(i)} + 1}}{{{n(sum(P))} + {n(sum(T))} + 1}} = {n(dice)}"]
        lines.append(rf"\mathrm{{{'focal' if gamma else 'CE'}}} = -\frac{{{mean}}}{{4}} = {n(sum(costs) / 4)}")
        value = dice + sum(costs) / 4
        lines.append(last(f"{n(dice)} + {n(sum(costs) / 4)}", value))
        call = f'losskit.{name}({tensor([P])}, {tensor([T])}, task="binary", from_logits=False)'
        return Worked([f"p = {row(P)}", f"t = {row(T)}", "s = 1"], lines, value, call)

    return made


def lovasz() -> Worked:
    """Errors in order, and what each adds to the Jaccard loss."""
    lines = [r"m = |p - t| = (0.1, 0.2, 0.3, 0.1),\; m_{(k)} = (0.3, 0.2, 0.1, 0.1)"]
    lines.append(r"J_k = \left(1 - \frac{2}{3},\; 1 - \frac{1}{3},\; 1 - \frac{0}{3},\; 1 - \frac{0}{4}\right) = (0.3333, 0.6667, 1, 1)")
    lines.append(last(r"0.3 \cdot 0.3333 + 0.2 \cdot 0.3333 + 0.1 \cdot 0.3333 + 0.1 \cdot 0", 0.2))
    return Worked([f"p = {row(P)}", f"t = {row(T)}"], lines, 0.2, f'losskit.lovasz_loss({tensor([P])}, {tensor([T])}, task="binary", from_logits=False)')


def pairs(name: str, first: str = "q", second: str = "k") -> tuple[list[str], str]:
    """Two pairs of vectors, of which the first is looked at."""
    given = [f"{letter}_{k} = {row(v)}" for letter, both in ((first, FIRST), (second, SECOND)) for k, v in enumerate(both)]
    return given, f"losskit.{name}({tensor(FIRST)}, {tensor(SECOND)}, "


def scored(one: Numbers, *others: Numbers) -> list[float]:
    """Products, times the scale."""
    return [SCALE * dot(one, other) for other in others]


def info_nce() -> Worked:
    """The first query, and both keys."""
    given, call = pairs("info_nce_loss")
    scores = scored(FIRST[0], *SECOND)
    p = softmax(scores)
    lines = [rf"s / T = (q_0 \cdot k_0 / 0.5,\; q_0 \cdot k_1 / 0.5) = {row(scores)}", shared("p", scores), last(rf"-\log {n(p[0])}", -math.log(p[0]))]
    return Worked([*given, "T = 0.5"], lines, -math.log(p[0]), f'{call}temperature={DIVISOR}, reduction="none")[0]')


def both_ways(name: str) -> Callable[[], Worked]:
    """The first pair, from either side."""

    def made() -> Worked:
        views = name == "nt_xent_loss"
        given, call = pairs(name, *("ab" if views else "xy"))
        from_first = scored(FIRST[0], SECOND[0], FIRST[1], SECOND[1]) if views else scored(FIRST[0], *SECOND)
        from_second = scored(SECOND[0], FIRST[0], FIRST[1], SECOND[1]) if views else scored(SECOND[0], *FIRST)
        p, q = softmax(from_first)[0], softmax(from_second)[0]
        value = -(math.log(p) + math.log(q)) / 2
        lines = [shared("p", from_first), shared("q", from_second), last(rf"-\frac{{\log {n(p)} + \log {n(q)}}}{{2}}", value)]
        how = f"temperature={DIVISOR}" if views else f"logit_scale={SCALE}"
        return Worked([*given, "T = 0.5" if views else "c = 2"], lines, value, f'{call}{how}, reduction="none")[0]')

    return made


def siglip() -> Worked:
    """The first picture with its own text and with another's."""
    given, call = pairs("siglip_loss", "x", "y")
    z = [s - 1 for s in scored(FIRST[0], *SECOND)]
    value = math.log1p(math.exp(-z[0])) + math.log1p(math.exp(z[1]))
    lines = [rf"c\, s + d = {row(z)}", last(rf"\log(1 + e^{{-{n(z[0])}}}) + \log(1 + e^{{{n(z[1])}}})", value)]
    return Worked([*given, "c = 2", "d = -1"], lines, value, f'{call}logit_scale={SCALE}, logit_bias=-1.0, reduction="none")[0]')


def supcon() -> Worked:
    """The first of four vectors, with two others of its label."""
    vectors = [(1.0, 0.0), (0.8, 0.6), (0.6, 0.8), (0.0, 1.0)]
    scores = scored(vectors[0], *vectors[1:])
    p = softmax(scores)
    value = -(math.log(p[0]) + math.log(p[1])) / 2
    given = [f"z_{k} = {row(v)}" for k, v in enumerate(vectors)] + [r"\mathrm{labels} = (0, 0, 0, 1)", "T = 0.5"]
    lines = [shared("p", scores), last(rf"-\frac{{\log {n(p[0])} + \log {n(p[1])}}}{{2}}", value)]
    return Worked(given, lines, value, f'losskit.supcon_loss({tensor(vectors)}, {tensor([0, 0, 0, 1])}, temperature={DIVISOR}, reduction="none")[0]')


WRITTEN: Mapping[str, Callable[[], Worked]] = {
    "margin_ranking_loss": margin_ranking,
    "multi_margin_loss": multi_margin,
    "multilabel_margin_loss": multilabel_margin,
    "multilabel_soft_margin_loss": multilabel_soft_margin,
    "triplet_margin_loss": triplet_margin,
    "batch_hard_triplet_loss": batch_hard,
    "cosine_embedding_loss": cosine_embedding,
    "arcface_loss": margined("arcface_loss", 0.5),
    "cosface_loss": margined("cosface_loss", 0.35),
    "linear_cross_entropy": linear_cross_entropy,
    "js_divergence": js_divergence,
    "distribution_focal_loss": distribution_focal,
    "inner_iou_loss": inner_iou,
    "siou_loss": siou,
    "probiou_loss": probiou,
    "ssim_loss": pictured("ssim_loss"),
    "l1_ssim_loss": pictured("l1_ssim_loss"),
    "boundary_loss": boundary,
    "dice_ce_loss": dice_and("dice_ce_loss", 0),
    "dice_focal_loss": dice_and("dice_focal_loss", 2),
    "lovasz_loss": lovasz,
    "info_nce_loss": info_nce,
    "nt_xent_loss": both_ways("nt_xent_loss"),
    "clip_loss": both_ways("clip_loss"),
    "siglip_loss": siglip,
    "supcon_loss": supcon,
}
