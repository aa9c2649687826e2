"""Boxes from COCO's JSON: detections and annotations, paired as COCO's evaluation pairs them."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import losskit
from losskit.cli import stop

TEXT = 30  # bytes of memory per byte of JSON


class Box(NamedTuple):
    """One box of one picture: corner and size, as COCO writes them."""

    image: Any
    category: Any
    numbers: tuple[float, ...]
    score: float


class Pairs(NamedTuple):
    """Boxes side by side, corners and sizes; the category of each pair; what has no partner."""

    input: Tensor
    target: Tensor
    names: list[str]
    places: list[str]
    unmatched: int  # detections
    missed: int  # annotations
    crowds: int  # annotations of many objects in one box, which are left out
    all: tuple[Tensor, Tensor]  # detections and annotations, those without a partner, too


def boxes(path: Path, told: str) -> tuple[list[Box], dict[Any, str], int]:
    """The boxes of a file, and the names of categories where it has them: a list of results, or a dictionary with "annotations". And how many mark crowds, which are no
    object's box."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        stop(f"{told} is no JSON, or is truncated: {error}")
    listed = found.get("annotations") if isinstance(found, Mapping) else found
    if not isinstance(listed, list):
        stop(f'{told} is not COCO\'s JSON: expected a list of results, or {{"annotations": [...]}}')
    made, crowds = [], 0
    for number, entry in enumerate(listed):
        try:
            numbers = tuple(float(x) for x in entry["bbox"])
            made.append(Box(entry["image_id"], entry["category_id"], numbers, float(entry.get("score", 1.0))))
        except (TypeError, KeyError, ValueError, AttributeError, OverflowError) as error:
            stop(f"{told}: entry {number} is no box: expected image_id, category_id, bbox of four numbers; {type(error).__name__}: {error}")
        if len(numbers) != 4:
            stop(f"{told}: entry {number} has a bbox of {len(numbers)} numbers: expected x, y, width, height")
        if not all(map(math.isfinite, (*numbers, made[-1].score))):
            stop(f"{told}: entry {number} holds NaN or an infinity: {entry['bbox']}, score {made[-1].score}")
        if entry.get("iscrowd"):
            crowds += 1
            made.pop()
            continue
        try:
            hash((made[-1].image, made[-1].category))
        except TypeError:
            stop(f"{told}: entry {number} has an image_id or category_id that is a list: expected a number or text")
    categories = found.get("categories", []) if isinstance(found, Mapping) else []
    names = {c["id"]: str(c.get("name", c["id"])) for c in categories if isinstance(c, Mapping) and "id" in c} if isinstance(categories, list) else {}
    return made, names, crowds


def pairs(pred: Path, target: Path) -> Pairs:
    """Detections by score, each with the annotation of its picture and category that it overlaps most and that no better detection has taken."""
    (found, others, _), (truth, names, crowds) = boxes(pred, f"--pred {pred}"), boxes(target, f"--target {target}")
    names = others | names
    for file, held in ((f"--pred {pred}", found), (f"--target {target}", truth)):
        if not held:
            stop(f"{file} holds no boxes")
    groups: dict[Any, list[int]] = defaultdict(list)
    for number, box in enumerate(truth):
        groups[box.image, box.category].append(number)
    by_group: dict[Any, list[int]] = defaultdict(list)
    for number, box in enumerate(found):
        by_group[box.image, box.category].append(number)
    matched: list[tuple[int, int]] = []
    for group, detections in by_group.items():
        annotations = groups.get(group, [])
        if not annotations:
            continue
        detections.sort(key=lambda number: -found[number].score)
        table = losskit.pairwise_iou(tensor([found[i] for i in detections]), tensor([truth[i] for i in annotations]), box_format="xywh")
        taken: set[int] = set()
        for row, number in zip(table.tolist(), detections, strict=True):
            free = [(overlap, -i) for i, overlap in enumerate(row) if i not in taken and overlap > 0.0]
            if free:
                best = -max(free)[1]
                taken.add(best)
                matched.append((number, annotations[best]))
    if not matched:
        stop(f"no box of --pred {pred} overlaps one of --target {target} of the same image_id and category_id")
    matched.sort()
    boxed = [found[i] for i, _ in matched]
    return Pairs(
        tensor(boxed),
        tensor([truth[j] for _, j in matched]),
        [names.get(box.category, str(box.category)) for box in boxed],
        [f"image {box.image}" for box in boxed],
        len(found) - len(matched),
        len(truth) - len(matched),
        crowds,
        (tensor(found), tensor(truth)),
    )


def tensor(found: list[Box]) -> Tensor:
    """Corners and sizes."""
    return torch.tensor([box.numbers for box in found], dtype=torch.float32).reshape(-1, 4)
