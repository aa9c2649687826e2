"""Writes `losskit/__init__.pyi`: the public names with their real signatures, for editors and type checkers, which cannot run the registry.

`python -m losskit.contract.stubs` (or `make stubs`) after adding a loss; a test fails while the file is stale.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from losskit.contract.module import WEIGHTS
from losskit.contract.registry import LOSSES, Loss

PATH = Path(__file__).parent.parent / "__init__.pyi"
HEAD = '''"""Written by `python -m losskit.contract.stubs` from the registry; not to be edited."""

import collections.abc
from typing import Literal

import torch

from losskit.contract.checks import validate as validate
from losskit.contract.engine import engine_for as engine_for
from losskit.contract.module import LossModule as LossModule
from losskit.contract.registry import LOSSES as LOSSES
from losskit.contract.registry import Loss as Loss
from losskit.engines.dispatch import EngineError as EngineError
from losskit.engines.dispatch import use_engine as use_engine
'''


def constructor(loss: Loss) -> str:
    """The module's constructor: the function's settings, weights also as plain lists."""
    parameters = []
    for p in inspect.signature(loss.function).parameters.values():
        if p.name in WEIGHTS:
            p = p.replace(annotation=Tensor | Sequence[float] | None)
        if p.name in loss.settings:
            parameters.append(f"{p.name}: {inspect.formatannotation(p.annotation)} = {p.default!r}".replace("'", '"'))
    return f"    def __init__(self, *, {', '.join(parameters)}) -> None: ..."


def text() -> str:
    """The whole file."""
    losses = list(LOSSES.values())
    imports = [f"from {loss.function.__module__} import {loss.name} as {loss.name}\n" for loss in sorted(losses, key=lambda x: x.function.__module__)]
    classes = [f'\nclass {loss.module}(LossModule):\n    """{loss.summary}"""\n\n{constructor(loss)}\n' for loss in sorted(losses, key=lambda x: x.module)]
    return HEAD + "".join(imports) + "\n__version__: str\n" + "".join(classes)


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
