"""The modules: same results as the functions, picklable, saved and moved with their weights, checked at construction."""

import copy
import inspect
import io
import pickle

import pytest
import torch
from cases import CASES, Case

import losskit
from losskit.testing import inputs


def made(case: Case, **more):
    return getattr(losskit, case.loss.module)(**(dict(case.settings) | more))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_module_is_the_function(case: Case):
    with losskit.use_engine("torch"):
        x, t = inputs.batch(case.loss, case.settings)
        mask, weight = torch.rand(x.shape) < 0.5, torch.rand(7)
        arguments = inputs.as_arguments(case.settings)
        for reduction in ("none", "mean", "sum"):
            module = made(case, reduction=reduction)
            assert torch.equal(module(x, t), case.loss.function(x, t, reduction=reduction, **arguments))
            expected = case.loss.function(x, t, reduction=reduction, mask=mask, sample_weight=weight, **arguments)
            assert torch.equal(module(x, t, mask=mask, sample_weight=weight), expected)
        assert torch.equal(made(case)(x, t, normalizer=3.0), case.loss.function(x, t, normalizer=3.0, **arguments))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_copies_pickles_and_repr(case: Case):
    with losskit.use_engine("torch"):
        x, t = inputs.batch(case.loss, case.settings)
        module = made(case)
        expected = module(x, t)
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert type(twin) is type(module) and repr(twin) == repr(module)
            assert torch.equal(twin(x, t), expected)
        for name, value in case.settings.items():
            assert f"{name}={value!r}" in repr(module)
        assert repr(module).startswith(f"{case.loss.module}(")


def test_repr_can_be_typed_in_again():
    assert repr(losskit.SmoothL1Loss(beta=0.5)) == "SmoothL1Loss(beta=0.5, reduction='mean')"
    assert "pos_weight=[1.0, 3.0]" in repr(losskit.BinaryCrossEntropyLoss(pos_weight=[1.0, 3.0]))


def test_weights_are_buffers():
    module = losskit.BinaryCrossEntropyLoss(pos_weight=[1.0, 3.0], weight=torch.tensor([2.0, 0.5]))
    assert set(module.state_dict()) == {"pos_weight", "weight"} and not list(module.parameters())
    held = io.BytesIO()
    torch.save(module.state_dict(), held)
    held.seek(0)
    other = losskit.BinaryCrossEntropyLoss(pos_weight=[9.0, 9.0], weight=[9.0, 9.0])
    other.load_state_dict(torch.load(held))
    x, t = torch.randn(4, 2), torch.ones(4, 2)
    assert torch.equal(other(x, t), module(x, t))
    assert module.to(torch.float64).pos_weight.dtype is torch.float64
    assert module.to("meta").pos_weight.is_meta
    torch.testing.assert_close(
        losskit.BinaryCrossEntropyLoss(pos_weight=[1.0, 3.0])(x, t), torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor([1.0, 3.0]))(x, t)
    )


BAD = [
    ("SmoothL1Loss", {"beta": -1.0}, ValueError, "beta must be >= 0"),
    ("FocalLoss", {"gamma": -1.0}, ValueError, "gamma must be >= 0"),
    ("FocalLoss", {"alpha": 2.0}, ValueError, "alpha must be"),
    ("FocalLoss", {"task": "other"}, ValueError, "task must be one of"),
    ("MSELoss", {"reduction": "average"}, ValueError, "reduction must be one of"),
    ("MSELoss", {"beta": 1.0}, TypeError, "MSELoss has no argument 'beta'; it takes: reduction"),
    ("MSELoss", {"mask": torch.ones(2, dtype=torch.bool)}, TypeError, "give it when calling the module"),
    ("HuberLoss", {"delta": "big"}, TypeError, "delta must be a number"),
]


@pytest.mark.parametrize(("module", "arguments", "error", "message"), BAD, ids=[f"{b[0]}-{next(iter(b[1]))}" for b in BAD])
def test_bad_settings_raise_at_construction(module, arguments, error, message):
    with pytest.raises(error, match=message):
        getattr(losskit, module)(**arguments)


@pytest.mark.parametrize("loss", losskit.LOSSES.values(), ids=lambda loss: loss.name)
def test_signature_and_docstring(loss):
    module = getattr(losskit, loss.module)
    assert list(inspect.signature(module).parameters) == list(loss.settings)
    assert module.__doc__.startswith(loss.summary)
    assert list(inspect.signature(module.forward).parameters)[1:] == ["input", "target", "mask", "sample_weight", "normalizer"]


def test_trains_in_a_sequence_of_modules():
    model, loss = torch.nn.Linear(3, 1), losskit.HuberLoss(delta=0.5)
    x = torch.randn(64, 3)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    first = loss(model(x), y).item()
    for _ in range(100):
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
    assert loss(model(x), y).item() < first / 100
