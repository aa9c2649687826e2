"""How much a call on a GPU starts there: its kernels, and the PyTorch operations beside them, each of which is a launch. None may wait for the device."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

import losskit
from losskit.contract import checks
from losskit.contract import labels as checks_of_labels
from losskit.engines import dispatch, private

if not dispatch.interpreted():
    pytest.skip("GPU", allow_module_level=True)  # the interpreter is what tells of launches here

from triton.runtime.interpreter import GridExecutor


class Launches(TorchDispatchMode):
    """Notes what would be started on a GPU: not what only makes room, or looks at the same memory in another way."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function).removeprefix("aten.").partition(".")[0]
        looks = any(r.alias_info is not None and not r.alias_info.is_write for r in function._schema.returns)
        if not looks and not name.startswith(("empty", "new_empty", "detach", "_unsafe_view")):
            self.seen.append(name)
        return function(*args, **(kwargs or {}))


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Launches:
    """What is noted, in a world in which labels cannot be read and nobody knows that somebody takes notes."""
    notes, run = Launches(), GridExecutor.__call__

    def started(executor: Any, *args: Any, **kwargs: Any) -> None:
        notes.seen.append(executor.fn.__name__)
        with _disable_current_modes(), np.errstate(all="ignore"):
            run(executor, *args, **kwargs)

    monkeypatch.setattr(GridExecutor, "__call__", started)
    monkeypatch.setattr(private, "dispatching", lambda: 0)
    for module in (checks, checks_of_labels):
        monkeypatch.setattr(module, "readable", lambda x: False)
    return notes


def numbers(*shape: int) -> Tensor:
    return torch.linspace(-2.0, 2.0, torch.Size(shape).numel()).reshape(shape)


def labels(classes: int, *shape: int) -> Tensor:
    return torch.arange(torch.Size(shape).numel()).reshape(shape) % classes


ROWS, PLANES = (numbers(32, 10), labels(10, 32)), (numbers(2, 4, 8, 8), labels(4, 2, 8, 8))
MANY = numbers(1 << 15, 2), labels(2, 1 << 15)  # more than one program takes
WEIGHT = torch.tensor([0.5, 1.0, 2.0, 1.0])
MASK, SEVEN = labels(3, 2, 8, 8) > 0, torch.tensor(7.0)
EIGHT = torch.arange(8) > 2
BOXES = torch.tensor([[0.0, 0.0, 2.0, 2.0]] * 8), torch.tensor([[1.0, 0.0, 3.0, 2.0]] * 8)
ELEMENTWISE, CLASSES, OVERLAP = (2, 1), (4, 1), (4, 1)

# a call, and how many launches its forward and its backward may take
CALLS: dict[str, tuple[tuple[int, int], Callable[..., Tensor], tuple[Tensor, Tensor]]] = {
    "mse": (ELEMENTWISE, losskit.mse_loss, (numbers(64), numbers(64))),
    "mse, many": (ELEMENTWISE, losskit.mse_loss, (numbers(1 << 12), numbers(1 << 12))),
    "focal": (ELEMENTWISE, lambda x, t: losskit.focal_loss(x, t, task="binary"), (numbers(64), labels(2, 64).float())),
    "mse, masked": (CLASSES, lambda x, t: losskit.mse_loss(x, t, mask=t > 0.0), (numbers(64), numbers(64))),
    "giou": (ELEMENTWISE, losskit.giou_loss, BOXES),
    "giou, masked": (CLASSES, lambda x, t: losskit.giou_loss(x, t, mask=EIGHT), BOXES),
    "cross-entropy": (CLASSES, losskit.cross_entropy, ROWS),
    "cross-entropy, sum": ((1, 1), lambda x, t: losskit.cross_entropy(x, t, reduction="sum"), ROWS),
    "cross-entropy by a number": ((1, 1), lambda x, t: losskit.cross_entropy(x, t, normalizer=7.0), ROWS),
    "cross-entropy by a number there": (CLASSES, lambda x, t: losskit.cross_entropy(x, t, normalizer=SEVEN), ROWS),
    "cross-entropy, none": ((1, 1), lambda x, t: losskit.cross_entropy(x, t, reduction="none"), ROWS),
    "cross-entropy, weighted and masked": (CLASSES, lambda x, t: losskit.cross_entropy(x, t, weight=WEIGHT, mask=MASK), PLANES),
    "cross-entropy, many": (CLASSES, losskit.cross_entropy, MANY),
    "focal of classes": (CLASSES, lambda x, t: losskit.focal_loss(x, t, task="multiclass"), PLANES),
    "dice": (OVERLAP, lambda x, t: losskit.dice_loss(x, t, task="multiclass"), PLANES),
    "dice of a batch": (OVERLAP, lambda x, t: losskit.dice_loss(x, t, task="multiclass", over="batch", background=False), PLANES),
    "dice, weighted": (OVERLAP, lambda x, t: losskit.dice_loss(x, t, task="multiclass", weight=WEIGHT, average="micro", empty="skip"), PLANES),
    "dice, binary": (OVERLAP, lambda x, t: losskit.dice_loss(x, t, task="binary"), (numbers(2, 64), labels(2, 2, 64).float())),
    "dice, hundreds of classes": (OVERLAP, lambda x, t: losskit.dice_loss(x, t, task="multiclass", over="batch"), (numbers(1, 300, 4), labels(300, 1, 4))),
    "tversky": (OVERLAP, lambda x, t: losskit.tversky_loss(x, t, task="multiclass", alpha=0.3, beta=0.7), PLANES),
    "dice and cross-entropy": (OVERLAP, lambda x, t: losskit.dice_ce_loss(x, t, task="multiclass", weight=WEIGHT), PLANES),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_small_call_starts_little(name: str, seen: Launches) -> None:
    (forward, backward), loss, (x, t) = CALLS[name]
    x = x.clone().requires_grad_()
    with losskit.use_engine("triton"), seen:
        value = loss(x, t)
    assert 0 < len(seen.seen) <= forward, seen.seen
    seen.seen.clear()
    incoming = torch.full_like(value, 2.0)
    with seen:
        torch.autograd.grad(value, x, incoming)
    if seen.seen[0] == "_local_scalar_dense":  # of a number on the CPU alone it is asked whether it is 1
        del seen.seen[0]
    assert 0 < len(seen.seen) <= backward, seen.seen


def test_what_is_counted(seen: Launches) -> None:
    """The kernels by their names, and the operations beside them."""
    with losskit.use_engine("triton"), seen:
        losskit.mse_loss(*(x for x in CALLS["mse"][2])) + 1.0
        losskit.mse_loss(*(x for x in CALLS["mse, many"][2]))
    assert seen.seen == ["pointwise", "add", "pointwise", "add_up"]
