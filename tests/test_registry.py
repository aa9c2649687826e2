"""Facts about the registry and the house: nothing listed lacks anything, and imports point one way."""

import ast
import builtins
import dis
import inspect
import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

import losskit
from losskit import LOSSES
from losskit.contract.patterns import OVERLAP_HANDLING
from losskit.contract.registry import TENSOR_ARGUMENTS

sys.path.append(str(Path(__file__).parents[1] / "docs" / "_ext"))

import results

SOURCE = Path(losskit.__file__).parent
SECTIONS = ("Formula", "Args", "Returns", "Raises", "When to use", "Edge cases", "Reference", "Example")
OVERLAP = ("power", "from_logits", "over", "average", "background", "empty", "weight", "ignore_index", "dim", "process_group")  # every loss of overlap has
WITHOUT = {"mcc_loss": {"power"}, "generalized_dice_loss": {"average"}}  # with a correlation squares make no sense; classes joined have no average
SCALES = {
    "mpdiou_loss": ("image_size",),
    "nwd_loss": ("constant",),
    "ssim_loss": ("data_range",),
    "l1_ssim_loss": ("data_range",),
}  # in the units of the boxes, or of the pictures, which nobody but the user knows
SHARED = {  # of a learned alpha, of log-gamma, of classes; and a module with state, which is no function
    "adaptive.py",
    "focal_of_classes.py",
    "stirling.py",
    "wiou_v3.py",
}
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def test_every_file_of_losses_enters_one_loss():
    files = [p for p in (SOURCE / "losses").rglob("*.py") if p.name not in {"__init__.py", *SHARED}]
    assert len(files) == len(LOSSES) == len({loss.module for loss in LOSSES.values()})
    assert {Path(inspect.getfile(inspect.unwrap(loss.function))) for loss in LOSSES.values()} == set(files)


@every_loss
def test_public(loss):
    assert getattr(losskit, loss.name) is loss.function and getattr(losskit, loss.module).loss is loss
    assert {loss.name, loss.module} <= set(losskit.__all__)
    assert loss.name in Path(losskit.__file__).with_suffix(".pyi").read_text()


@every_loss
def test_docstring(loss):
    docs = inspect.getdoc(loss.function)
    sections = re.findall(r"^(\w[\w' ]*):$", docs, re.M)
    assert [s for s in sections if not s.startswith("Differs from")] == list(SECTIONS)
    assert [s for s in sections if s.startswith("Differs from")], "a section on how it differs from torch or a peer"
    assert ">>>" in docs and re.search(r"\b1[789]\d\d\b|\b20\d\d\b", docs), "an example and the year of the reference"
    for name in loss.settings:
        assert re.search(rf"^    [\w, ]*\b{name}\b[\w, ]*:", docs, re.M), f"{name} is not described"
    assert len(loss.summary) < 160


@every_loss
def test_chinese(loss):
    assert len(re.findall("[一-鿿]", loss.chinese)) > 40
    assert isinstance(loss.formula, str) and loss.formula.isascii()
    assert "何时用" in loss.chinese and "边界" in loss.chinese


@every_loss
def test_signature(loss):
    parameters = inspect.signature(loss.function).parameters
    tensors = list(loss.tensors)
    usual = ["input"] if loss.target == "none" else ["input", "target"]
    assert loss.pattern in ("vectors", "linear") or tensors == (["input1", "input2"] if loss.name == "margin_ranking_loss" else usual)
    last = ["mask", "normalizer"] if loss.facts.summed else [*TENSOR_ARGUMENTS, "reduction"]
    assert list(parameters)[: len(tensors)] == tensors and list(parameters)[-len(last) :] == last
    predicted = [operand.name for operand in loss.operands if operand.predicted]  # torch's own may come third, as there
    assert all(p.kind is p.KEYWORD_ONLY or p.name in predicted for p in list(parameters.values())[len(tensors) :])
    assert loss.required == (("task",) if loss.task == "segmentation" else SCALES.get(loss.name, ()))
    assert loss.facts.summed or parameters["reduction"].default == "mean"


@pytest.mark.parametrize("loss", LOSSES.of("overlap").values(), ids=LOSSES.of("overlap"))
def test_losses_of_overlap_share_their_settings(loss):
    shared = [name for name in OVERLAP if name not in WITHOUT.get(loss.name, ())]
    assert [name for name in loss.settings if name in OVERLAP] == shared
    dice = LOSSES["dice_loss"].settings
    assert {name: loss.settings[name] for name in shared} == {name: dice[name] for name in shared}
    for score in loss.scores:
        names = list(inspect.signature(score).parameters)
        assert getattr(losskit, score.__name__) is score and score.__name__ in losskit.__all__
        assert names == ["input", "target", *loss.settings, "mask"]
        assert ">>>" in inspect.getdoc(score)


BOOKS = {
    "iou_and_union": "losskit.losses.detection.iou",
    "gaussian": "losskit.losses.detection.probiou",
}  # definitions that textbooks begin with, and no formula uses


def read(function):
    return {i.argval for i in dis.get_instructions(function) if i.opname == "LOAD_GLOBAL"}


def test_textbooks_share_arithmetic_only():
    for name, module in BOOKS.items():
        assert read(getattr(import_module(module), name)) <= set(dir(builtins))
        users = [
            f
            for m in list(sys.modules.values())
            if m.__name__.startswith("losskit.losses")
            for f in vars(m).values()
            if inspect.isfunction(f) and name in read(f)
        ]
        assert users and {f.__name__ for f in users} == {"textbook"}


@every_loss
def test_textbook_takes_every_setting_and_nothing_of_the_loss(loss):
    names = list(inspect.signature(loss.textbook).parameters)
    if loss.pattern == "overlap":
        second = ["second"] if "return_parts" in loss.settings else []  # the mean of the second loss
        assert names == ["mp", "i", "p", "t", "n", *second, *(s for s in loss.settings if s not in OVERLAP_HANDLING)]
    else:
        handling = loss.facts.handling
        held = [n for n in names if n.startswith("held_")]  # operands that are constants where they weigh the loss
        assert {n.removeprefix("held_") for n in held} <= {operand.name for operand in loss.operands}
        taken = loss.tensors if loss.pattern in ("vectors", "linear") else ("x", "t")
        assert [n for n in names if n not in held] == ["mp", *taken, *(s for s in loss.settings if s != "reduction" and (s not in handling or s == "task"))]
    assert read(loss.textbook) <= {*dir(builtins), *BOOKS}, "arithmetic and the mp context only"


@every_loss
def test_arguments_reach_every_setting(loss):
    varied = {name for settings in (*loss.arguments, *loss.rows) for name, value in settings.items() if value != loss.settings[name]}
    assert varied >= set(loss.settings) - set(loss.facts.handling)


def imports(file: Path) -> set[str]:
    found, tree = set(), ast.parse(file.read_text())
    types = {inner for node in ast.walk(tree) if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING" for inner in ast.walk(node)}
    for node in ast.walk(tree):
        if node in types:  # a name for type checkers, who import nothing
            continue
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name for name in found if name.startswith("losskit")}


def test_imports_point_one_way():
    allowed = {"engines": ("losskit.engines",), "contract": ("losskit.engines", "losskit.contract")}
    allowed["losses"] = (*allowed["contract"], "losskit.losses", "losskit.geometry", "losskit.turned", "losskit.gaussian")
    allowed["compose"] = (*allowed["contract"], "losskit.compose")
    for folder, packages in allowed.items():
        for file in (SOURCE / folder).rglob("*.py"):
            if file.name == "stubs.py":  # writes the package's own stub
                continue
            assert all(name.startswith(packages) for name in imports(file)), (file.name, imports(file))
    for file in (SOURCE / "geometry.py", *(SOURCE / "losses").rglob("*.py")):  # a formula is engine-free: the language is all it sees
        assert {name for name in imports(file) if name.startswith("losskit.engines")} <= {"losskit.engines.language", "losskit.engines.axes"}, file.name
    assert imports(SOURCE / "geometry.py") <= {"losskit.engines.language", "losskit.engines.axes"}


MAKERS = {  # what takes the default device, the default dtype, or both, where it is told none
    "arange", "as_tensor", "asarray", "empty", "empty_permuted", "empty_strided", "eye", "full", "linspace", "logspace", "ones", "rand", "randint", "randn",
    "randperm", "range", "scalar_tensor", "tensor", "tril_indices", "triu_indices", "zeros",
}  # fmt: skip
OWN_PROCESS = ("bench", "cli", "testing", "tour")  # programs, and the audit, which says where its numbers are made


def test_every_tensor_made_names_its_device_and_dtype():
    """Under `with torch.device("meta")`, or `torch.set_default_dtype`, a loss is what it is elsewhere: an address read is memory, a message has its number."""
    silent = []
    for file in SOURCE.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
        for call in calls if file.relative_to(SOURCE).parts[0] not in OWN_PROCESS else ():
            made = isinstance(call.func.value, ast.Name) and call.func.value.id == "torch" and call.func.attr in MAKERS
            if made and not {"device", "dtype"} <= {keyword.arg for keyword in call.keywords}:
                silent.append(f"{file.name}:{call.lineno}: {ast.unparse(call)}")
    assert not silent


def test_engines_name_no_loss():
    names = {name for loss in LOSSES.values() for name in (loss.name, loss.module, loss.name.removesuffix("_loss"))}
    names -= {"hinge"}  # the word for max(0, 1 - x), which is also a kind of error that the ranked pattern puts in order
    for file in (SOURCE / "engines").rglob("*.py"):
        tree = ast.parse(file.read_text())
        used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        used |= {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        assert not used & names, (file.name, used & names)


def test_registry_is_a_mapping():
    assert LOSSES["mse_loss"].module == "MSELoss" and "mse_loss" in LOSSES and "nothing" not in LOSSES
    with pytest.raises(KeyError):
        LOSSES["nothing"]


@every_loss
def test_its_errors_are_published(loss):
    """And no larger than it promises."""
    found = [e for e in results.errors() if e.loss == loss.name and e.who.startswith("losskit") and e.dtype == "float32"]
    assert bool(found) != (loss.name in results.NO_BUDGET), "python -m losskit.testing.budget prints what docs/error-budget.md lacks"
    for e in found:
        assert max(float(e.value), float(e.gradient)) <= loss.tolerance, e
