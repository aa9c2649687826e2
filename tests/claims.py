"""What the docstrings claim, sentence by sentence, and which test stands for each.

`@claim("ciou_loss", "The angle of a point is 0")` on a test says that it tests the sentence that starts so, in the sections "Returns", "Edge cases" or
"Differs from ...". `test_claims.py` fails while a sentence has no test, or a claim points at no sentence.
"""

import inspect
import re
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import losskit

SECTIONS = re.compile(r"(Returns|Edge cases|(?:What d|D)iffers[\w' ,]*):")
CLAIMS: dict[tuple[str, str], list[str]] = defaultdict(list)  # (public name, start of a sentence) -> tests


def sentences(name: str) -> list[str]:
    """The sentences of a public object's sections of claims; a table belongs to the sentence before it."""
    found, inside = [], False
    for line in (inspect.getdoc(getattr(losskit, name)) or "").splitlines():
        if line and not line.startswith(" "):
            inside = bool(SECTIONS.fullmatch(line))
            found.append("")
        elif inside:
            found[-1] += line + " "
    text = [" ".join(section.split()) for section in found]
    return [sentence for section in text if section for sentence in re.split(r"(?<=\.) (?!\|)", section)]


def public() -> list[str]:
    """Every public name with such sentences; a module's are those of its function."""
    modules = {loss.module for loss in losskit.LOSSES.values()}
    return [name for name in losskit.__all__ if name not in modules and sentences(name)]


def claim(names: str, start: str) -> Callable[[Any], Any]:
    """This test is for the sentence that starts so, of each of these names (separated by spaces)."""

    def enter(test: Any) -> Any:
        for name in names.split():
            CLAIMS[name, start].append(f"{test.__module__}.{test.__name__}")
        return test

    return enter


def slope(function: Callable[..., Any], x: Tensor, *rest: Any, **settings: Any) -> tuple[Tensor, Tensor]:
    """The value, and the gradient of its sum to the first argument."""
    leaf = x.clone().requires_grad_()
    value = function(leaf, *rest, **settings)
    return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]
