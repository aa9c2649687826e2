"""The laws of rows on losses of a product, whose head is the identity; and their modules, which may own the head."""

import copy
import pickle
from collections.abc import Iterable
from typing import Any

import pytest
import test_row_laws
import torch
from cases import Case, require, thorough
from torch import nn

import losskit
from losskit import LOSSES
from losskit.testing import ROW_LAWS, LinearSubject, audit

CASES = [Case(loss, settings) for loss in LOSSES.of("linear").values() for settings in loss.arguments]
FIRST = [case for case in CASES if case.settings is case.loss.arguments[0]]
CANNOT_APPLY = (
    *test_row_laws.CANNOT_APPLY,
    "scores are finite",
    "no argument dim",
    "no argument inplace",
    "no engines of losskit",
)  # engines: test_products.py
WALK = [law for law in (*test_row_laws.WALK, *test_row_laws.SOFT) if law != "autocast"]  # products are multiplied in its dtype: test_products.py


def check(laws: Iterable[str], case: Case, engine: Any, dtype: torch.dtype = torch.float32) -> None:
    with losskit.use_engine(engine):
        require(laws, ROW_LAWS, LinearSubject(case.loss.function, case.loss, case.settings, dtype, engine), CANNOT_APPLY)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_formula(case: Case) -> None:
    check(test_row_laws.FORMULA, case, "torch")


@pytest.mark.parametrize("case", [FIRST[0], *thorough(CASES[1:])], ids=str)
def test_formula_of_loops(case: Case) -> None:
    check(test_row_laws.FORMULA, case, "cpu")


@pytest.mark.parametrize(("case", "engine"), [(CASES[-1], "torch"), pytest.param(FIRST[0], "cpu", marks=pytest.mark.thorough)], ids=str)
def test_walk(case: Case, engine: Any) -> None:
    check(WALK, case, engine)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp's own
def test_transforms() -> None:
    check(["transforms"], FIRST[0], "torch")


@pytest.mark.skipif(not hasattr(nn, "LinearCrossEntropyLoss"), reason="torch")
def test_torch_is_examined_by_the_same_laws() -> None:
    found = audit(nn.functional.linear_cross_entropy, like="linear_cross_entropy", show=False, laws=["textbook", "nothing_left"])
    assert [f.verdict for f in found.findings] == ["holds", "fails"]  # all ignored: NaN


HIDDEN, LABELS = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 2, -100, 0])


def values(module: nn.Module, *tensors: torch.Tensor) -> list[torch.Tensor]:
    """The loss and the gradients of what the module holds."""
    value = module(*tensors)
    return [value.detach(), *torch.autograd.grad(value, list(module.parameters()))]


@pytest.mark.skipif(not hasattr(nn, "LinearCrossEntropyLoss"), reason="torch")
@pytest.mark.parametrize("bias", [False, True])
def test_the_module_owns_a_head_as_torchs_does(bias: bool) -> None:
    """Made alike, with one state, the same value and gradients."""
    settings: dict[str, Any] = {"label_smoothing": 0.1, "weight": torch.tensor([1.0, 0.5, 2.0]), "reduction": "sum"}
    torch.manual_seed(3)
    ours = losskit.LinearCrossEntropyLoss(4, 3, bias=bias, **settings)
    torch.manual_seed(3)
    theirs = nn.LinearCrossEntropyLoss(4, 3, bias=bias, **settings)
    held = ours.state_dict() | dict(ours.named_buffers())  # class weights are a setting here, and no state
    assert held.keys() == theirs.state_dict().keys() and set(ours.state_dict()) == {"linear.weight"} | ({"linear.bias"} if bias else set())
    assert all(torch.equal(y, held[name]) for name, y in theirs.state_dict().items())
    ours.load_state_dict(theirs.state_dict())
    for a, b in zip(values(ours, HIDDEN, LABELS), values(theirs, HIDDEN, LABELS), strict=True):
        torch.testing.assert_close(a, b)
    double = losskit.LinearCrossEntropyLoss(4, 3, dtype=torch.float64, device="cpu")
    assert double.linear.weight.dtype is torch.float64 and double(HIDDEN.double(), LABELS).dtype is torch.float64


def test_the_module_is_the_function() -> None:
    head, bias = nn.Parameter(torch.randn(3, 4)), torch.randn(3)
    function, module = losskit.linear_cross_entropy, losskit.LinearCrossEntropyLoss(z_loss=0.1, reduction="none")
    mask = torch.arange(6) != 2
    for more in ({}, {"linear_bias": bias}, {"mask": mask, "sample_weight": torch.rand(6)}):
        expected = function(HIDDEN, head, LABELS, z_loss=0.1, reduction="none", **more)
        assert torch.equal(module(HIDDEN, head, LABELS, **more), expected)
        assert torch.equal(module(HIDDEN, target=LABELS, linear_weight=head, **more), expected)
        if "linear_bias" not in more:
            owner = losskit.LinearCrossEntropyLoss(4, 3, z_loss=0.1, reduction="none")
            owner.linear.weight = head  # tied
            assert torch.equal(owner(HIDDEN, LABELS, **more), expected) and torch.equal(owner(HIDDEN, target=LABELS, **more), expected)
    assert list(module.parameters()) == [] and next(owner.parameters()) is head
    module.linear = nn.Linear(4, 3)  # a head that was there
    assert torch.equal(module(HIDDEN, LABELS), function(HIDDEN, module.linear.weight, LABELS, linear_bias=module.linear.bias, z_loss=0.1, reduction="none"))


def test_copies_and_pickles_keep_the_head() -> None:
    for module in (losskit.LinearCrossEntropyLoss(4, 3, bias=True, weight=[1.0, 2.0, 0.5]), losskit.LinearCrossEntropyLoss(softcap=5.0)):
        tensors = (HIDDEN, LABELS) if module.linear is not None else (HIDDEN, torch.ones(3, 4), LABELS)
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert repr(twin) == repr(module) and torch.equal(twin(*tensors), module(*tensors))
            assert twin.state_dict().keys() == module.state_dict().keys()
    assert "(linear): Linear(in_features=4, out_features=3, bias=True)" in repr(losskit.LinearCrossEntropyLoss(4, 3, bias=True))


def test_a_training_step() -> None:
    model = nn.ModuleDict({"body": nn.Linear(4, 4), "loss": losskit.LinearCrossEntropyLoss(4, 3)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    found = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = model["loss"](model["body"](HIDDEN), LABELS)
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    assert found == sorted(found, reverse=True) and found[-1] < found[0]


OWNER, WITHOUT, M = losskit.LinearCrossEntropyLoss(4, 3), losskit.LinearCrossEntropyLoss(), losskit.LinearCrossEntropyLoss


@pytest.mark.parametrize(
    ("call", "error", "told"),
    [
        (
            lambda: WITHOUT(HIDDEN, LABELS),
            TypeError,
            r"owns no head: call module\(input, linear_weight, target\), or make it with \w+\(in_features, num_classes\)",
        ),
        (lambda: OWNER(HIDDEN, torch.ones(3, 4), LABELS), TypeError, r"owns its head, module.linear: call module\(input, target\), or make it without"),
        (lambda: OWNER(HIDDEN, LABELS, linear_bias=torch.ones(3)), TypeError, r"owns its head, module.linear"),
        (lambda: OWNER(HIDDEN, LABELS, input=HIDDEN), TypeError, r"call has input twice: by its place and by its name"),
        (lambda: OWNER(HIDDEN), TypeError, r"missing 1 required positional argument: 'target'"),
        (lambda: M(4), TypeError, r"in_features and num_classes, two whole numbers; num_classes is missing"),
        (lambda: M(num_classes=4), TypeError, r"two whole numbers; in_features is missing"),
        (lambda: M(4, 3.0), TypeError, r"two whole numbers; num_classes is float"),
        (lambda: M(torch.ones(3, 4), HIDDEN, LABELS), TypeError, r"takes its settings .*tensors when it is called"),
        (lambda: M(4, 1), ValueError, r"num_classes must be at least 2, got 1"),
        (lambda: M(-1, 3), ValueError, r"in_features must be at least 0, got -1"),
        (lambda: M(bias=True), TypeError, r"bias, device and dtype are of the head that \w+ owns: give in_features and num_classes, too, or leave them out"),
        (lambda: M(4, 3, bias=1), TypeError, r"bias must be True or False"),
        (lambda: M(4, 3, weight=[1.0, 2.0]), ValueError, r"weight has shape \(2,\), expected one number for each of the 3 classes"),
        (lambda: M(4, 3, options=None), TypeError, r"has no argument 'options'"),
        (lambda: M(4, 3, 1.0), TypeError, r"takes its settings by name"),
    ],
)
def test_what_is_refused(call: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        call()
