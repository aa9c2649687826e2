"""Frameworks that losses are put into, imported for a test or the test is skipped."""

import warnings
from typing import Any

import pytest

from losskit.bench.sides import torchvision_focal


def trainer(name: str) -> Any:
    """The package, or a module of it. Many import torchvision, whose operators have no build for every torch: the names of them are enough."""
    with warnings.catch_warnings(action="ignore"):
        torchvision_focal()
        return pytest.importorskip(name, reason="trainer")
