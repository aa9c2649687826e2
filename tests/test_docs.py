"""What the documents promise: their code runs, their links lead somewhere, both languages say the same, and nothing generated is stale."""

import re
from pathlib import Path

import pytest

from losskit import LOSSES
from losskit.contract import stubs

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def code(page):
    return re.findall(r"```(\w*)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readmes_first_example_runs():
    scope = {}
    exec(code(ROOT / "README.md")[0][1], scope)
    assert scope["loss"].item() > 0
    assert scope["logits"].grad.isfinite().all()


def test_both_readmes_show_the_same_commands_and_code():
    def stripped(page):
        return [re.sub(r"#.*", "", text).split() for _, text in code(ROOT / page)]

    assert stripped("README.md") == stripped("README.zh-CN.md")


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_readmes_name_every_loss(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name, loss in LOSSES.items():
        assert f"`{name}`" in text and f"`{loss.module}`" in text


def test_stubs_are_fresh():
    assert stubs.PATH.read_text(encoding="utf-8") == stubs.text(), "run: make stubs"
