"""Facts about the registry and the house: nothing listed lacks anything, and imports point one way."""

import ast
import builtins
import dis
import inspect
import re
from pathlib import Path

import pytest

import losskit
from losskit import LOSSES
from losskit.contract.registry import HANDLING, TENSOR_ARGUMENTS

SOURCE = Path(losskit.__file__).parent
SECTIONS = ("Formula", "Args", "Returns", "Raises", "When to use", "Edge cases", "Reference", "Example")
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def test_every_file_of_losses_enters_one_loss():
    files = [p for p in (SOURCE / "losses").rglob("*.py") if p.name != "__init__.py"]
    assert len(files) == len(LOSSES) == len({loss.module for loss in LOSSES.values()})
    assert {Path(inspect.getfile(loss.function)) for loss in LOSSES.values()} == set(files)


@every_loss
def test_public(loss):
    assert getattr(losskit, loss.name) is loss.function and getattr(losskit, loss.module).loss is loss
    assert {loss.name, loss.module} <= set(losskit.__all__)
    assert loss.name in Path(losskit.__file__).with_suffix(".pyi").read_text()


@every_loss
def test_docstring(loss):
    docs = inspect.getdoc(loss.function)
    sections = re.findall(r"^(\w[\w ]*):$", docs, re.M)
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
    tensors = ["input"] if loss.target == "none" else ["input", "target"]
    assert list(parameters)[: len(tensors)] == tensors and list(parameters)[-4:] == [*TENSOR_ARGUMENTS, "reduction"]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is not p.empty for p in list(parameters.values())[len(tensors) :])
    assert parameters["reduction"].default == "mean"


@every_loss
def test_textbook_takes_every_setting_and_nothing_of_the_loss(loss):
    names = list(inspect.signature(loss.textbook).parameters)
    assert names == ["mp", "x", "t", *(s for s in loss.settings if s != "reduction" and (s not in HANDLING or s == "task"))]
    read = {i.argval for i in dis.get_instructions(loss.textbook) if i.opname == "LOAD_GLOBAL"}
    assert read <= set(dir(builtins)), "arithmetic and the mp context only"


@every_loss
def test_arguments_reach_every_setting(loss):
    varied = {name for settings in (*loss.arguments, *loss.rows) for name, value in settings.items() if value != loss.settings[name]}
    assert varied >= set(loss.settings) - set(HANDLING)


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return {name for name in found if name.startswith("losskit")}


def test_imports_point_one_way():
    allowed = {"engines": ("losskit.engines",), "contract": ("losskit.engines", "losskit.contract")}
    allowed["losses"] = (*allowed["contract"], "losskit.losses")
    for folder, packages in allowed.items():
        for file in (SOURCE / folder).rglob("*.py"):
            if file.name == "stubs.py":  # writes the package's own stub
                continue
            assert all(name.startswith(packages) for name in imports(file)), (file.name, imports(file))
    for file in (SOURCE / "losses").rglob("*.py"):  # a formula is engine-free: the language is all it sees
        assert {name for name in imports(file) if name.startswith("losskit.engines")} <= {"losskit.engines.language"}, file.name


def test_engines_name_no_loss():
    names = {name for loss in LOSSES.values() for name in (loss.name, loss.module, loss.name.removesuffix("_loss"))}
    for file in (SOURCE / "engines").rglob("*.py"):
        tree = ast.parse(file.read_text())
        used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} | {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
        used |= {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
        assert not used & names, (file.name, used & names)


def test_registry_is_a_mapping():
    assert LOSSES["mse_loss"].module == "MSELoss" and "mse_loss" in LOSSES and "nothing" not in LOSSES
    with pytest.raises(KeyError):
        LOSSES["nothing"]
