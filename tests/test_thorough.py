"""What `make test` leaves out is more of what it runs: every loss is under the laws of its formula, in PyTorch operations and in loops, every pattern under those of its walk."""

from types import ModuleType
from typing import Any

import pytest
import test_boxes_laws
import test_laws
import test_operands
import test_overlap_laws
import test_row_laws
import test_vector_laws
import test_window_laws
from cases import Case

from losskit import LOSSES

FILES = (test_boxes_laws, test_laws, test_operands, test_overlap_laws, test_row_laws, test_vector_laws, test_window_laws)
MORE = {"test_float64", "test_half", "test_half_precision_on_the_cpu", "test_wide_rows"}  # of dtypes and sizes; of operands, walks in loops
BY_PATTERN = {
    "elementwise": test_laws,
    "rows": test_row_laws,
    "overlap": test_overlap_laws,
    "boxes": test_boxes_laws,
    "vectors": test_vector_laws,
    "windows": test_window_laws,
}


def rows(module: ModuleType, name: str) -> list[Any]:
    """The rows of a test's table that `make test` runs, all of them where it is sparse."""
    marks = {mark.name: mark for mark in getattr(getattr(module, name), "pytestmark", [])}
    assert "thorough" not in marks, f"{module.__name__}.{name} is not run at all"
    table = marks["parametrize"].args[1]
    return [row for row in table if not any(mark.name == "thorough" for mark in getattr(row, "marks", ()))]


def losses(found: list[Any], engine: str | None = None) -> set[str]:
    """The losses in rows, which are cases or begin with one; under an engine, if it is named."""
    cases = [row if isinstance(row, Case) else row[0] for row in found if engine is None or (not isinstance(row, Case) and engine in row[1:2])]
    return {case.loss.name for case in cases}


def laws_of(module: ModuleType) -> list[str]:
    """The tests of a file that hold laws up to a table."""
    return [name for name, test in vars(module).items() if name.startswith("test_") and any(m.name == "parametrize" for m in getattr(test, "pytestmark", ()))]


@pytest.mark.parametrize("pattern", BY_PATTERN)
def test_every_loss_is_under_the_laws_of_its_formula(pattern):
    """In PyTorch operations, and in compiled loops where there are some; of overlap, a loop knows no formula but that of a second loss."""
    module = BY_PATTERN[pattern]
    found, wanted = rows(module, "test_formula"), {loss.name for loss in LOSSES.values() if loss.pattern == pattern or (pattern == "rows" and loss.rows)}
    assert not any(mark.name == "sparse" for mark in module.test_formula.pytestmark)
    if pattern in ("elementwise", "vectors", "windows"):  # on both engines in one test; without loops
        assert losses(found) == wanted
    else:
        assert losses(found, "torch") == wanted
        fused = {"rows": {case.loss.name for case in test_row_laws.FUSED}, "boxes": wanted, "overlap": {"dice_loss", "dice_ce_loss"}}[pattern]
        assert losses(found, "cpu") >= fused


@pytest.mark.parametrize("pattern", ["elementwise", "rows", "overlap"])
def test_every_pattern_is_walked_in_a_loop(pattern):
    assert losses(rows(BY_PATTERN[pattern], "test_walk_of_loops"), "cpu")


def test_boxes_are_walked_in_a_loop():
    assert losses(rows(test_boxes_laws, "test_walk"), "cpu")


@pytest.mark.parametrize("module", FILES, ids=lambda module: module.__name__)
def test_every_law_is_held_up_to_something(module):
    """A whole test is left out only where it is about dtypes or sizes; the laws of operands in loops are those of their patterns."""
    left_out = {name for name in laws_of(module) if any(mark.name == "thorough" for mark in getattr(module, name).pytestmark)}
    assert left_out <= MORE | ({"test_walk_of_loops"} if module is test_operands else set())
    for name in set(laws_of(module)) - left_out:
        assert rows(module, name), f"{module.__name__}.{name}: no row is run"
