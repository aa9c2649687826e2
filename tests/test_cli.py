"""The command line: every command answers, and every error is one readable line on stderr with exit code 2."""

import json
import math
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cases import thorough, thorough_rows
from matplotlib.image import imread

import losskit
import losskit.curves
from losskit import tour
from losskit.cli import main
from losskit.cli.braille import plot
from losskit.cli.explain import SHOWN, chinese_sections, find, sections
from losskit.contract import names
from losskit.curves import DRAWN, distinct, domain, label, sample
from losskit.engines.cpu.core import files
from losskit.tour import speed


@pytest.fixture
def run(capsys, monkeypatch):
    """Call the command line as the shell would; gives (exit code, stdout, stderr)."""
    monkeypatch.setenv("COLUMNS", "120")

    def call(*words):
        with pytest.raises(SystemExit) as end:
            main(words)
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return call


@pytest.mark.parametrize("width", ["80", "140"])
def test_list_shows_every_loss(run, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", width)
    code, out, _ = run("list")
    assert code == 0
    for loss in losskit.LOSSES.values():
        assert loss.name in out and loss.module in out


def test_info_tells_versions_and_engines(run):
    code, out, _ = run("info")
    assert code == 0
    for word in (
        losskit.__version__,
        "torch",
        "numba",
        "triton",
        "threads",
        "CPU tensors",
        "GPU tensors",
        "torch.compile",
        "torch.func transform",
        "compiled loops",
    ):
        assert word in out, word


def test_version_and_help(run):
    assert run("--version")[1] == f"losskit {losskit.__version__}\n"
    for words in ((), ("--help",), ("tour", "--help")):
        code, out, err = run(*words)
        assert code == 0 and "Usage" in out and not err


HEADINGS = {
    "en": ("Formula", "When to use", "Edge cases", "Differs from", "Reference", "Curve"),
    "zh": ("公式", "何时用", "边界", "的不同", "出处", "曲线"),
}


@pytest.mark.sparse(3)
@pytest.mark.parametrize("name", list(losskit.LOSSES))
def test_explain_every_loss(run, monkeypatch, name):
    loss = losskit.LOSSES[name]
    curve = sample(loss)  # in both languages the same
    monkeypatch.setattr(sys.modules[find.__module__], "sample", lambda asked: curve if asked is loss else None)
    for language, headings in HEADINGS.items():
        code, out, err = run("explain", loss.module.upper(), "--lang", language)
        assert code == 0 and not err
        assert f"losskit.{name}" in out
        for heading in headings:
            assert heading in out, heading
        assert any("\u2801" <= letter <= "\u28ff" for letter in out), "no curve"
        assert "…" not in out, "cut off"
        assert language == "en" or re.match(r"\s*losskit\.\w+   模块：\w+   (回归|二分类|多分类|分割|检测|度量学习)\n", out)


@pytest.mark.parametrize("name", list(losskit.LOSSES))
def test_texts_are_complete(name):
    loss = losskit.LOSSES[name]
    english, chinese = sections(loss), chinese_sections(loss)
    assert all(any(heading.startswith(kind) for heading in english) for kind in SHOWN)
    assert all(text for text in english.values())
    assert english["Summary"] == loss.summary
    assert {"Summary", "何时用", "边界"} <= set(chinese) and all(chinese.values())


def breadth(loss):
    """The letters in a row of the legend."""
    curves = [label(settings) for settings in loss.arguments if domain(loss, settings) == domain(loss, loss.arguments[0])]
    longest = 9 + max(map(len, curves))
    return longest * max(1, min(4, len(curves), losskit.curves.LINE // longest))


# what is drawn is a matter of the pattern; what may not fit, the legend
BROADEST = [max(losskit.LOSSES.of(pattern).values(), key=breadth).name for pattern in DRAWN]


@pytest.mark.parametrize(("name", "language"), [*thorough_rows((name, "en") for name in BROADEST), ("focal_loss", "zh")])
def test_plot_is_a_picture(run, tmp_path, name, language):
    path = tmp_path / "curve.png"
    code, out, _ = run("explain", name, "--plot", str(path), "--lang", language)
    assert code == 0 and str(path) in out
    head = path.read_bytes()[:24]
    width, height = struct.unpack(">II", head[16:24])
    assert head.startswith(b"\x89PNG\r\n\x1a\n") and width > 1000 and height > 400
    assert (imread(path)[:, [0, -1], :3] == 1.0).all(), "runs over the edge"


@pytest.mark.parametrize(("name", "start"), [("curve.svg", b"<?xml"), ("curve.pdf", b"%PDF"), ("CURVE.PNG", b"\x89PNG")])
def test_a_picture_is_what_its_name_says(run, tmp_path, name, start):
    assert run("explain", "poly", "--plot", str(tmp_path / name))[0] == 0
    assert (tmp_path / name).read_bytes().startswith(start)


def test_a_picture_without_a_chinese_font_says_so(run, tmp_path, monkeypatch):
    monkeypatch.setattr(losskit.curves, "chinese_font", lambda: None)
    told = "没有找到中文字体，图中的文字是英文"
    assert told in run("explain", "l1", "--plot", str(tmp_path / "x.png"), "--lang", "zh")[1]
    assert told not in run("explain", "l1", "--plot", str(tmp_path / "x.png"))[1]


@pytest.mark.parametrize("spelling", ["focal", "FOCAL_LOSS", "FocalLoss", "losskit.focal_loss"])
def test_names_are_found_however_written(spelling):
    assert find(spelling).name == "focal_loss"


@pytest.mark.parametrize(("short", "name"), names.ABBREVIATIONS.items())
def test_abbreviations_are_known(short, name):
    """To the command line, and to Python, which suggests them."""
    assert find(short.upper()).name == name
    assert name in losskit.LOSSES
    if not hasattr(losskit, short):
        with pytest.raises(AttributeError, match=f"did you mean {name}"):
            getattr(losskit, short)


@pytest.mark.parametrize(
    ("name", "meant"), [("dice_los", "dice_loss"), ("CrossEntropy", "CrossEntropyLoss"), ("FocalLos", "FocalLoss"), ("best_macth", "best_match")]
)
def test_python_suggests_names(name, meant):
    with pytest.raises(AttributeError, match=rf"module 'losskit' has no attribute '{name}'; did you mean .*\b{meant}\b"):
        getattr(losskit, name)
    with pytest.raises(AttributeError, match=r"^module 'losskit' has no attribute '_x'$"):
        losskit._x  # noqa: B018


def test_programs_read_json(run):
    found = json.loads(run("list", "--json")[1])
    assert [x["name"] for x in found] == list(losskit.LOSSES) and all(x["summary"] and x["formula"] and x["module"] for x in found)
    assert json.loads(run("info", "--json")[1])["losskit"] == losskit.__version__


def test_explain_tells_arguments_and_draws_tables(run):
    """The whole help: each argument with its default, the example; a table keeps its columns."""
    _, out, _ = run("explain", "dice")
    assert "smooth=1.0" in out and "0 gives the coefficient as books write it" in out and ">>> logits = " in out
    assert "|---|" not in out and re.search(r'"skip" +not counted +not counted', out)


def test_a_curve_says_for_which_task_it_is_drawn():
    """Where all points are not classes of one call, a mask is drawn as one of two classes."""
    found = [(loss, settings) for loss in losskit.LOSSES.values() if not DRAWN[loss.pattern].at_once for settings in loss.arguments]
    assert any("multiclass" in label(settings) for _, settings in found)
    for loss, settings in found:
        assert "multiclass" not in (said := sample(loss, settings, points=2).label), f"{loss.name}: {said}"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("explain", "focl_loss"), "did you mean focal_loss"),
        (("explain", "hubr"), "huber_loss"),
        (("explain", "dice_los"), "did you mean dice_loss"),
        (("explain", "xyzzy"), "losskit list"),
        (("explain",), "Missing argument"),
        (("explain", "l1_loss", "--lang", "fr"), "'en', 'zh'"),
        (("explain", "l1_loss", "--plot", "/dev/null/x.png"), "/dev/null/x.png"),
        (("explain", "l1_loss", "--plot", "x.txt"), "ends in .png, .svg or .pdf, got 'x.txt'"),
        (("explain", "l1_loss", "--plot", "x"), "ends in .png, .svg or .pdf, got 'x'"),
        (("tour", "--output", "/dev/null/report"), "/dev/null/report"),
        (("tour", "--seed", "-1"), "--seed"),
        (("bench", "--sizes", "many"), "--sizes"),
        (("bench", "--sizes", "0"), "--sizes takes whole numbers above 0, separated by commas, got '0'"),
        (("bench", "--sizes=-5"), "got '-5'"),
        (("bench", "--sizes", "64,0"), "got '64,0'"),
        (("bench", "--sizes", ""), "got ''"),
        (("list", "--colour"), "--colour"),
        (("dance",), "dance"),
    ],
)
def test_errors_are_one_line(run, words, told):
    code, out, err = run(*words)
    assert code == 2 and not out.strip()
    assert err.startswith("losskit: ") and err.count("\n") == 1 and told in err


MISSING = [
    ("typer", "list", "losskit list needs typer: pip install 'losskit[tour]'"),  # first: what has imported it keeps it
    ("sklearn", "tour", "losskit tour needs scikit-learn: pip install 'losskit[tour]'"),
    ("skimage", "tour", "losskit tour needs scikit-image: pip install 'losskit[tour]'"),
    ("matplotlib", "explain l1 --plot x.png", "losskit explain needs matplotlib: pip install 'losskit[tour]'"),
]
WITHOUT = """
import sys
from losskit.cli import main
for missing, words in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    there, sys.modules[missing] = sys.modules.get(missing), None
    try:
        main(words.split())
    except SystemExit as ended:
        assert ended.code == 2
    del sys.modules[missing]
    if there:
        sys.modules[missing] = there
"""


def test_a_missing_extra_is_told(tmp_path):
    asked = [word for missing, words, _ in MISSING for word in (missing, words)]
    ended = subprocess.run([sys.executable, "-c", WITHOUT, *asked], capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 0 and not ended.stdout
    assert ended.stderr.splitlines() == [f"losskit: {told}" for _, _, told in MISSING]


def test_python_dash_m():
    ended = subprocess.run([sys.executable, "-m", "losskit", "explain", "mse"], capture_output=True, text=True, env=os.environ | {"COLUMNS": "70"})
    assert ended.returncode == 0 and "losskit.mse_loss" in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 70


ONE_AFTER_THE_OTHER = """
import sys
from losskit.cli import main
for words in sys.argv[1:]:
    try:
        main(words.split())
    except SystemExit as ended:
        assert not ended.code
    print(end=chr(0))
"""


def test_an_output_without_unicode_is_plain():
    commands = (("explain", "focal"), ("explain", "focal", "--lang", "zh"), ("list",), ("info",))
    environment = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii", "COLUMNS": "100"}
    ended = subprocess.run([sys.executable, "-c", ONE_AFTER_THE_OTHER, *map(" ".join, commands)], capture_output=True, env=environment)
    assert ended.returncode == 0 and not ended.stderr
    texts = ended.stdout.decode("ascii").split("\0")[:-1]
    for words, text in zip(commands, texts, strict=True):
        assert text and (words[0] != "explain" or ("+****" in text and "-6 " in text)), "no curve"
    assert "??" not in texts[0]


@pytest.mark.parametrize("words", [("explain", "focal"), *thorough([("--help",)])])  # a command of ours, and what Typer prints itself
def test_a_reader_that_has_seen_enough(words):
    ended = subprocess.Popen([sys.executable, "-m", "losskit", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    ended.stdout.close()  # long before the first letter
    assert (ended.wait(), ended.stderr.read()) == (0, b"")
    ended.stderr.close()


def test_the_cache_folder_may_be_in_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOSSKIT_CACHE_DIR", "~/zz")
    assert files.folder() == tmp_path / "zz"


def test_the_speed_card_names_functions_that_both_languages_share():
    for timing in speed.measure(tour.QUICK, lambda done: None).timings:
        for name in timing.plain.split(", "):
            assert name == "torch.nn.functional" or hasattr(torch, name) or hasattr(torch.nn.functional, name), name


def test_bench_gets_its_options(run, monkeypatch):
    import losskit.bench

    seen = {}
    monkeypatch.setattr(losskit.bench, "main", lambda **options: seen.update(options) or 3)
    assert run("bench", "--sizes", "64,4096", "--output", "x.json", "--quick")[0] == 3
    assert seen == {"sizes": [64, 4096], "output": Path("x.json"), "quick": True}


def test_curves_are_the_losses():
    curve = sample(losskit.LOSSES["smooth_l1_loss"], {"beta": 1.0}, points=9)
    assert curve.x == [-4.0, -3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    assert curve.value == [3.5, 2.5, 1.5, 0.5, 0.0, 0.5, 1.5, 2.5, 3.5]
    assert curve.slope == [-1.0, -1.0, -1.0, -1.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    labels = [c.label for c in distinct(losskit.LOSSES["smooth_l1_loss"])]
    assert [c.label for c in distinct(losskit.LOSSES["charbonnier_loss"])] == ["eps=0.001", "eps=1"]
    assert labels == ["beta=1", "beta=0.11", "beta=0"]  # 1e-20 looks like 0


def test_curves_of_rows():
    entropy, nll, poly = (losskit.LOSSES[name] for name in ("entropy", "nll_loss", "poly_loss"))
    assert domain(entropy, {}).title("en") == "logit of one class, the other 3 at 0"
    assert max(sample(entropy).value) == pytest.approx(math.log(4))  # equal logits
    assert domain(nll, {}).title("en").startswith("log-probability of the right class")
    assert sample(nll).slope == [-1.0] * 241 and sample(nll).value[0] == 6.0
    assert {domain(poly, settings) for settings in poly.arguments} == {domain(poly, {})}, "one number of classes for all curves"
    of_probability = sample(losskit.LOSSES["cross_entropy"], {"from_logits": False}, points=3, span=(0.25, 0.75))
    assert of_probability.value == pytest.approx([-math.log(p) for p in (0.25, 0.5, 0.75)])
    assert of_probability.slope == pytest.approx([-4.0, -2.0, -4 / 3])
    for name, loss in losskit.LOSSES.items():
        assert ("error" in domain(loss, loss.arguments[0]).title("en")) == (loss.task == "regression"), name


def test_terminal_plot_holds_steep_and_flat_curves():
    steep = plot([-1.0, -1e-9, 1e-9, 1.0], [-1.0, -1.0, 1.0, 1.0], width=10, height=3)
    assert len(steep) == 5 and steep[0].startswith(" 1 ┤") and steep[2].startswith("-1 ┤")
    flat = plot([0.0, 1.0], [2.0, 2.0], width=4, height=3)
    assert [line[:5] for line in flat[:3]] == ["2.5 ┤", "  2 ┤", "1.5 ┤"]


@pytest.mark.parametrize(("words", "expected"), [("losskit ex", "explain"), ("losskit explain dice_c", "dice_ce_loss")])
def test_shells_complete(words, expected, monkeypatch):
    """Commands, and names of losses."""
    told = {"_LOSSKIT_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    script = "import sys; sys.argv = ['losskit']; from losskit.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=os.environ | told, timeout=120)
    assert done.stdout.split() == [expected], done
