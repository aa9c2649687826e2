"""The pictures of the guides about training: batches in pieces, predicted uncertainty, half precision, large vocabularies."""

from collections.abc import Callable, Mapping

import torch
from matplotlib.axes import Axes
from torch import Tensor

import losskit
from drawing import AXIS, LINES, curves, named
from figures import STYLES

WORDS = {
    "weight of a token": "一个 token 的权重",
    "tokens of its sentence": "所在句子的 token 数",
    "mean of means": "均值的均值",
    "one count": "统一计数",
    "learned probability of the end": "学到的结束概率",
    "interval of 90 %": "90 % 区间",
    "one variance": "单一方差",
    "predicted variance": "预测的方差",
    "fits after 300 steps": "训练 300 步后的拟合",
    "curve": "曲线",
    "squared error": "平方误差",
    "Gaussian NLL": "高斯 NLL",
    "error of the gradient": "梯度的误差",
    "items in the mean": "均值中的项数",
    "float16, loss scale 65,536": "float16，损失缩放 65,536",
}


def token(axes: Axes) -> None:
    """What a token weighs by the length of its sentence: four sentences, 108 tokens."""
    lengths = torch.logspace(0, 6, 61, base=2.0)
    curves(axes, lengths, {"mean of means": 1 / (4 * lengths), "one count": torch.full((61,), 1 / 108)}, loc="upper right")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks([1, 2, 4, 8, 16, 32, 64], ["1", "2", "4", "8", "16", "32", "64"])
    named(axes, "weight of a token", "tokens of its sentence")


def ending(axes: Axes) -> None:
    """What the frequencies of four sentences are learned to be."""
    labels = torch.cat([torch.tensor([*range(1, 50)] * 2)[: n - 1] for n in (60, 5, 40, 3)] + [torch.zeros(4, dtype=torch.long)])
    lengths = torch.cat([torch.full((n - 1,), float(n)) for n in (60, 5, 40, 3)] + [torch.tensor([60.0, 5.0, 40.0, 3.0])])
    lines = {}
    for name, weight in (("mean of means", 1 / (4 * lengths)), ("one count", torch.full_like(lengths, 1 / 108))):
        scores = torch.zeros(1, 50, requires_grad=True)
        search = torch.optim.Adam([scores], lr=0.1)
        found = []
        for _ in range(100):
            found.append(scores.softmax(1)[0, 0].item())
            search.zero_grad()
            losskit.cross_entropy(scores.expand(len(labels), 50), labels, sample_weight=weight, reduction="sum").backward()
            search.step()
        lines[name] = found
    curves(axes, range(100), lines, loc="upper right")
    axes.set_ylim(0, 0.22)
    named(axes, "learned probability of the end", "step")


def features(x: Tensor, count: int) -> Tensor:
    """Chebyshev polynomials."""
    return torch.stack([torch.cos(k * torch.acos(x)) for k in range(count)], 1)


def descended(loss: Callable[..., Tensor], f: Tensor, outputs: int, steps: int = 300) -> Tensor:
    """Polynomials for each output, fitted by Adam."""
    w = torch.zeros(f.shape[1], outputs, dtype=f.dtype, requires_grad=True)
    search = torch.optim.Adam([w], lr=0.03)
    for _ in range(steps):
        search.zero_grad()
        loss(*(f @ w).unbind(1)).backward()
        search.step()
    return (f @ w).detach()


def interval(axes: Axes) -> None:
    """Noise that grows, and two ways to say so."""
    x = torch.linspace(-1, 1, 400)
    middle = torch.sin(3 * x)
    y = middle + (0.3 + 0.2 * x) * torch.randn(400, generator=torch.Generator().manual_seed(0))
    m, s = descended(lambda m, s: losskit.gaussian_nll_loss(m, y, log_var=s), features(x, 8), 2).unbind(1)
    (alone,) = descended(lambda m: losskit.mse_loss(m, y), features(x, 8), 1).unbind(1)
    constant = (alone - y).square().mean().sqrt()
    axes.plot(x, y, "o", color=AXIS, markersize=2)
    for number, (name, centre, spread) in enumerate((("one variance", alone, constant), ("predicted variance", m, (s / 2).exp()))):
        for side, label in ((1.645, name), (-1.645, None)):
            axes.plot(x, centre + side * spread, color=LINES[number], linestyle=STYLES[number], linewidth=1.8, label=label)
    axes.legend(frameon=False, fontsize=9.5, loc="upper left")
    axes.set_ylim(-2.1, 2.9)
    named(axes, "interval of 90 %", "x")


def neglect(axes: Axes) -> None:
    """What is hard to fit is taken for noise."""
    x = torch.linspace(-1, 1, 200)
    curve = torch.sin(3 * x) + 0.5 * torch.sin(12 * x) * (x > 0)
    seen = curve + 0.01 * torch.randn(200, generator=torch.Generator().manual_seed(0))
    losses: dict[str, Callable[..., Tensor]] = {
        "squared error": lambda m, s: losskit.mse_loss(m, seen),
        "Gaussian NLL": lambda m, s: losskit.gaussian_nll_loss(m, seen, log_var=s),
        "beta-NLL": lambda m, s: losskit.beta_nll_loss(m, seen, log_var=s),
    }
    lines = {name: descended(loss, features(x, 16), 2)[:, 0] for name, loss in losses.items()}
    axes.plot(x, curve, color=AXIS, linewidth=4, alpha=0.5, label="curve")
    curves(axes, x, lines, loc="upper left", ncols=2)
    axes.set_ylim(-1.3, 2.5)
    named(axes, "fits after 300 steps", "x")


def rounded(axes: Axes) -> None:
    """What rounding leaves of the gradient of a mean over ever more items, each with the same logits."""
    draw = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(256, 100, generator=draw), torch.randint(0, 100, (256,), generator=draw)
    counts = [2.0**k for k in range(8, 25)]
    lines: dict[str, list[float]] = {}
    for name, dtype, scale in (("float16", torch.float16, 1.0), ("bfloat16", torch.bfloat16, 1.0), ("float16, loss scale 65,536", torch.float16, 65536.0)):
        lines[name] = []
        x, exact = logits.to(dtype).requires_grad_(), logits.to(dtype).double().requires_grad_()
        for count in counts:
            (got,) = torch.autograd.grad(scale * losskit.cross_entropy(x, labels, normalizer=count), x)
            (wanted,) = torch.autograd.grad(losskit.cross_entropy(exact, labels, normalizer=count), exact)
            lines[name].append(float((got.double() / scale - wanted).norm() / wanted.norm()))
    curves(axes, counts, lines, loc="upper left")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_ylim(1e-4, 30)
    named(axes, "error of the gradient", "items in the mean")


PICTURES: Mapping[str, tuple[Callable[[Axes], None], float]] = {
    "token": (token, 3.2),
    "ending": (ending, 3.2),
    "interval": (interval, 3.2),
    "neglect": (neglect, 3.2),
    "rounded": (rounded, 3.2),
}
