"""Each row of the pages on switching: their call and ours give the same value and gradient, and the numbers where they part are those printed there.

torch and, where they are installed, torchvision, MONAI, segmentation_models.pytorch and kornia are asked themselves; of the others the formulas are written
out in `written_out.py`.
"""

import importlib
import importlib.metadata
import re
import sys
import warnings
from pathlib import Path

import pytest
import torch
from test_compat import package
from written_out import USED, WRITTEN_OUT

import losskit
from losskit.bench.sides import torchvision_focal

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "docs" / "_ext"))
import switching  # noqa: E402
from switching_rows import LIBRARIES  # noqa: E402

ROWS = [pytest.param(lib, row, id=f"{lib.name}-{n}") for lib in LIBRARIES for n, row in enumerate(lib.rows)]
PARTED = [pytest.param(lib, apart, id=f"{lib.name}-{n}") for lib in LIBRARIES for n, apart in enumerate(lib.apart)]


def names(library):
    """What their calls are written in: the package itself or its formulas."""
    if library.name in WRITTEN_OUT:
        return USED | WRITTEN_OUT[library.name]
    if library.name == "torchvision":
        if torchvision_focal() is None:
            pytest.skip("peer")
        return USED | {"ops": importlib.import_module("torchvision.ops")}
    return USED if library.name == "torch" else USED | {"losses": package(library.name)}


def tensors(batch):
    """Input with a gradient, target, a weight per item and a number to divide by."""
    x, t = switching.BATCHES[batch]()
    return {"x": x.requires_grad_(), "t": t, "w": torch.linspace(0.5, 2.0, len(x)), "s": torch.tensor(3.5)}


def outcome(code, scope, batch):
    given = tensors(batch)
    with warnings.catch_warnings(), losskit.use_engine("torch"):
        warnings.simplefilter("ignore")
        value = eval(code, {**scope, "losskit": losskit, **given})
    grad = None
    if value.requires_grad:
        incoming = torch.linspace(-1, 2, value.numel()).reshape(value.shape) if value.dim() else None
        (grad,) = torch.autograd.grad(value, given["x"], incoming)
    return value.detach(), grad


@pytest.mark.parametrize(("library", "row"), ROWS)
def test_their_call_and_ours_are_the_same(library, row):
    value, gradient = outcome(row.ours, USED, row.batch)
    theirs, their_gradient = outcome(row.theirs, names(library), row.batch)
    torch.testing.assert_close(value, theirs, rtol=library.close, atol=1e-6)
    if gradient is not None:  # a score of every box with every other has none
        assert gradient.any()
        torch.testing.assert_close(gradient, their_gradient, rtol=10 * library.close, atol=1e-6)


def printed(code, scope):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            value = float(eval(code, {**scope, "losskit": losskit}))
        except (ValueError, TypeError) as error:
            return type(error).__name__
    return "0" if abs(value) < 1e-12 else f"{value:.3g}"


@pytest.mark.parametrize(("library", "apart"), PARTED)
def test_the_numbers_where_they_part(library, apart):
    with losskit.use_engine("torch"):
        assert printed(apart.ours, USED) == apart.numbers[1]
        assert printed(apart.theirs, names(library)) == apart.numbers[0]


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda lib: lib.name)
def test_what_is_said_to_be_missing_is_there_and_not_here(library):
    found = names(library)
    place = found.get("losses") or found.get("ops") or torch.nn.functional
    for name, _ in library.missing:
        assert not hasattr(losskit, name), f"losskit has {name}"
        if library.name not in WRITTEN_OUT:
            assert hasattr(place, name), f"{library.title} has no {name}"


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda lib: lib.name)
def test_the_version_that_is_named_is_the_one_that_was_asked(library):
    assert library.asked == (library.name not in WRITTEN_OUT)
    if not library.asked:
        return
    names(library)
    package_of = {"smp": "segmentation_models_pytorch"}.get(library.name, library.name)
    version = re.search(r"\d+\.\d+\.\d+", library.against)[0]
    assert importlib.metadata.version(package_of).startswith(version)
