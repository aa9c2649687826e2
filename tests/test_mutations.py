"""The suite notices: each row of `mutations.py` breaks one word of a formula, of the contract or of an engine, and the laws must say so."""

from collections import Counter
from importlib import import_module

import pytest
from breaking import noticed, place, rebuilt
from cases import thorough
from mutations import MUTATIONS

import losskit
from losskit import LOSSES

SLOW = [m for m in MUTATIONS if m.engine == "cpu" or "multi_scale" in m.settings]  # to compile a broken loop; to know the exact numbers of large pictures


@pytest.mark.sparse(4)
@pytest.mark.parametrize("mutation", [*(m for m in MUTATIONS if m not in SLOW), *thorough(SLOW)], ids=str)
def test_it_is_noticed(mutation):
    assert not noticed(mutation)


def test_each_stands_where_it_says():
    """Of all rows, those left out above too, the word to replace is there, once."""
    for mutation in MUTATIONS:
        place(mutation)


def test_what_is_not_broken_is_not_noticed():
    """A mutation that changes nothing."""
    right = next(m for m in MUTATIONS if m.loss == "l1_loss")
    assert noticed(right._replace(new=right.old)) == "not noticed by textbook"
    wrong = next(m for m in MUTATIONS if m.place == "contract/labels:refuse")
    assert noticed(wrong._replace(new=wrong.old)) == "not noticed by labels_checked"
    with pytest.raises(AssertionError, match="occurs 0 times"):
        noticed(right._replace(old="no such words"))


def test_each_public_loss_has_two_or_more():
    """In files of losses: its own, or one that it takes its formula from."""
    count = Counter(m.loss for m in MUTATIONS if not m.place or m.place.startswith("losses/"))
    few = [name for name in losskit.__all__ if (name in LOSSES or name.endswith("_loss")) and count[name] < 2]
    assert not few, "each public loss has two rows or more in tests/mutations.py"


def test_names_tell_them_apart():
    assert len({str(m) for m in MUTATIONS}) == len(MUTATIONS)


def test_files_are_left_as_they_were():
    rebuilt("geometry", "losskit.losses.detection.giou", "middle = 0.5 * a0 + 0.5 * a1", "middle = a1")
    giou = import_module("losskit.losses.detection.giou")
    assert giou.giou_loss is LOSSES["giou_loss"].function and giou.measured is import_module("losskit.geometry").measured
