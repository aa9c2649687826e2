"""The laws of operands over the registry: every loss that has some, every set of them, every engine. And the laws notice what is broken."""

import inspect
import sys
from types import ModuleType
from typing import Any

import pytest
import torch

import losskit
from losskit import LOSSES
from losskit.testing import OPERAND_LAWS, OperandSubject
from losskit.testing.operands import subjects
from losskit.testing.subject import LawBroken, NotOffered

SUBJECTS = list(subjects())
FIRST = [s for i, s in enumerate(SUBJECTS) if s.loss not in [other.loss for other in SUBJECTS[:i]]]
FORMULA = ("textbook", "error_budget")
WALK = ("shapes", "numbers", "half_precision", "subsets", "mask_deletes", "nothing_left", "nan_stays", "incoming_gradient", "sizes")
DERIVED = ("second_derivative", "transforms")
NOT_OFFERED = ("every real number is in range",)


def check(s: OperandSubject, engine: Any, *laws: str) -> None:
    for law in laws:
        try:
            if engine is None:
                OPERAND_LAWS[law].law(s)
            else:
                with losskit.use_engine(engine):
                    OPERAND_LAWS[law].law(s)
        except NotOffered as missing:
            assert str(missing) in NOT_OFFERED, f"{law}: {missing}"
        except LawBroken as error:
            raise AssertionError(f"{law}: {error}") from error


def test_every_law_is_used():
    assert set(OPERAND_LAWS) == {*FORMULA, *WALK, *DERIVED, "deterministic", "compiled", "out_of_range", "messages"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("s", SUBJECTS, ids=str)
def test_formula(s, engine, dtype):
    check(s.with_dtype(dtype), engine, *FORMULA)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("s", FIRST, ids=str)
def test_walk(s, engine):
    check(s, engine, *WALK)


@pytest.mark.parametrize("s", SUBJECTS, ids=str)
def test_deterministic(s):
    check(s, "cpu", "deterministic")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp's own
@pytest.mark.parametrize("s", SUBJECTS, ids=str)
def test_derived(s):
    check(s, None, *DERIVED)


@pytest.mark.parametrize("s", SUBJECTS, ids=str)
def test_compiled(s):
    check(s, None, "compiled")


@pytest.mark.parametrize("s", SUBJECTS, ids=str)
def test_refusals(s):
    check(s, None, "out_of_range", "messages")
