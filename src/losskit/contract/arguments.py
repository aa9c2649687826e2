"""What the arguments that many losses share mean, written once. Where a docstring says "as in every loss", or "as in `dice_loss`", these lines are filled in.

A source file has one line, `mask, sample_weight, normalizer, reduction: as in every loss, see `losskit.contract`.`; `help`, the tests and the command line see the
text below, with the shape and the item of the loss's pattern. Sentences after the first stay where they are.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

from losskit.contract.patterns import Pattern

LINES = {
    "mask": """
        bool tensor, broadcasts to {shape}. True counts, False is as good as deleted, whatever it holds, NaN included.
        None: everything counts.""",
    "sample_weight": """
        tensor of any real dtype, broadcasts to {shape}, multiplies the losses. "mean" divides by the sum of the weights,
        so there they must not be negative. None: every weight is 1.""",
    "normalizer": """
        a number >= 0, or a 0-d tensor on the input's device, that "mean" divides by in place of the count or the sum of the weights: the count
        of the whole batch, where it comes in pieces. 0: nothing counts, and the loss is 0 with zero gradients. `losskit.Ranks()`: the count of all
        ranks of a distributed training. Only with reduction="mean".""",
    "reduction": """
        "mean": the sum of the weighted losses over the sum of the weights that count; without weights, over how many {items} count.
        "sum": the sum of the weighted losses. "none": one loss per {item}.""",
    "weight": """
        one weight per class, (C,), a tensor or a list. It multiplies the losses of the items with that label, and "mean" divides by the weights
        of the labels that count. It may require a gradient. None: every weight is 1.""",
    "ignore_index": """
        items with this label are absent, as if masked. Any integer, also one that is no class.""",
    "dim": """
        the class axis of the input; a negative number counts from the last. An input (C,) is one item without a batch.""",
    "return_parts": """
        True returns (loss, parts), with by-products of the computation: parts.losses, parts.lse (log-sum-exp of each row), parts.accuracy and
        parts.items (how many count), all detached.""",
    "box_format": """
        "xyxy" (x1, y1, x2, y2), "xywh" (x1, y1, width, height) or "cxcywh" (centre x, centre y, width, height), of input and target.""",
}
MIXED = ("the target's shape", "item", "items")  # elements or rows, by task

REFERENCE = re.compile(r"^( *)(\w+(?:, \w+)*): as in (?:every loss, see `losskit\.contract`|`(\w+)`)[.;]?(?: (.*(?:\n\1 +\S.*)*)|(?=\n))", re.M)
ENTRY = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n {5,}.*)*)", re.M)


def sections(docs: str) -> dict[str, str]:
    """The sections of a docstring by heading; "Summary" is what stands before the first."""
    found, heading = {"Summary": ""}, "Summary"
    for line in inspect.cleandoc(docs).splitlines():
        if match := re.fullmatch(r"([A-Z][\w'/. ]*):", line):
            heading = match[1]
            found[heading] = ""
        else:
            found[heading] += line + "\n"
    return {heading: inspect.cleandoc(text).strip() for heading, text in found.items()}


def entries(docs: str) -> dict[str, str]:
    """What the section "Args" of a docstring says about each argument."""
    section = re.search(r"^Args:\n((?: +.*\n|\n(?= ))*)", inspect.cleandoc(docs) + "\n", re.M)
    return {name: text for names, text in ENTRY.findall(section[1] if section else "") for name in names.split(", ")}


def described(docs: str, pattern: Pattern, mixed: bool, find: Callable[[str], str]) -> str:
    """A docstring with its references filled in; `find` gives the docstring of the loss that one names."""
    shape, item, items = MIXED if mixed else (pattern.shape, pattern.item, pattern.items)

    def fill(reference: re.Match[str]) -> str:
        margin, names, other, rest = reference.groups()
        known: Mapping[str, Any] = entries(find(other)) if other else LINES
        lines: list[str] = []
        for name in names.split(", "):
            text = known[name] if other else known[name].format(shape=shape, item=item, items=items)
            first, *more = [line.strip() for line in text.strip().splitlines()]
            lines += [f"{margin}{name}: {first}", *(f"{margin}    {line}" for line in more)]
        if rest:
            lines.append(f"{margin}    {rest[0].upper()}{rest[1:]}")
        return "\n".join(lines)

    return REFERENCE.sub(fill, docs)
