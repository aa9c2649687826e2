"""The worked example of CONTRIBUTING.md is a loss like any other."""

import doctest
import re
import sys
from pathlib import Path

import pytest
import torch

from losskit.contract.module import make_module
from losskit.contract.registry import LOSSES

GUIDE = Path(__file__).parent.parent / "CONTRIBUTING.md"


@pytest.fixture
def example(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL).group(1)
    (tmp_path / "geman_mcclure.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    LOSSES.load()
    import geman_mcclure

    yield geman_mcclure
    del LOSSES.losses["geman_mcclure_loss"], sys.modules["geman_mcclure"]


def test_the_example_passes_the_audit(example):
    from losskit.testing import audit

    result = audit(example.geman_mcclure_loss, like="geman_mcclure_loss", show=False)
    assert not result.failures, result.failures


def test_the_example_is_a_module_and_its_doctest_holds(example):
    module = make_module(LOSSES["geman_mcclure_loss"])(scale=2.0)
    assert repr(module) == "GemanMcClureLoss(scale=2.0, reduction='mean')"
    assert module(torch.tensor([2.0]), torch.tensor([0.0])).item() == 0.5
    assert doctest.testmod(example).failed == 0
