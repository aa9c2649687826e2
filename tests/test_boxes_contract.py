"""The contract on losses of boxes where it is no law: the compiler, scores, modules, messages."""

import copy
import math
import pickle

import pytest
import torch
from cases import Case

import losskit
from losskit import LOSSES
from losskit.testing.box_laws import written
from losskit.testing.boxes import ordinary

CASES = [Case(loss, arguments) for loss in LOSSES.of("boxes").values() for arguments in loss.arguments]


def loss(case, a, b, **options):
    return case.loss.function(a, b, **case.settings, **options)


def leaves(*tensors):
    return [x.detach().clone().requires_grad_() for x in tensors]


@pytest.mark.thorough
@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations
def test_compiles_without_a_break():
    a, b = (written(box, "cxcywh") for box in ordinary(20, seed=9))
    mask = torch.arange(20) % 3 > 0

    def step(x, t):
        return losskit.giou_loss(x, t, mask=mask, box_format="cxcywh")

    x, t = leaves(a, b)
    with losskit.use_engine("torch"):
        wanted = step(x, t)
        by = torch.autograd.grad(wanted, (x, t))
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    y, u = leaves(a, b)
    value = compiled(y, u)
    torch.testing.assert_close(value, wanted)
    for got, expected in zip(torch.autograd.grad(value, (y, u)), by, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(compiled(a, b), wanted.detach())


@pytest.mark.chosen
def test_engines_are_chosen_as_for_every_loss():
    a, b = ordinary(3)
    assert losskit.engine_for(losskit.giou_loss, a, b)[0] == "cpu"
    losskit.giou_loss(a.to("meta"), b.to("meta"))


@pytest.mark.parametrize("name", ["iou", "giou", "diou", "ciou"])
def test_scores_are_one_minus_the_loss(name):
    a, b = ordinary(30, seed=10)
    score = getattr(losskit, name)
    with losskit.use_engine("torch"):
        for form in ("xyxy", "cxcywh"):
            x, t = leaves(written(a, form), written(b, form))
            value = score(x, t, box_format=form)
            assert value.shape == (30,) and value.max() <= 1
            wanted = LOSSES[f"{name}_loss"].function(x, t, box_format=form, reduction="none")
            assert torch.equal(value, 1 - wanted)
            for got, expected in zip(*(torch.autograd.grad(v.sum(), (x, t)) for v in (value, wanted)), strict=True):
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
    ((GOOD.long(), GOOD), {}, TypeError, r"input must be a floating-point tensor, got torch.int64.* try input.float\(\)"),
    ((GOOD, [[0.0, 0.0, 1.0, 1.0]]), {}, TypeError, r"target must be a torch.Tensor, got list"),
    ((GOOD, GOOD), {"box_format": "yxyx"}, ValueError, r"box_format must be one of 'xyxy', 'xywh', 'cxcywh'.*; got 'yxyx'"),
    ((GOOD, GOOD), {"reduction": "average"}, ValueError, r"reduction must be one of 'none', 'mean', 'sum'; got 'average'"),
    (
        (GOOD, GOOD),
        {"mask": torch.ones(5, 4, dtype=torch.bool)},
        ValueError,
        r"mask has shape \(5, 4\), but takes one value per box, shape \(5,\): try mask\[..., 0\]",
    ),
    ((GOOD, GOOD), {"sample_weight": torch.ones(5, 1)}, ValueError, r"sample_weight has shape \(5, 1\), but takes one value per box"),
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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_modules(case):
    a, b = ordinary(6)
    module = getattr(losskit, case.loss.module)(**case.settings, box_format="xywh", reduction="sum")
    mask = torch.tensor([True, False] * 3)
    with losskit.use_engine("torch"):
        wanted = loss(case, a, b, box_format="xywh", reduction="sum", mask=mask)
        assert torch.equal(module(a, b, mask=mask), wanted)
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert repr(twin) == repr(module) and torch.equal(twin(a, b, mask=mask), wanted)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_boxes_apart_have_an_iou_of_exactly_nothing(engine):
    """Not what rounding leaves of 1 - 1."""
    a, b = ordinary(3000, seed=11)
    b = b + torch.tensor([30.0, 0.0, 30.0, 0.0])
    with losskit.use_engine(engine):
        assert not losskit.iou(a, b).any() and (losskit.iou_loss(a, b, reduction="none") == 1).all()
        a[7, 2] = math.nan
        assert losskit.iou(a, b)[7].isnan()


@pytest.mark.parametrize("loss", LOSSES.of("boxes").values(), ids=LOSSES.of("boxes"))
def test_a_scale_in_the_units_of_the_boxes_has_no_default(loss):
    """What a loss does not ask for it must not need: pixels or pictures of size 1, the loss is the same."""
    near = GOOD + torch.tensor([0.25, 0.5, -0.125, 0.25])
    for settings in loss.arguments:
        free = {name: value for name, value in settings.items() if name not in loss.required}
        with losskit.use_engine("torch"):
            if loss.required:
                with pytest.raises(TypeError, match=f"{loss.name} needs {loss.required[0]}=: a scale of your data"):
                    loss.function(near, GOOD, **free)
                with pytest.raises(TypeError, match=f"{loss.module} needs {loss.required[0]}=: a scale of your data, for example {loss.required[0]}="):
                    getattr(losskit, loss.module)(**free)
                continue
            plain, scaled = (loss.function(factor * near, factor * GOOD, reduction="none", **free) for factor in (1.0, 1024.0))
        assert torch.equal(plain, scaled)
