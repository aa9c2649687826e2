"""The guide to trainers: each example, of twelve lines at most, runs with the real package."""

import ast

import pytest
import torch
from test_site_examples import DOCS, blocks
from trainers import trainer

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
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile(block, "trainers.md", "exec"), {"__name__": "__example__"})
