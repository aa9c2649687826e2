"""The laws of rows over the registry: every loss of class scores, every set of arguments, every engine."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
import torch
from cases import Case, one, require, thorough

import losskit
from losskit import LOSSES
from losskit.engines.dispatch import EngineError, asking
from losskit.testing import ROW_LAWS, RowSubject
from losskit.testing.rows import SCORES as SCORE_FORMS

# about the formula: on every one of them
FORMULA = (
    "textbook",
    "error_budget",
    "ruled_out",
    "infinite_inputs",
    "shift_invariant",
    "nan_stays",
    "labels_checked",
    "sets_checked",
    "positions_checked",
    "distributions_checked",
)
# about distributions for targets
SOFT = ("soft_targets", "target_gradient", "sure_distribution")
# about the walk over tensors and the contract around it: on a few
WALK = (
    "reductions_agree",
    "mask_deletes",
    "mask_beside_weights",
    "ignore_deletes",
    "weighted_mean",
    "accumulation",
    "nothing_left",
    "incoming_gradient",
    "inputs_unchanged",
    "half_precision",
    "label_dtypes",
    "set_dtypes",
    "layouts",
    "class_axis",
    "engines_agree",
    "second_derivative",
    "autocast",
    "by_products",
    "in_place",
    "shapes_agree",
    "weights_finite",
    "class_weights_checked",
)
DTYPES = ("half_precision", "label_dtypes", "ignore_deletes", "second_derivative")

CASES = [Case(loss, settings) for loss, settings in LOSSES.cases("rows")]
ALL = {"label_smoothing": 0.2, "z_loss": 1e-2, "softcap": 30.0, "weight": [1.0, 0.5, 3.0, 1.0]}
# a kernel costs the CPU engine some three seconds to compile: the walk is tested with the shortest formula and with the one that reads everything
FEW = [one("cross_entropy"), one("cross_entropy", **ALL)]
# likewise of distributions: as targets, by positions, by labels, none
FEW_SOFT: list[Any] = [
    (one("kl_divergence"), "cpu"),
    (one("cross_entropy", **ALL), "cpu", "soft"),
    (one("distribution_focal_loss"), "cpu"),
    (one("entropy"), "cpu"),
    (one("multi_margin_loss"), "cpu"),
    (one("multilabel_soft_margin_loss"), "cpu"),
]
PLAIN: list[Any] = [
    *((case, "torch") for case in FEW),
    (one("cross_entropy"), "torch", "soft"),
    (one("cross_entropy", **ALL), "torch", "soft"),
    (one("cross_entropy", from_logits=False, log_input=True, label_smoothing=0.1), "torch"),
    (one("cross_entropy", from_logits=False), "torch", "soft"),
    (one("nll_loss", weight=[0.5, 2.0, 1.0]), "torch"),
    (one("focal_loss", task="multiclass", gamma=0.5, alpha=[0.25, 1.0, 0.5]), "torch"),
    (one("focal_loss", task="multiclass", gamma=1.5, label_smoothing=0.1), "torch"),
    (one("focal_loss", task="multiclass", from_logits=False), "torch"),
    (one("multi_margin_loss", p=2, margin=0.5, weight=[0.5, 2.0, 1.0, 3.0]), "torch"),
    *((case, "torch") for case in CASES if case.loss.target in ("position", "distribution", "none") or case.loss.multilabel),
]


def build(case: Case, engine: Any, *rest: Any) -> RowSubject:
    """A loss to examine; `rest` may hold "soft" (distributions for targets) and a dtype."""
    dtype = next((r for r in rest if isinstance(r, torch.dtype)), torch.float32)
    return RowSubject(case.loss.function, case.loss, case.settings, dtype, engine, soft="soft" in rest)


def fused(case: Case) -> bool:
    """Whether the CPU engine has a pass of its own for it."""
    s = build(case, "cpu")
    with losskit.use_engine("cpu"):
        try:
            asking(lambda: s(*s.batch()))
        except EngineError:
            return False
    return True


FUSED = [case for case in CASES if fused(case)]


def engines(case: Case) -> tuple[str, ...]:
    return ("cpu", "torch") if case in FUSED else ("torch",)


@pytest.fixture
def subject(request: pytest.FixtureRequest) -> Iterator[RowSubject]:
    case, engine, *rest = request.param
    with losskit.use_engine(engine) if engine else contextlib.nullcontext():
        yield build(case, engine, *rest)


CANNOT_APPLY = (  # of a loss of ours nothing else may be missing
    *("the target is a label", "the target is a set", "the target is a distribution", "the target is a position", "the target is no target", "no target"),
    *("neither input nor target is a distribution", "not a function of the differences", "only of logits", "probabilities are never infinite"),
    *("with probabilities, smoothing, a cap or a margin no score rules a class out", "no argument return_parts", "no argument inplace here"),
)


def check(laws: Iterable[str], subject: RowSubject) -> None:
    require(laws, ROW_LAWS, subject, CANNOT_APPLY)


def test_every_law_is_used() -> None:
    assert set(ROW_LAWS) == {*FORMULA, *SOFT, *WALK, "wide_rows", "deterministic", "transforms"}


def test_the_main_losses_have_a_fused_pass() -> None:
    """All that read scores as they come: what is left over reads one probability per item, or beside a set of labels the scores in order."""
    assert [case for case in CASES if case not in FUSED] == [case for case in CASES if build(case, "cpu").form not in SCORE_FORMS or case.loss.target == "set"]


SHOWN = [case for case in CASES if case.settings in (case.loss.arguments[0], *case.loss.rows[:1])]
FIRST = [case for case in SHOWN if case in FUSED]


@pytest.mark.parametrize(
    "subject",
    [*((case, "torch") for case in SHOWN), *((case, "cpu") for case in FIRST), *thorough((case, "cpu") for case in FUSED if case not in FIRST)],
    indirect=True,
)
def test_formula(subject: RowSubject) -> None:
    check(FORMULA, subject)


@pytest.mark.sparse(4)
@pytest.mark.parametrize("subject", [(case, "torch") for case in CASES if case not in SHOWN], indirect=True)
def test_formula_of_other_settings(subject: RowSubject) -> None:
    check(FORMULA, subject)


@pytest.mark.sparse(4)
@pytest.mark.parametrize(
    "subject",
    [(case, engine) for case in CASES if case.loss.name in ("cross_entropy", "kl_divergence", "js_divergence") for engine in engines(case)],
    indirect=True,
)
def test_soft_targets(subject: RowSubject) -> None:
    check(SOFT, subject)


@pytest.mark.parametrize(
    "case", [FEW[0], *thorough([one("cross_entropy", label_smoothing=0.1), one("distribution_focal_loss"), one("multilabel_margin_loss")])]
)
def test_wide_rows(case: Case) -> None:
    for engine in engines(case):  # the oracle takes seconds, and is asked once
        with losskit.use_engine(engine):
            check(["wide_rows"], build(case, engine))


@pytest.mark.sparse(3)
@pytest.mark.parametrize("subject", PLAIN, indirect=True)
def test_walk(subject: RowSubject) -> None:
    check(WALK, subject)


@pytest.mark.parametrize("subject", [(FEW[1], "cpu"), *thorough([(FEW[0], "cpu"), *FEW_SOFT])], indirect=True)
def test_walk_of_loops(subject: RowSubject) -> None:
    """A kernel per dtype: one loss is enough for how they are read and written."""
    one = subject.loss.name in ("cross_entropy", "kl_divergence") and not subject.settings
    check([law for law in WALK if one or law not in DTYPES], subject)


# the torch engine sums with torch.sum, whose last bit depends on the number of threads
@pytest.mark.parametrize("subject", [(FEW[1], "cpu"), *thorough([(FEW[0], "cpu"), *FEW_SOFT[:3]])], indirect=True)
def test_deterministic(subject: RowSubject) -> None:
    check(["deterministic"], subject)


@pytest.mark.sparse(2)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp's own
@pytest.mark.parametrize("subject", [(case, None, *rest) for case, _, *rest in PLAIN], indirect=True)
def test_transforms(subject: RowSubject) -> None:
    check(["transforms"], subject)


SCORES = [case for case in CASES if build(case, "torch").form in SCORE_FORMS]


@pytest.mark.sparse(4)
@pytest.mark.parametrize(
    "subject",
    [
        *thorough([(FEW[0], "cpu", torch.float64), (*FEW_SOFT[0], torch.float64), (*FEW_SOFT[2], torch.float64)]),
        *((case, "torch", torch.float64) for case in SCORES),
    ],
    indirect=True,
)
def test_float64(subject: RowSubject) -> None:
    check(["error_budget"], subject)


@pytest.mark.parametrize(
    "subject",
    [
        (FEW[0], "cpu", torch.bfloat16),
        (FEW[0], "torch", torch.bfloat16),
        *thorough(
            (case, engine, dtype)
            for case in (FEW[0], FEW_SOFT[0][0], FEW_SOFT[2][0], one("multilabel_margin_loss"))
            for engine in engines(case)
            for dtype in (torch.float16, torch.bfloat16)
            if case is not FEW[0] or dtype is torch.float16
        ),
    ],
    indirect=True,
)
def test_half(subject: RowSubject) -> None:
    check(["error_budget"], subject)
