"""Every example of the pages written by hand is run: sessions print what stands there, and each block of Python runs by itself."""

import ast
import builtins
import doctest
import re
import sys
from pathlib import Path

import pytest
from cases import thorough

import losskit
from losskit import LOSSES
from losskit.contract.arguments import sections

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS / "_ext"))

import pages  # noqa: E402

PAGES = sorted(p for p in DOCS.rglob("*.md") if "_build" not in p.parts and "locale" not in p.parts)


def blocks(page: Path, language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


SESSIONS = [p for p in PAGES if blocks(p, "pycon")]
LONG = [
    p for p in SESSIONS if p.stem in ("outliers", "uncertainty", "half-precision", "large-vocabularies", "imbalance", "article", "contrastive")
]  # a dozen loops, a training


ROUNDED = [p for p in SESSIONS if p.stem == "accumulation"]  # a mean in the middle between two numbers of four digits


@pytest.mark.parametrize(
    "page",
    [*(p for p in SESSIONS if p not in LONG + ROUNDED), *(pytest.param(p, marks=pytest.mark.chosen) for p in ROUNDED), *thorough(LONG)],
    ids=lambda p: p.stem,
)
def test_sessions_print_what_stands_there(page):
    """One session per page, from top to bottom."""
    text = "\n".join(blocks(page, "pycon"))
    test = doctest.DocTestParser().get_doctest(text, {}, page.stem, str(page), 0)
    said: list[str] = []
    doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS).run(test, out=said.append)
    assert not said, "".join(said)


@pytest.mark.parametrize(
    "page", [p for p in PAGES if blocks(p, "python") and p.stem != "trainers"], ids=lambda p: p.stem
)  # test_integrations_guide.py runs that
def test_blocks_of_python_run_alone(page):
    """A block that a reader copies needs nothing of the page around it. (Formulas in the architecture are excerpts, and say `...`.)"""
    for block in blocks(page, "python"):
        if page.name != "architecture.md":
            exec(compile(block, str(page), "exec"), {"__name__": "__example__"})


EXAMPLES = [(name, pages.WRITER.example(text)) for name in (*LOSSES, *pages.HELPERS) if (text := sections(getattr(losskit, name).__doc__ or "").get("Example"))]


@pytest.mark.parametrize(("name", "example"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_examples_of_the_pages_import_what_they_use(name, example):
    """A reader pastes them."""
    source = "".join(part.source for part in doctest.DocTestParser().get_examples(example))
    found = list(ast.walk(ast.parse(source)))
    known = {alias.name for node in found if isinstance(node, (ast.Import, ast.ImportFrom)) for alias in node.names} | set(dir(builtins))
    known |= {node.id for node in found if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    known |= {node.arg for node in found if isinstance(node, ast.arg)} | {node.name for node in found if isinstance(node, ast.FunctionDef)}
    assert {node.id for node in found if isinstance(node, ast.Name)} <= known
