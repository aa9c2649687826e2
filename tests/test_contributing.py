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
    (tmp_path / "biweight.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    LOSSES.load()
    import biweight

    yield biweight
    del LOSSES.losses["biweight_loss"], sys.modules["biweight"]


def test_the_example_passes_the_audit(example):
    from losskit.testing import audit

    result = audit(example.biweight_loss, like="biweight_loss", show=False)
    assert not result.failures, result.failures


def test_the_example_is_a_module_and_its_doctest_holds(example):
    module = make_module(LOSSES["biweight_loss"])(scale=2.0)
    assert repr(module) == "BiweightLoss(scale=2.0, reduction='mean')"
    assert module(torch.tensor([5.0]), torch.tensor([0.0])).item() == pytest.approx(2 / 3)
    assert doctest.testmod(example).failed == 0
