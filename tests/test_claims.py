"""Every sentence of "Returns", "Edge cases" and "Differs" has a test, and every claim points at a sentence; and the law of "Returns", for all losses at once."""

import importlib
import math
import re
from pathlib import Path

import claims
import pytest
import torch
from claims import claim, public, sentences

import losskit
from losskit import LOSSES
from losskit.testing import inputs
from losskit.testing.boxes import is_boxes, ordinary
from losskit.testing.rows import RowSubject, is_rows
from losskit.testing.vectors import extreme, subject_kind
from losskit.testing.windows import WindowSubject

for file in Path(__file__).parent.glob("test_*.py"):
    if "from claims import" in file.read_text(encoding="utf-8") and file.stem != Path(__file__).stem:
        importlib.import_module(file.stem)


@pytest.mark.parametrize("name", public())
def test_every_sentence_is_tested(name):
    starts = [start for of, start in claims.CLAIMS if of == name]
    untested = [sentence for sentence in sentences(name) if not any(sentence.startswith(start) for start in starts)]
    assert not untested, f"no @claim({name!r}, ...) stands for: " + "\n".join(untested)


def test_every_claim_points_at_one_sentence():
    for (name, start), tests in claims.CLAIMS.items():
        found = [sentence for sentence in sentences(name) if sentence.startswith(start)]
        assert len(found) == 1, f"{tests[0]}: {len(found)} sentences of {name} start with {start!r}"


# Returns: the shapes and the range that its first sentence names

ABOVE = {"smooth": (2.0, 0.5)}  # more above the bar than below
UNEQUAL = {"power": 2, "alpha": 0.3, "beta": 3.0, "smooth": 0.0}
BEYOND = {  # what takes a value out of the range, and to which side, as the sentence says
    "below 0 where `smooth` adds more above the bar than below": (ABOVE, -1),
    'above with empty="mass"': ({"empty": "mass"}, 1),
    "or where `smooth` adds more above the bar than below": ({"smooth": (4.0, 0.5), "power": 2}, 1),
    "on either side with power=2 and unequal weights": (UNEQUAL, -1),
    "above with power=2 and unequal weights": (UNEQUAL | {"alpha": 0.0}, 1),
}


def batches(loss, settings):
    """Inputs and targets of a loss from its whole domain, of hard and soft targets."""
    if is_boxes(loss):
        a, b = ordinary(600)
        if "picture" in sentences(loss.name)[0]:
            size = torch.tensor(settings["image_size"]).repeat(2)
            yield from (((a / 10).clamp(0, 1) * size, (b / 10).clamp(0, 1) * size), (size * 0, size * 1.0))
            return
        flat = b.clone()
        flat[:, 2] = flat[:, 0]
        yield from ((a, b), (a, flat), (flat, b), (b, b), (a + 1e3, b))
        return
    if loss.pattern == "windows":
        x, t = WindowSubject(loss.function, loss, settings).batch()
        yield from ((x, t), (x, x), (x, -x), (x * 100, t), (x.round(), t.round()), (x * 0, t * 0 + 1), (x + 1e3, x))
        return
    if loss.pattern == "linear":
        x, t = RowSubject(loss.function, LOSSES["cross_entropy"], settings).batch((40,))
        yield from ((size * x, torch.eye(x.shape[1]), t) for size in (0.1, 3.0, 40.0))
        return
    if loss.pattern == "vectors":
        s = subject_kind(loss)(loss.function, loss, settings)
        yield from (s.batch((40, 7)), s.batch((9,)), extreme(s))
        return
    wide = loss.pattern in ("overlap", "ranked", "operations") or is_rows(loss, settings)
    if not wide:
        yield inputs.batch(loss, settings, (40, 7))
        x, t = inputs.pairs(loss, settings)
        keep = x.isfinite() & t.isfinite() & (x.abs() < 1e15)
        yield x[keep], t[keep]
        return
    classes = next((len(v) for k, v in settings.items() if k in ("weight", "alpha") and isinstance(v, list)), 3)
    for seed, size in enumerate((0.1, 3.0, 40.0)):
        draw = torch.Generator().manual_seed(seed)
        x = size * torch.randn(4, classes, 5, generator=draw)
        if loss.input == "cosine":
            x = inputs.cosines(x)
        if settings.get("from_logits") is False or loss.input == "log-probability":
            logs = loss.input == "log-probability" or settings.get("log_input")
            x = x.log_softmax(1) if logs else x.sigmoid() if settings.get("task") in ("binary", "multilabel") else x.softmax(1)
        soft, labels = torch.rand(4, classes, 5, generator=draw), torch.randint(0, classes, (4, 5), generator=draw)
        if loss.name == "boundary_loss":
            yield x, torch.randn(4, classes, 5, generator=draw)
        elif loss.target == "none":
            yield (x,)
        elif loss.target == "set":
            yield x, soft > 0.5
        elif loss.target == "distribution" or loss.multilabel:
            yield x, soft.log_softmax(1) if settings.get("log_target") else soft.softmax(1)
        elif loss.target == "position":
            yield x, (classes - 1) * soft[:, 0]
        elif settings.get("task", "multiclass") == "multiclass":
            yield x, labels
            if loss.pattern == "overlap":
                yield x, (3 * soft).softmax(1)
        else:
            yield x, (soft > 0.5).float()
            if loss.pattern == "overlap":
                yield from ((x, soft), (x, torch.zeros_like(x)))


def variants(loss):
    """The registry's settings of a loss, for each of its tasks; of losses of overlap with every way to handle what is empty, and squares."""
    for settings in (*loss.arguments, *loss.rows):
        tasks = ("binary", "multiclass", "multilabel") if loss.pattern in ("overlap", "ranked", "operations") else (settings.get("task"),)
        for task in tasks:
            given = dict(settings) | ({} if task is None else {"task": task})
            if task == "binary":
                given.pop("weight", None)
            if task != "multiclass":
                given.pop("background", None)
            if loss.pattern == "overlap":
                given["smooth"] = given.get("smooth", 1.0) if not isinstance(given.get("smooth"), tuple) else 1.0
                for more in ({}, {"power": 2}, {"empty": "skip", "over": "batch"}, {"empty": "zero"}):
                    yield given | {k: v for k, v in more.items() if k in loss.settings}
            else:
                yield given


def values(loss, settings):
    """Unreduced values, and inputs, over all batches."""
    none = (
        {"average": "none"}
        if "average" in loss.settings and "return_parts" not in loss.settings
        else {"reduction": "none"}
        if "reduction" in loss.settings
        else {}
    )
    for tensors in batches(loss, settings):
        if settings.get("task") == "binary" and loss.pattern in ("overlap", "ranked"):
            tensors = tuple(x.reshape(4, -1) for x in tensors)
        yield loss.function(*tensors, **inputs.as_arguments(settings), **none), *tensors


SHAPES = {  # what "none" gives: of the input, the target and the settings
    "the input's shape": lambda x, t, s: x.shape,
    "the input's shape without the class axis": lambda x, t, s: x[:, 0].shape,
    "the input's shape without the class axis (summed over the classes)": lambda x, t, s: x[:, 0].shape,
    "the input's shape (multi-class: without the class axis)": lambda x, t, s: x[:, 0].shape if s.get("task") == "multiclass" else x.shape,
    "the target's shape": lambda x, t, s: t.shape,
    "the labels' shape": lambda x, t, s: t.shape,
    "the shape without the last axis": lambda x, t, s: x.shape[:-1],
    "the shape (..., N)": lambda x, t, s: x.shape[:-1],
    "the shape (..., N), a picture's losses added up": lambda x, t, s: x.shape[:-1],
    "the shape (...)": lambda x, t, s: x.shape[:-1],
    "shape (N, C): a value per sample and channel": lambda x, t, s: x.shape[:2],
    "(N, C), or (C,) over the batch": lambda x, t, s: (() if s.get("over") == "batch" else (4,)) + (1 if s["task"] == "binary" else x.shape[1],),
}


@claim(" ".join(LOSSES), "A scalar")
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_returns(loss):
    said = sentences(loss.name)[0]
    shape = re.search(r'="none" (.*?)(?=;|\.$| "|$)', said.replace(". ", "; "))
    span = re.search(r"in ([\[(])([^,]+), ([^\])]+)([\])])", said)
    for settings in variants(loss):
        full = loss.settings | settings
        if loss.name in UNBALANCED and settings.get("power") == 2:
            settings = settings | {"alpha": 0.5, "beta": 0.5}
        with losskit.use_engine("torch"):
            for value, x, *target in values(loss, settings):
                if isinstance(value, tuple):
                    value = value[0]
                if shape:
                    assert value.shape == SHAPES[shape[1]](x, target[-1] if target else None, full), (settings, shape[1])
                else:
                    assert value.shape == ()
                if not span or ("epsilon >= -1" in said and full["epsilon"] < -1) or ("class's weight" in said and full["weight"] is not None):
                    continue
                names = {"inf": math.inf, "e": math.e, "log": math.log, "C": x.shape[min(1, x.dim() - 1)], "q": full.get("q"), "eps": full.get("eps")}
                low, high = (eval(text.replace("log C", "log(C)").replace("log 2", "log(2)").split("=")[-1], names) for text in span.groups()[1:3])
                slack = 1e-6 * max(1.0, abs(high) if math.isfinite(high) else 1.0)
                assert value.min() >= low - slack, (settings, float(value.min()))
                assert value.max() <= high + slack and (span[4] == "]" or value.max() < high or math.isinf(high)), (settings, float(value.max()))


UNBALANCED = ("tversky_loss", "focal_tversky_loss")


@pytest.mark.parametrize(
    "loss", [loss for loss in LOSSES.values() if "below 0" in sentences(loss.name)[0] or "above with" in sentences(loss.name)[0]], ids=lambda x: x.name
)
def test_what_leaves_the_range_does(loss):
    said = sentences(loss.name)[0]
    found = {words: how for words, how in BEYOND.items() if words in said}
    assert found
    high = float(re.search(r"in \[0, (?:[^\]=)]*= )?([\d.]+|inf)", said)[1])
    one = torch.ones(1, 4)
    cases = [(one, one), (one, 0 * one), (0.1 * one, 0.1 * one), (0.6 * one, 0.5 * one), (0.9 * one, 0.3 * one)]
    with losskit.use_engine("torch"):
        for words, (settings, side) in found.items():
            extra = {"from_logits": False, "task": "binary"} | ({"ce_weight": 0.0} if "ce_weight" in loss.settings else {})
            extra |= {"focal_weight": 0.0} if "focal_weight" in loss.settings else {}
            value = [float(loss.function(x, y, **extra | {k: v for k, v in settings.items() if k in loss.settings})) for x, y in cases]
            assert min(value) < 0 if side < 0 else max(value) > high, (words, value)


@claim("iou_loss", "Of boxes in order: linear and square in [0, 1], log in [0, 41.5]")
def test_the_range_of_iou():
    a, b = ordinary(600)
    with losskit.use_engine("torch"):
        for mode, high in (("linear", 1.0), ("square", 1.0), ("log", 41.5)):
            for x in (a, a + 100):
                value = losskit.iou_loss(x, b, mode=mode, reduction="none")
                assert (value >= 0).all() and (value <= high).all()
            assert value.max() > high - 0.1


def test_the_bound_of_barron():
    for alpha in (-1.0, -4.0):
        value = losskit.barron_loss(torch.tensor([1e6]), torch.zeros(1), alpha=alpha)
        bound = abs(alpha - 2) / abs(alpha)
        assert 0.99 * bound < value <= bound * (1 + 1e-6)
