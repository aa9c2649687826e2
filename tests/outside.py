"""Laws of what the audit kit does not draw: losses of sorted errors and distances, and the coefficients that losses of overlap are one minus of."""

import math
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import mpmath
import test_lovasz
import torch
from torch import Tensor

from losskit import LOSSES


def require(law: str, loss: str, module: ModuleType, settings: dict[str, Any]) -> None:
    """One of these laws of a loss written in a module; "textbook" is that of the loss's kind."""
    of = {"ranked": sorted_errors, "operations": distances}.get(LOSSES[loss].pattern, score)
    {"textbook": of, "score": score}[law](loss, module, settings)


def close_to_textbook(textbook: Callable[..., Any], given: Sequence[Tensor], beside: Sequence[Tensor], found: Tensor, slopes: Sequence[Tensor]) -> None:
    """Items' losses, and the gradients of their sum by each number of `given`, at 40 digits; the numbers of an item lie along the last axis."""
    with mpmath.workdps(40):
        step = mpmath.mpf("1e-15")
        for i in range(len(found)):
            item = [[mpmath.mpf(v) for v in x[i].tolist()] for x in given]
            rest = [x[i].tolist() for x in beside]
            wanted = textbook(mpmath.mp, *item, *rest)
            assert abs(found[i].item() - wanted) <= 1e-11 * (1 + abs(wanted)), f"{found[i].item()}, not {float(wanted)}"
            for x, slope in zip(item, slopes, strict=True):
                for k in range(len(x)):
                    x[k] += step
                    up = textbook(mpmath.mp, *item, *rest)
                    x[k] -= 2 * step
                    wanted = (up - textbook(mpmath.mp, *item, *rest)) / (2 * step)
                    x[k] += step
                    assert abs(slope[i, k].item() - wanted) <= 1e-9 * (1 + abs(wanted)), f"a gradient of {slope[i, k].item()}, not {float(wanted)}"


def distances(loss: str, module: ModuleType, settings: dict[str, Any]) -> None:
    """A loss of a distance per position is its textbook."""
    draw = torch.Generator().manual_seed(0)
    x, d = (torch.randn(6, 3, generator=draw, dtype=torch.float64).requires_grad_() for _ in range(2))
    given = [x if settings.get("from_logits", True) else x.detach().softmax(1).requires_grad_(), d]
    whole = settings["task"] == "multiclass"
    found = getattr(module, loss)(*given, reduction="none", **settings)
    slopes = torch.autograd.grad(found.sum(), given)
    chosen = {"from_logits": True, "background": True} | settings
    if not whole:
        given, found, slopes = ([y.reshape(-1, 1) for y in given], found.reshape(-1), [y.reshape(-1, 1) for y in slopes])  # type: ignore[assignment]
    textbook = LOSSES[loss].textbook
    close_to_textbook(lambda mp, x, d: textbook(mp, x, d, **chosen) if whole else textbook(mp, *x, *d, **chosen), given, (), found, slopes)


def sorted_errors(loss: str, module: ModuleType, settings: dict[str, Any]) -> None:
    """The authors' loss, in float64."""
    x, t = test_lovasz.batch(settings["task"], (3, 5, 6))
    how = {name: value for name, value in settings.items() if name != "task"}
    test_lovasz.compare(x, t, settings["task"], "torch", function=getattr(module, loss), **how)


def score(loss: str, module: ModuleType, settings: dict[str, Any]) -> None:
    """The coefficient is one minus the loss, and its gradient the negative one."""
    x, t = torch.linspace(-2, 2, 24).reshape(2, 3, 4).requires_grad_(), torch.arange(8).reshape(2, 4) % 3
    both = [f(x, t, smooth=0.0, **settings) for f in (*LOSSES[loss].scores, getattr(module, loss))]
    (a,), (b,) = (torch.autograd.grad(each, x) for each in both)
    assert math.isclose(both[0].item(), 1 - both[1].item(), rel_tol=1e-6)
    assert torch.allclose(a, -b)
