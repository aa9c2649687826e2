"""Writes `losskit/__init__.pyi`: the public names with their real signatures, for editors and type checkers, which cannot run the registry.

`python -m losskit.contract.stubs` (or `make stubs`) after adding a loss; a test fails while the file is stale.
"""

import inspect
from collections.abc import Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from torch import Tensor

from losskit.binary import EITHER
from losskit.contract.module import OwnsHead as OwnsHead
from losskit.contract.registry import LOSSES, USUAL, Loss

PATH = Path(__file__).parent.parent / "__init__.pyi"
HEAD = '''"""Written by `python -m losskit.contract.stubs` from the registry; not to be edited."""

import collections.abc
from typing import Literal

import torch

import losskit.contract.groups
from losskit.compose.heads import PerHead as PerHead
from losskit.compose.sum import Sum as Sum
from losskit.compose.supervision import DeepSupervision as DeepSupervision
from losskit.compose.weights import UncertaintyWeight as UncertaintyWeight
from losskit.contract.boxes import degenerate_boxes as degenerate_boxes
from losskit.contract.checks import validate as validate
from losskit.contract.distance import distance_map as distance_map
from losskit.contract.engine import engine_for as engine_for
from losskit.contract.groups import Ranks as Ranks
from losskit.contract.module import LossModule as LossModule
from losskit.contract.module import OwnsHead as OwnsHead
from losskit.contract.registry import LOSSES as LOSSES
from losskit.contract.registry import Loss as Loss
from losskit.contract.topk import TopK as TopK
from losskit.engines.dispatch import EngineError as EngineError
from losskit.engines.dispatch import use_engine as use_engine
from losskit.pairwise import BoxMatch as BoxMatch
from losskit.pairwise import best_match as best_match
from losskit.pairwise import pairwise_iou as pairwise_iou
from losskit.products import linear_log_prob as linear_log_prob
from losskit.products import linear_probabilities as linear_probabilities
from losskit.products import linear_scores as linear_scores
from losskit.compat import like as like
from losskit.sampling import SampledClasses as SampledClasses
from losskit.sampling import sampled_classes as sampled_classes
from losskit.sums_of_overlap import OverlapSums as OverlapSums
from losskit.sums_of_overlap import overlap_sums as overlap_sums
from losskit.losses.detection.wiou_v3 import WIoUv3Loss as WIoUv3Loss
'''


def body(loss: Loss) -> str:
    """The module's attributes and constructor: the function's settings; weights given as plain lists are held as tensors."""
    attributes, parameters = [], []
    for p in inspect.signature(loss.function).parameters.values():
        if p.name in loss.settings:
            given = p.annotation
            kinds = get_args(given)
            held = reduce(or_, (kind for kind in kinds if kind != Sequence[float])) if Tensor in kinds else given
            attributes.append(f"    {p.name}: {annotation(held)}\n")
            default = "" if p.default is p.empty else f" = {p.default!r}"
            parameters.append(f"{p.name}: {annotation(p.annotation)}{default}".replace("'", '"'))
    head = [str(p).replace("'", '"') for p in inspect.signature(OwnsHead.__init__).parameters.values() if p.name not in ("self", "placed", "settings")]
    before = [p for p in head if "bias:" not in p and "device:" not in p and "dtype:" not in p] if loss.owned else []
    parameters = (head[len(before) :] if loss.owned else []) + parameters
    made = f"\n    def __init__(self, {', '.join([*before, '*', *parameters])}) -> None: ...\n"
    return "".join(attributes) + made + ("" if loss.tensors in USUAL else call(loss))


def call(loss: Loss) -> str:
    """The module's call, where its tensors are not input and target."""
    told = inspect.signature(loss.function).parameters.values()
    by_place = [*loss.tensors, *(operand.name for operand in loss.operands if operand.predicted)]
    given = [p for p in told if p.name not in loss.settings or p.name in by_place]
    shown = [f"{p.name}: {annotation(p.annotation)}" + ("" if p.default is p.empty else f" = {p.default!r}") for p in given]
    if loss.owned:
        return f"    def __call__(self, *tensors: torch.Tensor, {', '.join(f'{each}' if '=' in each else f'{each} = ...' for each in shown)}) -> torch.Tensor: ...  # type: ignore[override]\n"
    shown.insert(sum(p.name in by_place for p in given), "*")
    return f"    def __call__(self, {', '.join(shown)}) -> torch.Tensor: ...  # type: ignore[override]\n"


def base(loss: Loss) -> str:
    """The class that a loss's module is made from."""
    return "OwnsHead" if loss.owned else "LossModule"


def annotation(kind: Any) -> str:
    """A type as source text."""
    if get_origin(kind) is Union:
        return " | ".join(annotation(each) for each in get_args(kind)).replace("NoneType", "None")
    return inspect.formatannotation(kind).replace("'", '"').replace("losskit.contract.groups.", "").replace("losskit.contract.topk.", "")  # imported above


def text() -> str:
    """The whole file."""
    losses = list(LOSSES.values())
    functions = sorted((f for loss in losses for f in (loss.function, *loss.scores)), key=lambda f: (f.__module__, f.__name__))
    imports = [f"from {f.__module__} import {f.__name__} as {f.__name__}\n" for f in functions]
    classes = [f'\nclass {loss.module}({base(loss)}):\n    """{loss.summary}"""\n\n{body(loss)}' for loss in sorted([*losses, EITHER], key=lambda x: x.module)]
    return HEAD + "".join(imports) + "\n__version__: str\n" + "".join(classes)


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
