"""What the documents promise: their code runs, their links lead somewhere, both languages say the same, and nothing generated is stale."""

import argparse
import importlib
import inspect
import json
import re
import shlex
import sys
from pathlib import Path

import pytest
import torch
import typer

import losskit
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


BLOCKS = [text for language, text in code(ROOT / "README.md") if language == "python"]


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_every_block_of_the_readme_runs_alone(block):
    scope = {}
    exec(BLOCKS[block], scope)
    leaves = [x for x in scope.values() if isinstance(x, torch.Tensor) and x.requires_grad and x.is_leaf] + [
        p for m in scope.values() if isinstance(m, torch.nn.Linear) for p in m.parameters()
    ]
    assert leaves and all(x.grad.isfinite().all() and x.grad.any() for x in leaves)


def words():
    """Every command line of ours that the documents or the Makefile show, as a list of words."""
    texts = [page.read_text(encoding="utf-8") for page in (*PAGES, ROOT / "Makefile")]
    pattern = r"(?:python|\(RUN\)) (-m losskit[^`\n(;|)\"]*)|`(losskit [a-z][^`\n]*)`"
    found = {module or command for text in texts for module, command in re.findall(pattern, text)}
    guides = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "guides").glob("*.md"))]
    found |= {command for text in guides for command in re.findall(r"^\$ (losskit [^\n]*)", text, re.M)}
    return [[word for word in shlex.split(line) if word != "..."] for line in sorted(found)]


class Parsed(Exception):
    """The command line was understood; that is all we wanted to know."""


@pytest.mark.parametrize("line", words(), ids=" ".join)
def test_every_command_line_is_taken_by_its_parser(line, monkeypatch):
    if line[0] == "losskit" or line[1] == "losskit":
        from losskit.cli.app import app

        group = typer.main.get_command(app)
        name, command, rest = group.resolve_command(context := typer.Context(group), line[1:] if line[0] == "losskit" else line[2:])
        while isinstance(command, type(group)) and rest:  # as `losskit cache warm`
            context = command.make_context(name, [], parent=context)
            name, command, rest = command.resolve_command(context, rest)
        command.make_context(name, rest, parent=context)
        return

    def parse(self, arguments=None, original=argparse.ArgumentParser.parse_args):
        original(self, arguments)
        raise Parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse)
    monkeypatch.setattr(sys, "argv", line[1:])
    module = importlib.import_module(line[1])
    if not hasattr(module, "main"):  # takes no arguments
        assert not line[2:] and "__main__" in inspect.getsource(module)
        return
    with pytest.raises(Parsed):
        module.main()


def test_make_targets_exist():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert set(re.findall(r"(?:^|`)make (\w+)", text, re.M)) <= targets, page.name


@pytest.mark.chosen
def test_the_engines_table():
    """On the CPU everything runs fused, class probabilities with labels apart."""
    p, labels, q = torch.rand(2, 3, 4).softmax(1), torch.randint(0, 3, (2, 4)), torch.rand(2, 3, 4).softmax(1)
    for loss, given, settings in (
        (losskit.binary_cross_entropy, (p, q), {}),
        (losskit.focal_loss, (p, q), {"from_logits": False}),
        (losskit.kl_divergence, (p, q), {}),
        (losskit.cross_entropy, (p, q), {}),
        (losskit.entropy, (p,), {}),
        (losskit.dice_loss, (p, labels), {"task": "multiclass", "from_logits": False}),
        (losskit.lovasz_loss, (p, labels), {"task": "multiclass", "from_logits": False}),
    ):
        assert losskit.engine_for(loss, *given, **settings).engine == "cpu", loss
    for loss, settings in ((losskit.cross_entropy, {}), (losskit.focal_loss, {"task": "multiclass"})):
        assert losskit.engine_for(loss, p, labels, from_logits=False, **settings).engine == "torch"
    assert losskit.engine_for(losskit.nll_loss, p.log(), labels).engine == "torch"


def test_the_table_of_arguments():
    """Targets of any real dtype; boxes and distributions are floating point; neither of the two is broadcast."""
    x = torch.randn(2, 3)
    for dtype in (torch.bool, torch.uint8, torch.int8, torch.int64, torch.float16, torch.float64):
        target = torch.tensor([[1, 0, 1], [0, 0, 1]]).to(dtype)
        with losskit.use_engine("torch"):
            for function in (losskit.mse_loss, losskit.binary_cross_entropy_with_logits):
                assert torch.equal(function(x, target), function(x, target.float()))
    whole = torch.tensor([[0, 0, 1, 1]])
    with pytest.raises(TypeError, match=r"target must be .*floating-point.*got torch.int64"):
        losskit.iou_loss(whole.float(), whole)
    with pytest.raises(TypeError, match=r"target must be .*floating-point.*got torch.int64"):
        losskit.kl_divergence(x, torch.tensor([[1, 0, 0], [0, 1, 0]]))
    with pytest.raises(ValueError, match="broadcast"):
        losskit.mse_loss(x, x[:1])


def test_both_readmes_show_the_same_commands_and_code():
    def stripped(page):
        return [re.sub(r"#.*", "", text).split() for _, text in code(ROOT / page)]

    assert stripped("README.md") == stripped("README.zh-CN.md")


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
def test_readmes_name_every_loss(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for name, loss in LOSSES.items():
        assert f"`{name}`" in text and f"`{loss.module}`" in text


def cell(row, column):
    """A number of the first table of docs/benchmarks.md that has that row and column."""
    names = None
    for line in (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8").splitlines():
        cells = [each.strip().strip("*") for each in line.strip("|").split("|")] if line.startswith("|") else None
        if cells is None or names is None:
            names = cells
        elif cells[: len(row)] == list(row) and column in names:
            return float(cells[names.index(column)])
    raise LookupError(f"no {column} of {row}")


@pytest.mark.parametrize("page", ["README.md", "README.zh-CN.md"])
@pytest.mark.parametrize(
    ("english", "chinese", "row", "column"),
    [
        (r"([\d.]+) times as fast as torchvision's and", r"focal 损失比 torchvision 快 ([\d.]+) 倍", ("focal_loss", "8M"), "torchvision / losskit"),
        (r"([\d.]+) times as long as one `torch.add`", r"`torch.add` 的 ([\d.]+) 倍", ("focal_loss", "8M"), "losskit / floor"),
        (
            r"([\d.]+) times as fast as MONAI's",
            r"MONAI 快 ([\d.]+) 倍",
            ("Dice + CE, (2, 14, 96, 96, 96), uint8 labels", "float32"),
            "MONAI / losskit",
        ),
        (r"([\d.]+) times as fast as torchvision's\. Cross", r"CIoU 比 torchvision 快 ([\d.]+) 倍", ("CIoU, 1M", "float32"), "torchvision / losskit"),
    ],
    ids=["focal", "floor", "dice", "boxes"],
)
def test_the_readmes_numbers_are_those_of_the_benchmark(page, english, chinese, row, column):
    text = re.sub(r"\s+", " ", (ROOT / page).read_text(encoding="utf-8"))
    (said,) = re.findall(chinese if "zh" in page else english, text)
    places = len(said.partition(".")[2])
    assert f"{cell(row, column):.{places}f}" == said


@pytest.mark.parametrize(("page", "pattern"), [
    ("README.md", r"takes ([\d.]+) times the memory of its logits, gradients included; torch takes ([\d.]+) times"),
    ("README.zh-CN.md", r"连同梯度只占 logits 的 ([\d.]+) 倍内存，torch 要 ([\d.]+) 倍"),
])  # fmt: skip
def test_the_readmes_memory_of_a_product_is_that_of_the_benchmark(page, pattern):
    lines = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    ((ours, torchs),) = re.findall(r"^- 2,048 x 1,024 x 32,768: losskit ([\d.]+), torch ([\d.]+)", lines, re.M)
    text = re.sub(r"\s+", " ", (ROOT / page).read_text(encoding="utf-8"))
    assert re.findall(pattern, text) == [(f"{float(ours):.1f}", f"{float(torchs):.1f}")]


@pytest.mark.parametrize(("page", "pattern"), [("README.md", r"(\d+) losses for"), ("README.zh-CN.md", r"共 (\d+) 个损失")])
def test_the_readmes_count_the_losses(page, pattern):
    assert re.findall(pattern, (ROOT / page).read_text(encoding="utf-8")) == [str(len(LOSSES))]


def test_one_version_everywhere():
    for page, pattern in (("pyproject.toml", r'^version = "(.*)"'), ("CITATION.cff", r"^version: (.*)"), ("CHANGELOG.md", r"^## ([\d.]+)")):
        found = re.search(pattern, (ROOT / page).read_text(encoding="utf-8"), re.M)
        assert found and found[1] == losskit.__version__, page


def test_committed_pictures_are_fresh(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
    committed = importlib.import_module("committed")
    made = committed.made()
    assert {"losses-dark.zh_CN.svg", "house-light.svg"} < made.keys()
    for file, content in made.items():
        assert committed.alike((ROOT / "docs" / "_static" / file).read_text(encoding="utf-8"), content), f"{file}: run make docs"
    drawn = made["house-light.svg"]
    assert not committed.alike(drawn, drawn.replace("M 1", "M 2", 1)) and not committed.alike(drawn, drawn.replace("<path", "<p", 1))


def test_the_drawing_of_the_house_and_its_words_name_what_there_is(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
    package = Path(losskit.__file__).parent
    drawn = {name for name in importlib.import_module("house").WORDS if re.fullmatch(r"\w+(/|\.py)", name)}
    assert {"losses/", "dispatch.py", "triton/"} < drawn
    (told,) = re.findall(r'<img alt="([^"]*)" src="_static/house-light', (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8"))
    for name in drawn:
        assert (package / name).exists() or (package / "engines" / name).exists(), name
        assert name in told, name


def test_stubs_are_fresh():
    assert stubs.PATH.read_text(encoding="utf-8") == stubs.text(), "run: make stubs"


def test_the_terminal_speaks_the_site_s_chinese(monkeypatch):
    """`losskit explain --lang zh` has the site's translations, all of them: `python docs/build.py --messages` renews its file."""
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
    import terminal
    from translation import needed

    made = terminal.made(ROOT / "docs" / "locale" / "zh_CN" / "LC_MESSAGES")
    assert made == json.loads(terminal.PATH.read_text(encoding="utf-8"))
    missing = {text for loss in LOSSES.values() for text in terminal.texts(loss) if needed(text) and text not in made}
    assert not missing, missing


RESULTS = {"BoxMatch", "EngineError", "LOSSES", "Loss", "LossModule", "Matches", "OverlapSums", "SampledClasses"}  # said where what gives them is


def test_every_public_name_has_a_page(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs" / "_ext")
    pages = importlib.import_module("pages")
    assert {name for name in losskit.__all__ if pages.target(name) is None} == RESULTS
