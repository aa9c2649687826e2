"""The laws of operands of rows: what a loss of class scores promises of numbers per item, a temperature, a smoothing, that may be learned."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import mpmath
import torch
from torch import Tensor

from losskit.contract.registry import Loss, Range
from losskit.testing import inputs
from losskit.testing.oracles import Traced, book_settings, slopes
from losskit.testing.subject import LawBroken, gradient, leaf, refusals, refused, require_close, require_same_bits
from losskit.testing.tables import ROW_OPERAND_LAWS, law

RANGES: dict[str, Range] = {"temperature": "> 0", "label_smoothing": "from 0 to 1", "gamma": ">= 0"}  # of settings with a number per item
ITEMS = (6,)
OUT = {"> 0": -0.5, ">= 0": -0.5, "from 0 to 1": 1.5}


@dataclass(frozen=True)
class RowOperandSubject:
    """A loss of rows, called with a tensor for each of some settings; `soft`: with distributions for targets."""

    loss: Loss
    names: tuple[str, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    soft: bool = False
    dtype: torch.dtype = torch.float64
    classes: int = 4

    def __str__(self) -> str:
        shown = [*self.names, *(f"{k}={v}" for k, v in self.settings.items()), *(["distributions"] if self.soft else [])]
        return f"{self.loss.name}({', '.join(shown)})"

    def __call__(self, x: Tensor, t: Tensor, *operands: Tensor | float, **extra: Any) -> Tensor:
        """The loss, with the operands by name."""
        return self.loss.function(x, t, **dict(zip(self.names, operands, strict=True)), **inputs.as_arguments(dict(self.settings)), **extra)

    @property
    def tolerance(self) -> float:
        """The registry's relative error, or as many units in the last place of float64."""
        return self.loss.tolerance * (2.0**-26 if self.dtype is torch.float64 else 1.0)

    def batch(self, items: tuple[int, ...] = ITEMS, dtype: torch.dtype | None = None, seed: int = 0) -> tuple[Tensor, ...]:
        """Scores, targets, and an operand of the items' shape each."""
        draw = torch.Generator().manual_seed(seed)
        x = (3 * torch.randn((*items, self.classes), generator=draw, dtype=torch.float64)).movedim(-1, 1 if items else 0)
        t = torch.randint(0, self.classes, items, generator=draw)
        if self.soft:
            t = torch.randn(x.shape, generator=draw, dtype=torch.float64).softmax(1 if items else 0)
            t = (t.log() if self.settings.get("log_target") else t).to(dtype or self.dtype)
        return x.contiguous().to(dtype or self.dtype), t.contiguous(), *(self.operand(k, items, dtype) for k in range(len(self.names)))

    def operand(self, place: int, shape: tuple[int, ...], dtype: torch.dtype | None = None) -> Tensor:
        """Ordinary numbers of an operand."""
        y = torch.rand(shape, generator=torch.Generator().manual_seed(7 + place), dtype=torch.float64)
        return (y if RANGES[self.names[place]] == "from 0 to 1" else y + 0.3).to(dtype or self.dtype)

    def with_dtype(self, dtype: torch.dtype) -> "RowOperandSubject":
        """The same in another dtype."""
        return replace(self, dtype=dtype)


def book(s: RowOperandSubject, numbers: tuple[Tensor, ...]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Of each row the textbook's value, its derivatives by scores and operands, and the sizes of what each is the sum of."""
    mp = mpmath.mp.clone()
    mp.dps = 200
    x, t, *operands = numbers
    fixed = {k: v for k, v in book_settings(s.loss, s.settings).items() if k not in s.names}
    fixed = {k: [mp.mpf(w) for w in v] if isinstance(v, list) else v for k, v in fixed.items()}
    found = []
    for row, label, *own in zip(x.tolist(), t.tolist(), *(y.tolist() for y in operands), strict=True):
        n = len(row)

        def value(tape: Any, z: list[Any], label: Any = label, n: int = n) -> Any:
            given = dict(zip(s.names, z[n:], strict=True))
            if not s.soft or s.loss.target == "distribution":
                return s.loss.textbook(tape, z[:n], [mp.mpf(v) for v in label] if s.soft else label, **fixed | given)
            smooth = given.pop("label_smoothing", mp.mpf(0))  # of distributions the loss is the expected one
            plain = fixed | given | {"label_smoothing": mp.mpf(0)}
            masses = [(1 - smooth) * mp.mpf(v) + smooth / n for v in label]
            total = tape.fsum([m * s.loss.textbook(tape, z[:n], k, **plain | {"z_loss": 0}) for k, m in enumerate(masses)])
            return total + tape.fsum([mp.mpf(v) * (plain["z_loss"] * square(tape, s.loss, z[:n], k, plain)) for k, v in enumerate(label)])

        found.append(slopes(mp, value, [mp.mpf(v) for v in (*row, *own)]))
    by, sizes = (torch.tensor([[float(v) for v in getattr(f, name)] for f in found], dtype=torch.float64) for name in ("by", "sizes"))
    n = x.shape[1]
    if s.soft:  # a difference of two distributions: measured against what each of them gives
        gradients = by[:, :n].abs()
        sizes[:, :n] += gradients.amax(1, keepdim=True)
        for k, name in enumerate(s.names):
            if name == "temperature":
                sizes[:, n + k] += (gradients * x.double().abs()).sum(1) / operands[k].double()
    values = torch.tensor([float(f.value.value if isinstance(f.value, Traced) else f.value) for f in found], dtype=torch.float64)
    return values, [by[:, :n], *by[:, n:].T], [sizes[:, :n], *sizes[:, n:].T]


def square(tape: Any, loss: Loss, x: Sequence[Any], k: int, settings: Mapping[str, Any]) -> Any:
    """The squared log-sum-exp that z_loss = 1 adds, weighted like class k."""
    return loss.textbook(tape, x, k, **dict(settings) | {"z_loss": 1}) - loss.textbook(tape, x, k, **dict(settings) | {"z_loss": 0})


def against_book(s: RowOperandSubject, numbers: tuple[Tensor, ...], what: str) -> None:
    """Value and every gradient, for an incoming gradient that differs from item to item."""
    values, by, sizes = book(s, numbers)
    x, t, *operands = numbers
    incoming = torch.linspace(-1.0, 2.0, len(x), dtype=torch.float64)
    leaves = [leaf(x), *(leaf(y) for y in operands)]
    each = s(leaves[0], t, *leaves[1:], reduction="none")
    require_close(each, values.to(each.dtype), 4 * s.tolerance, f"value, {what}")
    for name, g, exact, size in zip(("scores", *s.names), gradient(each, *leaves, incoming=incoming.to(each.dtype)), by, sizes, strict=True):
        outer = incoming[:, None] if g.dim() == 2 else incoming
        off = (g.double() - exact * outer).abs() > 4 * s.tolerance * size * outer.abs() + 1e-37
        if bool(off.any()):
            place = tuple(off.nonzero()[0].tolist())
            raise LawBroken(f"gradient to {name} at {place}, {what}: {g[place].item()!r}, exact {(exact * outer)[place].item()!r}")


@law("value and every gradient are those of the textbook", ROW_OPERAND_LAWS)
def textbook(s: RowOperandSubject) -> None:
    """On an ordinary batch, in rows of few classes and of many."""
    against_book(s, s.batch(), "few classes")
    if not any(isinstance(v, list) for v in s.settings.values()):
        wide = replace(s, classes=40)
        against_book(wide, wide.batch((3,)), "40 classes")


@law("sure and hopeless items keep the digits of their gradients", ROW_OPERAND_LAWS)
def error_budget(s: RowOperandSubject) -> None:
    """The label's score far above and far below the others; operands from one end of their range to the other."""
    x, t, *operands = s.batch((8,))
    sure = torch.tensor([5.0, 20.0, 40.0, 80.0, -5.0, -20.0, -40.0, -80.0], dtype=x.dtype)
    x = x + sure[:, None] * torch.nn.functional.one_hot(t.argmax(1) if s.soft else t, s.classes)
    ends = {"temperature": (0.05, 0.5, 1.0, 2.0, 10.0, 1000.0, 0.3, 3.0), "label_smoothing": (0.0, 1e-6, 0.1, 0.5, 0.9, 1.0, 0.3, 0.0), "gamma": (0.1, 0.5, 1.0, 2.0, 5.0, 0.3, 1.5, 3.0)}  # fmt: skip
    against_book(s, (x, t, *(torch.tensor(ends[name], dtype=y.dtype) for name, y in zip(s.names, operands, strict=True))), "extremes")


@law("an offset that all scores share changes nothing", ROW_OPERAND_LAWS)
def offset(s: RowOperandSubject) -> None:
    """Of 8,192, to scores that leave room for it: their differences are the same numbers. Neither a soft cap nor the square of log sum exp is given, which move with it."""
    if not {"z_loss", "softcap"} & set(s.settings):
        for wide in (s, *(() if any(isinstance(v, list) for v in s.settings.values()) else (replace(s, classes=40),))):
            x, t, *operands = wide.batch()
            x = (x * 256.0).round() / 256.0
            near, far = ([leaf(y), *(leaf(z) for z in operands)] for y in (x, x + 8192.0))
            value, moved = (wide(y[0], t, *y[1:], reduction="none") for y in (near, far))
            require_close(moved, value, s.tolerance, f"value of {wide.classes} classes")
            for name, got, expected in zip(("scores", *s.names), gradient(moved, *far), gradient(value, *near), strict=True):
                require_close(got, expected, 8 * s.tolerance, f"gradient to {name}, {wide.classes} classes")


@law("an operand of a smaller shape is the same as one expanded, and its gradient is the sum", ROW_OPERAND_LAWS)
def shapes(s: RowOperandSubject) -> None:
    """One number in all, per item, per place of an image; under every reduction."""
    for items, small in (((6,), ()), ((6,), (1,)), ((3, 5), ()), ((3, 5), (5,)), ((3, 5), (3, 1)), ((2001,), ())):
        x, t, *_ = s.batch(items)
        narrow = [leaf(s.operand(k, small)) for k in range(len(s.names))]
        wide = [leaf(y.detach().expand(items)) for y in narrow]
        for reduction in ("none", "sum", "mean"):
            a, b = leaf(x), leaf(x)
            got, expected = s(a, t, *narrow, reduction=reduction), s(b, t, *wide, reduction=reduction)
            where = f"operands of shape {small} for items {items}, {reduction!r}"
            require_close(got, expected, s.tolerance, f"value with {where}")
            found, full = gradient(got, a, *narrow), gradient(expected, b, *wide)
            require_close(found[0], full[0], s.tolerance, f"gradient to the scores with {where}")
            for name, y, g, each in zip(s.names, narrow, found[1:], full[1:], strict=True):
                total, terms = (z.double().sum_to_size(y.shape) if y.dim() else z.double().sum() for z in (each, each.abs()))
                if g.shape != y.shape or g.dtype != y.dtype or bool(((g.double() - total).abs() > s.tolerance * terms).any()):
                    raise LawBroken(f"gradient to {name} with {where}: {g!r}, the sum is {total!r}")


@law("an operand may be a plain number", ROW_OPERAND_LAWS)
def numbers(s: RowOperandSubject) -> None:
    """As a tensor of that number, up to the last digits."""
    x, t, *operands = s.batch()
    values = [y.flatten()[0].item() for y in operands]
    a, b = leaf(x), leaf(x)
    got, expected = s(a, t, *values), s(b, t, *(torch.tensor(v, dtype=x.dtype) for v in values))
    require_close(got, expected, 4 * s.tolerance, f"value with {values}")
    require_close(gradient(got, a)[0], gradient(expected, b)[0], 16 * s.tolerance, f"gradient with {values}")


@law("half precision: an operand is read as it is, and its gradient is rounded once", ROW_OPERAND_LAWS)
def half_precision(s: RowOperandSubject) -> None:
    """Also where the gradient is a sum of many, and under a loss scale."""
    for dtype in (torch.bfloat16, torch.float16):
        for small in ((600,), ()):
            (x, *_), (_, t, *_) = s.batch((600,), dtype), s.batch((600,), torch.float32)
            operands = [leaf(s.operand(k, small, dtype)) for k in range(len(s.names))]
            wide = [leaf(y.detach().float()) for y in operands]
            for incoming in (1.0, 64.0):
                got, expected = s(leaf(x), t, *operands), s(leaf(x.float()), t, *wide)
                require_close(got, expected, 1e-5, f"value with operands of {dtype}")
                scaled = torch.full_like(got, incoming)
                for name, g, reference in zip(s.names, gradient(got, *operands, incoming=scaled), gradient(expected, *wide, incoming=scaled), strict=True):
                    if g.dtype is not dtype:
                        raise LawBroken(f"gradient to {name} of {dtype} is {g.dtype}")
                    fits = reference.abs() > torch.finfo(dtype).tiny
                    require_close(g[fits].double(), reference[fits].double(), torch.finfo(dtype).eps / 2 + 1e-4, f"gradient to {name} of {dtype}")


@law("whichever tensors require a gradient, each gets the same", ROW_OPERAND_LAWS)
def subsets(s: RowOperandSubject) -> None:
    """Operands alone, too: calibration on held-out scores."""
    x, t, *operands = s.batch()
    full = [leaf(x), *(leaf(y) for y in operands)]
    expected = gradient(s(full[0], t, *full[1:]), *full)
    for k, y in enumerate(full):
        some = [leaf(z) if i == k else z.detach() for i, z in enumerate(full)]
        require_close(gradient(s(some[0], t, *some[1:]), some[k])[0], expected[k], 8 * s.tolerance, f"the gradient of shape {tuple(y.shape)} alone")


@law("masking an item equals deleting it, whatever its operand holds", ROW_OPERAND_LAWS)
def mask_deletes(s: RowOperandSubject) -> None:
    """By a mask, by a weight of 0, by an ignored label."""
    x, t, *operands = s.batch()
    keep = torch.tensor([True, False, True, True, False, True])
    ways: list[tuple[str, Tensor, dict[str, Any]]] = [("mask", t, {"mask": keep}), ("sample_weight", t, {"sample_weight": keep.to(x.dtype)})]
    if not s.soft:
        ways.append(("ignore_index", torch.where(keep, t, -100), {}))
    for reduction in ("mean", "sum", "none"):
        for what, u, extra in ways:
            spoilt = [leaf(torch.where(keep[:, None], x, math.nan)), *(leaf(torch.where(keep, y, -7.0)) for y in operands)]
            kept = [leaf(x[keep]), *(leaf(y[keep]) for y in operands)]
            got, expected = s(spoilt[0], u, *spoilt[1:], reduction=reduction, **extra), s(kept[0], t[keep], *kept[1:], reduction=reduction)
            require_close(got[keep] if reduction == "none" else got, expected, s.tolerance, f"value, {what}, {reduction!r}")
            for name, g, reference in zip(("scores", *s.names), gradient(got, *spoilt), gradient(expected, *kept), strict=True):
                require_close(g[keep], reference, 8 * s.tolerance, f"gradient to {name}, {what}, {reduction!r}")
                require_close(g[~keep], torch.zeros_like(g[~keep]), 0.0, f"gradient to {name} where nothing counts, {what}, {reduction!r}")


@law("nothing left to count: 0, with zero gradients", ROW_OPERAND_LAWS)
def nothing_left(s: RowOperandSubject) -> None:
    """Everything masked, over NaN; no items; a single one without a batch."""
    for small in (ITEMS, ()):
        x, t, *_ = s.batch()
        operands = [leaf(s.operand(k, small)) for k in range(len(s.names))]
        none = [leaf(s.operand(k, (0,) if small else ())) for k in range(len(s.names))]
        for value, held in (
            (s(leaf(x * math.nan), t, *operands, mask=torch.zeros(ITEMS, dtype=torch.bool)), operands),
            (s(leaf(x[:0]), t[:0], *none), none),
        ):
            if value.item() != 0:
                raise LawBroken(f"{value.item()} of nothing")
            for y, g in zip(held, gradient(value, *held), strict=True):
                require_close(g, torch.zeros_like(y), 0.0, "gradient of nothing")
    x, t, *operands = s.batch(())
    if s(x, t, *operands, reduction="none").shape != ():
        raise LawBroken("a single item has a shape")


@law("any incoming gradient is multiplied into the gradients of operands", ROW_OPERAND_LAWS)
def incoming_gradient(s: RowOperandSubject) -> None:
    """Other than 1 for "mean"; a second backward gives the same."""
    for small in (ITEMS, ()):
        x, t, *_ = s.batch()
        leaves = [leaf(x), *(leaf(s.operand(k, small)) for k in range(len(s.names)))]
        value = s(leaves[0], t, *leaves[1:])
        first = gradient(value, *leaves, keep=True)
        for factor in (0.5, -3.0, 1.0):
            again = gradient(value, *leaves, incoming=torch.full_like(value, factor), keep=True)
            for g, expected in zip(again, first, strict=True):
                require_close(g, factor * expected, 8 * s.tolerance, f"gradient for an incoming {factor}, operands of shape {small}")


@law("the gradients of operands have the same bits for any number of threads", ROW_OPERAND_LAWS)
def deterministic(s: RowOperandSubject) -> None:
    """On enough items for every thread to have some."""
    x, t, *_ = s.batch((40001,))
    leaves = [leaf(x), *(leaf(s.operand(k, ())) for k in range(len(s.names)))]
    threads, found = torch.get_num_threads(), []
    try:
        for number in (2, 1, 3):
            torch.set_num_threads(number)
            value = s(leaves[0], t, *leaves[1:])
            found.append((value.detach(), *gradient(value, *leaves)))
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        for got, expected in zip(other, found[0], strict=True):
            require_same_bits(got, expected, "with other threads")


@law("second derivatives are right (create_graph=True)", ROW_OPERAND_LAWS)
def second_derivative(s: RowOperandSubject) -> None:
    """Against finite differences of the gradient, in float64."""
    x, t, *operands = s.batch((3,), torch.float64)
    try:
        torch.autograd.gradgradcheck(lambda z, *own: s(z, t, *own, reduction="none"), (leaf(x), *map(leaf, operands)), atol=1e-5, rtol=1e-4)
    except RuntimeError as error:
        raise LawBroken(str(error).strip().splitlines()[0]) from None


@law("torch.func: grad, vmap and jvp by operands", ROW_OPERAND_LAWS)
def transforms(s: RowOperandSubject) -> None:
    """Against plain backward."""
    x, t, *operands = s.batch()
    leaves = [leaf(x), *map(leaf, operands)]
    expected = gradient(s(leaves[0], t, *leaves[1:], reduction="sum"), *leaves)
    places = (0, *range(2, 2 + len(operands)))
    with refusals():
        found = torch.func.vmap(torch.func.grad(lambda *z: s(*z, reduction="sum"), argnums=places))(x, t, *operands)
        changes = tuple(torch.ones_like(y) for y in (x, *operands))
        slope = torch.func.jvp(lambda z, *own: s(z, t, *own, reduction="sum"), (x, *operands), changes)[1]
    for g, reference in zip(found, expected, strict=True):
        if bool(((g - reference).abs() > 64 * s.tolerance * (1.0 + reference.abs())).any()):
            raise LawBroken("vmap(grad) is not plain backward")
    if abs(slope.item() - sum(g.sum().item() for g in expected)) > 1e-5:
        raise LawBroken(f"jvp {slope.item()!r}")


@law("torch.compile takes it whole", ROW_OPERAND_LAWS)
def compiled(s: RowOperandSubject) -> None:
    """Gradients of operands included."""
    torch._dynamo.reset()
    x, t, *operands = s.batch()
    leaves = [leaf(x), *map(leaf, operands)]
    expected = s(leaves[0], t, *leaves[1:])
    with refusals():
        got = torch.compile(lambda z, *own: s(z, t, *own), fullgraph=True, backend="eager")(*leaves)
    for g, reference in zip((got, *gradient(got, *leaves)), (expected, *gradient(expected, *leaves)), strict=True):
        if bool(((g - reference).abs() > 64 * s.tolerance * (1.0 + reference.abs())).any()):
            raise LawBroken("compiled and eager differ")


@law("bad operands are refused by name, with what came, where, and the way out", ROW_OPERAND_LAWS)
def messages(s: RowOperandSubject) -> None:
    """Numbers out of range, in a tensor or plain; where nobody may look, NaN in that item alone. Shapes, integers, another device."""
    values = s.batch()
    for k, name in enumerate(s.names):
        bad = OUT[RANGES[name]]

        def given(wrong: Any, k: int = k, **extra: Any) -> Any:
            return s(*(wrong if i == k + 2 else y for i, y in enumerate(values)), **extra)

        wrong = values[k + 2].clone()
        wrong[3] = bad
        for reduction in ("mean", "none"):
            refused(partial(given, wrong, reduction=reduction), ValueError, f"{name} must be {RANGES[name]}, got {bad:g} at index (3,)", f"({name})")
        refused(partial(given, bad), ValueError, name)
        keep = torch.arange(6) != 3
        if not math.isfinite(given(wrong, mask=keep).item()):
            raise LawBroken(f"{name} = {bad} under the mask")
        seen = torch.func.vmap(lambda *z: s(*z, reduction="none"))(*(wrong if i == k + 2 else y for i, y in enumerate(values)))
        if not torch.equal(seen.isnan(), ~keep):
            raise LawBroken(f"{name} = {bad} under vmap: NaN in {int(seen.isnan().sum())} items, expected one")
        refused(partial(given, torch.ones(6, dtype=torch.long)), TypeError, f"{name} must be a floating-point tensor, got torch.int64: try {name}.float()")
        refused(partial(given, torch.ones(5)), ValueError, f"{name} has shape (5,), which does not broadcast to the target's shape (6,)")
        refused(partial(given, torch.ones(6, device="meta")), ValueError, f"{name} is on meta", "cpu")
        refused(partial(given, "much"), TypeError, f"{name} must be", "str")
