"""The laws of operands of rows: numbers per item beside class scores, on every engine; and every such setting of a loss of rows is under them."""

import contextlib
import inspect
import os
from typing import Any, get_args

import numpy as np
import pytest
import torch
from cases import thorough

os.environ.setdefault("TRITON_INTERPRET", "0" if torch.cuda.is_available() else "1")  # read when Triton is imported

import losskit
from losskit.contract.registry import LOSSES
from losskit.engines import dispatch
from losskit.testing.row_operands import RowOperandSubject
from losskit.testing.subject import LawBroken
from losskit.testing.tables import ROW_OPERAND_LAWS

WEIGHT = [1.0, 0.5, 3.0, 1.0]
ce, kl = LOSSES["cross_entropy"], LOSSES["kl_divergence"]
SUBJECTS = [
    RowOperandSubject(ce, ("temperature",)),
    RowOperandSubject(ce, ("temperature",), {"label_smoothing": 0.2, "z_loss": 1e-2, "softcap": 30.0, "weight": WEIGHT}),
    RowOperandSubject(ce, ("label_smoothing",), {"weight": WEIGHT}),
    RowOperandSubject(ce, ("temperature", "label_smoothing"), {"z_loss": 1e-2}),
    RowOperandSubject(ce, ("temperature", "label_smoothing"), {"z_loss": 1e-2, "weight": WEIGHT}, soft=True),
    RowOperandSubject(kl, ("temperature",), soft=True),
    RowOperandSubject(kl, ("temperature",), {"log_target": True}, soft=True),
    RowOperandSubject(LOSSES["focal_loss"], ("gamma",), {"task": "multiclass", "alpha": WEIGHT}),
]
WALK = ("shapes", "numbers", "half_precision", "subsets", "mask_deletes", "nothing_left", "incoming_gradient", "messages")
DERIVED = ("second_derivative", "transforms", "compiled")


def check(s: RowOperandSubject, engine: Any, *laws: str) -> None:
    for law in laws:
        try:
            with losskit.use_engine(engine):
                ROW_OPERAND_LAWS[law].law(s)
        except LawBroken as error:
            raise AssertionError(f"{law}: {error}") from error


def test_every_law_is_used():
    assert set(ROW_OPERAND_LAWS) == {"textbook", "error_budget", "offset", "deterministic", *WALK, *DERIVED}


def test_every_setting_of_rows_that_may_be_a_tensor_is_examined():
    known = {(s.loss.name, name) for s in SUBJECTS for name in s.names}
    for loss in LOSSES.of("rows").values():
        for name, parameter in inspect.signature(loss.function).parameters.items():
            if name in loss.settings and torch.Tensor in get_args(parameter.annotation) and name != "weight":  # weights: test_class_weights.py
                assert (loss.name, name) in known, f"{name} of {loss.name}"


EVERY = ("textbook", "error_budget", "offset")


@pytest.mark.parametrize("s", SUBJECTS, ids=str)
def test_formula(s):
    check(s, "torch", *EVERY)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("s", "dtype"),
    [*((s, torch.float32) for s in SUBJECTS), *((s, torch.float64) for s in SUBJECTS[::5])],
    ids=str,
)
def test_formula_of_loops(s, dtype):
    """Float64 differs by its elementary functions, which have tests of their own."""
    check(s.with_dtype(dtype), "cpu", *EVERY)


@pytest.mark.parametrize("s", [SUBJECTS[0], *thorough(SUBJECTS[1:])], ids=str)
def test_formula_on_triton(s):
    pytest.importorskip("triton", reason="Triton")
    with np.errstate(all="ignore"):  # of the interpreter
        check(s.with_dtype(torch.float32), "triton", "textbook", "offset", "incoming_gradient", "mask_deletes")


@pytest.mark.parametrize("s", SUBJECTS, ids=str)
def test_walk(s):
    check(s, "torch", *WALK[:-1])


@pytest.mark.thorough
@pytest.mark.parametrize("s", [SUBJECTS[3], SUBJECTS[5]], ids=str)
def test_walk_of_loops(s):
    """How numbers are read, added and written is a matter of the loop, not of the formula: of rows and of distributions."""
    check(s, "cpu", *WALK[:-1])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp's and the compiler's own
@pytest.mark.parametrize("s", [SUBJECTS[0], SUBJECTS[5], *thorough(s for i, s in enumerate(SUBJECTS) if i % 5)], ids=str)
def test_derived(s):
    with losskit.use_engine("torch") if s not in (SUBJECTS[0], SUBJECTS[5]) else contextlib.nullcontext():
        for law in DERIVED:
            ROW_OPERAND_LAWS[law].law(s)


@pytest.mark.parametrize("s", SUBJECTS, ids=str)
def test_refusals(s):
    check(s, "torch", "messages")


@pytest.mark.parametrize("s", [SUBJECTS[0], SUBJECTS[5]], ids=str)
def test_deterministic(s):
    check(s, "cpu", "deterministic")


def test_a_broken_derivative_is_noticed(monkeypatch):
    from losskit.engines.torch import rows as plain

    right = plain.level_of
    monkeypatch.setattr(plain, "level_of", lambda e, fall: 0.5 * right(e, fall))
    with losskit.use_engine("torch"), pytest.raises(LawBroken, match="gradient to temperature"):
        ROW_OPERAND_LAWS["textbook"].law(SUBJECTS[0])


@pytest.mark.chosen
def test_a_learned_temperature_keeps_no_tensor_of_the_input_s_size():
    x, t, temperature = torch.randn(64, 600), torch.randint(0, 600, (64,)), torch.tensor(1.5, requires_grad=True)
    assert losskit.engine_for(losskit.cross_entropy, x, t, temperature=temperature).engine == "cpu"
    assert losskit.engine_for(losskit.cross_entropy, x, t, label_smoothing=torch.rand(64)).engine == "cpu"
    value = losskit.cross_entropy(x, t, temperature=temperature)
    assert all(y is None or y.numel() <= 64 for y in value.grad_fn.gradients)


@pytest.mark.thorough
@pytest.mark.parametrize("engine", ["cpu", "triton"])
@pytest.mark.parametrize("s", [SUBJECTS[3], SUBJECTS[4]], ids=str)
def test_derivatives_nobody_asked_for_have_no_memory(s, engine):
    """What a pass allocates, gradients of operands of one number each: with one asked for, a number per item more."""
    pytest.importorskip("triton" if engine == "triton" else "torch", reason="Triton")
    items, seen = 64, []
    x, t, *operands = s.with_dtype(torch.float32).batch((items,))
    operands = [y.mean() for y in operands]

    class Counted(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            if func._overloadpacket in (torch.ops.aten.zeros, torch.ops.aten.empty) and found.numel() == items:
                seen.append(found)
            return found

    pattern = "distributions" if s.soft else "rows"
    call = calls_of(s, x, t, *operands)
    counts = {}
    for wants in [(True, False, *own) for own in ((False, False), (True, False), (False, True), (True, True))]:
        seen.clear()
        with Counted():
            found = dispatch.pattern(engine, pattern).run(call, (x, t, *operands), wants=wants).gradients
        assert tuple(g is not None for g in found) == wants
        counts[wants[2:]] = len(seen)
    least = counts[False, False]
    assert counts == {(False, False): least, (True, False): least + 1, (False, True): least + 1, (True, True): least + 2}


def calls_of(s, *tensors):
    """The call that a loss hands to its engine."""
    from losskit.contract import passes

    seen = []
    with pytest.MonkeyPatch.context() as patch:
        right = passes.reduce.run
        patch.setattr(passes.reduce, "run", lambda pattern, engine, call, *rest: (seen.append(call), right(pattern, engine, call, *rest))[1])
        s(*tensors)
    return seen[0]


def test_a_long_row_whose_exponentials_are_kept():
    x, t = torch.randn(4, 9000, requires_grad=True), torch.randint(0, 9000, (4,))
    temperature = torch.tensor([0.5, 1.0, 2.0, 3.0], requires_grad=True)
    found = torch.autograd.grad(losskit.cross_entropy(x, t, temperature=temperature), (x, temperature))
    wide = [y.detach().double().requires_grad_() for y in (x, temperature)]
    expected = torch.autograd.grad(torch.nn.functional.cross_entropy(wide[0] / wide[1][:, None], t), wide)
    for got, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(got.double(), reference, rtol=1e-4, atol=1e-8)


@pytest.mark.chosen
def test_in_place_with_a_learned_temperature():
    x, t = torch.randn(6, 40, requires_grad=True), torch.randint(0, 40, (6,))
    temperature = torch.tensor(2.0, requires_grad=True)
    expected = torch.autograd.grad(losskit.cross_entropy(x, t, temperature=temperature) * 3.0, (x, temperature))
    found = torch.autograd.grad(losskit.cross_entropy(x * 1.0, t, temperature=temperature, inplace=True) * 3.0, (x, temperature))
    for got, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(got, reference)


def test_a_module_learns_its_temperature():
    module = losskit.CrossEntropyLoss(temperature=torch.nn.Parameter(torch.tensor(2.0)), label_smoothing=torch.nn.Parameter(torch.tensor(0.1)))
    assert [name for name, _ in module.named_parameters()] == ["label_smoothing", "temperature"]
    module(torch.randn(6, 5), torch.randint(0, 5, (6,))).backward()
    assert all(y.grad is not None and y.grad.shape == () for y in module.parameters())


@pytest.mark.parametrize("log_input", [False, True])
def test_smoothing_per_item_of_probabilities(log_input):
    p, t = torch.randn(6, 5, dtype=torch.float64).softmax(1), torch.randint(0, 5, (6,))
    smoothing = torch.rand(6, dtype=torch.float64, requires_grad=True)
    each = losskit.cross_entropy(p.log() if log_input else p, t, from_logits=False, log_input=log_input, label_smoothing=smoothing, reduction="none")
    expected = -(1 - smoothing) * p.log().gather(1, t[:, None])[:, 0] - smoothing * p.log().mean(1)
    torch.testing.assert_close(each, expected)
    torch.testing.assert_close(*(torch.autograd.grad(y.square().sum(), smoothing)[0] for y in (each, expected)))
    with pytest.raises(ValueError, match=r"label_smoothing must be from 0 to 1, got 1.5 at index \(2,\)"):
        losskit.cross_entropy(p, t, from_logits=False, label_smoothing=torch.tensor([0.1, 0.2, 1.5, 0.0, 0.0, 0.0]))
    with pytest.raises(ValueError, match="temperature, inplace and return_parts need logits"):
        losskit.cross_entropy(p, t, from_logits=False, temperature=2.0)
