"""The laws of operands over the registry: every loss that has some, every set of them, every engine. And the laws notice what is broken."""

from typing import Any

import pytest
import torch
from cases import thorough

import losskit
from losskit.engines.torch.elementwise import bound
from losskit.testing import OPERAND_LAWS, OperandSubject
from losskit.testing.operands import subjects
from losskit.testing.subject import LawBroken, NotOffered

SUBJECTS = list(subjects())
FIRST = [s for i, s in enumerate(SUBJECTS) if s.loss not in [other.loss for other in SUBJECTS[:i]]]
# how numbers are read, summed and written is a matter of the loop around the formula, which is compiled for every choice: one operand, and three
LOOPS = [s for s in FIRST if s.loss.name in ("gaussian_nll_loss", "evidential_nll_loss")]
SEVERAL = ("shapes", "incoming_gradient", "mask_deletes")  # of three, what is a matter of how many there are
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


OTHERS = [s for s in SUBJECTS if s not in FIRST]


class Trained(OperandSubject):
    """A loss seen through the one loop that a training step runs: a sum with every gradient, and of each item alone."""

    def __call__(self, *numbers, **extra):
        if extra.get("reduction") != "none":
            return super().__call__(*numbers, **extra)
        items = zip(*(y.detach().reshape(-1, 1).requires_grad_() for y in numbers), strict=True)
        return torch.stack([super(Trained, self).__call__(*item, reduction="sum") for item in items])


@pytest.mark.parametrize("s", [*FIRST, *thorough(OTHERS)], ids=str)
def test_formula(s):
    """On both engines, which ask for the same exact numbers; in the loop that training runs."""
    check(s, "torch", *FORMULA)
    check(Trained(s.function, s.loss, s.names, s.settings, s.dtype), "cpu", *FORMULA)


@pytest.mark.parametrize("s", [*LOOPS, *thorough(s for s in SUBJECTS if s not in LOOPS)], ids=str)
def test_formula_in_every_loop(s):
    """Values without gradients in a loop of their own."""
    check(s, "cpu", *FORMULA)


@pytest.mark.sparse(4)
@pytest.mark.parametrize("s", OTHERS, ids=str)
def test_formula_of_other_operands(s):
    check(s, "torch", "textbook")


@pytest.mark.thorough
@pytest.mark.parametrize("s", SUBJECTS, ids=str)
def test_float64(s):
    """Formula and loop differ by their elementary functions, which have tests of their own: over the whole ranges for one set of operands of each loss."""
    for engine in ("torch", "cpu") if s in FIRST else ("torch",):
        check(s.with_dtype(torch.float64), engine, *(FORMULA if s in FIRST else FORMULA[:1]))


@pytest.mark.sparse(3)
@pytest.mark.parametrize("s", FIRST, ids=str)
def test_walk(s):
    check(s, "torch", *WALK)


@pytest.mark.thorough
@pytest.mark.parametrize("s", LOOPS, ids=str)
def test_walk_of_loops(s):
    check(s, "cpu", *(WALK if s is LOOPS[0] else SEVERAL))


@pytest.mark.parametrize("dtype", [torch.bfloat16, *thorough([torch.float16])], ids=str)
@pytest.mark.parametrize("s", [LOOPS[0], *thorough(LOOPS[1:])], ids=str)
def test_half_precision_on_the_cpu(s, dtype):
    check(s.with_dtype(dtype), "cpu", "textbook")


@pytest.mark.parametrize("s", LOOPS, ids=str)
def test_deterministic(s):
    check(s, "cpu", "deterministic")


@pytest.mark.sparse(3)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp's own
@pytest.mark.parametrize("s", [*FIRST, *thorough(OTHERS)], ids=str)
def test_derived(s):
    check(s, None if s in LOOPS else "torch", *DERIVED)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
@pytest.mark.parametrize("s", [*LOOPS, *thorough(s for s in FIRST if s not in LOOPS)], ids=str)
def test_compiled(s):
    check(s, None if s in LOOPS else "torch", "compiled")


@pytest.mark.sparse(2)
@pytest.mark.parametrize("s", SUBJECTS, ids=str)
def test_refusals(s):
    check(s, None if s in LOOPS else "torch", "out_of_range", "messages")


@pytest.mark.parametrize("factor", [-1.0, 0.5])
def test_a_broken_derivative_by_an_operand_is_noticed(factor, monkeypatch):
    from losskit.losses.regression import gaussian_nll

    right = gaussian_nll.of_log_var

    def broken(x, t, s, constant):
        value, by_x, by_t, by_s = right(x, t, s, constant)
        return value, by_x, by_t, factor * by_s

    broken.on_tensors = lambda x, t, s, constant: (lambda found: (*found[:3], factor * found[3]))(bound(right)(x, t, s, constant))
    monkeypatch.setitem(gaussian_nll.FORMS, "log_var", broken)
    s = next(s for s in SUBJECTS if s.names == ("log_var",) and s.loss.name == "gaussian_nll_loss")
    with losskit.use_engine("torch"):
        for law in ("textbook", "error_budget"):
            with pytest.raises(LawBroken, match="gradient to log_var"):
                OPERAND_LAWS[law].law(s)
