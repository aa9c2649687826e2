"""The loss of sums of overlap in one launch, against the arithmetic in PyTorch operations; where it runs, as `on_triton.py` says."""

import math

import pytest
import torch
from cases import thorough
from on_triton import DEVICE, surroundings  # noqa: F401

from losskit.contract.scores import Extra, Scoring, loss_of_sums
from losskit.engines.call import COUNT, EXTRA, INTERSECTION, PREDICTION, TARGET, TARGET_SQUARED
from losskit.engines.triton import scores as engine
from losskit.losses.segmentation import focal_tversky, log_cosh_dice, mcc, tversky

TVERSKY = tversky.formula, (0.3, 0.7, 1.0, 1.0)
WEIGHT, OTHER = torch.tensor([0.5, 1.25, 2.0, 0.0, 0.75]), torch.tensor([1.0, 0.0, 0.25, 3.0, 0.5])

# each kind of formula, sample, average, empty target, weight and second loss
HOW = {
    "plain": Scoring(*TVERSKY),
    "batch": Scoring(*TVERSKY, over="batch", background=False, empty="skip", weight=WEIGHT, squared=True, score=True),
    "micro": Scoring(*TVERSKY, average="micro", empty="zero", weight=WEIGHT, extra=Extra(None, (), 0.3, 0.6, OTHER)),
    "volume": Scoring(tversky.formula, (0.5, 0.5, 1.0, 1.0), volume="square", background=False, weight=WEIGHT, squared=True, score=True),
    "volume of a batch": Scoring(tversky.formula, (0.5, 0.5, 0.0, 1.0), over="batch", volume="simple", empty="mass"),
    "weighted": Scoring(mcc.formula, (0.1, 0.2), average="weighted", background=False, empty="zero", extra=Extra(None, (), 0.3, 0.6, OTHER, by_weight=False)),
    "nested": Scoring(log_cosh_dice.formula, (0.5, 0.5, 0.0, 0.0), average="nested", empty="skip", extra=Extra(None), labelled=False),
    "none": Scoring(focal_tversky.formula, (0.75, 0.3, 0.7, 1.0, 1.0), average="none", background=False, empty="mass", weight=WEIGHT, score=True),
    "none of a batch": Scoring(*TVERSKY, over="batch", average="none"),
    "by weight": Scoring(*TVERSKY, over="batch", extra=Extra(None, (), 0.5, 2.0, OTHER)),
    "both apart": Scoring(*TVERSKY, extra=Extra(None, (), weight=OTHER, apart=True)),
    "normalizer": Scoring(*TVERSKY, normalizer=3.5),
    "normalizer on the device": Scoring(*TVERSKY, over="batch", average="nested", normalizer=torch.tensor(4)),
    "normalizer of nothing": Scoring(*TVERSKY, normalizer=0.0),
}
SHOWN = ("batch", "micro", "volume", "weighted", "none", "both apart")
by_how = pytest.mark.parametrize("name", [*SHOWN, *thorough(name for name in HOW if name not in SHOWN)])


def drawn(samples, classes=5):
    """Sums as a pass gives them: overlap is no more than either side, no side more than there are items; a class without a target, and a sample without items."""
    draw = torch.Generator(DEVICE).manual_seed(samples)
    sums = torch.rand(samples, classes, 7, generator=draw, dtype=torch.float64)
    sums[..., INTERSECTION] *= sums[..., PREDICTION] * sums[..., TARGET]
    sums[..., COUNT] = torch.randint(2, 30, (samples, 1), generator=draw)
    sums[0] = 0.0
    sums[-1, 1][[INTERSECTION, TARGET, TARGET_SQUARED]] = 0.0
    return sums


def here(how):
    """On the device of the test."""
    extra = how.extra and how.extra._replace(weight=None if how.extra.weight is None else how.extra.weight.to(DEVICE))
    normalizer = how.normalizer.to(DEVICE) if isinstance(how.normalizer, torch.Tensor) else how.normalizer
    return how._replace(weight=None if how.weight is None else how.weight.to(DEVICE), extra=extra, normalizer=normalizer)


def agree(how, sums):
    """One launch gives what many operations give: the loss, its derivatives by the sums, its parts."""
    should = loss_of_sums(how, sums, True)
    value, by, parts = engine.score(how, sums, True, torch.float64)
    close = {"rtol": 1e-11, "atol": 1e-14, "equal_nan": True}
    torch.testing.assert_close(value, should.value, **close)
    torch.testing.assert_close(by, should.by_sums, **close)
    assert (parts is None) == (how.extra is None)
    if parts is not None:
        torch.testing.assert_close(torch.stack(parts), torch.stack(should.parts), **close)
    return value, by


@by_how
def test_agrees_with_many_operations(name):
    how = here(HOW[name])
    value, by = agree(how, drawn(3))
    assert (value.ne(0).any() and by.ne(0).any()) or how.normalizer == 0
    again, none, _ = engine.score(how, drawn(3), False, torch.float64)
    assert none is None and again.equal(value)  # the same bits
    rounded, by, _ = engine.score(how, drawn(3), True, torch.float32)
    assert rounded.equal(value.float()) and by.dtype is torch.float32


@pytest.mark.parametrize("name", ["nested", *thorough(["none", "volume", "by weight"])])
def test_more_than_one_program_holds_at_once(name):
    agree(here(HOW[name]), drawn(engine.TILE // 8 + 3))  # of 5 classes, eight sums to a sample


def test_more_classes_than_a_tile_has():
    agree(Scoring(*TVERSKY, average="nested", empty="skip"), drawn(3, engine.TILE + 1))


def test_what_cannot_be_told_shows():
    """NaN, the sums of a sample in which a label is no class."""
    for name in ("plain", "micro", "by weight"):
        sums = drawn(3)
        sums[1] = math.nan
        value, _ = agree(here(HOW[name]), sums)
        assert value.isnan()
    sums[1] = 1.0
    sums[2, 3, EXTRA] = math.nan  # of a class of weight 0.25
    assert agree(here(HOW["by weight"]), sums)[0].isnan()


def test_no_samples():
    for name in ("plain", "batch", "none", "by weight"):
        value, by, _ = engine.score(here(HOW[name]), torch.zeros(0, 5, 7, dtype=torch.float64), True, torch.float32)
        assert value.eq(0).all() and by.eq(0).all()


def test_many_are_left_to_operations_that_take_all_of_the_device():
    how = Scoring(*TVERSKY)
    assert engine.score(how, torch.zeros(1, engine.CLASSES + 1, 7, dtype=torch.float64), True, torch.float32) is None
    many = torch.zeros(engine.MOST + 1, 1, 7, dtype=torch.float64)
    assert engine.score(how, many, True, torch.float32) is None
    assert engine.score(how._replace(over="batch"), many, True, torch.float32) is not None
