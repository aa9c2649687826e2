"""The guide to trainers: each example, of twelve lines at most, runs with the real package."""

import ast
import re
from pathlib import Path

import pytest
import torch
from test_site_examples import DOCS, blocks
from trainers import trainer

import losskit

pytestmark = pytest.mark.filterwarnings("ignore")
EXAMPLES = blocks(DOCS / "guides" / "trainers.md", "python")
KNOWN = {"torch", "losskit", "os", "functools"}


def packages(block: str) -> list[str]:
    """What a block imports besides losskit."""
    imports = [node for node in ast.walk(ast.parse(block)) if isinstance(node, (ast.Import, ast.ImportFrom))]
    names = [name for node in imports for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])]
    return [name for name in names if name.split(".")[0] not in KNOWN]


def test_every_framework_of_the_table_has_an_example():
    page = (DOCS / "guides" / "trainers.md").read_text(encoding="utf-8")
    table = [line for line in page.splitlines() if line.startswith("| [")]
    assert len(table) == 13 and len(EXAMPLES) == page.count("```python") == 14


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: (packages(block) or ["detectron2"])[0].split(".")[0])
def test_examples_run(block, tmp_path, monkeypatch):
    assert len([line for line in block.splitlines() if line.strip()]) <= 12
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    for name in packages(block):
        trainer(name)
    for module, name in re.findall(r"^(\w+)\.(\w+) = ", block, re.MULTILINE):  # what an example exchanges in a package, other tests look at as it was
        monkeypatch.setattr(f"torchvision.models.detection.{module}.{name}", None)
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile(block, "trainers.md", "exec"), {"__name__": "__example__"})


def test_integrations_import_no_framework_and_nobody_imports_them():
    """They are in every wheel: whoever has not installed a framework can import them all, and `import losskit` does not."""
    source = Path(losskit.__file__).parent
    for path in sorted(source.rglob("*.py")):
        code = path.read_text(encoding="utf-8")
        if path.parent.name == "integrations":
            assert {name.split(".")[0] for name in packages(code)} <= {"typing", "dataclasses", "collections"}, path
        else:
            assert "losskit.integrations" not in code, path
