"""A gradient in half precision is that of float32, rounded once: not a sum of rounded shares, nor a product of a rounded number."""

import anything
import pytest
import torch
from anything import Entry
from cases import thorough, thorough_rows
from test_sizes import tensors
from torch import Tensor

import losskit

ENTRIES = list(anything.entries())
NAMES = sorted({entry.name for entry in ENTRIES})


def gradients(entry: Entry, leaves: list[Tensor], rest: dict[str, Tensor], way: str) -> tuple[Tensor, ...]:
    """The gradients by the leaves, with something different coming in for each value."""
    more = {"reduction": "none" if way == "each" else "sum"} if entry.offers("reduction") else {}
    found = [y for y in tensors(entry(*leaves, *rest.values(), **more)) if y.requires_grad]
    incoming = [torch.linspace(3.0, 7.0, y.numel(), dtype=y.dtype).reshape(y.shape) if y.dim() else torch.full_like(y, 37.0) for y in found]
    return torch.autograd.grad(found, leaves, incoming, create_graph=way == "graph")


def check(entry: Entry, dtype: torch.dtype, way: str) -> None:
    """Against float32 on the same numbers; float32's own rounding is small beside half of a unit."""
    shape = (7, 4) if entry.takes in ("boxes", "pairs") else (2, 3, 5) if entry.classes else (2, 15)
    x, t = entry.tensors(shape)
    if entry.takes == "pairs":
        t = t[:3]  # each the best match of several
    differentiable = t is not None and t.is_floating_point() and entry.takes != "positions" and entry.name != "lovasz_loss"
    tensors_ = [x.to(dtype), *([t.to(dtype)] if differentiable else [])]
    rest = {} if t is None or differentiable else {"target": t.to(dtype) if t.is_floating_point() else t}
    got = gradients(entry, [y.clone().requires_grad_() for y in tensors_], rest, way)
    expected = gradients(entry, [y.float().requires_grad_() for y in tensors_], {k: y.float() if y.is_floating_point() else y for k, y in rest.items()}, way)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype is dtype and a.shape == b.shape
        off = (a.double() - b.double()).abs() - 0.5 * torch.finfo(dtype).eps * b.double().abs()
        allowed = 1e-6 * b.abs().max() + torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
        assert off.max() <= allowed, f"{entry}, {way}: {a.flatten()[off.argmax()].item()}, expected {b.flatten()[off.argmax()].item()}, rounded"


@pytest.mark.sparse(2)
@pytest.mark.parametrize("name", NAMES)
def test_in_pytorch_operations(name):
    with losskit.use_engine("torch"):
        for turn, entry in enumerate(e for e in ENTRIES if e.name == name):
            for way in ("total", "each", "graph"):
                check(entry, (torch.float16, torch.bfloat16)[turn % 2], way)


FEW = [entry for entry in anything.ways() if entry.name == "mse_loss"]


@pytest.mark.parametrize("entry", [*FEW, *thorough(entry for entry in anything.ways() if entry not in FEW)], ids=str)
def test_in_fused_engines(entry):
    for way in ("total", "each"):
        check(entry, torch.float16, way)


MASKED = [entry for entry in anything.ways() if entry.offers("mask")]
OF_LOOPS = ("mse_loss", "cross_entropy", "giou_loss", "dice_loss", "lovasz_loss")  # one per pattern: a mask is read by a loop of its own


@pytest.mark.parametrize(
    ("entry", "engine"),
    [(entry, "torch") for entry in MASKED]
    + thorough_rows((next(entry for entry in MASKED if entry.name == name and entry.scores != "probability"), "cpu") for name in OF_LOOPS),
    ids=str,
)
def test_where_nothing_counts_it_is_0(entry, engine):
    """All masked, whatever the numbers; no items at all."""
    with losskit.use_engine(engine):
        nothing_counts(entry)


def nothing_counts(entry: Entry) -> None:
    """In each way in which nothing can."""
    for shape in ((0, 4), (2, 0, 4)) if entry.takes == "boxes" else ((0, 3), (2, 3, 0)):
        x, t = (y.to(torch.float16) if y is not None and y.is_floating_point() else y for y in entry.tensors(shape))
        zero(entry(x.requires_grad_(), t), x)
    x, t = (y.to(torch.float16) if y is not None and y.is_floating_point() else y for y in entry.tensors((3, 4) if entry.takes == "boxes" else (2, 3, 5)))
    x = torch.full_like(x, torch.nan).requires_grad_()
    items = x.shape[:1] if entry.takes == "boxes" else x.shape if not entry.classes else (2, 5)
    zero(entry(x, t, mask=torch.zeros(items, dtype=torch.bool)), x)


def zero(loss: Tensor, x: Tensor) -> None:
    """A loss that is 0, and so are its gradients."""
    (found,) = torch.autograd.grad(loss * 65536.0, x)
    assert loss.item() == 0.0 and found.dtype is x.dtype and found.shape == x.shape and not found.any()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy computes both branches of a where
@pytest.mark.parametrize("name", ("cross_entropy", "best_match", "dice_ce_loss"))
def test_in_the_interpreter(name):
    """As Triton's interpreter does it."""
    entry = next(e for e in ENTRIES if e.name == name)
    with losskit.use_engine("triton"):
        check(entry, torch.float16, "total")


def test_weights_that_require_a_gradient():
    """They are in the numerator and in the denominator, and one number may weigh many items."""
    for function, x, t in (
        (losskit.mse_loss, torch.linspace(-2, 2, 12).reshape(3, 4), torch.zeros(3, 4)),
        (losskit.cross_entropy, torch.linspace(-2, 2, 24).reshape(3, 2, 4), torch.ones(3, 4, dtype=torch.long)),
        (losskit.giou_loss, *(y.reshape(3, 4, 4).float() for y in anything.boxes.ordinary(12))),
    ):
        weight = torch.tensor([[0.3], [1.7], [0.9]], dtype=torch.float16)
        got, expected = (
            torch.autograd.grad(function(x, t, sample_weight=w) * 37.0, w)[0] for w in (weight.requires_grad_(), weight.detach().float().requires_grad_())
        )
        assert torch.equal(got, expected.half())
