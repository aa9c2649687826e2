"""The laws over the registry: every loss, every set of arguments, every engine."""

from collections.abc import Iterable

import pytest
import torch
from cases import CASES, FEW, Case, Trained, one, require, thorough

import losskit
from losskit.testing import LAWS, Subject

# about the formula: on every one of them
FORMULA = (
    "textbook",
    "error_budget",
    "target_gradient",
    "nan_stays",
    "infinite_inputs",
    "sure_and_wrong",
    "domain_checked",
)
# about the walk over tensors and the contract around it: on a few
WALK = (
    "mask_deletes",
    "mask_beside_weights",
    "reductions_agree",
    "weighted_mean",
    "incoming_gradient",
    "accumulation",
    "nothing_left",
    "inputs_unchanged",
    "half_precision",
    "layouts",
    "engines_agree",
    "integer_targets",
    "autocast",
    "shapes_agree",
    "weights_finite",
)
DTYPES = ("half_precision", "integer_targets")


CANNOT_APPLY = ("probabilities are never infinite", "logits in", "every real number is in the domain")  # of a loss of ours nothing else may be missing


def check(laws: Iterable[str], subject: Subject) -> None:
    require(laws, LAWS, subject, CANNOT_APPLY)


def test_every_law_is_used() -> None:
    assert set(LAWS) == {*FORMULA, *WALK, "deterministic", "second_derivative", "transforms"}


FIRST = [case for case in CASES if case.settings is case.loss.arguments[0]]
OTHERS = [case for case in CASES if case not in FIRST]


@pytest.mark.parametrize("case", [*FIRST, *thorough(OTHERS)])
def test_formula(case: Case) -> None:
    """On both engines, which ask for the same exact numbers; in the loop that training runs."""
    for engine, kind in (("torch", Subject), ("cpu", Trained)):
        with losskit.use_engine(engine):
            check(FORMULA, kind(case.loss.function, case.loss, case.settings, torch.float32, engine))


@pytest.mark.parametrize("subject", [*((case, "cpu") for case in FEW), *thorough((case, "cpu") for case in CASES if case not in FEW)], indirect=True)
def test_formula_in_every_loop(subject: Subject) -> None:
    """Values without gradients, gradients by the input alone: the same formula in loops of their own."""
    check(FORMULA, subject)


@pytest.mark.sparse(4)
@pytest.mark.parametrize("subject", [(case, "torch") for case in OTHERS], indirect=True)
def test_formula_of_other_settings(subject: Subject) -> None:
    check(FORMULA, subject)


@pytest.mark.sparse(3)
@pytest.mark.parametrize(
    "subject",
    [*((case, "torch") for case in FIRST), *thorough((case, "torch") for case in OTHERS)],
    indirect=True,
)
def test_walk(subject: Subject) -> None:
    check(WALK, subject)


@pytest.mark.parametrize("subject", [(FEW[0], "cpu"), *thorough([(FEW[2], "cpu")])], indirect=True)
def test_walk_of_loops(subject: Subject) -> None:
    """How numbers are read and written: one loss is enough, for each dtype is a kernel."""
    check([law for law in WALK if subject.loss.name == "smooth_l1_loss" or law not in DTYPES], subject)


# the torch engine sums with torch.sum, whose last bit depends on the number of threads
@pytest.mark.parametrize("subject", [(case, "cpu") for case in FEW[::2]], indirect=True)
def test_deterministic(subject: Subject) -> None:
    check(["deterministic"], subject)


@pytest.mark.sparse(3)
@pytest.mark.parametrize(
    "subject", [*((case, "cpu") for case in FEW[:1]), *((case, "torch") for case in FIRST), *thorough((case, "torch") for case in OTHERS)], indirect=True
)
def test_second_derivative(subject: Subject) -> None:
    check(["second_derivative"], subject)


@pytest.mark.sparse(3)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp's own
@pytest.mark.parametrize("subject", [(FEW[0], None), *((case, "torch") for case in FIRST), *thorough((case, None) for case in CASES)], indirect=True)
def test_transforms(subject: Subject) -> None:
    check(["transforms"], subject)


DOUBLES = [one("smooth_l1_loss", beta=0.5), one("log_cosh_loss"), one("barron_loss", alpha=0.3), one("focal_loss", gamma=1.5)]


@pytest.mark.sparse(3)
@pytest.mark.parametrize(
    "subject", [*thorough((case, "cpu", torch.float64) for case in DOUBLES), *((case, "torch", torch.float64) for case in FIRST)], indirect=True
)
def test_float64(subject: Subject) -> None:
    check(["error_budget"], subject)


@pytest.mark.parametrize(
    "subject", [(FEW[1], "cpu", torch.bfloat16), *thorough([(FEW[0], "cpu", torch.float16)]), *((case, "torch", torch.bfloat16) for case in FEW)], indirect=True
)
def test_half(subject: Subject) -> None:
    check(["error_budget"], subject)
