"""First calls under bad conditions: whatever happened, the next call works."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cases import thorough

from losskit.engines import process


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
@pytest.mark.parametrize("cases", [("modules", "Ctrl-C", "a fork meanwhile"), *thorough([()])], ids=["some", "all"])
def test_after_whatever_happened_the_next_call_works(cases):
    code = [sys.executable, "-W", "ignore::DeprecationWarning", str(Path(__file__).with_name("first_calls.py")), *cases]
    result = subprocess.run(code, capture_output=True, text=True, timeout=900)
    outcomes = result.stdout.splitlines()
    assert result.returncode == 0 and outcomes, result.stderr
    assert all(outcome.endswith(": works") for outcome in outcomes), "\n".join(outcomes) + result.stderr


def test_what_is_raised_arrives():
    with pytest.raises(ZeroDivisionError):
        process.unbroken(lambda: 1 // 0)
    assert process.unbroken(lambda: 3) == 3


def test_without_threads_it_is_done_here(monkeypatch):
    """The process is ending, or has as many threads as it may."""

    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert process.unbroken(threading.get_ident) == threading.get_ident()
