"""What was measured: the committed results of the benchmark and the error budget, by loss."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"
NAMES = {  # whom a case of the benchmark is about, by how its title begins
    "boxes": {"IoU": "iou_loss", "GIoU": "giou_loss", "DIoU": "diou_loss", "CIoU": "ciou_loss", "pairwise": "pairwise_iou", "best_match": "best_match"},
    "overlap": {"Dice + CE": "dice_ce_loss", "binary Dice + BCE": "dice_ce_loss", "Dice,": "dice_loss", "Lovasz": "lovasz_loss"},
    "rows": {"softmax focal": "focal_loss", "": "cross_entropy"},
    "products": {"": "linear_cross_entropy"},
    "products-contrastive": {"InfoNCE": "info_nce_loss", "SigLIP": "siglip_loss", "CLIP": "clip_loss"},
    "operands": {"Gaussian": "gaussian_nll_loss", "Barron": "barron_loss", "Huber": "huber_loss", "BCE": "binary_cross_entropy_with_logits"},
}
NO_BUDGET = {  # losses that the error budget lacks, and why
    "lovasz_loss": "it adds up errors in order, and a test compares it with the authors' code",
    "boundary_loss": "it multiplies probabilities by distances and adds them up",
}


class Speed(NamedTuple):
    """One case of the benchmark."""

    loss: str
    case: str
    dtype: str
    seconds: Mapping[str, float]


class Error(NamedTuple):
    """One line of the error budget."""

    loss: str
    settings: str
    dtype: str
    who: str
    value: str
    gradient: str


def results(kind: str) -> dict[str, Any]:
    """One file of results."""
    found: dict[str, Any] = json.loads((RESULTS / f"{kind}cpu-2-cores.json").read_text())
    return found


def machine(kind: str = "") -> Mapping[str, Any]:
    """On what it ran, and the command."""
    found: Mapping[str, Any] = results(kind)["machine"]
    return found


@cache
def speeds() -> list[Speed]:
    """Every case of every file."""
    found = [Speed(row["loss"], f"{row['size']:,} elements", row["dtype"], row["seconds"]) for row in results("")["rows"]]
    for kind, names in NAMES.items():
        record = results(f"{kind}-")
        for row in (*record.get("rows", ()), *record.get("cases", ())):
            loss = next(loss for start, loss in names.items() if row["case"].startswith(start))
            found.append(Speed(loss, row["case"], row["dtype"], row["seconds"]))
    return found


@cache
def every() -> Mapping[str, Speed]:
    """The case of each loss in the benchmark of every loss."""
    return {row["loss"]: Speed(row["loss"], row["case"].split(", ", 1)[1], row["dtype"], row["seconds"]) for row in results("every-")["cases"]}


def kind_of(loss: str) -> str:
    """Which file tells about a loss."""
    return next((f"{kind}-" for kind, names in NAMES.items() if kind != "operands" and loss in names.values() and loss != "focal_loss"), "")


@cache
def errors() -> list[Error]:
    """Every line of the error budget, from `docs/error-budget.md`."""
    return list(_lines((ROOT / "docs" / "error-budget.md").read_text(encoding="utf-8")))


def _lines(text: str) -> Iterator[Error]:
    """The rows of its tables, which name a loss first."""
    columns: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")] if line.startswith("|") else []
        if not cells or re.fullmatch(r"[-| ]+", line):
            continue
        if cells[0] == "loss":
            columns = cells
            continue
        row = dict(zip(reversed(columns), reversed(cells), strict=False))  # "gradient" may stand there twice: the first counts
        row["dtype"] = row.get("dtype") or "float32"
        row.setdefault("value", row.get("float32: value", ""))
        if row["value"] and "gradient" in row:
            yield Error(row["loss"], row.get("settings", ""), row["dtype"], row.get("who", ""), row["value"], row["gradient"])
