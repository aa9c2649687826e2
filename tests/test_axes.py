"""Formulas over axes: what is written out does what their own code does on vectors, to the last bit; what they may use; what is refused."""

import inspect
import math
import subprocess
import sys
from importlib import import_module

import pytest
import torch

from losskit import LOSSES
from losskit.engines.axes import Vector, largest, later, nested, others, over, product, smallest, total, written_out
from losskit.engines.language import FormulaError, maximum, where
from losskit.testing.boxes import combinations

SPACE = ("iou_loss", "giou_loss", "diou_loss")
FORMULAS = {"iou_loss": ("linear", "square", "logarithm"), "probiou_loss": ()}  # the latter are of numbers
CASES = [
    pytest.param(getattr(import_module(LOSSES[name].function.__module__), formula), axes, id=f"{name}-{formula}-{axes}")
    for name in LOSSES.of("boxes")
    for formula in FORMULAS.get(name, ("formula",))
    for axes in ((2, 3) if name in SPACE else (2,))
]


def pairs(axes):
    """Boxes in every way to lie; the third axis takes those of other boxes."""
    a, b = combinations([0.0, 1.0, 1.5, 4.0], [0.0, 0.01, 3.0, 4.0])
    turn = torch.arange(len(a)).flip(0)
    corners = [[z[:, k] for k in (0, 1)] + [z[turn, 0]] for z in (a[:, :2], a[:, 2:], b[:, :2], b[:, 2:])]
    return torch.stack([torch.stack(c[:axes], -1) for c in corners], 1)[::3].tolist()


@pytest.mark.parametrize(("formula", "axes"), CASES)
def test_written_out_is_the_formulas_own_code_on_vectors(formula, axes):
    names = list(inspect.signature(formula).parameters)
    params = tuple(0.3 + 0.2 * k for k in range(len(names) - 4))
    flat = written_out(formula, axes)
    for corners in pairs(axes):
        found = flat(*(x for corner in corners for x in corner), *params)
        value, *slopes = over(formula, *map(Vector, corners), *params)
        assert [repr(x) for x in found] == [repr(x) for x in (value, *(x for v in slopes for x in v))]


def test_every_formula_of_boxes_is_examined():
    assert {case.values[0].__module__ for case in CASES} == {loss.function.__module__ for name, loss in LOSSES.of("boxes").items() if FORMULAS.get(name, True)}


def test_joins():
    v, w = Vector((2.0, 3.0, 5.0)), Vector((7.0, 11.0, 13.0))
    assert total(v) == 10.0 and product(v) == 30.0 and product(v, 2.0) == 60.0 and largest(v) == 5.0 and smallest(v) == 2.0
    assert nested(v, w) == 2.0 + 7.0 * (3.0 + 11.0 * 5.0)
    assert list(later(v, w)) == [7.0 * 15.0, 11.0 * 5.0, 13.0]
    assert list(others(total, v)) == [8.0, 7.0, 5.0] and list(others(product, v, first=w)) == [7.0 * 15.0, 11.0 * 10.0, 13.0 * 6.0]
    assert list(others(product, v, first=2.0)) == [30.0, 20.0, 12.0]
    assert list(others(nested, v, w)) == [3.0 + 11.0 * 5.0, 2.0 + 7.0 * 5.0, 2.0 + 7.0 * 3.0]


def half(x):
    return 0.5 * x, -x


def sizes(a0, a1, /, scale):
    h, _ = half(a1 - a0)
    return h * scale


def volume(a0, a1, /, scale):
    s = sizes(a0, a1, scale)
    found = s[0]
    for k in range(1, len(s)):
        found = found * s[k]
    return maximum(found, 0.0), 2.0 / (1.0 - s), -scale


def test_the_source_says_what_is_done():
    flat = written_out(volume, 2)
    assert inspect.getsource(flat) == (
        "def volume(a0_x, a0_y, a1_x, a1_y, scale):\n"
        "    sizes0_0, sizes0_1 = sizes(a0_x, a0_y, a1_x, a1_y, scale)\n"
        "    return maximum((sizes0_0 * sizes0_1), 0.0), (2.0 / (1.0 - sizes0_0)), (2.0 / (1.0 - sizes0_1)), (-scale)\n"
    )
    assert flat is written_out(volume, 2) is not written_out(volume, 3) and flat.__module__ == __name__
    assert flat(0.0, 0.0, 2.0, 4.0, 3.0) == (18.0, -1.0, -0.4, -3.0)
    assert written_out(volume, 3)(0.0, 0.0, 0.0, 4.0, 6.0, 8.0, 1.0) == (24.0, -2.0, -1.0, -2.0 / 3.0, -1.0)


def test_a_formula_of_numbers_is_written_out_as_it_is():
    assert written_out(half, 2) is half


def other_volume(a0, a1, /, scale):
    return total(a1 - a0) * scale


def test_formulas_of_one_name_keep_their_sources():
    other_volume.__name__ = other_volume.__qualname__ = "volume"
    sources = [inspect.getsource(written_out(f, 2)) for f in (volume, other_volume)]
    assert sources[0] != sources[1] and [inspect.getsource(written_out(f, 2)) for f in (volume, other_volume)] == sources


def branches(a0, a1, /):
    return a1 if a1[0] > a0[0] else a0


def branches_on_vectors(a0, a1, /):
    return a1 if a1 > a0 else a0


def vector_for_number(a0, a1, /):
    return sizes(a0, a1, a1)


def unknown(a0, a1, /):
    return math.hypot(*(a1 - a0))


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        (branches, r"a formula has no branches: use where\(condition, a, b\)"),
        (branches_on_vectors, r"a formula has no branches: use where\(condition, a, b\)"),
        (vector_for_number, r"formula sizes has 2 vectors before its slash, and takes a number for each argument after it"),
        (unknown, r"formula unknown uses 'math', which is neither a formula nor in the language"),
    ],
)
def test_what_is_refused(formula, said):
    with pytest.raises(FormulaError, match=said):
        written_out(formula, 2)


def shown(a0, a1, /):
    low = where(a0 < a1, a0, a1)
    return low == a0, total(low), ((a0 < a1) & (a1 < 3.0)) | (a1 != a1)


def test_operators():
    same, sums, between = over(shown, Vector((0.0, 2.0)), Vector((1.0, 1.0)))
    assert list(same) == list(between) == [True, False] and sums == 1.0
    assert written_out(shown, 2)(0.0, 2.0, 1.0, 1.0) == (True, False, 1.0, True, False)


def test_nothing_is_written_out_on_import():
    """That takes longer than all the rest of a file of losses."""
    code = "import losskit, losskit.geometry, sys; from losskit.losses.detection import giou; losskit.LOSSES['giou_loss']; assert not vars(giou.formula), vars(giou.formula)"
    subprocess.run([sys.executable, "-c", code], check=True)
