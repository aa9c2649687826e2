"""The report as a file: whole or not there, whatever interrupts it; what the command says on the way; pictures in words; names that cover no line."""

import importlib
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from docutils.nodes import make_id
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from rich.console import Console

import losskit
from losskit import tour
from losskit.cli.steps import Steps
from losskit.cli.tour import interruptible
from losskit.tour import figures, report
from losskit.tour.chapter import Cell, Chapter, Table, Text

BOTH = Text("words", "词")


def chapter(rows, calls):
    table = Table((BOTH,), rows, BOTH)
    return Chapter("one", BOTH, BOTH, (BOTH,), (table,), (), (), calls)


def test_an_interrupt_leaves_the_old_page(tmp_path, monkeypatch):
    page = report.write(tmp_path, "the old page")

    def interrupted(path, text, **how):
        Path.write_bytes(path, text[:4].encode())
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        report.write(tmp_path, "the new page")
    assert page.read_bytes() == b"the old page" and [file.name for file in tmp_path.iterdir()] == ["index.html"]


def test_an_interrupted_tour_leaves_nothing(tmp_path):
    def stop(done):
        raise KeyboardInterrupt

    effort = tour.QUICK.__class__(seeds=3, steps=1, elements=64, rounds=1)
    with pytest.raises(KeyboardInterrupt):
        tour.conduct(tmp_path / "deep" / "report", effort=effort, advance=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_control_c_in_a_tour_that_is_piped(tmp_path):
    """A line per step with the time, at once; and after Control-C the report that was there."""
    report.write(tmp_path, "the old page")
    command = [sys.executable, "-m", "losskit", "tour", "--quick", "--output", str(tmp_path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"COLUMNS": "80"})
    lines = [child.stdout.readline()]
    while not re.fullmatch(r" +\d+\.\d s  1/\d+  .*\n", lines[-1]):
        assert re.fullmatch(r" +\d+\.\d s  \S.*\n", lines[-1]), lines
        lines.append(child.stdout.readline())
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate()
    assert child.returncode == 130
    assert re.fullmatch(
        rf"losskit: stopped after \d+ of \d+ steps: {tmp_path}/index.html is still that of an earlier run; compiled kernels are kept, .*\n", errors
    )
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == "the old page" and len(list(tmp_path.iterdir())) == 1


def test_control_c_says_that_there_is_no_page(tmp_path, capsys):
    with pytest.raises(SystemExit) as end, Steps(Console(), 3) as steps, interruptible(steps, tmp_path / "boxes.html"):
        steps.tick()
        raise KeyboardInterrupt
    assert end.value.code == 130 and f"stopped after 1 of 3 steps: {tmp_path}/boxes.html was not written; " in capsys.readouterr().err


def test_losses_are_called_by_the_names_of_the_library():
    """In tables, pictures and verdicts, in every chapter that compares losses."""
    own = {"published_giou"}  # in the chapter on boxes: a mistake in published code, shown beside what is right
    for place in Path(tour.__file__).parent.glob("chapters/*/experiment.py"):
        entries = getattr(importlib.import_module(f"losskit.tour.chapters.{place.parent.name}.experiment"), "ENTRIES", ())
        names = {entry.name.partition("(")[0] for entry in entries}
        assert names <= set(losskit.LOSSES) | own, place


def test_every_step_is_a_line_elsewhere_and_a_bar_in_a_terminal(capsys):
    with Steps(Console(force_terminal=False, width=20), 2) as steps:
        steps.say("two long steps, said whole in a narrow place")
        steps("one: the first")
        steps("two: the second")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" s  ")[1] for line in lines] == ["two long steps, said whole in a narrow place", "1/2  one: the first", "2/2  two: the second"]
    with Steps(Console(force_terminal=True, width=80), 2) as steps:
        steps("one: the first")
        steps.say("a remark")
    out = capsys.readouterr().out
    assert "a remark" in out and "1/2  one" not in out


COMPILE = """
import torch, losskit
from losskit.tour.compiling import announced
x = torch.zeros(3, requires_grad=True)
with announced(lambda words: print(words, flush=True)):
    losskit.mse_loss(x, torch.ones(3)).backward()
    losskit.l1_loss(x, torch.ones(3)).backward()
"""


@pytest.mark.thorough
def test_compiling_is_announced_once_per_machine(tmp_path):
    environment = os.environ | {"LOSSKIT_CACHE_DIR": str(tmp_path)}
    first, again = (subprocess.run([sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True, check=True).stdout for _ in range(2))
    said = first.splitlines()
    made = len(list(tmp_path.glob("*.o")))
    assert said == ["compiling kernels for this processor, once per machine: 1 to 3 s each", f"compiled {made} kernels; kept in {tmp_path}"] and made >= 2
    assert again == ""


def test_a_loss_leads_to_its_page_where_there_is_a_site():
    rows = ((Cell("focal(2)", code=True),), (Cell("no loss", code=True),))
    made = chapter(rows, {"focal(2)": "focal_loss(gamma=2)"})
    without, with_site = (report.html((made,), None, 0, site) for site in ("", "../docs/_build/site"))
    assert "<code>focal_<wbr>loss(<wbr>gamma=<wbr>2)</code>" in without and "<a href=" not in without and "focal(<wbr>2)</small>" in without
    assert re.findall('<a href="([^"]*)"', with_site) == ["../docs/_build/site/en/classification/focal_loss.html"]
    assert "../docs/_build/site/zh/classification/focal_loss.html" in with_site


def test_pages_are_those_of_the_site(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "docs" / "_ext"))
    monkeypatch.syspath_prepend(str(Path(__file__).parent.parent / "docs"))
    import build

    import pages
    import touch

    template = Path(report.__file__).with_name("report.html").read_text(encoding="utf-8")
    assert set(re.findall(r"\{\{ site \}\}/(\w+)/", template)) == set(build.LANGUAGES)  # the folders of the site

    assert all(report.page_of(name) == touch.page_of(name) for name in losskit.LOSSES)
    products = [name for name in pages.HELPERS if report.page_of(name)]
    assert products == [name for name in pages.HELPERS if name.startswith("linear_")]
    assert all(report.page_of(name) == f"reference/helpers.html#{make_id(pages.target(name))}" for name in products)
    assert [report.page_of(name) for name in ("published_giou", "F.cross_entropy", "scores")] == ["", "", ""]
    monkeypatch.chdir(tmp_path)
    assert report.site(tmp_path / "report") == ""
    (tmp_path / "docs/_build/site/en").mkdir(parents=True)
    (tmp_path / "docs/_build/site/en/index.html").touch()
    assert report.site(Path("report")) == report.site(tmp_path / "report") == "../docs/_build/site"


def test_names_cover_no_line():
    """They lie below the axes, whatever their number and length; no chapter puts a legend of its own anywhere."""
    for count, length in ((2, 4), (9, 12), (9, 52)):
        with rc_context(figures.STYLE):
            figure = Figure(figsize=(4.7, 3.3), layout="constrained")
            FigureCanvasSVG(figure)
            axes = figure.add_subplot()
            for number in range(count):
                axes.plot([0, 1], [number, 9], label=str(number) * length)
            axes.set_xlabel("step")
            figures.key(axes)
            figure.draw_without_rendering()
            (legend,) = figure.legends
            box = legend.get_window_extent()
            assert box.y1 <= axes.get_tightbbox().y0 + 1 and box.x0 >= -1 and box.x1 <= figure.bbox.x1 + 1, (count, length)
            assert axes.get_window_extent().height > 150
    for file in Path(tour.__file__).parent.rglob("*.py"):
        assert "axes.legend" not in file.read_text(encoding="utf-8"), file


def test_a_picture_is_told_in_both_languages():
    words = (Text("step", "步数"), Text("error", "误差"))

    def draw(axes):
        axes.plot([0, 1, 2], [4.0, 2.0, 1.0], label="mse_loss")
        axes.set_xlabel("step")
        axes.set_ylabel("error")

    drawn = figures.panel(draw, words)
    assert 'role="img" aria-label="Chart: error; step. mse_loss from 4 to 1" data-zh="图表：误差；步数。mse_loss 由 4 到 1"' in drawn

    def bars(axes):
        figures.ranges(axes, ["a", "b"], [("step", 0, [(1.0, 0.1), (2.0, 0.2)])], "error")

    assert 'aria-label="Chart: error. step: a 1, b 2" data-zh="图表：误差。步数：a 1, b 2"' in figures.panel(bars, words)


def test_words_wrap_where_a_reader_would():
    """A percent sign stays with its number, in Chinese without a space; long names break between their words, short ones do not."""
    assert report.both(Text("87 % of <b>", "<b> 的 87 %")) == '<span lang="en">87\u00a0% of &lt;b&gt;</span><span lang="zh">&lt;b&gt; 的 87%</span>'
    assert report.both("l1_loss, 3 x") == "l1_loss, 3 x"
    assert report.both("CrossEntropyLoss()") == "CrossEntropyLoss()"  # two brackets stay together
    assert report.both("l1_loss(2), losskit.dice_score") == "l1_loss(2), losskit.<wbr>dice_score"
    assert report.both("symmetric_cross_entropy(alpha=0.1)") == "symmetric_<wbr>cross_<wbr>entropy(<wbr>alpha=<wbr>0.1)"
