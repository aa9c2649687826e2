"""The laws of vectors over the registry: every loss of embeddings, every set of arguments; and peers examined."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from cases import Case, require
from torch.nn import functional

from losskit import LOSSES
from losskit.testing import VECTOR_LAWS, VectorSubject, audit
from losskit.testing.vectors import subject_kind

FORMULA = ("textbook", "error_budget", "same_vectors", "nan_stays", "order", "labels", "domain_checked")
WALK = (
    "reductions_agree",
    "incoming_gradient",
    "mask_deletes",
    "mask_beside_weights",
    "weighted_mean",
    "weights_finite",
    "accumulation",
    "nothing_left",
    "inputs_unchanged",
    "half_precision",
    "layouts",
    "engines_agree",
    "autocast",
    "shapes_agree",
    "second_derivative",
    "deterministic",
)
CASES = [Case(loss, settings) for loss in LOSSES.of("vectors").values() for settings in loss.arguments]
FIRST = [case for case in CASES if case.settings is case.loss.arguments[0]]
CANNOT_APPLY = ("no labels", "every label is in range", "what another item holds counts, too")
cases = pytest.mark.parametrize("case", CASES, ids=str)


def check(laws: Iterable[str], case: Case, dtype: torch.dtype = torch.float32) -> None:
    require(laws, VECTOR_LAWS, subject(case, dtype), CANNOT_APPLY)


def subject(case: Case, dtype: torch.dtype = torch.float32) -> VectorSubject:
    return subject_kind(case.loss)(case.loss.function, case.loss, case.settings, dtype)


def test_every_law_is_used() -> None:
    assert set(VECTOR_LAWS) == {*FORMULA, *WALK, "transforms"}


@pytest.mark.parametrize("case", FIRST, ids=str)
def test_formula(case: Case) -> None:
    check(FORMULA, case)


@pytest.mark.sparse(3)
@pytest.mark.parametrize("case", [case for case in CASES if case not in FIRST], ids=str)
def test_formula_of_other_settings(case: Case) -> None:
    check(FORMULA, case)


@pytest.mark.sparse(6)
@cases
def test_walk(case: Case) -> None:
    check(WALK, case)


@pytest.mark.sparse(2)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp's own
@cases
def test_transforms(case: Case) -> None:
    check(["transforms"], case)


@pytest.mark.sparse(4)
@cases
def test_float64(case: Case) -> None:
    check(["textbook", "error_budget"], case, torch.float64)


@pytest.mark.sparse(4)
@pytest.mark.parametrize(("case", "dtype"), [(case, (torch.bfloat16, torch.float16)[turn % 2]) for turn, case in enumerate(CASES)], ids=str)
def test_half(case: Case, dtype: torch.dtype) -> None:
    """In one of the two: both are made float32 at once."""
    check(["error_budget"], case, dtype)


def told(function: Any, like: str, verdict: str, **settings: Any) -> dict[str, str]:
    """The findings of an audit: what they say, or the counterexample."""
    return {f.law: f.detail for f in audit(function, like=like, show=False, **settings).findings if f.verdict == verdict}


ABSENT = {"mask_deletes", "mask_beside_weights", "weighted_mean", "weights_finite", "accumulation", "engines_agree"}


def test_torch_is_told_with_a_counterexample() -> None:
    wrong = told(functional.cosine_embedding_loss, "cosine_embedding_loss", "fails")
    assert {"error_budget", "same_vectors", "domain_checked", "shapes_agree", "nothing_left"} <= set(wrong)
    assert "textbook" not in wrong and "vectors [[" in wrong["error_budget"]
    assert set(told(functional.cosine_embedding_loss, "cosine_embedding_loss", "not offered")) < ABSENT  # some fail already: it takes pairs along one axis only
    wrong = told(functional.triplet_margin_loss, "triplet_margin_loss", "fails", eps=0.0)
    assert {"error_budget", "shapes_agree", "nothing_left"} <= set(wrong) and "textbook" not in wrong
