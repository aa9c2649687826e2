"""Every engine offers, for each pattern, what `losskit.engines.protocol` writes down, with those arguments."""

import importlib
import inspect
from pathlib import Path

import pytest

import losskit
from losskit.engines.protocol import PATTERNS, Fused, Plain, Summing

MODULES = [(engine, name) for name, pattern in PATTERNS.items() for engine in (*pattern.fused, "torch")]


def named(function):
    """A function's arguments, in order, options of its own (with a default) left out."""
    parameters = inspect.signature(function).parameters.values()
    return [p.name for p in parameters if p.name != "self" and not (p.kind is p.KEYWORD_ONLY and p.name in ("by_products", "inplace"))]


def count(function):
    parameters = list(inspect.signature(function).parameters.values())
    return "any" if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len([p for p in parameters if p.name != "self"])


@pytest.mark.parametrize(("engine", "name"), MODULES)
def test_an_engine_is_what_the_protocol_says(engine, name):
    module, kind = importlib.import_module(f"losskit.engines.{engine}.{name}"), PATTERNS[name].kind
    if kind == "own":
        return
    if kind == "sums":
        wanted, exact = Summing, True
    else:
        wanted, exact = (Plain, False) if engine == "torch" else (Fused, True)
    if kind == "sums" and engine == "torch":
        assert named(module.sums) == named(Summing.sums)
        return
    for method in (m for m in vars(wanted) if not m.startswith("_")):
        ours, written = getattr(module, method), getattr(wanted, method)
        if exact:
            assert named(ours)[: len(named(written))] == named(written), f"{method}{inspect.signature(ours)}"
        else:
            assert count(ours) == count(written) or (method == "losses" and name != "elementwise"), f"{method}{inspect.signature(ours)}"


def test_the_table_lists_what_there_is():
    for engine in ("cpu", "triton", "torch"):
        folder = Path(losskit.__file__).parent / "engines" / engine
        there = {p.stem for p in folder.iterdir() if p.stem in PATTERNS}
        assert there == {name for name, pattern in PATTERNS.items() if engine in (*pattern.fused, "torch")}
