"""Every loss in everything that it takes: each task, kind of input and kind of target, with a small batch whose sizes all differ."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit import LOSSES, Loss
from losskit.testing.inputs import cosines, within
from losskit.testing.vectors import is_mined

SHAPE = (4, 3, 5)  # samples, classes, positions
SOFT = ("cross_entropy", "dice_loss", "dice_ce_loss", "dice_focal_loss", "jaccard_loss", "tversky_loss", "focal_tversky_loss", "log_cosh_dice_loss")
SOFT += ("generalized_dice_loss", "mcc_loss")  # which take distributions beside labels


class Context(NamedTuple):
    """A loss, the settings that say what it is asked, and what its input and its target are."""

    loss: Loss
    settings: dict[str, Any]
    form: str
    kind: str

    def __str__(self) -> str:
        return "-".join((self.loss.name, *(f"{k}={v}" for k, v in self.settings.items()), self.kind))

    @property
    def axis(self) -> int | None:
        """The class axis of what it takes; None if every number stands alone."""
        task = self.settings.get("task")
        if self.loss.pattern in ("boxes", "vectors") or (self.loss.pattern in ("elementwise", "windows", "operations") and task != "multiclass"):
            return None
        return None if task == "binary" else 1

    def tensors(self, dtype: torch.dtype = torch.float32, seed: int = 0, bare: bool = False) -> tuple[Tensor, ...]:
        """Input and target, or the input alone. `bare`: the first sample has nothing but the first class, or nothing at all."""
        draw = torch.Generator().manual_seed(seed)
        if self.loss.pattern == "windows":  # large enough for every option
            x, t = torch.rand((2, 2, 1, 176, 176), generator=draw, dtype=torch.float64).to(dtype)
            return x, t
        if self.loss.pattern == "vectors":
            vectors = torch.randn((len(self.loss.tensors), 5, 3), generator=draw, dtype=torch.float64).to(dtype)
            if self.kind == "none":
                return tuple(vectors)
            labels = torch.tensor([1, 0, 1, 1, 0]) if is_mined(self.loss) else torch.tensor([1, -1, 1, -1, 1])
            return *vectors[:1], *(vectors[:1] + 0.4 * vectors[1:-1]), labels  # nearly of one direction
        if self.loss.pattern == "boxes":
            corner, size = (torch.rand((2, 5, 2), generator=draw, dtype=torch.float64) + 0.5 for _ in range(2))
            return tuple(torch.cat((c, c + s), -1).to(dtype) for c, s in zip(corner, size, strict=True))
        x, soft = (torch.randn(SHAPE, generator=draw, dtype=torch.float64) * 2 for _ in range(2))
        classes = self.axis == 1 and self.settings.get("task") != "multilabel"
        if self.form == "cosine":
            x = cosines(x)
        elif self.form != "logit":
            x = (x.log_softmax(1) if classes else torch.nn.functional.logsigmoid(x)) if self.form != "real" else x
            x = x.exp() if self.form == "probability" else x
        labels = torch.randint(0, SHAPE[1], (SHAPE[0], SHAPE[2]), generator=draw)
        if bare:
            labels[0], soft[0], soft[0, 0] = 0, -torch.inf, 0.0 if classes else -torch.inf
        target = {
            "none": None,
            "real": soft.clamp(-9.0),
            "unit": (soft > 0).to(torch.float64),
            "mask": soft > 0,
            "chance": soft.sigmoid(),
            "label": labels,
            "set": soft > 0,
            "position": labels * 0.9,
            "distribution": soft.softmax(1),
            "log-distribution": soft.log_softmax(1),
        }[self.kind]
        if target is None:
            return (x.to(dtype),)
        return within(self.loss, x.to(dtype), target if self.kind in ("label", "set", "mask") else target.to(dtype))

    def __call__(self, *tensors: Tensor, **options: Any) -> Any:
        """The loss of tensors."""
        return self.loss.function(*tensors, **self.settings | options)


def kinds(loss: Loss, task: str | None) -> list[str]:
    """What a target may be."""
    if loss.name == "boundary_loss":
        return ["real", "label" if task == "multiclass" else "mask"]
    if task in ("binary", "multilabel"):
        return ["unit"] if loss.pattern == "ranked" else ["unit", "chance"]
    if loss.pattern == "vectors":
        return ["none" if loss.target == "none" else "same"]
    first = "label" if task == "multiclass" and loss.target == "unit" else loss.target
    if loss.pattern == "boxes":
        return ["box"]
    return [first, *(["distribution"] if loss.name in SOFT else []), *(["chance"] if first == "unit" else [])]


def contexts() -> Iterator[Context]:
    """All of them."""
    for loss in LOSSES.values():
        if loss.pattern == "linear":
            continue  # what it takes is what `cross_entropy` takes: test_linear_laws.py, test_products.py
        scales = {name: loss.arguments[0][name] for name in loss.required if name != "task"} | (
            dict(loss.arguments[0]) if any(operand.predicted for operand in loss.operands) else {}
        )
        for task in ("binary", "multilabel", "multiclass") if "task" in loss.settings else (None,):
            given = scales | ({} if task is None else {"task": task})
            for kind in kinds(loss, task):
                yield Context(loss, given, loss.input, kind)
                if "from_logits" in loss.settings:
                    yield Context(loss, given | {"from_logits": False}, "probability", kind)
                if {"from_logits", "log_input"} <= set(loss.settings):  # alone, `log_input` tells a mean from its logarithm
                    yield Context(loss, given | {"from_logits": False, "log_input": True}, "log-probability", kind)
                if "log_target" in loss.settings:
                    yield Context(loss, given | {"log_target": True}, loss.input, "log-distribution")


CONTEXTS = list(contexts())
