"""The laws: what every loss promises, each as one small function that raises `LawBroken` with a counterexample.

A law that needs an argument the callable lacks raises `NotOffered`. `LAWS` lists them all with what they say, in the order of a report.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from losskit.contract import checks
from losskit.testing import inputs, oracles
from losskit.testing.subject import LawBroken, NotOffered, Subject, gradient, leaf, refusals, require_close, require_raises, require_same_bits

Law = Callable[[Subject], None]


class Statement(NamedTuple):
    """A law and what it says."""

    law: Law
    says: str


LAWS: dict[str, Statement] = {}


def law(says: str) -> Callable[[Law], Law]:
    """Enter a law into the list."""

    def enter(function: Law) -> Law:
        LAWS[function.__name__] = Statement(function, says)
        return function

    return enter


def _against_oracle(s: Subject, x: Tensor, t: Tensor, *, to_target: bool = False, tolerance: float | None = None) -> None:
    exact = oracles.exact(s.loss, s.settings, x, t, to_target=to_target)
    a, b = leaf(x), leaf(t)
    checks: list[tuple[str, Tensor, list[Any], list[Any] | None]]
    by_input = [e.grad_input for e in exact], [e.scale_input for e in exact]
    if to_target:
        grads = gradient(s.each(a, b), a, b)
        checks = [("gradient", grads[0], *by_input), ("gradient to the target", grads[1], [e.grad_target for e in exact], [e.scale_target for e in exact])]
    else:  # the gradient of the sum: the pass that training runs
        total = s(a, t, reduction="sum") if s.offers("reduction") else s.each(a, t)
        checks = [("value", s.each(x, t), [e.value for e in exact], [e.scale_value for e in exact]), ("gradient", gradient(total, a)[0], *by_input)]
    for what, got, expected, scale in checks:
        allowed = max(s.tolerance if tolerance is None else tolerance, 0.51 * torch.finfo(got.dtype).eps)
        worst = oracles.worst_error(got, expected, scale)
        if not worst.error <= allowed:
            i = worst.place
            raise LawBroken(
                f"{what} {worst.got!r}, exact {worst.expected!r} at x = {x[i].item()!r}, t = {t[i].item()!r} (error {worst.error:.1e}, allowed {allowed:.1e})"
            )


@law("the value and the gradient are those of the textbook formula")
def textbook(s: Subject) -> None:
    """On an ordinary batch; a loose tolerance, for `error_budget` is the strict one."""
    x, t = (z.reshape(-1) for z in s.batch((8, 8)))
    _against_oracle(s, x, t, tolerance=max(1e-4, s.tolerance) if s.real is torch.float32 else 1e-9)


@law("value and gradient keep their digits over the whole range of inputs")
def error_budget(s: Subject) -> None:
    """Within the registry's tolerance from the smallest to the largest inputs, wherever the exact result is a normal number."""
    x, t = inputs.pairs(s.loss, s.settings, s.dtype)
    if s.dtype is torch.float64:  # where the oracle needs more digits, and more time
        x, t = x[::5], t[::5]
    _against_oracle(s, x, t)


@law("the gradient to the target is exact")
def target_gradient(s: Subject) -> None:
    """Distillation and learned targets need it."""
    x, t = inputs.pairs(s.loss, s.settings, s.dtype)
    _against_oracle(s, x[::2], t[::2], to_target=True)


@law('"none", "sum" and "mean" agree')
def reductions_agree(s: Subject) -> None:
    """The sum is the sum of the items, the mean that over their number, and so are the gradients."""
    x, t = s.batch()
    a, b = leaf(x), leaf(t)
    each = s.each(a, b)
    grad, _ = gradient(each, a, b)
    for reduction, denominator in (("sum", 1), ("mean", x.numel())):
        value = s(a, t, reduction=reduction)
        if value.shape != ():
            raise LawBroken(f'reduction="{reduction}" has shape {tuple(value.shape)}')
        require_close(value, each.double().sum() / denominator, s.tolerance, f'value of "{reduction}"')
        if s.dtype in (torch.float32, torch.float64):
            require_close(gradient(value, a)[0], grad / denominator, s.tolerance, f'gradient of "{reduction}"', x, t)


GARBAGE = (math.nan, math.inf, -math.inf, 1e38, -7.0)


def _spoil(x: Tensor, keep: Tensor) -> Tensor:
    """Garbage where nothing counts."""
    junk = torch.tensor(GARBAGE).repeat(x.numel() // len(GARBAGE) + 1)[: x.numel()].reshape(x.shape).to(x.dtype)
    return torch.where(keep, x, junk)


@law("masking an item equals deleting it, whatever lies under the mask")
def mask_deletes(s: Subject) -> None:
    """Value, denominator and gradient; inputs, targets and weights under the mask are NaN, infinite or out of domain."""
    x, t = s.batch()
    draw = torch.Generator().manual_seed(1)
    for mask in (torch.rand(5, 7, generator=draw) < 0.6, torch.rand(7, generator=draw) < 0.6, torch.tensor([[True], [False], [True], [True], [False]])):
        keep = mask.expand(x.shape)
        a, kept = leaf(_spoil(x, keep)), leaf(x[keep])
        b = _spoil(t, keep)
        for reduction in ("mean", "sum", "none"):
            got, expected = s(a, b, mask=mask, reduction=reduction), s(kept, t[keep], reduction=reduction)
            (grad,), (expected_grad,) = gradient(got, a), gradient(expected, kept)
            if reduction == "none":
                require_close(got[~keep], torch.zeros(int((~keep).sum())), 0.0, 'loss of masked items with "none"')
                got = got[keep]
            require_close(got, expected, s.tolerance, f'value with reduction="{reduction}" and a mask of shape {tuple(mask.shape)}')
            require_close(grad[keep], expected_grad, s.tolerance, f'gradient of kept items with reduction="{reduction}"')
            require_close(grad[~keep], torch.zeros_like(grad[~keep]), 0.0, f'gradient of masked items with reduction="{reduction}"')


@law("weights under the mask do not matter either, and a mask works beside weights")
def mask_beside_weights(s: Subject) -> None:
    """NaN weights under the mask."""
    x, t = s.batch()
    draw = torch.Generator().manual_seed(2)
    mask, weight = torch.rand(x.shape, generator=draw) < 0.5, torch.rand(x.shape, generator=draw)
    got = s(_spoil(x, mask), _spoil(t, mask), mask=mask, sample_weight=torch.where(mask, weight, math.nan), reduction="mean")
    require_close(got, s(x[mask], t[mask], sample_weight=weight[mask], reduction="mean"), s.tolerance, "mean with mask and NaN weights under it")


@law("the weighted mean is sum(w l) / sum(w), and an item of weight 0 is absent")
def weighted_mean(s: Subject) -> None:
    """Weights of the input's shape, a row's, a column's; 0 hides garbage."""
    x, t = s.batch()
    each = s.each(x, t).double()
    draw = torch.Generator().manual_seed(3)
    for shape in ((5, 7), (7,), (5, 1), ()):
        weight = torch.rand(shape, generator=draw) + 0.1
        if shape == (5, 7):
            weight[1, :] = 0
        keep = (weight != 0).expand(x.shape)
        full = weight.double().expand(x.shape)
        a = leaf(_spoil(x, keep))
        for reduction, denominator in (("mean", full.sum()), ("sum", 1.0), ("none", 1.0)):
            got = s(a, _spoil(t, keep), sample_weight=weight, reduction=reduction)
            expected = torch.where(keep, full * each, 0.0)
            require_close(got, (expected if reduction == "none" else expected.sum()) / denominator, s.tolerance, f'"{reduction}" with weights of shape {shape}')
            plain = leaf(x)
            (reference,) = gradient(s.each(plain, t), plain, incoming=(torch.where(keep, full, 0.0) / denominator).to(s.real))
            require_close(gradient(got, a)[0], reference, 2 * s.tolerance, f'gradient of "{reduction}" with weights of shape {shape}')


@law("a big batch equals accumulated small ones (normalizer)")
def accumulation(s: Subject) -> None:
    """With a number and with a 0-d tensor; the gradients add up as well."""
    x, t = s.batch((12, 5))
    a = leaf(x)
    whole = s(a, t, reduction="mean")
    (grad,) = gradient(whole, a)
    for normalizer in (x.numel(), float(x.numel()), torch.tensor(x.numel()), torch.tensor(float(x.numel()))):
        b = leaf(x)
        parts = [s(p, q, normalizer=normalizer, reduction="mean") for p, q in zip(b.split(5), t.split(5), strict=True)]
        require_close(torch.stack(parts).double().sum(), whole, s.tolerance, f"accumulated value with normalizer={normalizer!r}")
        require_close(gradient(torch.stack(parts).sum(), b)[0], grad, s.tolerance, "accumulated gradient", x, t)


@law("nothing left to count gives 0, attached to the graph, with zero gradients")
def nothing_left(s: Subject) -> None:
    """An empty batch; then everything masked (over NaN); then weights that are all 0."""
    x, t = s.batch()
    none = torch.zeros(x.shape, dtype=torch.bool)
    cases: list[tuple[str, Tensor, Tensor, dict[str, Tensor]]] = [("an empty batch", x[:0], t[:0], {})]
    if s.offers("mask"):
        cases.append(("everything masked", torch.full_like(x, math.nan), torch.full_like(t, math.nan), {"mask": none}))
    if s.offers("sample_weight"):
        cases.append(("weights all 0", x, t, {"sample_weight": torch.zeros(7)}))
    for what, p, q, extra in cases:
        for reduction in ("mean", "sum"):
            a = leaf(p)
            value = s(a, q, reduction=reduction, **extra)
            if value.item() != 0:
                raise LawBroken(f'{what}, reduction="{reduction}": {value.item()}, expected 0')
            require_close(gradient(value, a)[0], torch.zeros_like(a), 0.0, f"gradient of {what}")


@law("a NaN stays in its item")
def nan_stays(s: Subject) -> None:
    """NaN in gives NaN out, there and nowhere else, in value and gradient."""
    x, t = s.batch()
    a, b = leaf(x), leaf(t)
    each = s.each(a, b)
    grads = gradient(each, a, b)
    for p, q, what in ((x.index_fill(0, torch.tensor(2), math.nan), t, "input"), (x, t.index_fill(0, torch.tensor(2), math.nan), "target")):
        a, b = leaf(p), leaf(q)
        got = s.each(a, b)
        bad = p.isnan() | q.isnan()
        require_close(got, torch.where(bad, math.nan, each), s.tolerance, f"value with NaN in the {what}", p, q)
        by_input, by_target = gradient(got, a, b)
        require_close(by_input, torch.where(bad, math.nan, grads[0]), s.tolerance, f"gradient with NaN in the {what}", p, q)
        require_close(by_target[~bad], grads[1][~bad], s.tolerance, f"gradient to the target with NaN in the {what}")


@law("any incoming gradient is multiplied in")
def incoming_gradient(s: Subject) -> None:
    """Not uniform for "none"; other than 1 for "mean"; and a second backward gives the same."""
    x, t = s.batch()
    a = leaf(x)
    each = s.each(a, t)
    (grad,) = torch.autograd.grad(each, a, torch.ones_like(each), retain_graph=True)
    incoming = torch.randn(x.shape, generator=torch.Generator().manual_seed(4)).to(each.dtype)
    (got,) = torch.autograd.grad(each, a, incoming)
    require_close(got, grad * incoming, max(s.tolerance, 2 * torch.finfo(s.dtype).eps), "gradient for a non-uniform incoming one", x, t)
    value = s(a, t, reduction="mean")
    found = [torch.autograd.grad(value, a, torch.tensor(factor, dtype=value.dtype), retain_graph=True)[0] for factor in (0.5, -3.0, 1.0, 1.0)]
    for factor, got in zip((0.5, -3.0, 1.0, 1.0), found, strict=True):
        require_close(got, grad * (factor / x.numel()), max(s.tolerance, 2 * torch.finfo(s.dtype).eps), f'gradient of "mean" for an incoming {factor}', x, t)


@law("value and gradient have their limits at infinite inputs, and no NaN")
def infinite_inputs(s: Subject) -> None:
    """A finite limit is reached, an infinite one is infinite."""
    ends = inputs.infinities(inputs.domain(s.loss, s.settings), s.dtype)
    if not len(ends):
        raise NotOffered("probabilities are never infinite")
    for x in ends.tolist():
        for t in (0.0, 1.0):
            if any(bool(checks.OUTSIDE[s.loss.ranges[name][0]](torch.tensor(z))) for name, z in (("input", x), ("target", t)) if name in s.loss.ranges):
                continue
            a = torch.tensor([x], dtype=s.dtype, requires_grad=True)
            b = torch.tensor([t], dtype=s.dtype, requires_grad=True)
            value = s.each(a, b)
            grad, _ = gradient(value, a, b)
            for what, got, expected in zip(
                ("value", "gradient"), (value.item(), grad.item()), oracles.limit(s.loss, s.settings, x > 0, t, s.dtype), strict=True
            ):
                right = math.isinf(got) if expected is None else abs(got - expected) <= 2e-6 * abs(expected) + 1e-15
                if not right:
                    raise LawBroken(f"{what} at x = {x}, t = {t}: {got}, the limit is {'infinite' if expected is None else expected}")


@law("a probability of exactly 0 or 1 on the wrong side is read as the smallest positive number: finite value and gradient")
def sure_and_wrong(s: Subject) -> None:
    """float32: 103.28 times the loss's own factors."""
    if inputs.domain(s.loss, s.settings) != "probability":
        raise NotOffered("logits in")
    info = torch.finfo(s.real)
    floor = -math.log(info.tiny * info.eps) if s.real is torch.float32 else 744.4400719213812
    x, t = torch.tensor([0.0, 1.0, 0.0, 1.0], dtype=s.dtype), torch.tensor([1.0, 0.0, 0.0, 1.0], dtype=s.dtype)
    a, b = leaf(x), leaf(t)
    value = s.each(a, b)
    grad, _ = gradient(value, a, b)
    numbers = oracles.number_settings(oracles.context(s.dtype)[0], s.loss, s.settings)
    alpha, smooth = numbers.get("alpha"), float(numbers.get("label_smoothing") or 0) / 2
    sides = (float(alpha), float(1 - alpha)) if alpha is not None else (1.0, 1.0)
    floor *= float(numbers.get("weight") or 1.0)
    yes, no = floor * sides[0] * float(numbers.get("pos_weight") or 1.0), floor * sides[1]
    expected = torch.tensor([yes * (1 - smooth), no * (1 - smooth), yes * smooth, no * smooth], dtype=s.real)
    require_close(value, expected, s.tolerance, "value", x, t)
    heavy = float(numbers.get("pos_weight") or 1.0) > 1  # it multiplies the largest number there is
    if not heavy and not bool(torch.isfinite(grad).all()):
        raise LawBroken(f"gradient {grad.tolist()} at probabilities {x.tolist()}, targets {t.tolist()}")
    if not (grad[0] < 0 < grad[1]):
        raise LawBroken(f"gradient {grad.tolist()} does not point away from the wrong side")


@law("inputs are never changed")
def inputs_unchanged(s: Subject) -> None:
    """Values and version counters of every tensor handed in, backward included."""
    x, t = s.batch()
    a = leaf(x)
    handed: dict[str, Tensor] = {}
    if s.offers("mask"):
        handed["mask"] = torch.arange(35).reshape(5, 7) % 3 > 0
    if s.offers("sample_weight"):
        handed["sample_weight"] = torch.linspace(0, 1, 7)
    tensors = {"input": a, "target": t, **handed}
    before = {k: (v.detach().clone(), v._version) for k, v in tensors.items()}
    gradient(s(a, t, **handed), a)
    for name, tensor in tensors.items():
        old, version = before[name]
        require_same_bits(tensor, old, f"{name} was changed")
        if tensor._version != version:
            raise LawBroken(f"{name} was written to")


@law("half precision: computed in float32, value in float32, gradient in the input's dtype")
def half_precision(s: Subject) -> None:
    """And a loss scale of 65536 keeps tiny gradients: they do not underflow on the way."""
    for dtype in (torch.bfloat16, torch.float16):
        x, t = s.batch(dtype=dtype)
        a, wide = leaf(x), leaf(x.float())
        for reduction in ("none", "mean"):
            value, expected = s(a, t, reduction=reduction), s(wide, t.float(), reduction=reduction)
            if value.dtype is not torch.float32:
                raise LawBroken(f"{dtype}: the value is {value.dtype}")
            require_close(value, expected, s.tolerance, f'{dtype}, value of "{reduction}"')
            scale = torch.full_like(expected, 65536.0)
            (grad,), (reference,) = gradient(value, a, incoming=scale), gradient(expected, wide, incoming=scale)
            if grad.dtype is not dtype:
                raise LawBroken(f"{dtype}: the gradient is {grad.dtype}")
            fits = reference.abs() < torch.finfo(dtype).max
            require_close(grad[fits], reference[fits].to(dtype), torch.finfo(dtype).eps, f"{dtype}, gradient under a loss scale of 65536")


@law("any memory layout gives the same")
def layouts(s: Subject) -> None:
    """Transposed, strided, expanded, channels-last, overlapping blocks, 0-d, odd sizes."""
    x, t = s.batch((4, 6, 3, 5))
    weighted = any(isinstance(v, list) for v in s.settings.values())  # a weight of shape (1,) does not fit an input without dimensions
    layouts: dict[str, Callable[[Tensor], Tensor]] = {
        "transposed": lambda z: z.transpose(1, 3),
        "permuted copy": lambda z: z.permute(3, 0, 2, 1).contiguous().permute(1, 3, 2, 0),
        "channels-last": lambda z: z.contiguous(memory_format=torch.channels_last),
        "strided": lambda z: z[:, ::2, 1:, ::3],
        "expanded": lambda z: z[:1, :, :1].expand(4, 6, 3, 5),
        "one item": lambda z: z[1, 2, 1, 3].reshape((1,) if weighted else ()),
        "offset": lambda z: z.reshape(-1)[7:],
    }
    for name, change in layouts.items():
        for x_change, t_change in (
            (change, change),
            (change, lambda z, change=change: change(z).contiguous()),
            (lambda z, change=change: change(z).contiguous(), change),
        ):
            p, q = x_change(x).detach(), t_change(t)
            a, plain = p.requires_grad_(), leaf(p.contiguous())
            each = s.each(a, q) if a.dim() else s(a, q)
            reference = s.each(plain, q.contiguous()) if a.dim() else s.each(plain.reshape(1), q.reshape(1)).reshape(())
            require_close(each, reference, s.tolerance, f"value, {name}")
            require_close(gradient(each, a)[0], gradient(reference, plain)[0], s.tolerance, f"gradient, {name}")
            if s.offers("reduction"):
                require_close(s(p, q, reduction="mean"), reference.double().mean(), s.tolerance, f"mean, {name}")


@law("integer and bool targets of every dtype work")
def integer_targets(s: Subject) -> None:
    """Labels as they come, without a converted copy."""
    x, _ = s.batch()
    labels = inputs.within(s.loss, x, torch.arange(35).reshape(5, 7) % 2)[1]
    expected = s.each(x, labels.to(s.dtype))
    for dtype in (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        require_close(s.each(x, labels.to(dtype)), expected, s.tolerance, f"target of {dtype}", x, labels)


@law("the same bits from run to run and for any number of threads")
def deterministic(s: Subject) -> None:
    """On enough items for every thread to have some."""
    x, t = s.batch((70001, 3))
    a = leaf(x)

    def run(threads: int) -> tuple[Tensor, ...]:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            value = s(a, t, reduction="mean") if s.offers("reduction") else s(a, t)
            return value.detach(), *gradient(value, a)
        finally:
            torch.set_num_threads(before)

    first = run(2)
    for threads in (2, 1, 3):
        for what, got, expected in zip(("value", "gradient"), run(threads), first, strict=True):
            require_same_bits(got, expected, f"{what} with {threads} threads and with 2")


@law("second derivatives are right (create_graph=True)")
def second_derivative(s: Subject) -> None:
    """Against finite differences of the gradient, in float64."""
    x, t = s.with_dtype(torch.float64).batch((6,), seed=5)
    if s.loss.target == "unit":
        t = t.clamp(0.1, 0.9)
    labels = s.loss.ranges.get("target", ("", ""))[0] == "-1 or 1"  # which have no neighbours
    try:
        torch.autograd.gradgradcheck(lambda a, b: s.each(a, b), (leaf(x), t if labels else leaf(t)), atol=1e-5, rtol=1e-4)
    except RuntimeError as error:  # GradcheckError is one
        raise LawBroken(f"in float64: {str(error).strip().splitlines()[0]}") from None


@law("torch.func: grad, vmap, jvp and hessian")
def transforms(s: Subject) -> None:
    """Against plain backward; in float32 if the dtype is narrower, whose gradients are rounded before they could be compared."""
    s = s.with_dtype(s.real)
    x, t = s.batch()
    a = leaf(x)
    each = s.each(a, t)
    (grad,) = gradient(each, a)
    one = x[0].detach()

    def total(z: Tensor, target: Tensor) -> Tensor:
        return s(z, target, reduction="sum")

    with refusals():
        require_close(torch.func.vmap(torch.func.grad(total))(x, t), grad, s.tolerance, "vmap(grad)", x, t)
        require_close(torch.func.vmap(lambda z, u: s.each(z, u))(x, t), each, s.tolerance, "vmap", x, t)
        tangent = torch.linspace(-1, 1, 7, dtype=s.dtype)
        slope = torch.func.jvp(lambda z: total(z, t[0]), (one,), (tangent,))[1]
        require_close(slope, (grad[0] * tangent).sum(), 1e-4, "jvp")
        hessian = torch.func.hessian(lambda z: total(z, t[0]))(one)
    b = leaf(one)
    (first,) = torch.autograd.grad(total(b, t[0]), b, create_graph=True)
    second = torch.autograd.grad(first.sum(), b)[0] if first.requires_grad else torch.zeros_like(b)
    require_close(hessian, torch.diag(second), 1e-4, "hessian")


@law("autocast changes nothing")
def autocast(s: Subject) -> None:
    """Losses are computed in float32 in any case."""
    x, t = s.batch()
    a = leaf(x)
    value = s(a, t)
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = s(a, t)
    except RuntimeError as error:
        raise LawBroken(f"under autocast: {str(error).splitlines()[0]}") from None
    require_same_bits(inside, value, "value with and without autocast")
    require_same_bits(gradient(inside, a)[0], gradient(value, a)[0], "gradient with and without autocast")


@law("shapes that differ are refused")
def shapes_agree(s: Subject) -> None:
    """(N, 1) against (N,) is the classic: broadcast in silence it trains on N x N pairs."""
    import warnings

    x, t = s.batch((4, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns; a warning is no refusal
        require_raises(lambda: s(x[:, :1], t[:, 0]), "a target of shape (4,) for an input of (4, 1)")
        require_raises(lambda: s(x, t[:1]), "a target of shape (1, 4) for an input of (4, 4)")


@law("values outside the domain are refused")
def domain_checked(s: Subject) -> None:
    """Targets (and probabilities) outside [0, 1], of which rounding just outside is accepted; what lies outside the registry's ranges."""
    for name, (span, _) in s.loss.ranges.items():
        for value in inputs.BESIDE[span]:
            x, t = s.batch()
            (x if name == "input" else t)[2, 3] = value
            require_raises(partial(s, leaf(x), t), f"{name} = {value}")
    if s.loss.ranges:
        return
    if s.loss.target != "unit":
        raise NotOffered("every real number is in the domain")
    x, t = s.batch()
    x = leaf(x)  # as in training
    for value in (1.5, -0.01):
        require_raises(partial(s, x, t.index_fill(1, torch.tensor(3), value)), f"a target of {value}")
    require_close(s(x, torch.full_like(t, 1 + 5e-7)), s(x, torch.ones_like(t)), 1e-5, "loss of a target of 1 + 5e-7")
    if inputs.domain(s.loss, s.settings) == "probability":
        require_raises(lambda: s(x.index_fill(1, torch.tensor(3), 1.2), t), "a probability of 1.2")


@law("weights that are not finite are refused")
def weights_finite(s: Subject) -> None:
    """A NaN or infinite weight is a bug upstream."""
    x, t = s.batch()
    if not s.offers("sample_weight"):
        raise NotOffered("no argument sample_weight")
    for value in (math.nan, math.inf):
        require_raises(partial(s, x, t, sample_weight=torch.tensor([1.0] * 6 + [value])), f"a weight of {value}")
