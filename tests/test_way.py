"""The way of a tensor, as the architecture tells it: how many calls of our own Python a small loss makes, which is what it costs."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit

OURS = str(Path(losskit.__file__).parent)
TOLD = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8")


def calls(work: Callable[[], Any]) -> tuple[int, Any]:
    """How many functions of losskit are called, and what comes of it."""
    count = 0

    def note(frame: Any, event: str, _: Any) -> None:
        nonlocal count
        count += event == "call" and frame.f_code.co_filename.startswith(OURS)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        result = work()
    finally:
        sys.setprofile(before)
    return count, result


def cross_entropy(x: Tensor, t: Tensor) -> Tensor:
    return losskit.cross_entropy(x[0].t().contiguous(), t[0])


def dice_loss(x: Tensor, t: Tensor) -> Tensor:
    return losskit.dice_loss(x, t, task="multiclass")


@pytest.mark.parametrize(
    ("loss", "told"),
    [
        (cross_entropy, r"gradient: (\d+) calls of our own Python from the call to the value, (\d+) in"),
        (dice_loss, r"`dice_loss\(.*\)`: (\d+) calls to the value, (\d+) in"),
    ],
)
def test_as_many_calls_as_it_says(loss: Callable[[Tensor, Tensor], Tensor], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch.distributed.tensor", raising=False)  # once it is imported, a call looks for DTensors
    x, t = torch.randn(2, 5, 9, requires_grad=True), torch.zeros(2, 9, dtype=torch.long)
    loss(x, t).backward()  # kernels are found
    forward, value = calls(lambda: loss(x, t))
    backward, _ = calls(value.backward)
    (written,) = re.findall(told, TOLD)
    assert (forward, backward) == tuple(map(int, written))
