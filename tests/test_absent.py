"""What marks an element as absent, `ignore_index` and `missing`, means one thing in every loss: deleted. Where it cannot apply it is refused."""

import inspect
import math

import numpy as np
import pytest
import torch

import losskit
from losskit import LOSSES

SINGLE = [loss for loss in LOSSES.values() if loss.pattern == "elementwise" and loss.target == "unit"]  # a question per element
MARKED = [loss for loss in SINGLE if "missing" in loss.settings]
SOFT = [
    loss for loss in LOSSES.values() if "ignore_index" in loss.settings and loss not in SINGLE and loss.name != "boundary_loss" and loss.pattern != "linear"
]
ENGINES = ("cpu", "torch", "triton")


@pytest.fixture(autouse=True)
def operations():
    """Marks become a mask before an engine is chosen, so PyTorch's operations, which compile nothing, are asked; but see `test_a_marked_element_is_absent`."""
    with losskit.use_engine("torch"):
        yield


def settings_of(loss):
    """Every way of an elementwise loss through its function: tasks, and both kinds of input."""
    yield {}
    if "task" in loss.settings:
        yield {"task": "multilabel", "alpha": [0.25, 0.5, 0.75, 1.0]}
        yield {"from_logits": False}
    if "pos_weight" in loss.settings:
        yield {"pos_weight": [0.5, 1.0, 2.0, 3.0], "label_smoothing": 0.1}


def batch(loss, settings, dtype=torch.float32, shape=(5, 4)):
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=draw)
    if loss.input == "probability" or settings.get("from_logits") is False:
        x = x.sigmoid()
    return x.to(dtype), (torch.rand(shape, generator=draw) < 0.5).float(), torch.rand(shape, generator=draw) < 0.4


def value_and_gradient(loss, x, t, **how):
    x = x.clone().requires_grad_()
    value = loss.function(x, t, **how)
    return value.detach(), torch.autograd.grad(value.sum(), x)[0]


def marks(loss):
    yield "ignore_index", -1
    yield "ignore_index", 255
    if loss in MARKED:
        yield from (("missing", math.nan), ("missing", -1), ("missing", 0.25))


def test_every_loss_of_targets_in_0_to_1_can_be_told_what_is_absent():
    assert all("ignore_index" in loss.settings for loss in SINGLE)
    assert {loss.name for loss in MARKED} == {"binary_cross_entropy", "binary_cross_entropy_with_logits", "focal_loss"}


@pytest.mark.parametrize(
    ("loss", "engine"),
    [(loss, engine) for engine in ENGINES for loss in SINGLE if engine == "torch" or loss is MARKED[-1]],
    ids=lambda x: getattr(x, "name", x),
)
def test_a_marked_element_is_absent(loss, engine):
    """Bit for bit what a mask does; and its value is never read: what the loss of the mark itself is, NaN or beyond the domain, does not matter."""
    if engine == "triton":
        pytest.importorskip("triton", reason="Triton")
    fused = engine != "torch"
    for own in list(settings_of(loss))[: 1 if fused else None]:
        for dtype in (torch.float32,) if fused else (torch.float32, torch.float16):
            x, t, gone = batch(loss, own, dtype)
            for name, mark in marks(loss):
                bad = t.masked_fill(gone, mark)
                for reduction in ("mean", "sum", "none"):
                    for mask in (None, torch.arange(5)[:, None] < 3):
                        how = {**own, "reduction": reduction}
                        kept = ~gone if mask is None else ~gone & mask
                        with losskit.use_engine(engine), np.errstate(all="ignore"):
                            found = value_and_gradient(loss, x, bad, mask=mask, **how, **{name: mark})
                            expected = value_and_gradient(loss, x, t, mask=kept, **how)
                        for a, b in zip(found, expected, strict=True):
                            assert torch.equal(a, b), (own, name, mark, reduction)
                        assert not found[1][~kept].any() and torch.isfinite(found[1]).all()


@pytest.mark.sparse(2)
@pytest.mark.parametrize("loss", SINGLE, ids=lambda loss: loss.name)
def test_a_marked_element_is_deleted(loss):
    x, t, gone = batch(loss, {})
    bad = t.masked_fill(gone, -1)
    for reduction in ("mean", "sum"):
        torch.testing.assert_close(loss.function(x, bad, ignore_index=-1, reduction=reduction), loss.function(x[~gone], t[~gone], reduction=reduction))
    nothing = value_and_gradient(loss, x, torch.full_like(t, -1), ignore_index=-1)
    assert nothing[0] == 0 and not nothing[1].any()
    for own in ({"normalizer": 3}, {"sample_weight": torch.rand(5, 1)}, *([{"normalizer": "positives"}] if loss.name == "focal_loss" else [])):
        assert torch.equal(loss.function(x, bad, ignore_index=-1, **own), loss.function(x, t, mask=~gone, **own))
    module = getattr(losskit, loss.module)(ignore_index=-1)
    assert torch.equal(module(x, bad), loss.function(x, t, mask=~gone))
    compiled = torch.compile(lambda x, t: loss.function(x, t, ignore_index=-1), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x, bad), loss.function(x, t, mask=~gone))


@pytest.mark.parametrize("loss", SINGLE, ids=lambda loss: loss.name)
def test_marks_in_integer_targets(loss):
    """torch would read -1 as 255 for uint8."""
    x, t, gone = batch(loss, {})
    for dtype, mark in ((torch.int64, -1), (torch.int8, -1), (torch.uint8, 255), (torch.int64, 0), (torch.bool, 0), (torch.int64, 2**62 + 1)):
        marked = t.to(dtype) if mark == 0 else t.to(dtype).masked_fill(gone, mark)
        kept = t != 0 if mark == 0 else ~gone
        for name in ("ignore_index", "missing") if loss in MARKED and mark < 256 else ("ignore_index",):
            assert torch.equal(loss.function(x, marked, **{name: mark}), loss.function(x, t, mask=kept)), (dtype, mark)
    for mark in (-1, -100, 2, *((math.nan, 0.5, math.inf) if loss in MARKED else ())):  # what the dtype cannot hold marks nothing
        name = "ignore_index" if isinstance(mark, int) else "missing"
        each = loss.function(x, t.to(torch.uint8), reduction="none", **{name: mark})
        assert torch.equal(each, loss.function(x, t, reduction="none"))


def test_both_marks_hold():
    x, t = torch.randn(4), torch.tensor([0.0, -1.0, math.nan, 1.0])
    expected = losskit.focal_loss(x[[0, 3]], t[[0, 3]])
    assert torch.equal(losskit.focal_loss(x, t, ignore_index=-1, missing=math.nan), expected)
    assert torch.equal(losskit.BCEWithLogitsLoss(ignore_index=-1, missing=math.nan)(x, t), losskit.binary_cross_entropy_with_logits(x[[0, 3]], t[[0, 3]]))
    both = losskit.BinaryCrossEntropyLoss(from_logits=True, missing=-1, ignore_index=-100)
    assert torch.equal(both(x[:2], t[:2]), losskit.binary_cross_entropy_with_logits(x[:1], t[:1]))


@pytest.mark.parametrize("loss", SINGLE, ids=lambda loss: loss.name)
@pytest.mark.parametrize("mark", [-100, -1, 255])
def test_the_message_about_a_mark_says_what_to_pass(loss, mark):
    x, t, gone = batch(loss, {})
    for target in (t.masked_fill(gone, mark), t.long().masked_fill(gone, mark)):
        with pytest.raises(ValueError, match=rf"If {mark} marks what to leave out, pass ignore_index={mark}, or mask=target != {mark}$"):
            loss.function(x, target)
        assert torch.equal(loss.function(x, target, ignore_index=mark), loss.function(x, target, mask=target != mark))


@pytest.mark.parametrize("loss", SOFT, ids=lambda loss: loss.name)
def test_a_label_to_ignore_beside_distributions_is_refused(loss):
    """Those that take distributions at all; the way out works."""
    settings = {"task": "multiclass"} if "task" in loss.settings else {}
    x, t = torch.randn(4, 3, 5), torch.randn(4, 3, 5).softmax(1)
    if loss.input == "log-probability":
        x = x.log_softmax(1)
    ways = [settings] + ([{**settings, "from_logits": False}] if "from_logits" in loss.settings and not settings else [])
    for own in ways:
        given = x.softmax(1) if own.get("from_logits") is False else x
        try:
            expected = loss.function(given, t, **own)
        except ValueError as error:
            assert "labels" in str(error) or "label per position" in str(error)
            continue
        with pytest.raises(
            ValueError, match=r"ignore_index=255 is a label, and the target holds probabilities, .*mask= \(True = counts\), without the class axis"
        ):
            loss.function(given, t, ignore_index=255, **own)
        torch.testing.assert_close(loss.function(given, t, mask=torch.ones(4, 5, dtype=torch.bool), **own), expected)


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"ignore_index": 0.5}, TypeError, "ignore_index must be an integer, got float: 0.5"),
        ({"missing": "nan"}, TypeError, "missing must be a number, got str: 'nan'"),
        ({"missing": True}, TypeError, "missing must be a number, got bool"),
        ({"ignore_index": -1, "mask": torch.ones(4)}, TypeError, "mask must be a bool tensor"),
        ({"ignore_index": -1, "mask": torch.ones(3, dtype=torch.bool)}, ValueError, r"mask has shape \(3,\), which does not broadcast"),
    ],
)
def test_what_is_no_mark_is_told(how, error, message):
    with pytest.raises(error, match=message):
        losskit.focal_loss(torch.zeros(4), torch.zeros(4), **how)


def test_marks_of_class_labels():
    x, y = torch.randn(4, 3), torch.tensor([0, -100, 2, 1])
    expected = losskit.focal_loss(x[[0, 2, 3]], y[[0, 2, 3]], task="multiclass")
    assert torch.equal(losskit.focal_loss(x, y, task="multiclass"), expected)
    assert torch.equal(losskit.focal_loss(x, y.where(y >= 0, 255), task="multiclass", ignore_index=255), expected)
    with pytest.raises(ValueError, match=r"missing=nan needs task=.*ignore_index= marks what is absent"):
        losskit.focal_loss(x, y, task="multiclass", missing=math.nan)


def test_defaults():
    """Labels: -100, as in torch. Targets that are numbers: nothing, which costs nothing."""
    for loss in LOSSES.values():
        if "ignore_index" in loss.settings:
            assert loss.settings["ignore_index"] == (None if loss in SINGLE else -100)
        if "missing" in inspect.signature(loss.function).parameters:
            assert loss.settings["missing"] is None
