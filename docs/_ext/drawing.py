"""What the drawings of the guides have in common: colours, lines with a legend, titles."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from torch import Tensor

from figures import LIGHT, STYLES

INK, GRID, AXIS, LINES = LIGHT["ink"], LIGHT["grid"], LIGHT["axis"], LIGHT["lines"]


def curves(axes: Axes, x: Sequence[float] | Tensor, lines: Mapping[str, Any], **how: Any) -> None:
    """Lines with a legend, told apart by colour and by dashes."""
    for number, (name, y) in enumerate(lines.items()):
        axes.plot(x, y, color=LINES[number], linestyle=STYLES[number], linewidth=1.8, label=name)
    axes.grid(True, color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, fontsize=9.5, **how)


def named(axes: Axes, title: str, below: str) -> None:
    """Title and axis."""
    axes.set_title(title, fontsize=11.5, loc="left")
    axes.set_xlabel(below, fontsize=10)


def each(loss: Callable[..., Tensor], x: Tensor, t: Tensor, **settings: Any) -> tuple[Tensor, Tensor]:
    """Values and derivatives of a loss."""
    x = x.clone().requires_grad_()
    values = loss(x, t, reduction="none", **settings)
    (slopes,) = torch.autograd.grad(values.sum(), x)
    return values.detach(), slopes
