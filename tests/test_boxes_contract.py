"""The contract on losses of boxes: formats, masks, weights, reductions, dtypes, transforms, messages. Nothing here depends on the formula."""

import copy
import math
import pickle

import pytest
import torch
from cases import Case
from torch.autograd import gradcheck, gradgradcheck

import losskit
from losskit import LOSSES
from losskit.testing.boxes import ordinary

CASES = [Case(loss, arguments) for loss in LOSSES.of("boxes").values() for arguments in loss.arguments]
ENGINES = ("cpu", "torch")
WALKED = [Case(LOSSES["giou_loss"], {})]  # for what depends on the walk over boxes alone: every kernel takes a second or two to compile
EVERY = [*((case, "torch") for case in CASES), *((case, "cpu") for case in WALKED)]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
few_cases = pytest.mark.parametrize("case", WALKED, ids=str)
both_engines = pytest.mark.parametrize("engine", ENGINES)


def loss(case, a, b, **options):
    return case.loss.function(a, b, **case.settings, **options)


def gradients(value, *leaves, incoming=None):
    return torch.autograd.grad(value, leaves, torch.ones_like(value) if incoming is None else incoming)


def leaves(*tensors):
    return [x.detach().clone().requires_grad_() for x in tensors]


def written(box, form):
    """Corners in another format."""
    size = box[..., 2:] - box[..., :2]
    return {"xyxy": box, "xywh": torch.cat((box[..., :2], size), -1), "cxcywh": torch.cat((box[..., :2] + size / 2, size), -1)}[form]


def corners(box, form):
    """The formats spelled out, for autograd to follow."""
    if form == "xyxy":
        return box
    place = box[..., :2] - (box[..., 2:] / 2 if form == "cxcywh" else 0)
    return torch.cat((place, place + box[..., 2:]), -1)


@both_engines
@pytest.mark.parametrize("form", ["xyxy", "xywh", "cxcywh"])
@few_cases
def test_formats_are_ways_to_write_corners(case, form, engine):
    a, b = ordinary(60, dtype=torch.float64)
    a, b = written(a, form), written(b, form)
    incoming = torch.rand(60, dtype=torch.float64)
    x, t = leaves(a, b)
    with losskit.use_engine("torch"):
        wanted = loss(case, corners(x, form), corners(t, form), reduction="none")
    by = gradients(wanted, x, t, incoming=incoming)
    for dtype, allowed in ((torch.float64, 1e-11), (torch.float32, 2e-5)):
        y, u = leaves(a.to(dtype), b.to(dtype))
        with losskit.use_engine(engine):
            found = loss(case, y, u, reduction="none", box_format=form)
        torch.testing.assert_close(found, wanted.to(dtype), rtol=allowed, atol=allowed)
        for got, expected in zip(gradients(found, y, u, incoming=incoming.to(dtype)), by, strict=True):
            torch.testing.assert_close(got, expected.to(dtype), rtol=allowed, atol=allowed)


@pytest.mark.parametrize(("case", "engine"), EVERY, ids=lambda value: str(value))
def test_reductions_and_incoming_gradients(case, engine):
    a, b = ordinary(40, seed=1)
    incoming = torch.linspace(-2, 3, 40)
    x, t = leaves(a.double(), b.double())
    with losskit.use_engine("torch"):
        each = loss(case, x, t, reduction="none")
    by = gradients(each, x, t, incoming=incoming.double())
    with losskit.use_engine(engine):
        x, t = leaves(a, b)
        for got, wanted in zip(gradients(loss(case, x, t, reduction="none"), x, t, incoming=incoming), by, strict=True):
            torch.testing.assert_close(got, wanted.float(), rtol=1e-4, atol=1e-5)
        plain = gradients(loss(case, x, t, reduction="none"), x, t)
        for reduction, share in (("sum", 1.0), ("mean", 1 / 40)):
            value = loss(case, x, t, reduction=reduction)
            torch.testing.assert_close(value, each.detach().float().sum() * share, rtol=2e-6, atol=0)
            for factor in (1.0, -2.5):
                value = loss(case, x, t, reduction=reduction)
                for got, wanted in zip(gradients(value, x, t, incoming=torch.tensor(factor)), plain, strict=True):
                    torch.testing.assert_close(got, wanted * (share * factor), rtol=2e-6, atol=1e-9)


@both_engines
@few_cases
def test_a_mask_deletes(case, engine):
    a, b = (box.reshape(4, 10, 4) for box in ordinary(40, seed=2))
    mask = torch.rand(4, 10, generator=torch.Generator().manual_seed(0)) < 0.6
    a[~mask], b[~mask] = math.nan, math.inf
    weight = torch.rand(4, 10)
    with losskit.use_engine(engine):
        for extra, kept in (({}, {}), ({"sample_weight": weight}, {"sample_weight": weight[mask]})):
            x, t = leaves(a, b)
            y, u = leaves(a[mask], b[mask])
            value, wanted = loss(case, x, t, mask=mask, **extra), loss(case, y, u, **kept)
            torch.testing.assert_close(value, wanted, rtol=1e-6, atol=0)
            for got, expected in zip(gradients(value, x, t), gradients(wanted, y, u), strict=True):
                torch.testing.assert_close(got[mask], expected, rtol=1e-6, atol=1e-9)
                assert not got[~mask].any()
        each = loss(case, a, b, mask=mask, reduction="none")
        assert each.shape == mask.shape and not each[~mask].any() and each[mask].isfinite().all()


@both_engines
@few_cases
def test_weights_and_normalizers(case, engine):
    a, b = ordinary(30, seed=3)
    weight = torch.rand(30)
    weight[3] = 0
    a[3] = math.nan
    with losskit.use_engine(engine):
        x, t = leaves(a, b)
        each = loss(case, a, b, reduction="none", mask=weight > 0)
        torch.testing.assert_close(loss(case, x, t, sample_weight=weight), (each * weight).sum() / weight.sum(), rtol=1e-6, atol=0)
        torch.testing.assert_close(loss(case, x, t, sample_weight=weight, reduction="sum"), (each * weight).sum(), rtol=1e-6, atol=0)
        torch.testing.assert_close(loss(case, x, t, sample_weight=weight, normalizer=7), (each * weight).sum() / 7, rtol=1e-6, atol=0)
        torch.testing.assert_close(loss(case, x, t, sample_weight=weight, normalizer=torch.tensor(7)), (each * weight).sum() / 7, rtol=1e-6, atol=0)
        x, t = leaves(a[4:], b[4:])
        whole = gradients(loss(case, x, t, normalizer=26), x, t)
        parts = [gradients(loss(case, *pair, normalizer=26), *pair) for pair in (leaves(a[4:10], b[4:10]), leaves(a[10:], b[10:]))]
        for got, first, second in zip(whole, *parts, strict=True):
            torch.testing.assert_close(torch.cat((first, second)), got, rtol=1e-6, atol=1e-9)


@both_engines
@few_cases
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_no_boxes_at_all(case, engine, reduction):
    with losskit.use_engine(engine):
        for shape in ((0, 4), (3, 0, 4)):
            x, t = leaves(torch.empty(shape), torch.empty(shape))
            value = loss(case, x, t, reduction=reduction)
            assert value.shape == (shape[:-1] if reduction == "none" else ()) and value.sum() == 0
            assert all(g.shape == shape for g in gradients(value, x, t))
        x, t = leaves(*ordinary(5))
        absent = torch.zeros(5, dtype=torch.bool)
        with torch.no_grad():
            x[2] = math.nan
        for extra in ({"mask": absent}, {"sample_weight": torch.zeros(5)}, {"normalizer": 0} if reduction == "mean" else {"mask": absent}):
            value = loss(case, x, t, reduction=reduction, **extra)
            assert not value.any() and not any(g.any() for g in gradients(value, x, t))


@both_engines
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@few_cases
def test_half_precision_computes_in_float32(case, dtype, engine):
    a, b = (box.to(dtype) for box in ordinary(50, seed=4))
    x, t = leaves(a, b)
    y, u = leaves(a.float(), b.float())
    with losskit.use_engine(engine):
        value, wanted = loss(case, x, t, reduction="none"), loss(case, y, u, reduction="none")
        assert value.dtype is torch.float32 and torch.equal(value, wanted)
        for got, expected in zip(gradients(value, x, t), gradients(wanted, y, u), strict=True):
            assert got.dtype is dtype
            torch.testing.assert_close(got.float(), expected, rtol=torch.finfo(dtype).eps, atol=1e-6)
        tiny = (a * 2.0**-8).requires_grad_()
        assert loss(case, tiny, tiny.detach()).item() == 0
        mixed = loss(case, a, b.float(), reduction="none")
        assert torch.equal(mixed, wanted)


@few_cases
def test_layouts_and_shapes(case):
    a, b = ordinary(24, seed=5)
    wanted = loss(case, a, b, reduction="none")
    x = torch.stack([a, a], 1)[:, 0].T.contiguous().T  # coordinates apart in memory
    t = torch.cat((b, b), -1)[:, :4]
    assert not x.is_contiguous() and not t.is_contiguous()
    y, u = x.detach().requires_grad_(), t.detach().requires_grad_()
    value = loss(case, y, u, reduction="none")
    assert torch.equal(value, wanted)
    p, q = leaves(a, b)
    for got, expected in zip(gradients(value, y, u), gradients(loss(case, p, q, reduction="none"), p, q), strict=True):
        assert torch.equal(got, expected)
    assert torch.equal(loss(case, a.reshape(2, 3, 4, 4), b.reshape(2, 3, 4, 4), reduction="none"), wanted.reshape(2, 3, 4))
    assert loss(case, a[0], b[0], reduction="none").shape == () and torch.equal(loss(case, a[0], b[0]), wanted[0])
    assert torch.equal(loss(case, a, b[:1].expand(24, 4), reduction="none")[0], wanted[0])


@few_cases
def test_many_boxes_have_the_same_sum_for_any_number_of_threads(case):
    a, b = ordinary(50_000, seed=6)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        x, t = leaves(a, b)
        value = loss(case, x, t)
        found.append((value.detach(), *gradients(value, x, t)))
    assert all(torch.equal(p, q) for p, q in zip(*found, strict=True))
    torch.testing.assert_close(found[0][0], loss(case, a.double(), b.double()).float(), rtol=1e-6, atol=0)


@every_case
def test_higher_derivatives(case):
    a, b = ordinary(6, seed=7, dtype=torch.float64)
    x, t = leaves(a[1::3], b[1::3])

    def total(x, t):
        return loss(case, x, t, reduction="sum")

    if case.settings.get("alpha_gradient", True) and case.loss.name not in ("focal_eiou_loss", "wiou_loss"):
        assert gradcheck(total, (x, t))
    assert gradgradcheck(total, (x, t))
    value = total(x, t)
    (first,) = torch.autograd.grad(value, x, create_graph=True)
    assert torch.autograd.grad(first.square().sum(), x)[0].abs().sum() > 0
    value.backward()
    torch.testing.assert_close(x.grad, first.detach())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp's own
@every_case
def test_transforms(case):
    a, b = ordinary(12, seed=8, dtype=torch.float64)
    each = loss(case, a, b, reduction="none")

    def one(x, t):
        return loss(case, x, t, reduction="sum")

    torch.testing.assert_close(torch.func.vmap(one)(a, b), each)
    torch.testing.assert_close(torch.func.vmap(one, (0, None))(a, b[0]), loss(case, a, b[:1].expand_as(a), reduction="none"))
    x, t = leaves(a, b)
    by = gradients(loss(case, x, t, reduction="sum"), x, t)
    per_sample = torch.func.vmap(torch.func.grad(one, (0, 1)))(a, b)
    direction = torch.randn_like(a), torch.randn_like(b)
    value, slope = torch.func.jvp(one, (a, b), direction)
    for got, wanted in zip(per_sample, by, strict=True):
        torch.testing.assert_close(got, wanted)
    torch.testing.assert_close(value, each.sum())
    torch.testing.assert_close(slope, sum((g * d).sum() for g, d in zip(by, direction, strict=True)))
    hessian = torch.func.hessian(one)(a[1], b[1])
    assert hessian.shape == (4, 4) and hessian.isfinite().all() and hessian.any()


@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations
@pytest.mark.parametrize("form", ["xyxy", "cxcywh"])
@few_cases
def test_compiles_without_a_break(case, form):
    a, b = (written(box, form) for box in ordinary(20, seed=9))
    mask = torch.arange(20) % 3 > 0

    def step(x, t):
        return loss(case, x, t, mask=mask, box_format=form)

    x, t = leaves(a, b)
    wanted = step(x, t)
    by = gradients(wanted, x, t)
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    y, u = leaves(a, b)
    value = compiled(y, u)
    torch.testing.assert_close(value, wanted)
    for got, expected in zip(gradients(value, y, u), by, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(compiled(a, b), wanted.detach())


def test_engines_are_chosen_as_for_every_loss():
    a, b = ordinary(3)
    assert losskit.engine_for(losskit.giou_loss, a, b)[0] == "cpu"
    losskit.giou_loss(a.to("meta"), b.to("meta"))


def test_the_input_stays_as_it_was():
    a, b = ordinary(20)
    held = a.clone(), b.clone()
    x, t = a.requires_grad_(), b.requires_grad_()
    losskit.ciou_loss(x, t, box_format="cxcywh").backward()
    assert torch.equal(a.detach(), held[0]) and torch.equal(b.detach(), held[1])


@pytest.mark.parametrize("name", ["iou", "giou", "diou", "ciou"])
def test_scores_are_one_minus_the_loss(name):
    a, b = ordinary(30, seed=10)
    score = getattr(losskit, name)
    for form in ("xyxy", "cxcywh"):
        x, t = leaves(written(a, form), written(b, form))
        value = score(x, t, box_format=form)
        assert value.shape == (30,) and value.max() <= 1
        wanted = LOSSES[f"{name}_loss"].function(x, t, box_format=form, reduction="none")
        assert torch.equal(value, 1 - wanted)
        for got, expected in zip(gradients(value, x, t), gradients(wanted, x, t), strict=True):
            assert torch.equal(got, -expected)
    assert torch.equal(score(a, a), torch.ones(30))
    with pytest.raises(ValueError, match="box_format must be one of"):
        score(a, b, box_format="yxyx")


GOOD = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 5)
BAD = [
    ((torch.zeros(5, 3), torch.zeros(5, 3)), {}, ValueError, r"input must hold boxes along the last axis, shape \(..., 4\).* got shape \(5, 3\)"),
    ((torch.tensor(1.0), torch.tensor(1.0)), {}, ValueError, r"input must hold boxes along the last axis"),
    ((GOOD, GOOD[:3]), {}, ValueError, r"target has shape \(3, 4\) but input has shape \(5, 4\)"),
    ((GOOD, GOOD[:1]), {}, ValueError, r"Try target.expand_as\(input\)"),
    ((GOOD, GOOD.long()), {}, TypeError, r"target must be boxes of a floating-point dtype, got torch.int64: try target.float\(\)"),
    ((GOOD.long(), GOOD), {}, TypeError, r"input must be a floating-point tensor, got torch.int64: try input.float\(\)"),
    ((GOOD, [[0.0, 0.0, 1.0, 1.0]]), {}, TypeError, r"target must be a torch.Tensor, got list"),
    ((GOOD, GOOD), {"box_format": "yxyx"}, ValueError, r"box_format must be one of 'xyxy', 'xywh', 'cxcywh'; got 'yxyx'"),
    ((GOOD, GOOD), {"reduction": "average"}, ValueError, r"reduction must be one of 'none', 'mean', 'sum'; got 'average'"),
    (
        (GOOD, GOOD),
        {"mask": torch.ones(5, 4, dtype=torch.bool)},
        ValueError,
        r"mask has shape \(5, 4\), but takes one value a box, shape \(5,\): try mask\[..., 0\]",
    ),
    ((GOOD, GOOD), {"sample_weight": torch.ones(5, 1)}, ValueError, r"sample_weight has shape \(5, 1\), but takes one value a box"),
    ((GOOD, GOOD), {"mask": torch.ones(5)}, TypeError, r"mask must be a bool tensor"),
    ((GOOD, GOOD), {"mask": torch.ones(3, dtype=torch.bool)}, ValueError, r"mask has shape \(3,\), which does not broadcast"),
    ((GOOD, GOOD), {"sample_weight": torch.tensor([1.0, math.nan, 1.0, 1.0, 1.0])}, ValueError, r"sample_weight must be finite"),
    ((GOOD, GOOD), {"normalizer": 3, "reduction": "sum"}, ValueError, r"normalizer replaces the denominator"),
    ((GOOD, GOOD), {"normalizer": -1.0}, ValueError, r"normalizer must be >= 0"),
]


@pytest.mark.parametrize(("pair", "options", "error", "message"), BAD, ids=range(len(BAD)))
def test_what_is_wrong_is_said(pair, options, error, message):
    for case in CASES:
        with pytest.raises(error, match=message):
            loss(case, *pair, **options)


def test_settings_of_single_losses_are_checked():
    with pytest.raises(ValueError, match="mode must be one of 'linear', 'square', 'log'; got 'cubic'"):
        losskit.iou_loss(GOOD, GOOD, mode="cubic")
    with pytest.raises(TypeError, match="alpha_gradient must be True or False"):
        losskit.ciou_loss(GOOD, GOOD, alpha_gradient=1)
    with pytest.raises(ValueError, match="box_format must be one of"):
        losskit.GIoULoss(box_format="corners")
    with pytest.raises(TypeError, match=r"boxes must be a torch.Tensor, got list"):
        losskit.degenerate_boxes([[0.0, 0.0, 1.0, 1.0]])
    with pytest.raises(ValueError, match="boxes must hold boxes along the last axis"):
        losskit.degenerate_boxes(torch.zeros(4, 3))


@every_case
def test_modules(case):
    a, b = ordinary(6)
    module = getattr(losskit, case.loss.module)(**case.settings, box_format="xywh", reduction="sum")
    mask = torch.tensor([True, False] * 3)
    wanted = loss(case, a, b, box_format="xywh", reduction="sum", mask=mask)
    assert torch.equal(module(a, b, mask=mask), wanted)
    for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert repr(twin) == repr(module) and torch.equal(twin(a, b, mask=mask), wanted)
