"""Losses of overlap under every combination of their options, against a plain float64 one-hot composite under autograd."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import losskit
from losskit import LOSSES

INTEGERS = (torch.int64, torch.uint8, torch.int8, torch.int16, torch.int32)


def ratio(top: Tensor, bottom: Tensor) -> Tensor:
    """1 less a ratio; 0 of nothing at all."""
    none = bottom == 0
    return torch.where(none, 0.0, 1 - top / torch.where(none, 1.0, bottom))


def tversky(i: Tensor, p: Tensor, t: Tensor, a: float, b: float, above: float, below: float) -> Tensor:
    return ratio(i + above, i + a * (p - i) + b * (t - i) + below)


FORMULAS: dict[str, Callable[..., Tensor]] = {  # of intersection, prediction, target, and what is added above and below the bar
    "dice_loss": lambda i, p, t, u, v: ratio(2 * i + u, p + t + v),
    "jaccard_loss": lambda i, p, t, u, v: ratio(i + u, p + t - i + v),
    "tversky_loss": lambda i, p, t, u, v, alpha, beta: tversky(i, p, t, alpha, beta, u, v),
    "log_cosh_dice_loss": lambda i, p, t, u, v: torch.cosh(ratio(2 * i + u, p + t + v)).log(),
}
SETTINGS: dict[str, dict[str, float]] = {"tversky_loss": {"alpha": 0.3, "beta": 0.7}}


class Draw(NamedTuple):
    """One call: every option, and what its tensors look like."""

    loss: str
    task: str
    kind: str
    from_logits: bool
    over: str
    average: str
    power: int
    smooth: float | tuple[float, float]
    empty: str
    weighted: bool
    background: bool
    ignore: int | None
    mask: str | None
    normalizer: float | None
    label: torch.dtype
    layout: str
    score: bool
    classes: int
    samples: int
    items: tuple[int, ...]
    seed: int


@st.composite
def draws(draw: Any, engine: str) -> Draw:
    fused = engine == "cpu"  # where a kernel must be compiled for each task, kind, power, label dtype and mask or none: those of the laws
    task = draw(st.sampled_from(["multiclass", "multilabel", "binary"]))
    kind = draw(st.sampled_from(["label"] if fused else ["label", "one-hot", "soft"])) if task == "multiclass" else draw(st.sampled_from(["hard", "soft"]))
    average = draw(st.sampled_from(["macro", "micro", "weighted", "nested", "none"]))
    loss = draw(st.sampled_from(list(FORMULAS)))
    label = torch.int64 if fused else draw(st.sampled_from(INTEGERS))
    ignorable = kind in ("label", "hard", "soft") and not (task == "multiclass" and kind == "soft")
    return Draw(
        loss=loss,
        task=task,
        kind=kind,
        from_logits=fused or draw(st.booleans()),
        over=draw(st.sampled_from(["sample", "batch"])),
        average=average,
        power=draw(st.sampled_from([1] if fused and task == "multiclass" else [2] if fused else [1, 2])),
        smooth=draw(st.sampled_from([0.0, 1.0, (0.0, 1e-3), 1e-5])),
        empty=draw(st.sampled_from(["smooth", "skip", "zero", "mass"])),
        weighted=draw(st.booleans()),
        background=task != "multiclass" or draw(st.booleans()),
        ignore=draw(st.sampled_from([None, 255 if label is torch.uint8 and kind == "label" else -100, 1])) if ignorable else None,
        mask=draw(st.sampled_from([None, "items", "last axis", "sample", "numbers"])),
        normalizer=draw(st.sampled_from([None, None, 7.0])) if average != "none" else None,
        label=label,
        layout=draw(st.sampled_from(["contiguous", "class axis last", "channels-last", "transposed", "strided"])) if not fused else "contiguous",
        score=loss in ("dice_loss", "jaccard_loss") and draw(st.booleans()),
        classes=1 if task == "binary" else draw(st.sampled_from([2, 3, 6])),
        samples=draw(st.sampled_from([1, 2, 3])),
        items=draw(st.sampled_from([(), (1,), (6,), (3, 5), (2, 3, 4)])),
        seed=draw(st.integers(0, 9)),
    )


class Batch(NamedTuple):
    """Inputs (N, C, ...), the targets that the loss gets, the same as numbers (N, C, ...), which numbers count, the mask, the weight."""

    x: Tensor
    t: Tensor
    numbers: Tensor
    counts: Tensor
    mask: Tensor | None
    weight: Tensor | None


def batch(d: Draw) -> Batch:
    numbers = torch.Generator().manual_seed(d.seed)
    shape = (d.samples, d.classes, *d.items)
    x = torch.randn(shape, generator=numbers) * 3
    if not d.from_logits:
        x = x.softmax(1) if d.task == "multiclass" else x.sigmoid()
    rare = torch.rand((d.samples, *d.items), generator=numbers) < 0.5  # so that classes are often absent
    labels = torch.where(rare, 0, torch.randint(0, d.classes, (d.samples, *d.items), generator=numbers))
    one_hot = torch.nn.functional.one_hot(labels, d.classes).movedim(-1, 1)
    absent = torch.rand(labels.shape if d.kind == "label" else shape, generator=numbers) < 0.3
    if d.kind == "label":
        t = labels if d.ignore is None else torch.where(absent, d.ignore, labels)
        counts = torch.ones_like(t, dtype=torch.bool) if d.ignore is None else t != d.ignore
        counts, t = counts.unsqueeze(1).expand(shape), t.to(d.label)
    else:
        soft = torch.rand(shape, generator=numbers)
        there = torch.rand((d.samples, d.classes, *(1 for _ in d.items)), generator=numbers) < 0.7
        t = soft.softmax(1) if d.task == "multiclass" else soft * there
        t = t if d.kind == "soft" else one_hot.float() if d.kind == "one-hot" else (t > 0.6).float()
        t = t if d.ignore is None else torch.where(absent, float(d.ignore), t)
        counts = torch.ones(shape, dtype=torch.bool) if d.ignore is None else t != d.ignore
        one_hot = t
    mask = None
    if d.mask is not None:
        items = (d.samples, *d.items)
        form = {"items": items, "last axis": items[-1:], "sample": (d.samples, *(1 for _ in d.items)), "numbers": shape if d.task == "multilabel" else items}[
            d.mask
        ]
        mask = torch.rand(form, generator=numbers) < 0.7
        whole = mask if form == shape else mask.expand(items).unsqueeze(1)
        counts = counts & whole
        if d.task == "binary" or (d.task == "multilabel" and form != shape and d.classes in items):  # without a class axis it could be of the last axes as well
            mask = mask.expand(items).unsqueeze(1)
    weight = torch.rand(d.classes, generator=numbers) * (torch.rand(d.classes, generator=numbers) < 0.8) + 0.0 if d.weighted else None
    return Batch(x, t, one_hot, counts, mask, weight)


class Reference(NamedTuple):
    """The value, the size of its terms, and what the size of a gradient's terms is made of."""

    value: Tensor
    size: Tensor
    p: Tensor
    t: Tensor
    intersection: Tensor
    prediction: Tensor


def reference(d: Draw, b: Batch, x: Tensor) -> Reference:
    """The definition, on float64 inputs."""
    p = x if not d.from_logits else x.softmax(1) if d.task == "multiclass" else x.sigmoid()
    keep = b.counts.double()
    t = torch.where(b.counts, b.numbers.double(), 0.0)

    def summed(z: Tensor) -> Tensor:
        return (z * keep).reshape(d.samples, d.classes, -1).sum(2)

    columns = [summed(p * t), summed(p**d.power), summed(t**d.power), summed(torch.ones_like(p))]
    parts = p, t, columns[0], columns[1]
    weight = torch.ones(d.classes, dtype=torch.float64) if b.weight is None else b.weight.double()
    if not d.background:
        columns, weight = [z[:, 1:] for z in columns], weight[1:]
    if d.over == "batch":
        columns = [z.sum(0, keepdim=True) for z in columns]
    share = weight
    if d.average == "micro":
        columns, share = [(z * weight).sum(1, keepdim=True) for z in columns], torch.ones(1, dtype=torch.float64)
    i, mass, truth, count = columns
    above, below = d.smooth if isinstance(d.smooth, tuple) else (d.smooth, d.smooth)
    loss = FORMULAS[d.loss](i, mass, truth, above, below, **SETTINGS.get(d.loss, {}))
    if d.empty in ("zero", "mass"):
        loss = torch.where(truth == 0, (mass / count.clamp(min=1e-300)) * (d.empty == "mass"), loss)
    loss = 1 - loss if d.score else loss
    share = share * (count > 0) * ((truth > 0) | (d.empty != "skip"))
    if d.average == "weighted":
        share = share * truth.detach()
    if d.average == "nested":
        share = share / share.sum(1, keepdim=True).clamp(min=1e-300)
    if d.average == "none":
        each = loss * (share != 0)
        return Reference(each[0] if d.over == "batch" else each, torch.ones(()), *parts)
    bottom = share.sum() if d.normalizer is None else torch.tensor(d.normalizer, dtype=torch.float64)
    total = (share * loss).sum()
    return Reference(total / bottom if bottom > 0 else 0 * total, share.sum() / bottom.clamp(min=1e-9), *parts)


def sizes(d: Draw, found: Reference, incoming: Tensor) -> Tensor:
    """Of the terms of a gradient: by the intersection and by the prediction, and with a softmax those that the other classes take."""
    by = torch.autograd.grad(found.value, (found.intersection, found.prediction), incoming, retain_graph=True)
    by_i, by_p = (g.abs().reshape(d.samples, d.classes, *(1 for _ in d.items)) for g in by)
    p = found.p.detach()
    size = by_i * found.t + by_p * d.power * p ** (d.power - 1)
    if not d.from_logits:
        return size
    return p * (size + (p * size).sum(1, keepdim=True)) if d.task == "multiclass" else p * size


def placed(x: Tensor, layout: str) -> Tensor:
    """The same numbers, laid out in memory otherwise."""
    if layout == "channels-last" and x.dim() == 4:
        return x.contiguous(memory_format=torch.channels_last)
    if layout == "transposed":
        return x.transpose(0, -1).contiguous().transpose(0, -1)
    return torch.stack((x, x + 1), -1)[..., 0] if layout == "strided" else x


def close(got: Tensor, expected: Tensor, size: Tensor | float, what: str, d: Draw) -> None:
    """Relative to the size of the terms, for a gradient is a difference, and a loss one less a ratio."""
    off = (got.double() - expected).abs()
    allowed = 4e-6 * expected.abs() + 4e-6 * torch.as_tensor(size, dtype=torch.float64)
    assert got.shape == expected.shape and bool((off <= allowed).all()), f"{what} {got.tolist()}, expected {expected.tolist()}: {d}"


def run(d: Draw, engine: Any) -> None:
    b = batch(d)
    last = d.layout == "class axis last" and b.x.dim() > 2
    x, t = (z.movedim(1, -1).contiguous() if last and z.dim() == b.x.dim() else placed(z, d.layout) for z in (b.x, b.t))
    mask = b.mask.movedim(1, -1) if last and b.mask is not None and b.mask.dim() == b.x.dim() else b.mask
    x = x.detach().requires_grad_()
    options: dict[str, Any] = dict(task=d.task, from_logits=d.from_logits, over=d.over, average=d.average, power=d.power, smooth=d.smooth, empty=d.empty)
    options |= dict(weight=b.weight, background=d.background, mask=mask, dim=-1 if last else 1, **SETTINGS.get(d.loss, {}))
    options |= {} if d.ignore is None else {"ignore_index": d.ignore}
    function = LOSSES[d.loss].function
    if d.score:
        function = LOSSES[d.loss].scores[0]
        d = d._replace(normalizer=None)
    else:
        options["normalizer"] = d.normalizer
    with losskit.use_engine(engine):
        value = function(x, t, **options)
    wide = b.x.double().requires_grad_()
    found = reference(d, b, wide)
    incoming = torch.randn(value.shape, generator=torch.Generator().manual_seed(d.seed)) if d.average == "none" else torch.tensor(-1.7)
    size = sizes(d, found, incoming.double())
    (grad,) = torch.autograd.grad(value, x, incoming)
    (exact,) = torch.autograd.grad(found.value, wide, incoming.double())
    close(value, found.value.detach(), found.size.detach(), "value", d)
    close(grad.movedim(-1, 1) if last else grad, exact, size.clamp(min=1e-6 * max(1.0, size.max().item())), "gradient", d)


@settings(max_examples=450, deadline=None, derandomize=True, database=None)
@given(draws("torch"))
def test_plain_operations(d: Draw) -> None:
    run(d, "torch")


@pytest.mark.thorough
@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(draws("cpu"))
def test_fused_passes(d: Draw) -> None:
    run(d, "cpu")


@pytest.mark.parametrize("shape", [(2, 3, 5000), (1, 37, 6, 7, 8), (3, 2, 257, 129), (2, 100, 41), (40, 5)])
@pytest.mark.parametrize("over", ["sample", "batch"])
def test_shapes_of_every_size(shape: tuple[int, ...], over: str) -> None:
    """More items than a block holds, more classes than a few, many samples; labels of one kernel."""
    draw = torch.Generator().manual_seed(0)
    x = (torch.randn(shape, generator=draw) * 2).requires_grad_()
    t = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=draw)
    value = losskit.dice_loss(x, t, task="multiclass", over=over)
    wide = x.detach().double().requires_grad_()
    p, one_hot = wide.softmax(1).reshape(*shape[:2], -1), torch.nn.functional.one_hot(t, shape[1]).movedim(-1, 1).reshape(*shape[:2], -1)
    sums = [z.sum(2) for z in (p * one_hot, p + one_hot)]
    top, bottom = (z.sum(0, keepdim=True) for z in sums) if over == "batch" else sums
    expected = (1 - (2 * top + 1) / (bottom + 1)).mean()
    (grad,), (exact,) = torch.autograd.grad(value, x), torch.autograd.grad(expected, wide)
    torch.testing.assert_close(value.double(), expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(grad.double(), exact, rtol=1e-5, atol=2e-6 * float(exact.abs().max()))
