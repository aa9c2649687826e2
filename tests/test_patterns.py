"""A pattern is one record; whoever reads it has what it names."""

import inspect
from typing import get_args

import losskit
from losskit import curves, testing
from losskit.contract.patterns import PATTERNS, PatternOfLosses
from losskit.contract.registry import LOSSES
from losskit.engines import protocol


def test_every_reader_knows_every_pattern():
    assert set(PATTERNS) == set(get_args(PatternOfLosses)) == set(curves.DRAWN) == {loss.pattern for loss in LOSSES.values()}


def test_what_a_record_names_is_there():
    assert {name for pattern in PATTERNS.values() for name in pattern.passes} == set(protocol.PATTERNS)
    for pattern in PATTERNS.values():
        assert issubclass(getattr(testing, pattern.audit), testing.Subject)


def test_the_facts_hold_of_the_losses():
    for loss in LOSSES.values():
        module = getattr(losskit, loss.module)
        settings = {name: loss.arguments[0][name] for name in loss.required if name in loss.arguments[0]}
        assert ("sample_weight" in inspect.signature(loss.function).parameters) != loss.facts.summed
        assert not set(loss.facts.handling) & {"mask", "sample_weight"}
        if loss.facts.empty is not None:
            assert module(**settings)._nothing(module(**settings).settings, {})[0].shape == loss.facts.empty
