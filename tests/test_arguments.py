"""What a docstring says about each argument: every one has a line of its own, and none only points elsewhere."""

import inspect
import re

import pytest

import losskit
from losskit import LOSSES
from losskit.contract import arguments
from losskit.contract.patterns import PATTERNS
from losskit.contract.registry import TENSOR_ARGUMENTS

every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@every_loss
def test_each_argument_is_explained_where_one_reads_it(loss):
    told = arguments.entries(loss.function.__doc__)
    assert set(told) == set(inspect.signature(loss.function).parameters)
    for name, text in told.items():
        assert not re.match("as in", text) and "losskit.contract" not in text, f"{name}: {text}"


@every_loss
def test_masks_and_weights_say_which_shape_they_broadcast_to(loss):
    told = arguments.entries(loss.function.__doc__)
    shape = {"boxes": "(...)", "rows": "without the class axis", "elementwise": "target's shape" if loss.rows else "the input's shape"}.get(loss.pattern)
    for name in {"mask", "sample_weight"} & set(told):
        assert "broadcasts to" in told[name] and (shape is None or shape in told[name])


def test_modules_and_the_source_say_the_same():
    assert arguments.entries(losskit.HuberLoss.__doc__) == arguments.entries(losskit.huber_loss.__doc__)
    assert arguments.entries(losskit.tversky_loss.__doc__)["power"] == arguments.entries(losskit.dice_loss.__doc__)["power"]
    assert "as in every loss, see `losskit.contract`" in inspect.getsource(losskit.huber_loss)  # the file stays short


DOCS = """A loss.

    Args:
        {line}
        b: one
            line.

    Returns:
        A scalar.
    """


def test_filling():
    docs = DOCS.format(line="box_format: as in every loss, see `losskit.contract`. And more\n            in a second line.")
    filled = arguments.described(docs, PATTERNS["boxes"], False, str)
    told = arguments.entries(filled)
    assert list(told) == ["box_format", "b"] and told["b"].split() == ["one", "line."]
    assert told["box_format"].split() == f"{arguments.LINES['box_format']} And more in a second line.".split()
    assert filled.partition("b: one")[2] == docs.partition("b: one")[2]
    assert arguments.described(filled, PATTERNS["boxes"], False, str) == filled  # what is filled is left alone


def test_filling_from_another_loss():
    told = arguments.entries(
        arguments.described(
            DOCS.format(line="a: as in `other`."), PATTERNS["rows"], False, {"other": DOCS.format(line="a: some\n            thing")}.__getitem__
        )
    )
    assert {name: text.split() for name, text in told.items()} == {"a": ["some", "thing"], "b": ["one", "line."]}


def test_what_nobody_has_written_cannot_be_filled_in():
    with pytest.raises(KeyError, match="unheard_of"):
        arguments.described(DOCS.format(line="unheard_of, mask: as in every loss, see `losskit.contract`."), PATTERNS["rows"], False, str)


def test_every_line_is_used():
    used = {
        name
        for loss in LOSSES.values()
        for name in re.findall(r"\w+", " ".join(re.findall(r"^ *(.*): as in every loss", inspect.getsource(loss.function), re.M)))
    }
    assert set(arguments.LINES) == used >= {*TENSOR_ARGUMENTS, "reduction"}
