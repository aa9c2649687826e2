"""Two losses on the same tensors: values, gradients, and where they part."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from losskit.cli import stop
from losskit.cli.batch import Batch, fitted
from losskit.cli.callables import Subject, chosen, told
from losskit.cli.evaluate import at, descending, refuse_nan, value_of

SAME = 1e-5  # of the largest number: what float32 losses of one formula may differ by
SHOWN = 8


@dataclass(frozen=True)
class Side:
    """What one loss gave."""

    name: str
    value: float
    slope: Tensor
    each: Tensor | None  # the loss of each item


@dataclass(frozen=True)
class Part:
    """A place where two losses differ."""

    place: str
    prediction: str
    target: str
    first: float
    second: float


@dataclass(frozen=True)
class Comparison:
    """Both sides; the places where they differ most; of how many items they do."""

    first: Side
    second: Side
    of: str  # what is compared place by place: "loss" or "gradient"
    parts: Sequence[Part]
    differing: int
    places: int
    notes: Sequence[str]

    @property
    def cosine(self) -> float:
        """Of the angle between the gradients: 1 where they point one way."""
        a, b = (side.slope.double().flatten() for side in (self.first, self.second))
        size = float(a.norm() * b.norm())
        return float(a @ b) / size if size else math.nan

    @property
    def farthest(self) -> float:
        """The largest difference of gradients, as a share of the largest number in either."""
        return apart(self.first.slope, self.second.slope)

    @property
    def relative(self) -> float:
        """The difference of the values, as a share of the larger."""
        return apart(torch.tensor(self.first.value, dtype=torch.float64), torch.tensor(self.second.value, dtype=torch.float64))

    def verdict(self) -> str:
        """One sentence."""
        where = f"{self.differing:,} of {self.places:,} {'items' if self.of == 'loss' else 'gradients'}"
        if self.relative <= SAME and self.farthest <= SAME and not self.differing:
            return f"They are the same here, to {SAME:g} of the largest number: value, gradient, and all {self.places:,} places."
        told = [f"values by {self.relative:.3g}"] if self.relative > SAME else []
        told += [f"gradients by {self.farthest:.3g}"] if self.farthest > SAME else []
        return f"They part at {where}" + (f"; {' and '.join(told)} of the larger" if told else "") + "."

    def plain(self) -> dict[str, Any]:
        """For programs."""
        sides = [{"loss": side.name, "value": side.value, "gradient_norm": float(side.slope.double().norm())} for side in (self.first, self.second)]
        return {
            "losses": sides,
            "relative_difference": self.relative,
            "largest_gradient_difference": self.farthest,
            "cosine_of_gradients": self.cosine,
            "compared": self.of,
            "differing": self.differing,
            "places": self.places,
            "parts": [vars(part) for part in self.parts],
            "notes": list(self.notes),
            "verdict": self.verdict(),
        }


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference, as a share of the largest number in either; NaN on one side alone is infinitely far."""
    if bool((a.isnan() != b.isnan()).any()):
        return math.inf
    difference, size = differences(a, b).max(), torch.maximum(a.abs(), b.abs()).nan_to_num(0.0).max()
    return float(difference / size) if float(size) and math.isfinite(float(size)) else float(difference)


def differences(a: Tensor, b: Tensor) -> Tensor:
    """How far apart, number by number: NaN beside NaN, and an infinity beside itself, are alike."""
    a, b = a.double(), b.double()
    alike = (a == b) | (a.isnan() & b.isnan())
    return torch.where(alike, 0.0, (a - b).abs()).nan_to_num(math.inf, posinf=math.inf)


def settings_of(subjects: Sequence[Subject], given: Sequence[str], shared: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Settings for both that take them; `a.gamma=2` and `b.gamma=2` are for one."""
    made = [chosen(subject, shared) for subject in subjects]
    for text in given:
        path, is_there, value = text.partition("=")
        whose, _, name = path.strip().rpartition(".")
        if not is_there or not name.isidentifier() or whose.casefold() not in ("", "a", "b"):
            stop(f"--set takes name=value, a.name=value or b.name=value, got {text!r}: try --set a.gamma=2")
        meant = [i for i in range(2) if whose.casefold() in ("", "ab"[i])]
        having = [i for i in meant if subjects[i].takes(name)]
        if not having:
            stop(f"--set {text}: {' and '.join(subjects[i].name for i in meant)} {'have' if len(meant) > 1 else 'has'} no setting {name}")
        for i in having:
            made[i][name] = value_of(value)
    return made


def compare(batch: Batch, subjects: Sequence[Subject], settings: Sequence[dict[str, Any]]) -> Comparison:
    """Both on one batch, laid as the first of losskit's own takes it."""
    if batch.boxes and any(subject.loss is None for subject in subjects) and not any("box_format" in each for each in settings):
        batch = with_corners(batch)
    own, fits = [dict(each) for each in settings], []
    for i, subject in enumerate(subjects):
        if subject.loss is not None:
            fit, own[i] = fitted(batch, subject.loss, own[i])
            refuse_nan(fit, {**subject.loss.settings, **own[i]})
            fits.append(fit)
        elif batch.boxes and subject.takes("box_format"):
            own[i].setdefault("box_format", batch.boxes)
    if not fits:
        refuse_nan(batch, {})
        fits.append(batch if batch.input.is_floating_point() else replace(batch, input=batch.input.float()))
    laid = next((fit for fit in fits if fit.target is not None), fits[0])
    sides = [side(subject, laid, each) for subject, each in zip(subjects, own, strict=True)]
    first, second = sides
    of, a, b = "gradient", first.slope, second.slope
    if first.each is not None and second.each is not None and first.each.shape == second.each.shape and first.each.dim():
        of, a, b = "loss", first.each, second.each
    far = differences(a, b)
    size = float(torch.maximum(a.abs(), b.abs()).nan_to_num(0.0, posinf=0.0).max()) if a.numel() else 0.0
    differing = far > SAME * size
    parts = [part(laid, a, b, number) for number in descending(far.flatten())[:SHOWN] if bool(differing.flatten()[number])]
    return Comparison(first, second, of, parts, int(differing.sum()), far.numel(), laid.notes)


def with_corners(batch: Batch) -> Batch:
    """COCO's boxes as people's own losses take them, and torchvision's: two corners."""
    input, target = (torch.cat((x[:, :2], x[:, :2] + x[:, 2:]), 1) for x in (batch.input, batch.target) if x is not None)
    return replace(batch, input=input, target=target, boxes="xyxy").noted("boxes are compared as corners, x1, y1, x2, y2")


def part(batch: Batch, a: Tensor, b: Tensor, number: int) -> Part:
    """One place."""
    place = tuple(int(i) for i in torch.unravel_index(torch.tensor(number), a.shape))
    beside = "" if batch.target is None else at(batch.target, place[: batch.target.dim()] if batch.target.shape == a.shape else place, a)
    if batch.target is not None and batch.target.dim() == a.dim() - 1 and batch.target.shape == (a.shape[0], *a.shape[2:]):
        beside = f"{batch.target[(place[0], *place[2:])].item():.6g}"
    return Part(f"[{', '.join(map(str, place))}]", at(batch.input, place, a), beside, float(a[place]), float(b[place]))


def side(subject: Subject, batch: Batch, settings: Mapping[str, Any]) -> Side:
    """Value and gradient, and the loss of each item where there is one."""
    x = batch.input.detach().clone().requires_grad_()
    alone = subject.loss is not None and subject.loss.target == "none"
    tensors = (x,) if batch.target is None or alone else (x, batch.target)
    masked = {} if batch.mask is None else {"mask": batch.mask}
    if masked and subject.loss is None and not subject.takes("mask"):
        stop(f"{subject.name} takes no mask: leave --mask out")
    try:
        value = subject.function(*tensors, **settings, **masked)
        each = None
        if isinstance(value, Tensor) and value.dim():
            each, value = value.detach(), value.mean()
        if not isinstance(value, Tensor) or not value.requires_grad:
            stop(
                f"{subject.name} gave {type(value).__name__} {'without a gradient to the prediction' if isinstance(value, Tensor) else ''}: a loss is a tensor with one"
            )
        (slope,) = torch.autograd.grad(value, x, allow_unused=True)
        if each is None and subject.takes("reduction") and "reduction" not in settings:
            with torch.no_grad():
                found = subject.function(*tensors, **settings, **masked, reduction="none")
            each = found if isinstance(found, Tensor) else None
    except Exception as error:  # code of the user's may raise anything
        stop(f"{subject.name}: {told(error)}")
    return Side(subject.name, value.item(), torch.zeros_like(x) if slope is None else slope, each)


def show(found: Comparison, console: Console) -> None:
    """Values and gradients side by side, then where they part."""
    for note in found.notes:
        console.print(f"  {note}", highlight=False, markup=False, soft_wrap=True)
    table = Table("", "A", "B", "apart by")
    a, b = found.first, found.second
    table.add_row("loss", a.name, b.name, "")
    table.add_row("value", f"{a.value:.8g}", f"{b.value:.8g}", f"{found.relative:.3g}")
    norms = [float(side.slope.double().norm()) for side in (a, b)]
    table.add_row("gradient norm", *(f"{norm:.8g}" for norm in norms), f"{found.farthest:.3g} (largest)")
    table.add_row("cosine of gradients", "", "", f"{found.cosine:.8g}")
    console.print(table)
    if found.parts:
        table = Table(found.of + " at", "prediction", "target", "A", "B", title="Where they part, farthest first", title_justify="left")
        for each in found.parts:
            table.add_row(each.place, each.prediction, each.target, f"{each.first:.8g}", f"{each.second:.8g}")
        console.print(table)
    console.print(found.verdict(), highlight=False, markup=False, soft_wrap=True)
