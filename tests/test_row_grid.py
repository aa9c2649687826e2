"""Cross-entropy under every combination of its options, against a plain float64 reference under autograd and, where it is defined, against torch's own."""

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import losskit

grid = settings(max_examples=400, deadline=None, derandomize=True, database=None)
INTEGERS = (torch.int64, torch.uint8, torch.int8, torch.int16, torch.int32)


class Draw(NamedTuple):
    """One call: every option, and what its tensors look like."""

    smoothing: float
    z_loss: float
    softcap: float | None
    weighted: bool
    soft: bool
    ignore: int | None
    masked: bool
    sampled: bool
    reduction: str
    normalizer: float | None
    label: torch.dtype
    layout: str
    classes: int
    items: tuple[int, ...]
    seed: int


@st.composite
def draws(draw: Any, engine: str) -> Draw:
    reduction = draw(st.sampled_from(["none", "sum", "mean"]))
    smoothing, z_loss = draw(st.sampled_from([0.0, 0.1, 1.0])), draw(st.sampled_from([0.0, 0.01]))
    fused = engine == "cpu"  # where a kernel a formula, kind of row and label dtype must be compiled: wide rows and other dtypes are for the laws
    soft = draw(st.booleans())
    softcap = draw(st.sampled_from([None, 5.0])) if not fused or soft or smoothing or z_loss else None  # alone: a kernel more, for the laws as well
    label = torch.int64 if fused else draw(st.sampled_from(INTEGERS))
    return Draw(
        smoothing=smoothing,
        z_loss=z_loss,
        softcap=softcap,
        weighted=draw(st.booleans()),
        soft=soft,
        ignore=draw(st.sampled_from([None, 255 if label is torch.uint8 else -100, 1, 100])),
        masked=draw(st.booleans()),
        sampled=draw(st.booleans()),
        reduction=reduction,
        normalizer=draw(st.sampled_from([None, 7.0])) if reduction == "mean" else None,
        label=label,
        layout=draw(st.sampled_from(["contiguous", "class axis first", "class axis last", "transposed", "channels-last", "strided"])),
        classes=draw(st.sampled_from([2, 5] if fused and softcap else [2, 5, 33])),
        items=draw(st.sampled_from([(), (1,), (6,), (3, 5), (2, 3, 4)])),
        seed=draw(st.integers(0, 9)),
    )


class Batch(NamedTuple):
    """Scores and targets with the classes last, and the other tensors."""

    x: Tensor
    t: Tensor
    weight: Tensor | None
    mask: Tensor | None
    sample_weight: Tensor | None


def batch(d: Draw) -> Batch:
    numbers = torch.Generator().manual_seed(d.seed)
    x = torch.randn((*d.items, d.classes), generator=numbers) * 3
    t = torch.randint(0, d.classes, d.items, generator=numbers)
    if d.soft:
        t = (torch.randn((*d.items, d.classes), generator=numbers) * 2).softmax(-1)
    elif d.ignore is not None:
        t = torch.where(torch.rand(d.items, generator=numbers) < 0.3, d.ignore, t)
    weight = torch.rand(d.classes, generator=numbers) + 0.1 if d.weighted else None
    mask = torch.rand(d.items, generator=numbers) < 0.7 if d.masked else None
    sample = torch.rand(d.items, generator=numbers) * (torch.rand(d.items, generator=numbers) < 0.8) if d.sampled else None
    return Batch(x, t if d.soft else t.to(d.label), weight, mask, sample)


def factors(d: Draw, b: Batch) -> Tensor:
    """What multiplies each item's loss: 0 for an absent one."""
    each = torch.ones(d.items, dtype=torch.float64)
    if b.mask is not None:
        each = each * b.mask
    if b.sample_weight is not None:
        each = each * b.sample_weight
    return each if d.soft or d.ignore is None else each * (b.t != d.ignore)


def reference(d: Draw, b: Batch, x: Tensor) -> Tensor:
    """The definition, on float64 scores with the classes last."""
    s = x if d.softcap is None else d.softcap * torch.tanh(x / d.softcap)
    weight = torch.ones(d.classes, dtype=torch.float64) if b.weight is None else b.weight.double()
    factor = factors(d, b)
    if d.soft:
        t = b.t.double()
    else:
        labels = torch.where(factor != 0, b.t.long(), 0)
        t = torch.nn.functional.one_hot(labels, d.classes).double()
    mass = weight * (t * (1 - d.smoothing) + d.smoothing / d.classes)
    each = -(mass * s.log_softmax(-1)).sum(-1) + d.z_loss * (weight * t).sum(-1) * s.logsumexp(-1) ** 2
    if d.reduction == "none":
        return each * factor
    total = (each * factor).sum()
    if d.reduction == "sum":
        return total
    if d.normalizer is not None:
        return total / d.normalizer
    count = factor.sum() if d.soft else (factor * (weight * t).sum(-1)).sum()
    return total / count if count > 0 else total


def placed(x: Tensor, layout: str) -> tuple[Tensor, int]:
    """The same numbers, laid out in memory otherwise; and where the classes are."""
    last = x.dim() - 1
    if layout == "class axis first":
        return x.movedim(-1, 0).contiguous(), 0
    if layout == "class axis last":
        return x, last
    first = x.movedim(-1, min(1, last))
    if layout == "contiguous":
        return first.contiguous(), min(1, last)
    if layout == "transposed":
        return first.transpose(0, -1).contiguous().transpose(0, -1), min(1, last)
    if layout == "strided":
        return torch.stack((first, first + 1), -1)[..., 0], min(1, last)
    return first, min(1, last)


def close(got: Tensor, expected: Tensor, size: Tensor | float, what: str, d: Draw) -> None:
    """Relative to the size of the terms, for smoothed and soft gradients pass through 0."""
    off = (got.double() - expected).abs()
    allowed = 4e-6 * expected.abs() + 1e-6 * torch.as_tensor(size, dtype=torch.float64)
    assert got.shape == expected.shape and bool((off <= allowed).all()), f"{what} {got.tolist()}, expected {expected.tolist()}: {d}"


def run(d: Draw, engine: Any) -> None:
    b = batch(d)
    if engine == "cpu" and b.mask is not None and b.sample_weight is None:
        b = b._replace(sample_weight=torch.ones(d.items))  # a mask alone is read by a kernel of its own
    x, dim = placed(b.x, d.layout)
    x = x.detach().requires_grad_()
    t = placed(b.t, d.layout)[0] if d.soft else b.t
    if d.layout == "strided" and not d.soft:
        t = torch.stack((b.t, b.t), -1)[..., 0]
    options: dict[str, Any] = dict(label_smoothing=d.smoothing, z_loss=d.z_loss, softcap=d.softcap, weight=b.weight, dim=dim)
    if d.ignore is not None and not d.soft:
        options["ignore_index"] = d.ignore
    with losskit.use_engine(engine):
        value = losskit.cross_entropy(x, t, mask=b.mask, sample_weight=b.sample_weight, reduction=d.reduction, normalizer=d.normalizer, **options)
    wide = b.x.double().requires_grad_()
    expected = reference(d, b, wide)
    incoming = torch.randn(value.shape, generator=torch.Generator().manual_seed(d.seed)) if d.reduction == "none" else torch.tensor(-1.7)
    (grad,) = torch.autograd.grad(value, x, incoming)
    (exact,) = torch.autograd.grad(expected, wide, incoming.double())
    close(value, expected.detach(), 0.1, "value", d)
    # the size of an item's gradient, were its label all wrong
    top = float(b.weight.max()) if b.weight is not None else 1.0
    size = (factors(d, b) * incoming.double().abs()).unsqueeze(-1) * top if d.reduction == "none" else exact.abs().max()
    close(grad.movedim(dim, -1), exact, size, "gradient", d)
    torch_agrees(d, b, expected.detach(), exact, incoming)


def torch_agrees(d: Draw, b: Batch, expected: Tensor, gradient: Tensor, incoming: Tensor) -> None:
    """The reference is torch's own cross-entropy, where torch has all of it."""
    plain = not (d.z_loss or d.softcap or d.masked or d.sampled or d.normalizer) and (d.items or not d.soft)
    if not plain or (d.reduction == "mean" and factors(d, b).sum() == 0):
        return
    x = b.x.double().requires_grad_()
    last = min(1, x.dim() - 1)
    t = b.t.double().movedim(-1, last) if d.soft else b.t.long()
    ignore = -100 if d.soft or d.ignore is None else d.ignore
    weight = None if b.weight is None else b.weight.double()
    value = torch.nn.functional.cross_entropy(x.movedim(-1, last), t, weight=weight, ignore_index=ignore, label_smoothing=d.smoothing, reduction=d.reduction)
    torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(torch.autograd.grad(value, x, incoming.double())[0], gradient, rtol=1e-10, atol=1e-12)


@grid
@given(draws("torch"))
def test_plain_operations(d: Draw) -> None:
    run(d, "torch")


@pytest.mark.thorough
@grid
@given(draws("cpu"))
def test_fused_passes(d: Draw) -> None:
    run(d, "cpu")


# rows go to the CPU engine in tiles of items (up to 512, padded to 16) and in blocks of classes (4096); a task has some 65,536 scores
SIZES = [
    (classes, items)
    for classes, items in ((2, (511,)), (2, (513,)), (3, (40_003,)), (31, (2_200,)), (32, (17,)), (100, (1_311,)), (4_096, (3,)), (4_097, (2,)), (9_000, (9,)))
] + [(3, (2, 515)), (5, (3, 7, 11)), (19, (2, 1, 433)), (512, (2, 33)), (513, (2, 33))]


@pytest.mark.sparse(4)
@pytest.mark.parametrize(("classes", "items"), SIZES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_sizes_around_tiles_and_blocks(classes: int, items: tuple[int, ...], smoothing: float) -> None:
    numbers = torch.Generator().manual_seed(classes)
    x = (torch.randn((items[0], classes, *items[1:]), generator=numbers) * 4).requires_grad_()
    t = torch.randint(-1, classes, items, generator=numbers)
    weight = torch.rand(classes, generator=numbers) + 0.1
    incoming = torch.rand(items, generator=numbers)
    value = losskit.cross_entropy(x, t, weight=weight, ignore_index=-1, label_smoothing=smoothing, reduction="none")
    total = losskit.cross_entropy(x, t, weight=weight, ignore_index=-1, label_smoothing=smoothing)
    wide = x.detach().double().requires_grad_()
    exact = torch.nn.functional.cross_entropy(wide, t, weight.double(), ignore_index=-1, label_smoothing=smoothing, reduction="none")
    mean = torch.nn.functional.cross_entropy(wide, t, weight.double(), ignore_index=-1, label_smoothing=smoothing)
    torch.testing.assert_close(value.double(), exact, rtol=4e-6, atol=1e-6)
    torch.testing.assert_close(total.double(), mean, rtol=4e-6, atol=0)
    for got, expected, outer in ((value, exact, incoming), (total, mean, torch.tensor(-3.0))):
        (grad,), (reference,) = torch.autograd.grad(got, x, outer), torch.autograd.grad(expected, wide, outer.double())
        torch.testing.assert_close(grad.double(), reference, rtol=1e-5, atol=1e-7 * float(reference.abs().max()))
