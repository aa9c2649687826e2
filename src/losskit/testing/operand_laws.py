"""The laws of operands: what a loss promises of a variance, a scale, degrees of freedom, each as one function that raises `LawBroken` with a counterexample."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from losskit.contract.registry import LABELS
from losskit.testing import oracles
from losskit.testing.operands import OperandSubject, exact
from losskit.testing.subject import LawBroken, NotOffered, at, gradient, leaf, refusals, refused, require_close, require_same_bits
from losskit.testing.tables import OPERAND_LAWS, law


def against_oracle(s: OperandSubject, numbers: tuple[Tensor, ...]) -> None:
    """Value and every gradient are within the registry's tolerance."""
    book = exact(s, numbers)
    leaves = [leaf(y) for y in numbers]
    grads = gradient(s(*leaves, reduction="sum"), *leaves)
    checks = [("value", s(*numbers, reduction="none"), [e.value for e in book], [e.scale for e in book])]
    for k, name in enumerate(("input", "target", *s.names)):
        checks.append((f"gradient to {name}", grads[k], [e.by[k] for e in book], [e.scales[k] for e in book]))
    for what, got, expected, scale in checks:
        allowed = max(s.tolerance, 0.51 * torch.finfo(got.dtype).eps)
        worst = oracles.worst_error(got, expected, scale)
        if not worst.error <= allowed:
            shown = ", ".join(f"{name} = {at(y, worst.place)}" for name, y in zip(("x", "t", *s.names), numbers, strict=True))
            raise LawBroken(f"{what} {worst.got!r}, exact {worst.expected!r} at {shown} (error {worst.error:.1e}, allowed {allowed:.1e})")


@law("value and every gradient are those of the textbook on an ordinary batch", OPERAND_LAWS)
def textbook(s: OperandSubject) -> None:
    """One number of each operand per element."""
    against_oracle(s, tuple(y.reshape(-1) for y in s.batch((6, 8))))


@law("value and every gradient keep their digits over the whole ranges of input, target and operands", OPERAND_LAWS)
def error_budget(s: OperandSubject) -> None:
    """Tiny and huge variances beside tiny and huge errors."""
    against_oracle(s, s.extremes())


SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((5, 7), ()),
    ((5, 7), (1,)),
    ((5, 7), (7,)),
    ((5, 7), (5, 1)),
    ((5, 7), (1, 7)),
    ((3, 4, 6), (4,)),  # along the class axis
    ((3, 4, 6), (4, 1)),
    ((3, 4, 6), (3, 1, 6)),
    ((300, 257), ()),  # of more than one chunk
    ((300, 257), (257,)),
)


def spread(y: Tensor, shape: tuple[int, ...]) -> Tensor:
    """An operand as the contract broadcasts it: a vector lies along the class axis."""
    return (y[:, None] if len(shape) == 3 and y.dim() == 1 and len(y) == shape[1] else y).expand(shape)


@law("an operand of a smaller shape is the same as one expanded, and its gradient is the sum", OPERAND_LAWS)
def shapes(s: OperandSubject) -> None:
    """One number in all, per class, per item; under every reduction."""
    for shape, small in SHAPES:
        x, t, *_ = s.batch(shape)
        narrow = [leaf(s.operand(facts, small)) for facts in s.facts]
        wide = [leaf(spread(y.detach(), shape)) for y in narrow]
        a, b = leaf(x), leaf(x)
        for reduction in ("none", "sum", "mean"):
            got, expected = s(a, t, *narrow, reduction=reduction), s(b, t, *wide, reduction=reduction)
            where = f"operands of shape {small} for {shape}, {reduction!r}"
            require_close(got, expected, s.tolerance, f"value with {where}")
            grads, full = gradient(got, a, *narrow), gradient(expected, b, *wide)
            require_close(grads[0], full[0], s.tolerance, f"gradient to the input with {where}")
            for name, y, g, each in zip(s.names, narrow, grads[1:], full[1:], strict=True):
                each = each.double()
                total, terms = summed(each, shape, y.shape), summed(each.abs(), shape, y.shape)
                if g.shape != y.shape or g.dtype != y.dtype:
                    raise LawBroken(f"gradient to {name}: shape {tuple(g.shape)} and {g.dtype} with {where}")
                off = (g.double() - total).abs() > s.tolerance * terms
                if bool(off.any()):
                    raise LawBroken(f"gradient to {name} with {where}: {g[off][0].item()!r}, the sum is {total[off][0].item()!r}")


def summed(each: Tensor, shape: tuple[int, ...], small: torch.Size) -> Tensor:
    """The sum over what an operand of the small shape serves."""
    y = torch.zeros(small, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(spread(y, shape), y, each)[0]


@law("an operand may be a plain number", OPERAND_LAWS)
def numbers(s: OperandSubject) -> None:
    """As a tensor of that number, up to the last digits."""
    x, t, *operands = s.batch()
    values = [y.flatten()[0].item() for y in operands]
    a, b = leaf(x), leaf(x)
    got, expected = s(a, t, *values), s(b, t, *(torch.full_like(x, v) for v in values))
    require_close(got, expected, s.tolerance, f"value with {values}")
    require_close(gradient(got, a)[0], gradient(expected, b)[0], s.tolerance, f"gradient to the input with {values}")


@law("half precision: an operand is read as it is, and its gradient is rounded once", OPERAND_LAWS)
def half_precision(s: OperandSubject) -> None:
    """Beside an input of the same dtype and beside one of float32; also where the gradient is a sum of many, and under a loss scale."""
    for dtype, beside in product((torch.bfloat16, torch.float16), (None, torch.float32)):
        for shape, small in (((5, 7), (5, 7)), ((70, 50), (50,)), ((70, 50), ())):
            x, t, *_ = s.batch(shape, beside or dtype)
            operands = [leaf(s.operand(facts, small, dtype)) for facts in s.facts]
            wide = [leaf(y.detach().to(x.dtype if x.dtype is torch.float64 else torch.float32)) for y in operands]
            for reduction, incoming in product(("sum", "mean", "none"), (1.0, 64.0)):
                got, expected = s(leaf(x), t, *operands, reduction=reduction), s(leaf(x.float()), t.float(), *wide, reduction=reduction)
                what = f"{dtype} of shape {small} for {x.dtype}, {reduction!r}"
                require_close(got, expected, s.tolerance, f"value with operands of {what}")
                scaled = torch.full_like(got, incoming)
                for name, g, reference in zip(s.names, gradient(got, *operands, incoming=scaled), gradient(expected, *wide, incoming=scaled), strict=True):
                    if g.dtype is not dtype:
                        raise LawBroken(f"gradient to {name} of {what} is {g.dtype}")
                    fits = (reference.abs() < torch.finfo(dtype).max) & (reference.abs() > torch.finfo(dtype).tiny)
                    allowed = torch.finfo(dtype).eps / 2 + 8 * s.tolerance
                    require_close(g[fits].double(), reference[fits].double(), allowed, f"gradient to {name} of {what}, incoming {incoming}")


@law("whichever tensors require a gradient, each gets the same", OPERAND_LAWS)
def subsets(s: OperandSubject) -> None:
    """Input, target and operands, any of them."""
    numbers = s.batch()
    for reduction, small in product(("mean", "none"), (False, True)):
        held = [*numbers[:2], *(s.operand(facts, (7,)) for facts in s.facts)] if small else list(numbers)
        everything = [leaf(y) for y in held]
        full = gradient(s(*everything, reduction=reduction), *everything)
        for wanted in product((False, True), repeat=len(held)):
            if not any(wanted):
                continue
            some = [leaf(y) if w else y for y, w in zip(held, wanted, strict=True)]
            found = gradient(s(*some, reduction=reduction), *(y for y, w in zip(some, wanted, strict=True) if w))
            for g, expected in zip(found, (g for g, w in zip(full, wanted, strict=True) if w), strict=True):
                allowed = max(s.tolerance, 1e-6 if s.real is torch.float32 else 1e-14)  # loops that write other gradients round other steps
                require_close(g, expected, allowed, f"gradient with requires_grad {wanted}, {reduction!r}")


GARBAGE = (math.nan, math.inf, -math.inf, -7.0, 0.0)


def spoil(y: Tensor, keep: Tensor, finite: bool = False) -> Tensor:
    """Garbage where nothing counts: numbers out of range, too."""
    junk = torch.tensor(GARBAGE).repeat(y.numel() // len(GARBAGE) + 1)[: y.numel()].reshape(y.shape).to(y.dtype)
    return torch.where(keep, y, junk.nan_to_num(-1.0, -1.0, -1.0) if finite else junk)


@law("masking an item equals deleting it, for the gradients of operands, too", OPERAND_LAWS)
def mask_deletes(s: OperandSubject) -> None:
    """By a mask or by a weight of 0; whatever lies there. Then a whole class, whose operand is garbage."""
    values = s.batch()
    keep = torch.rand(values[0].shape, generator=torch.Generator().manual_seed(1)) < 0.6
    for reduction, extra in product(("mean", "sum", "none"), ({"mask": keep}, {"sample_weight": keep.to(torch.float32)})):
        settings = [False, False, *(not facts.predicted for facts in s.facts)]  # must be finite unless a mask says that they do not count
        spoilt = [leaf(spoil(y, keep, setting and "mask" not in extra)) for y, setting in zip(values, settings, strict=True)]
        kept = [leaf(y[keep]) for y in values]
        got, expected = s(*spoilt, reduction=reduction, **extra), s(*kept, reduction=reduction)
        require_close(got[keep] if reduction == "none" else got, expected, s.tolerance, f"value, {reduction!r}, {next(iter(extra))}")
        for name, g, reference in zip(("input", "target", *s.names), gradient(got, *spoilt), gradient(expected, *kept), strict=True):
            what = f"gradient to {name}, {reduction!r}, {next(iter(extra))}"
            require_close(g[keep], reference, s.tolerance, f"{what}, where it counts")
            require_close(g[~keep], torch.zeros_like(g[~keep]), 0.0, f"{what}, where it does not")
    x, t, *_ = values
    classes = torch.tensor([True, True, False, True, False, True, True])
    vectors = [s.operand(facts, (7,)) for facts in s.facts]
    spoilt, kept = [leaf(spoil(y, classes)) for y in vectors], [leaf(y[classes]) for y in vectors]
    got, expected = s(x, t, *spoilt, mask=classes), s(x[:, classes], t[:, classes], *kept)
    require_close(got, expected, s.tolerance, "mean with masked classes")
    for name, g, reference in zip(s.names, gradient(got, *spoilt), gradient(expected, *kept), strict=True):
        require_close(g[classes], reference, 8 * s.tolerance, f"gradient to {name} per class")
        require_close(g[~classes], torch.zeros(2, dtype=g.dtype), 0.0, f"gradient to {name} of masked classes")


@law("nothing left to count: 0, with zero gradients for operands, too", OPERAND_LAWS)
def nothing_left(s: OperandSubject) -> None:
    """Everything masked, over NaN; operands of every shape; and no items at all."""
    for small in ((5, 7), (7,), ()):
        x, t, *_ = s.batch()
        for shown, p, q, extra in (
            ("everything masked", torch.full_like(x, math.nan), t, {"mask": torch.zeros(7, dtype=torch.bool)}),
            ("no items", x[:0], t[:0], {}),
        ):
            operands = [leaf(s.operand(facts, (0, 7) if len(small) == 2 and not len(p) else small)) for facts in s.facts]
            value = s(leaf(p), q, *operands, **extra)
            if value.item() != 0:
                raise LawBroken(f"{shown}: {value.item()}, expected 0")
            for name, y, g in zip(s.names, operands, gradient(value, *operands), strict=True):
                require_close(g, torch.zeros_like(y), 0.0, f"gradient to {name}, {shown}, shape {small}")


@law("a NaN in what was predicted stays in its item; in a setting it is refused", OPERAND_LAWS)
def nan_stays(s: OperandSubject) -> None:
    """In value and every gradient."""
    values = s.batch()
    for k, facts in enumerate(s.facts):
        if not facts.predicted:
            some = [y.masked_fill(y == y[2, 3], math.nan) if i == k + 2 else y for i, y in enumerate(values)]
            refused(partial(s, *some), ValueError, f"{facts.name} must be finite, got nan at index (2, 3)")
    whole = [leaf(y) for y in values]
    each = s(*whole, reduction="none")
    full = gradient(each, *whole)
    for k, name in enumerate(s.names):
        if not s.facts[k].predicted:
            continue
        bad = torch.zeros(values[0].shape, dtype=torch.bool)
        bad[2] = True
        some = [leaf(y.masked_fill(bad, math.nan) if i == k + 2 else y) for i, y in enumerate(values)]
        got = s(*some, reduction="none")
        require_close(got, each.masked_fill(bad, math.nan), s.tolerance, f"value with NaN in {name}")
        for i, g in enumerate(gradient(got, *some)):
            require_close(g[~bad], full[i][~bad], s.tolerance, f"gradient {i} with NaN in {name}")
        if not bool(gradient(s(*some, reduction="none"), *some)[k + 2][bad].isnan().all()):
            raise LawBroken(f"the gradient to {name} is not NaN where it is NaN")


@law("any incoming gradient is multiplied into the gradients of operands", OPERAND_LAWS)
def incoming_gradient(s: OperandSubject) -> None:
    """Not uniform for "none"; other than 1 for "mean"; a second backward gives the same."""
    for small in ((5, 7), (7,), ()):
        x, t, *_ = s.batch()
        a, operands = leaf(x), [leaf(s.operand(facts, small)) for facts in s.facts]
        wide = [leaf(y.detach().expand(x.shape)) for y in operands]
        leaves = (a, *operands)
        per_element = gradient(s(leaf(x), t, *wide, reduction="none"), *wide)
        each = s(*leaves[:1], t, *operands, reduction="none")
        incoming = torch.randn(x.shape, generator=torch.Generator().manual_seed(4)).to(each.dtype)
        found = torch.autograd.grad(each, leaves, incoming)
        for name, g, whole, y in zip(s.names, found[1:], per_element, operands, strict=True):
            terms = whole.double() * incoming.double()
            off = (g.double() - summed(terms, x.shape, y.shape)).abs() > 4 * s.tolerance * summed(terms.abs(), x.shape, y.shape)
            if bool(off.any()):
                raise LawBroken(f"gradient to {name} of shape {small} for a non-uniform incoming one: {g[off][0].item()!r}")
        value = s(a, t, *operands)
        first = torch.autograd.grad(value, leaves, torch.ones_like(value), retain_graph=True)
        for factor in (0.5, -3.0, 1.0, 1.0):
            for g, expected in zip(torch.autograd.grad(value, leaves, torch.full_like(value, factor), retain_graph=True), first, strict=True):
                terms = expected.abs() + 1e-30
                if bool(((g - factor * expected).abs() > 8 * s.tolerance * abs(factor) * terms + 1e-7 * terms.max()).any()):
                    raise LawBroken(f'gradient of "mean" for an incoming {factor}, operands of shape {small}')


@law("the gradients of operands have the same bits for any number of threads", OPERAND_LAWS)
def deterministic(s: OperandSubject) -> None:
    """An operand per element, per class, one in all; on enough items for every thread to have some."""
    for small in ((70001, 3), (3,), ()):
        x, t, *_ = s.batch((70001, 3))
        leaves = [leaf(x), t, *(leaf(s.operand(facts, small)) for facts in s.facts)]

        def run(threads: int, leaves: Sequence[Tensor] = leaves) -> tuple[Tensor, ...]:
            before = torch.get_num_threads()
            torch.set_num_threads(threads)
            try:
                value = s(*leaves)
                return value.detach(), *gradient(value, *(y for y in leaves if y.requires_grad))
            finally:
                torch.set_num_threads(before)

        first = run(2)
        for threads in (2, 1, 3):
            for what, got, expected in zip(("value", "gradient to the input", *s.names), run(threads), first, strict=True):
                require_same_bits(got, expected, f"{what} with {threads} threads and with 2, operands of shape {small}")


@law("second derivatives of operands are right (create_graph=True)", OPERAND_LAWS)
def second_derivative(s: OperandSubject) -> None:
    """Against finite differences of the gradient, in float64; an operand per element, and one in all."""
    for small in ((6,), ()):
        x, t, *_ = s.batch((6,), torch.float64, seed=5)
        t = 0.1 + 0.8 * t if s.loss.target == "unit" else t  # which has neighbours on both sides
        operands = [s.operand(facts, small, torch.float64).requires_grad_(facts.range != LABELS) for facts in s.facts]  # labels have no neighbours
        try:
            torch.autograd.gradgradcheck(lambda *numbers: s(*numbers, reduction="none"), (leaf(x), leaf(t), *operands), atol=1e-5, rtol=1e-4)
        except RuntimeError as error:
            raise LawBroken(f"in float64, operands of shape {small}: {str(error).strip().splitlines()[0]}") from None


@law("torch.func: grad, vmap and jvp by operands", OPERAND_LAWS)
def transforms(s: OperandSubject) -> None:
    """Against plain backward."""
    s = s.with_dtype(s.real)
    values = s.batch()
    leaves = [leaf(y) for y in values]
    expected = gradient(s(*leaves, reduction="sum"), *leaves)
    each = s(*values, reduction="none")
    places = tuple(range(len(values)))

    def total(*numbers: Tensor) -> Tensor:
        return s(*numbers, reduction="sum")

    with refusals():
        found = torch.func.vmap(torch.func.grad(total, argnums=places))(*values)
        require_close(torch.func.vmap(lambda *z: s(*z, reduction="none"))(*values), each, 4 * s.tolerance, "vmap")
        tangents = tuple(torch.linspace(-1, 1 + k, 35, dtype=y.dtype).reshape(5, 7) for k, y in enumerate(values))
        slope = torch.func.jvp(total, values, tangents)[1]
    for name, g, reference in zip(("input", "target", *s.names), found, expected, strict=True):
        off = (g - reference).abs() > 8 * s.tolerance * (reference.abs() + 1.0)
        if bool(off.any()):
            raise LawBroken(f"vmap(grad) by {name}: {g[off][0].item()!r}, plain backward gives {reference[off][0].item()!r}")
    terms = [(g.double() * v.double()) for g, v in zip(expected, tangents, strict=True)]
    if abs(slope.item() - sum(x.sum().item() for x in terms)) > 1e-5 * sum(x.abs().sum().item() for x in terms):
        raise LawBroken(f"jvp {slope.item()!r}, expected {sum(x.sum().item() for x in terms)!r}")


@law("torch.compile takes it whole, gradients of operands included", OPERAND_LAWS)
def compiled(s: OperandSubject) -> None:
    """Without graph breaks; the first operand is one number in all, the others have one per element."""
    torch._dynamo.reset()
    x, t, *_ = s.batch()
    leaves = [leaf(x), t, *(leaf(s.operand(facts, (5, 7) if k else ())) for k, facts in enumerate(s.facts))]
    wanted = [y for y in leaves if y.requires_grad]
    expected = s(*leaves)
    with refusals():
        got = torch.compile(lambda *numbers: s(*numbers), fullgraph=True, backend="eager")(*leaves)
    require_close(got, expected, 4 * s.tolerance, "compiled value")
    for g, reference in zip(gradient(got, *wanted), gradient(expected, *wanted), strict=True):
        if bool(((g - reference).abs() > 8 * s.tolerance * (reference.abs() + 1.0 / x.numel())).any()):
            raise LawBroken(f"compiled gradient: {g.flatten()[0].item()!r}, eager {reference.flatten()[0].item()!r}")


@law("a number out of range is refused by name and place; where nobody may look, it gives NaN in its item alone", OPERAND_LAWS)
def out_of_range(s: OperandSubject) -> None:
    """A plain number as well; masked, it does not matter."""
    ranged = [(k, facts) for k, facts in enumerate(s.facts) if facts.range != "real"]
    if not ranged:
        raise NotOffered("every real number is in range")
    values = s.batch()
    for k, facts in ranged:
        for bad in (-0.5, -math.inf) if facts.range == ">= 0" else (0.0, -0.5):
            wrong = values[k + 2].clone()
            wrong[1, 3] = bad
            some = [wrong if i == k + 2 else y for i, y in enumerate(values)]
            for reduction in ("mean", "none"):
                told = f"{facts.name} must be {facts.range if facts.predicted or math.isfinite(bad) else 'finite'}, got {bad:g}"
                refused(partial(s, *some, reduction=reduction), ValueError, told, "at index (1, 3)")
            some[k + 2] = wrong.requires_grad_()
            refused(partial(s, *some), ValueError, told, "at index (1, 3)")
            plain: list[Any] = list(values)
            plain[k + 2] = bad
            refused(partial(s, *plain), ValueError, facts.name, "finite" if bad == -math.inf else facts.range)
            keep = torch.ones(5, 7, dtype=torch.bool)
            keep[1, 3] = False
            if not math.isfinite(s(*some, mask=keep).item()):
                raise LawBroken(f"{facts.name} = {bad} under the mask")
            seen = torch.func.vmap(lambda *z: s(*z, reduction="none"))(*(y.detach() for y in some))
            if not torch.equal(seen.isnan(), ~keep):
                raise LawBroken(f"{facts.name} = {bad} under vmap: NaN in {int(seen.isnan().sum())} items, expected one")


@law("bad operands are refused by name, with what came and what was expected", OPERAND_LAWS)
def messages(s: OperandSubject) -> None:
    """Integers, shapes that do not broadcast, another device, things that are no numbers."""
    values = s.batch()
    for k, name in enumerate(s.names):

        def given(wrong: object, k: int = k) -> Callable[[], object]:
            return lambda: s(*(wrong if i == k + 2 else y for i, y in enumerate(values)))  # type: ignore[arg-type]

        if s.facts[k].range != LABELS:
            refused(given(torch.ones(5, 7, dtype=torch.long)), TypeError, f"{name} must be a floating-point tensor, got torch.int64", f"{name}.float()")
        refused(given(torch.ones(5, 6)), ValueError, f"{name} has shape (5, 6)", "(5, 7)")
        refused(given(torch.ones(5)), ValueError, f"{name} has shape (5,)", "reshape(-1, 1)")
        refused(given(torch.ones(2, 5, 7)), ValueError, f"{name} has shape (2, 5, 7)", "(5, 7)")
        refused(given(torch.ones(5, 7, device="meta")), ValueError, f"{name} is on meta", "cpu")
        refused(given("much"), TypeError, f"{name} must be", "str")
        refused(given(True), TypeError, f"{name} must be a number, got bool")


@law("every size may be 0 or 1", OPERAND_LAWS)
def sizes(s: OperandSubject) -> None:
    """Of input and operands, on every axis."""
    for shape in product((0, 1, 2), repeat=2):
        for small in (shape, shape[1:], (1, shape[1]), (shape[0], 1), (1,), ()):
            x, t, *_ = s.batch(shape)
            leaves = [leaf(x), leaf(t), *(leaf(s.operand(facts, small)) for facts in s.facts)]
            for reduction in ("none", "mean"):
                value = s(*leaves, reduction=reduction)
                for y, g in zip(leaves, gradient(value, *leaves), strict=True):
                    if g.shape != y.shape or not bool(g.isfinite().all()):
                        raise LawBroken(
                            f"input of shape {shape}, operands of {small}: a gradient of shape {tuple(g.shape)} for {tuple(y.shape)}, or not finite"
                        )
    x, t, *_ = s.batch(())
    value = s(x, t, *(s.operand(facts, ()) for facts in s.facts), reduction="none")
    if value.shape != ():
        raise LawBroken(f"a single number gives shape {tuple(value.shape)}")
