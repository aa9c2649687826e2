"""Scores that are never whole: of every loss that reads class scores the same value and gradients as of the whole ones, in chunks of any size, on every engine."""

import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from product_cases import CASES, FIRST, ITEMS, ON_CPU, REFUSING, WIDTH, batch, check, compared, ids, outcome

import losskit
from losskit import linear_cross_entropy, linear_log_prob, linear_scores


@pytest.mark.parametrize(
    ("case", "engine"),
    [
        *((case, "torch") for case in CASES if case.loss.name not in REFUSING),
        *((case, "cpu") for case in ON_CPU),
        *(pytest.param(case, "cpu", marks=pytest.mark.thorough) for case in CASES if case.loss.name not in REFUSING and case not in ON_CPU),
    ],
    ids=lambda x: x if isinstance(x, str) else ids(x),
)
def test_every_loss_of_scores_takes_a_product(case, engine):
    with losskit.use_engine(engine):
        compared(case, 16)


@pytest.mark.parametrize("name", sorted(REFUSING))
def test_a_loss_that_needs_all_scores_says_so(name):
    factors, target = batch(FIRST[name])
    with pytest.raises(RuntimeError, match=r"never whole.*try its method whole\(\)"):
        FIRST[name].loss.function(linear_scores(*factors), *target)
    FIRST[name].loss.function(linear_scores(*factors).whole(), *target)


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        *product(("cross_entropy", "kl_divergence", "binary_cross_entropy_with_logits"), ["torch"]),
        ("cross_entropy", "cpu"),
        *(pytest.param(name, "cpu", marks=pytest.mark.thorough) for name in ("binary_cross_entropy_with_logits", "kl_divergence")),
    ],
)
def test_masks_weights_and_denominators(name, engine):
    case = FIRST[name]
    draw = torch.Generator().manual_seed(2)
    shape = (ITEMS, 1) if case.pattern == "elementwise" else (ITEMS,)
    mask, weight = torch.rand(shape, generator=draw) < 0.7, torch.rand(shape, generator=draw, dtype=torch.float64)
    weight = torch.where(weight < 0.2, 0.0, weight)
    with losskit.use_engine(engine):
        for extra in ({"mask": mask}, {"sample_weight": weight}, {"mask": mask, "sample_weight": weight}, {"mask": mask & False}):
            compared(case, 16, extra)
        if case.pattern == "elementwise":  # a number per score, and one per class
            compared(case, 16, {"mask": torch.rand((ITEMS, 9), generator=draw) < 0.5, "sample_weight": torch.rand(9, generator=draw, dtype=torch.float64)})
        learned = weight.clone().requires_grad_()
    compared(case, 16, {"sample_weight": learned}, (learned,))


@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_a_normalizer(engine):
    factors, target = batch(FIRST["cross_entropy"])
    with losskit.use_engine(engine):
        for normalizer in (7.5, torch.tensor(3.0), 0.0):
            got = outcome(lambda: linear_cross_entropy(*factors[:2], *target, linear_bias=factors[2], normalizer=normalizer, chunk=5), factors)  # noqa: B023
            check(got, outcome(lambda: losskit.cross_entropy(F.linear(*factors), *target, normalizer=normalizer), factors))  # noqa: B023


@pytest.mark.parametrize(
    ("shape", "engine"),
    [*product(((), (ITEMS,)), ["torch"]), *(pytest.param(shape, "cpu", marks=pytest.mark.thorough) for shape in ((), (ITEMS,)))],
    ids=["one-torch", "each-torch", "one-cpu", "each-cpu"],
)
def test_learned_operands(shape, engine):
    make = lambda low, high: torch.linspace(low, high, max(math.prod(shape), 1), dtype=torch.float64).reshape(shape).requires_grad_()  # noqa: E731
    heat, smoothing = make(0.5, 2.0), make(0.0, 0.3)
    with losskit.use_engine(engine):
        compared(FIRST["cross_entropy"], 16, {"temperature": heat, "label_smoothing": smoothing}, (heat, smoothing))
        heat = heat.detach().requires_grad_()
        compared(FIRST["kl_divergence"], 16, {"temperature": heat}, (heat,))
    per_class = torch.linspace(0.5, 2.0, 9, dtype=torch.float64).requires_grad_()
    compared(FIRST["binary_cross_entropy_with_logits"], 16, {"pos_weight": per_class}, (per_class,))


def test_learned_class_weights_make_the_scores_whole():
    factors, _ = batch(FIRST["cross_entropy"])
    weight = torch.rand(factors[1].shape[0], dtype=torch.float64).requires_grad_()
    compared(FIRST["cross_entropy"], 16, {"weight": weight}, (weight,))


@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_soft_targets_have_gradients(engine):
    factors, _ = batch(FIRST["cross_entropy"])
    for shape in ((ITEMS,), (1, ITEMS)):
        x, soft = factors[0].reshape(*shape, WIDTH), torch.rand(*shape, factors[1].shape[0], dtype=torch.float64).softmax(-1).requires_grad_()
        with losskit.use_engine(engine):
            for settings in ({}, {"z_loss": 0.1, "label_smoothing": 0.2}):
                got = outcome(lambda: losskit.cross_entropy(linear_scores(x, *factors[1:], chunk=7), soft, dim=-1, **settings), (*factors, soft))  # noqa: B023
                check(got, outcome(lambda: losskit.cross_entropy(F.linear(x, *factors[1:]), soft, dim=-1, **settings), (*factors, soft)))  # noqa: B023


@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_chunks_change_nothing(engine):
    factors, target = batch(FIRST["cross_entropy"])
    for reduction in ("mean", "none"):
        with losskit.use_engine(engine):
            every = [
                outcome(lambda: linear_cross_entropy(*factors[:2], *target, linear_bias=factors[2], reduction=reduction, chunk=chunk), factors)  # noqa: B023
                for chunk in (None, 1, 5, 16, ITEMS, 1000)
            ]
        for other in every[1:]:
            check(other, every[0])


@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_who_wants_no_gradient_gets_none_and_costs_no_product(engine, monkeypatch):
    factors, target = batch(FIRST["cross_entropy"])
    whole = outcome(lambda: losskit.cross_entropy(F.linear(*factors), *target), factors)
    products = []
    for name in ("mm", "addmm"):
        real = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *a, real=real, **k: (products.append(1), real(*a, **k))[1])
    for wants in product((False, True), repeat=3):
        if any(wants):
            some = [x.detach().requires_grad_(wanted) for x, wanted in zip(factors, wants, strict=True)]
            products.clear()
            with losskit.use_engine(engine):
                got = outcome(lambda: linear_cross_entropy(some[0], some[1], *target, linear_bias=some[2]), [x for x in some if x.requires_grad])  # noqa: B023
            check(got, [whole[0], *(g for g, wanted in zip(whole[1:], wants, strict=True) if wanted)])
            assert engine == "torch" or len(products) == 1 + wants[0] + wants[1]


@pytest.mark.parametrize("engine", ["torch", "cpu"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_an_absent_item_holds_reaches_nothing(bad, engine):
    (x, *head), (t,) = batch(FIRST["cross_entropy"])
    t = torch.where(torch.arange(ITEMS) % 5 == 0, -100, t)
    mask = torch.arange(ITEMS) % 3 != 0
    there = mask & (t != -100)
    spoiled = torch.where(there[:, None], x.detach(), bad).requires_grad_()
    kept = x.detach()[there].requires_grad_()
    soft = F.one_hot(t.clamp(0), head[0].shape[0]).double()
    with losskit.use_engine(engine):
        for chunk in (None, 4):
            expected = outcome(lambda: linear_cross_entropy(kept, head[0], t[there], linear_bias=head[1]), (kept, *head))
            for target, mask_of in ((t, mask), (soft, there)):
                leaves = (spoiled, *head)
                got = outcome(lambda: losskit.cross_entropy(linear_scores(*leaves, chunk=chunk), target, mask=mask_of), leaves)  # noqa: B023
                check((got[0], got[1][there], *got[2:]), expected)
                assert not got[1][~there].any()
            wide = outcome(lambda: losskit.binary_cross_entropy_with_logits(linear_scores(*leaves, chunk=chunk), soft, mask=there[:, None]), leaves)  # noqa: B023
            assert all(bool(g.isfinite().all()) for g in wide) and not wide[1][~there].any()


@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_nothing_counts(engine):
    (x, *head), (t,) = batch(FIRST["cross_entropy"])
    leaves = (torch.full_like(x, math.nan).requires_grad_(), *head)
    with losskit.use_engine(engine):
        for settings in ({"target": torch.full_like(t, -100)}, {"target": t, "mask": torch.zeros(ITEMS, dtype=torch.bool)}, {"target": t, "normalizer": 0}):
            for g in outcome(lambda: linear_cross_entropy(*leaves[:2], linear_bias=leaves[2], **settings), leaves):  # noqa: B023
                assert not g.any()


def test_every_backward():
    factors, target = batch(FIRST["cross_entropy"])
    ours = lambda *z: linear_cross_entropy(z[0], z[1], *target, linear_bias=z[2], chunk=16)  # noqa: E731
    whole = lambda *z: losskit.cross_entropy(F.linear(*z), *target)  # noqa: E731
    expected = torch.autograd.grad(whole(*factors), factors)
    value = ours(*factors)
    for incoming in (1.0, 1.0, 2.0, -0.3, 0.0):  # the same graph again and again
        got = torch.autograd.grad(value, factors, torch.tensor(incoming, dtype=torch.float64), retain_graph=True)
        check(got, [incoming * g for g in expected])
    for reduced in ("mean", "none"):
        second = []
        for call in (ours, whole):
            each = (
                linear_cross_entropy(*factors[:2], *target, linear_bias=factors[2], chunk=16, reduction="none") if reduced == "none" and call is ours else None
            )
            each = losskit.cross_entropy(F.linear(*factors), *target, reduction="none") if reduced == "none" and call is whole else each
            loss = call(*factors) if each is None else (each * torch.linspace(0, 1, ITEMS, dtype=torch.float64)).sum()
            first = torch.autograd.grad(loss, factors, create_graph=True)
            second.append(torch.autograd.grad(sum((g * g).sum() for g in first), factors))
        check(*second, tolerance=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    """Against float64 on the same rounded factors: of the value what float32 rounds, of gradients little more than rounding them once; tiny ones of float16 survive."""
    draw = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(600, 32, generator=draw), torch.randn(200, 32, generator=draw) / 6)
    leaves = tuple(z.to(dtype).requires_grad_() for z in (x, weight))
    exact = tuple(z.detach().double().requires_grad_() for z in leaves)
    t = torch.randint(200, (600,), generator=draw)
    value = F.cross_entropy(F.linear(*exact), t)
    expected = torch.autograd.grad(value, exact)
    unit = torch.finfo(dtype).eps / 2
    for chunk, accumulate in ((None, "float32"), (50, "float32"), (50, "input")):
        got = linear_cross_entropy(*leaves, t, chunk=chunk, accumulate=accumulate)
        assert got.dtype is torch.float32 and abs(got.item() / value.item() - 1) < (1e-6 if dtype is not torch.bfloat16 else 2e-5)
        for g, want in zip(torch.autograd.grad(got, leaves), expected, strict=True):
            assert g.dtype is dtype
            off = ((g.double() - want).norm() / want.norm()).item()
            assert off < max(2 * unit, 1e-6) * (4 if accumulate == "input" and dtype is torch.bfloat16 else 1), (chunk, accumulate, off)
    if dtype is torch.float16:  # a gradient below float16's smallest number, under a loss scale of 2^16
        tiny = torch.autograd.grad(linear_cross_entropy(*leaves, t, normalizer=2.0**30) * 2.0**30, leaves)
        full = torch.autograd.grad(linear_cross_entropy(*leaves, t, reduction="sum"), leaves)
        for a, b in zip(tiny, full, strict=True):
            assert torch.equal(a, b)


@pytest.mark.sparse(2)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_a_token_has_the_same_bits_whatever_batch_it_is_in(dtype):
    draw = torch.Generator().manual_seed(0)
    for width in (1, 5, 33, 64, 77):  # products of widths that fill no vector differ in their last bits from one number of rows to another, if nothing is done
        x, weight, bias = (torch.randn(shape, generator=draw).to(dtype) for shape in ((701, width), (1000, width), (1000,)))
        t = torch.randint(1000, (701,), generator=draw)
        every = linear_log_prob(x, weight, t, linear_bias=bias)
        for items, chunk in product((1, 2, 3, 15, 17, 31, 33, 512, 513, 700), (None, 1, 7, 16, 100) if width == 64 else (None, 100)):
            some = slice(701 - items, None)
            assert torch.equal(linear_log_prob(x[some], weight, t[some], linear_bias=bias, chunk=chunk), every[some])
    t[::3] = -100
    assert torch.equal(linear_log_prob(x, weight, t, linear_bias=bias), torch.where(t == -100, 0.0, every))


@pytest.mark.parametrize("engine", ["torch", "cpu"])
@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2), (2, 3), (2, 1, 3)], ids=str)
@pytest.mark.parametrize(("width", "classes"), [(0, 2), (1, 2), (5, 3)])
def test_sizes(shape, width, classes, engine):
    draw = torch.Generator().manual_seed(4)
    leaves = tuple(torch.randn(s, generator=draw, dtype=torch.float64).requires_grad_() for s in ((*shape, width), (classes, width), (classes,)))
    t = torch.randint(classes, shape, generator=draw)
    with losskit.use_engine(engine):
        for reduction in ("mean", "sum", "none"):
            got = outcome(lambda: linear_cross_entropy(*leaves[:2], t, linear_bias=leaves[2], reduction=reduction, chunk=2), leaves)  # noqa: B023
            check(got, outcome(lambda: losskit.cross_entropy(F.linear(*leaves), t, dim=-1, reduction=reduction), leaves))  # noqa: B023
        soft = torch.rand((*shape, classes), generator=draw, dtype=torch.float64)
        got = outcome(lambda: losskit.binary_cross_entropy_with_logits(linear_scores(*leaves, chunk=2), soft), leaves)
        check(got, outcome(lambda: losskit.binary_cross_entropy_with_logits(F.linear(*leaves), soft), leaves))


def test_no_classes_and_one():
    for classes in (0, 1):
        with pytest.raises(ValueError, match=r"input has (no classes|one class)"):
            linear_cross_entropy(torch.randn(3, 2), torch.randn(classes, 2), torch.zeros(3, dtype=torch.long))


def test_by_products():
    factors, (t,) = batch(FIRST["cross_entropy"])
    t = torch.where(torch.arange(ITEMS) % 4 == 0, -100, t)
    whole, parts = losskit.cross_entropy(F.linear(*factors), t, return_parts=True, label_smoothing=0.1)
    for engine, chunk in product(("torch", "cpu"), (None, 7)):
        with losskit.use_engine(engine):
            value, found = linear_cross_entropy(*factors[:2], t, linear_bias=factors[2], return_parts=True, label_smoothing=0.1, chunk=chunk)
        check((value, *found), (whole, *parts))
    soft = torch.rand(ITEMS, factors[1].shape[0], dtype=torch.float64).softmax(-1)
    whole, parts = losskit.cross_entropy(F.linear(*factors), soft, return_parts=True)
    for engine, chunk in product(("torch", "cpu"), (None, 7)):
        with losskit.use_engine(engine):
            value, found = linear_cross_entropy(*factors[:2], soft, linear_bias=factors[2], return_parts=True, chunk=chunk)
        check((value, *(y for y in found if y is not None)), (whole, *(y for y in parts if y is not None)))


def test_the_next_token():
    factors, _ = batch(FIRST["cross_entropy"], items=24)
    x, classes = factors[0].reshape(3, 8, WIDTH), factors[1].shape[0]
    t = torch.randint(classes, (3, 8), generator=torch.Generator().manual_seed(0))
    t[0, 3] = -100
    mask, weight = torch.rand(3, 8) < 0.7, torch.rand(8, dtype=torch.float64)
    moved = dict(mask=mask[:, 1:], sample_weight=weight[1:])
    for target in (t, t.where(t >= 0, 2).to(torch.uint8)):
        for reduction in ("mean", "sum"):
            got = outcome(lambda: linear_cross_entropy(x, factors[1], target, shift=True, mask=mask, sample_weight=weight, reduction=reduction), factors[:2])  # noqa: B023
            check(got, outcome(lambda: linear_cross_entropy(x[:, :-1], factors[1], target[:, 1:], reduction=reduction, **moved), factors[:2]))  # noqa: B023
    each = linear_log_prob(x, factors[1], t, shift=True)
    assert each.shape == t.shape and not each[:, -1].any()
    check((each[:, :-1],), (linear_log_prob(x[:, :-1], factors[1], t[:, 1:]),))
    check((linear_cross_entropy(x, factors[1], t, shift=True, mask=mask[:, :1]),), (linear_cross_entropy(x[:, :-1], factors[1], t[:, 1:], mask=mask[:, :1]),))


@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations
def test_transforms_and_the_compiler():
    factors, target = batch(FIRST["cross_entropy"])
    ours = lambda x, w: linear_cross_entropy(x, w, *target, chunk=16)  # noqa: E731
    whole = lambda x, w: losskit.cross_entropy(F.linear(x, w), *target)  # noqa: E731
    x, weight = (z.detach() for z in factors[:2])
    for transformed in (torch.func.grad, torch.func.jacfwd, lambda f: torch.func.vmap(f, (0, None))):
        given = (x.expand(2, *x.shape), weight) if transformed not in (torch.func.grad, torch.func.jacfwd) else (x, weight)
        check((transformed(ours)(*given),), (transformed(whole)(*given),))
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    check(outcome(lambda: compiled(*factors[:2]), factors[:2]), outcome(lambda: whole(*factors[:2]), factors[:2]))
    with torch.device("meta"):
        made = linear_cross_entropy(torch.empty(3, 4), torch.empty(5, 4), torch.empty(3, dtype=torch.long), chunk=2)
    assert made.is_meta and made.shape == ()


def test_autocast_multiplies_in_its_dtype():
    x, weight = torch.randn(20, 8, requires_grad=True), torch.randn(5, 8, requires_grad=True)
    t = torch.randint(5, (20,))
    with torch.autocast("cpu", torch.bfloat16):
        mixed = linear_cross_entropy(x.bfloat16(), weight, t)
        got = outcome(lambda: linear_cross_entropy(x, weight, t), (x, weight))
    rounded = tuple(z.detach().bfloat16().requires_grad_() for z in (x, weight))
    expected = outcome(lambda: linear_cross_entropy(*rounded, t), rounded)
    assert torch.equal(mixed, got[0]) and torch.equal(got[0], expected[0])
    for g, want in zip(got[1:], expected[1:], strict=True):
        assert g.dtype is torch.float32 and torch.equal(g, want.float())


def test_a_factor_changed_in_place_raises():
    factors, target = batch(FIRST["cross_entropy"])
    weight = factors[1] * 1.0
    value = linear_cross_entropy(factors[0], weight, *target, reduction="none")
    weight.detach().mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        value.sum().backward()
