"""Writes `losskit/__init__.pyi`: the public names with their real signatures, for editors and type checkers, which cannot run the registry.

`python -m losskit.contract.stubs` (or `make stubs`) after adding a loss; a test fails while the file is stale.
"""

import inspect
import sys
from collections.abc import Sequence
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any, Union, get_args, get_origin

from torch import Tensor

from losskit.binary import EITHER
from losskit.contract.module import OwnsHead as OwnsHead
from losskit.contract.registry import LOSSES, Loss

PATH = Path(__file__).parent.parent / "__init__.pyi"
HEAD = '''"""Written by `python -m losskit.contract.stubs` from the registry; not to be edited."""

import collections.abc
from typing import Generic, Literal, overload

import torch
from typing_extensions import TypeVar

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
from losskit.contract.passes import ByProducts
from losskit.contract.registry import LOSSES as LOSSES
from losskit.contract.registry import Loss as Loss
from losskit.contract.topk import TopK as TopK
from losskit.engines.dispatch import EngineError as EngineError
from losskit.engines.dispatch import use_engine as use_engine
from losskit.matching import Matches as Matches
from losskit.matching import assign as assign
from losskit.matching import matching_cost as matching_cost
from losskit.pairwise import BoxMatch as BoxMatch
from losskit.pairwise import best_match as best_match
from losskit.pairwise import pairwise_iou as pairwise_iou
from losskit.products import linear_log_prob as linear_log_prob
from losskit.products import linear_probabilities as linear_probabilities
from losskit.products import linear_scores as linear_scores
from losskit.compat import like as like
from losskit.contract.config import create as create
from losskit.contract.config import from_config as from_config
from losskit.sampling import SampledClasses as SampledClasses
from losskit.sampling import sampled_classes as sampled_classes
from losskit.sums_of_overlap import OverlapSums as OverlapSums
from losskit.sums_of_overlap import overlap_sums as overlap_sums
from losskit.losses.detection.wiou_v3 import WIoUv3Loss as WIoUv3Loss
'''


RESULT = '\n_Result = TypeVar("_Result", default=torch.Tensor)\n\n'


def shown(p: inspect.Parameter) -> str:
    """A parameter as source text."""
    default = "" if p.default is p.empty else f" = {p.default!r}"
    return f"{p.name}: {annotation(p.annotation)}{default}".replace("'", '"')


def parts_of(loss: Loss) -> str | None:
    """The type of what a loss with return_parts=True gives besides; None of one that has no such argument."""
    if "return_parts" not in loss.settings:
        return None
    own = [name for name in vars(sys.modules[loss.function.__module__]) if name.endswith("Parts")]
    return own[0] if own else "ByProducts"


def overloaded(loss: Loss, text: str, result: str, before: str = "") -> str:
    """A signature with `return_parts: bool = False` and result RESULT, once as it is and, if the loss returns parts, once for each answer."""
    parts = parts_of(loss)
    if parts is None:
        return before + text.replace("RESULT", result.format("torch.Tensor"))
    plain = text.replace("return_parts: bool = False", "return_parts: Literal[False] = False").replace("RESULT", result.format("torch.Tensor"))
    more = text.replace("return_parts: bool = False", "return_parts: Literal[True]").replace("RESULT", result.format(f"tuple[torch.Tensor, {parts}]"))
    return f"{before}@overload\n{before}{plain}{before}@overload\n{before}{more}"


def body(loss: Loss) -> str:
    """The module's attributes and constructor: the function's settings; weights given as plain lists are held as tensors."""
    attributes, parameters = [], []
    for p in inspect.signature(loss.function).parameters.values():
        if p.name in loss.settings:
            given = p.annotation
            kinds = get_args(given)
            held = reduce(or_, (kind for kind in kinds if kind != Sequence[float])) if Tensor in kinds else given
            attributes.append(f"    {p.name}: {annotation(held)}\n")
            parameters.append(shown(p))
    head = [str(p).replace("'", '"') for p in inspect.signature(OwnsHead.__init__).parameters.values() if p.name not in ("self", "placed", "settings")]
    before = [p for p in head if "bias:" not in p and "device:" not in p and "dtype:" not in p] if loss.owned else []
    parameters = (head[len(before) :] if loss.owned else []) + parameters
    own = f"self: {loss.module}[RESULT]" if parts_of(loss) else "self"
    made = overloaded(loss, f"def __init__({own}, {', '.join([*before, '*', *parameters])}) -> None: ...\n", "{}", "    ")
    return "".join(attributes) + "\n" + made + call(loss)


def call(loss: Loss) -> str:
    """The module's call."""
    told = inspect.signature(loss.function).parameters.values()
    by_place = [*loss.tensors, *(operand.name for operand in loss.operands if operand.predicted)]
    given = [p for p in told if p.name not in loss.settings or p.name in by_place]
    result = "_Result" if parts_of(loss) else "torch.Tensor"
    texts = [shown(p) for p in given]
    if loss.owned:
        named = [text if "=" in text else f"{text} = ..." for text in texts]
        return f"    def __call__(self, *tensors: torch.Tensor, {', '.join(named)}) -> {result}: ...  # type: ignore[override]\n"
    texts.insert(sum(p.name in by_place for p in given), "*")
    return f"    def __call__(self, {', '.join(texts)}) -> {result}: ...  # type: ignore[override]\n"


def base(loss: Loss) -> str:
    """The classes that a loss's module is made from; those that return parts are generic, with a default that nobody needs to write."""
    return ("OwnsHead" if loss.owned else "LossModule") + (", Generic[_Result]" if parts_of(loss) else "")


def annotation(kind: Any) -> str:
    """A type as source text."""
    if get_origin(kind) is Union:
        return " | ".join(annotation(each) for each in get_args(kind)).replace("NoneType", "None")
    return inspect.formatannotation(kind).replace("'", '"').replace("losskit.contract.groups.", "").replace("losskit.contract.topk.", "")  # imported above


def text() -> str:
    """The whole file."""
    losses = list(LOSSES.values())
    several = [loss for loss in losses if parts_of(loss)]
    alone = [f for loss in losses for f in ((*([] if loss in several else [loss.function]), *loss.scores))]
    parts = {(loss.function.__module__, name) for loss in several if (name := parts_of(loss)) and name != "ByProducts"}
    names = sorted({(f.__module__, f.__name__) for f in alone} | parts)
    imports = [f"from {module} import {name}" + ("\n" if (module, name) in parts else f" as {name}\n") for module, name in names]
    functions = [overloaded(loss, f"def {loss.name}({of_function(loss)}) -> RESULT: ...\n", "{}") for loss in several]
    classes = [f'\nclass {loss.module}({base(loss)}):\n    """{loss.summary}"""\n\n{body(loss)}' for loss in sorted([*losses, EITHER], key=lambda x: x.module)]
    return HEAD + "".join(imports) + "\n__version__: str\n" + RESULT + "".join(functions) + "".join(classes)


def of_function(loss: Loss) -> str:
    """The parameters of a loss's function."""
    parameters = inspect.signature(loss.function).parameters.values()
    texts = [shown(p) for p in parameters]
    texts.insert(sum(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters), "*")
    return ", ".join(texts)


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
