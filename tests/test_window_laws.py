"""The laws of windows over the registry: every loss of pictures, every set of arguments; and a peer examined."""

from collections.abc import Iterable

import pytest
import torch
from cases import Case, require, thorough

import losskit
from losskit import LOSSES
from losskit.testing import WINDOW_LAWS, WindowSubject, audit

FORMULA = ("textbook", "error_budget", "equal_pictures", "mirrored_and_turned", "units", "nan_stays")
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
    "deterministic",
)
CASES = [Case(loss, settings) for loss in LOSSES.of("windows").values() for settings in loss.arguments]
SMALL = [case for case in CASES if not case.settings.get("multi_scale")]  # of which every number may be varied; over scales: test_ssim.py


def check(laws: Iterable[str], case: Case, dtype: torch.dtype = torch.float32) -> None:
    require(laws, WINDOW_LAWS, WindowSubject(case.loss.function, case.loss, case.settings, dtype))  # every law speaks of every one of them


def test_every_law_is_used() -> None:
    assert set(WINDOW_LAWS) == {*FORMULA, *WALK, "second_derivative", "transforms"}


@pytest.mark.parametrize("case", [*SMALL, *thorough(case for case in CASES if case not in SMALL)], ids=str)
def test_formula(case: Case) -> None:
    check(FORMULA, case)


@pytest.mark.sparse(3)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_walk(case: Case) -> None:
    check(WALK, case)


@pytest.mark.sparse(2)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp's own
@pytest.mark.parametrize("case", [SMALL[0], SMALL[-1], *thorough(SMALL[1:-1])], ids=str)
def test_derived(case: Case) -> None:
    check(["second_derivative", "transforms"], case)


@pytest.mark.thorough
@pytest.mark.parametrize("case", SMALL, ids=str)
def test_float64(case: Case) -> None:
    check(["textbook", "error_budget"], case, torch.float64)


def published(input: torch.Tensor, target: torch.Tensor, data_range: float, window_size: int, reduction: str = "mean") -> torch.Tensor:
    """With variances as differences of squares, as most have it."""
    pool = lambda y: torch.nn.functional.avg_pool2d(y, window_size, 1)  # noqa: E731
    mx, mt = pool(input), pool(target)
    vx, vt, both = pool(input * input) - mx * mx, pool(target * target) - mt * mt, pool(input * target) - mx * mt
    c1, c2 = (0.02 * data_range) ** 2, (0.05 * data_range) ** 2
    each = 1 - ((2 * mx * mt + c1) * (2 * both + c2) / ((mx * mx + mt * mt + c1) * (vx + vt + c2))).mean((-2, -1))
    return {"none": lambda: each, "sum": each.sum, "mean": each.mean}[reduction]()


def test_a_peer_is_told_with_a_counterexample() -> None:
    settings = {"data_range": 2.0, "window": "uniform", "window_size": 3, "k1": 0.02, "k2": 0.05}
    wrong = {f.law: f.detail for f in audit(published, like="ssim_loss", show=False, **settings).findings if f.verdict == "fails"}
    assert {"error_budget", "nothing_left", "half_precision", "equal_pictures"} <= set(wrong) and "textbook" not in wrong
    assert "input = [" in wrong["error_budget"]


def test_the_audit_knows_ours() -> None:
    result = audit(losskit.ssim_loss, like="ssim_loss", data_range=1.0, window_size=5, laws=["textbook", "mask_deletes"], show=False)
    assert not result.failures
