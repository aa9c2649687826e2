"""`losskit audit` and `losskit compare`: losses of people's own, held against those of losskit."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import losskit
from losskit.cli import compare, main
from losskit.cli.callables import located

MINE = '''
import torch

def focal(input, target, gamma=2.0, reduction="mean"):
    p = torch.sigmoid(input)
    p = torch.where(target > 0.5, p, 1 - p)
    loss = -((1 - p) ** gamma) * torch.log(p)
    return {"mean": loss.mean, "sum": loss.sum, "none": lambda: loss}[reduction]()

def detached(input, target):
    return ((input.detach() - target) ** 2).mean() + 0.0 * input.sum()

def constant(input, target):
    return torch.zeros(())

def number(input, target):
    return 1.0

def fails(input, target):
    raise LookupError("nothing here\\nat all")

def once(input, target):
    """A mean square error that is wrong at one place."""
    loss = (input - target) ** 2
    return loss + 7.0 * (torch.arange(loss.numel()).reshape(loss.shape) == 5)

def overlap(input, target, reduction="mean"):
    """1 - IoU, of corners."""
    edges = (torch.minimum(input[:, 2:], target[:, 2:]) - torch.maximum(input[:, :2], target[:, :2])).clamp(0)
    areas = [(x[:, 2:] - x[:, :2]).prod(1) for x in (input, target)]
    loss = 1 - edges.prod(1) / (sum(areas) - edges.prod(1))
    return loss if reduction == "none" else loss.mean()

def overlap_of(input, target, box_format):
    assert box_format == "xyxy"
    return overlap(input, target)

class MSE(torch.nn.Module):
    def forward(self, input, target):
        return torch.nn.functional.mse_loss(input, target)

class Needs:
    def __init__(self, weight): ...

mse = MSE()
value = 3
'''


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("COLUMNS", "140")
    draw = np.random.default_rng(0)
    Path("mine.py").write_text(MINE)
    Path("broken.py").write_text("1 / 0")
    Path("ends.py").write_text("import sys; sys.exit(3)")
    Path("wants.py").write_text("import not_installed_anywhere")
    np.save("p.npy", draw.normal(size=(6, 5)).astype("f4")), np.save("t.npy", draw.integers(0, 2, (6, 5)).astype("f4"))
    yield
    for name in ("mine", "broken", "ends", "wants"):
        sys.modules.pop(name, None)


@pytest.fixture
def run(capsys):
    def call(*words):
        with pytest.raises(SystemExit) as end:
            main(list(words))
        out, err = capsys.readouterr()
        return end.value.code, out, err

    return call


FILES = ("--pred", "p.npy", "--target", "t.npy")


def test_a_right_loss_passes(run):
    code, out, err = run("audit", "mine:MSE", "--like", "mse", "--laws", "textbook,incoming_gradient,mask_deletes")
    assert (code, err) == (0, "") and "All 2 laws hold, 1 are about what it does not offer." in out


def test_a_wrong_one_fails(run):
    code, out, err = run("audit", "mine.py:detached", "--like", "mse", "--laws", "textbook", "--html", "found.html")
    assert (code, err) == (1, "") and "1 of 1 laws fail" in out and "fails" in out
    page = Path("found.html").read_text()
    assert "1 of 1 laws fail" in page and "those of the textbook formula" in page and "http" not in page
    code, out, _ = run("audit", "mine:detached", "--like", "mse", "--laws", "textbook", "--json")
    found = json.loads(out)
    assert code == 1 and found["like"] == "mse_loss" and found["findings"][0]["verdict"] == "fails"


def test_settings_choose_the_textbook(run):
    words = ("audit", "mine:focal", "--like", "FocalLoss", "--laws", "reductions_agree,incoming_gradient")
    assert run(*words, "--set", "gamma=3.0")[0] == 0
    code, out, _ = run("audit", "dice", "--like", "dice", "--task", "binary", "--laws", "textbook")
    assert code == 0 and "All 1 laws hold" in out


def test_the_shell_sees_the_status(tmp_path):
    ended = subprocess.run([sys.executable, "-m", "losskit", "audit", "mine:detached", "--like", "mse", "--laws", "textbook"], capture_output=True, text=True)
    assert ended.returncode == 1 and not ended.stderr and "laws fail" in ended.stdout


def test_the_same_loss_is_the_same(run):
    code, out, err = run("compare", "focal", "mine:focal", *FILES, "--task", "binary", "--set", "gamma=3")
    assert (code, err) == (0, "") and "They are the same here" in out and "all 30 places" in out
    found = json.loads(run("compare", "mse", "mine.py:mse", *FILES, "--json")[1])
    assert found["differing"] == 0 and found["cosine_of_gradients"] == pytest.approx(1.0) and found["relative_difference"] < 1e-6


def test_settings_of_one(run):
    found = json.loads(run("compare", "focal", "mine:focal", *FILES, "--task", "binary", "--set", "a.gamma=0", "--set", "b.gamma=2", "--json")[1])
    x, t = (torch.from_numpy(np.load(name)) for name in ("p.npy", "t.npy"))
    wanted = [losskit.focal_loss(x, t, task="binary", gamma=gamma).item() for gamma in (0.0, 2.0)]
    assert [side["value"] for side in found["losses"]] == pytest.approx(wanted) and found["differing"] == 30
    assert found["relative_difference"] == pytest.approx(1 - wanted[1] / wanted[0], rel=1e-5)


def test_it_says_where_they_part(run):
    """One item of thirty is another; it is the one that is shown."""
    code, out, _ = run("compare", "mse", "mine:once", *FILES)
    assert code == 0 and "They part at 1 of 30 items; values by" in out and "gradients" not in out.splitlines()[-1]
    found = json.loads(run("compare", "mse", "mine:once", *FILES, "--json")[1])
    (part,) = found["parts"]
    x, t = np.load("p.npy"), np.load("t.npy")
    assert part["place"] == "[1, 0]" and part["second"] - part["first"] == pytest.approx(7.0)
    assert float(part["prediction"]) == pytest.approx(x[1, 0], rel=1e-5) and float(part["target"]) == t[1, 0]


def test_a_right_value_with_a_wrong_gradient(run):
    found = json.loads(run("compare", "mse", "mine:detached", *FILES, "--json")[1])
    assert found["relative_difference"] < 1e-6 and found["largest_gradient_difference"] == 1.0 and found["compared"] == "gradient"
    assert found["verdict"].startswith("They part at 30 of 30 gradients; gradients by 1 of the larger")


def test_two_of_losskit_on_classes(run):
    draw = np.random.default_rng(1)
    np.save("p.npy", draw.normal(size=(4, 3, 6)).astype("f4")), np.save("t.npy", draw.integers(0, 3, (4, 6)))
    found = json.loads(run("compare", "ce", "poly", *FILES, "--json")[1])
    x, t = torch.from_numpy(np.load("p.npy")), torch.from_numpy(np.load("t.npy"))
    far = (losskit.poly_loss(x, t, reduction="none") - losskit.cross_entropy(x, t, reduction="none")).abs()
    place = tuple(int(i) for i in torch.unravel_index(far.argmax(), far.shape))
    assert found["parts"][0]["place"] == str(list(place)) and found["compared"] == "loss"
    assert len(found["parts"][0]["prediction"].split(", ")) == 3 and float(found["parts"][0]["target"]) == t[place]


@pytest.mark.parametrize("own", ["mine:overlap", "mine:overlap_of"])
def test_boxes_of_coco_are_corners_to_losses_of_peoples_own(run, own):
    """As torchvision's and most others take them; losskit's, which read the files' format, are given the same."""
    found = [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "score": 0.9}, {"image_id": 2, "category_id": 1, "bbox": [5, 5, 3, 4], "score": 0.7}]
    truth = [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 10, 12]}, {"image_id": 2, "category_id": 1, "bbox": [4, 5, 4, 4]}]
    Path("d.json").write_text(json.dumps(found))
    Path("a.json").write_text(json.dumps({"annotations": truth}))
    code, out, err = run("compare", own, "iou", "--pred", "d.json", "--target", "a.json", "--json")
    told = json.loads(out)
    assert (code, err) == (0, "") and told["relative_difference"] < 1e-6 and told["largest_gradient_difference"] < 1e-5
    assert "boxes are compared as corners, x1, y1, x2, y2" in told["notes"]


@pytest.mark.parametrize(
    ("a", "b", "far"),
    [
        ([1.0, 2.0], [1.0, 2.5], 0.2),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([math.nan, 1.0], [math.nan, 1.0], 0.0),
        ([math.nan, 1.0], [1.0, 1.0], math.inf),
        ([math.inf, 1.0], [math.inf, 1.0], 0.0),
        ([math.inf, 1.0], [1.0, 1.0], math.inf),
    ],
)
def test_apart(a, b, far):
    assert compare.apart(torch.tensor(a), torch.tensor(b)) == pytest.approx(far)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("audit", "mine:focal", "--like", "focl"), "--like must be the name of a loss, got 'focl'"),
        (("audit", "mine:focal"), "--like"),
        (("audit", "mine:focal", "--like", "mse,l1"), "--like takes one loss"),
        (("audit", "mine:focl", "--like", "focal"), "mine:focl: mine has no 'focl'; did you mean focal?"),
        (("audit", "mein:focal", "--like", "focal"), "there is no module 'mein': run it from the folder of your code"),
        (("audit", "mein.py:focal", "--like", "focal"), "there is no file mein.py"),
        (("audit", "wants:focal", "--like", "focal"), "wants:focal: there is no module 'not_installed_anywhere'"),
        (("audit", "broken:focal", "--like", "focal"), "importing broken raises ZeroDivisionError: division by zero"),
        (("audit", "broken.py:focal", "--like", "focal"), "importing broken.py raises ZeroDivisionError"),
        (("audit", "ends:focal", "--like", "focal"), "importing ends ends the process"),
        (("audit", "mine:value", "--like", "focal"), "mine:value is int, and no function"),
        (("audit", "mine:Needs", "--like", "focal"), "mine:Needs is a class, and Needs() raises TypeError"),
        (("audit", "focl", "--like", "focal"), "did you mean focal_loss"),
        (("audit", "mine:focal", "--like", "dice"), "dice_loss needs a setting: add --set task="),
        (("audit", "mine:focal", "--like", "focal", "--laws", "gravity"), "laws must be a list out of"),
        (("audit", "mine:focal", "--like", "focal", "--dtype", "int8"), "--dtype takes float32"),
        (("audit", "mine:focal", "--like", "focal", "--set", "gama=2"), "gama"),
        (("audit", "mine:focal", "--like", "focal", "--html", "x.txt"), "--html takes a file that ends in .html"),
        (("compare", "mse", *FILES), "Missing argument"),
        (("compare", "mse", "mine:constant", *FILES), "mine:constant gave Tensor without a gradient to the prediction"),
        (("compare", "mse", "mine:number", *FILES), "mine:number gave float"),
        (("compare", "mse", "mine:fails", *FILES), "mine:fails: LookupError: nothing here"),
        (("compare", "mse", "l1", "--pred", "gone.npy", "--target", "t.npy"), "--pred gone.npy: there is no such file"),
        (("compare", "mse", "triplet_margin", *FILES), "triplet_margin_loss takes anchor"),
        (("compare", "mse", "l1", *FILES, "--set", "c.gamma=1"), "--set takes name=value, a.name=value or b.name=value"),
        (("compare", "mse", "l1", *FILES, "--set", "gamma=1"), "mse_loss and l1_loss have no setting gamma"),
        (("compare", "mse", "mine:mse", *FILES, "--mask", "t.npy"), "mine:mse takes no mask: leave --mask out"),
        (("compare", "dice", "focal", *FILES), "task"),
    ],
)
def test_errors_are_one_line(run, tmp_path, words, told):
    before = {path for path in tmp_path.rglob("*") if "__pycache__" not in str(path)}
    code, out, err = run(*words)
    assert code == 2 and not out and err.startswith("losskit: ") and err.count("\n") == 1 and told in err, (code, out, err)
    assert {path for path in tmp_path.rglob("*") if "__pycache__" not in str(path)} == before


def test_nan_is_told(run):
    x = np.load("p.npy")
    x[2, 3] = np.nan
    np.save("p.npy", x)
    for a, b in (("mse", "mine:mse"), ("mine:mse", "mine.py:mse")):
        code, _, err = run("compare", a, b, *FILES)
        assert code == 2 and "--pred holds 1 NaN of 30 numbers, the first at [2, 3]" in err


def test_nan_of_an_ignored_item_is_taken(run):
    x, t = np.random.default_rng(0).normal(size=(6, 5)).astype("f4"), np.array([0, 1, -100, 2, 3, 4])
    x[2] = np.nan
    np.save("p.npy", x), np.save("t.npy", t)
    code, out, err = run("compare", "ce", "focal", *FILES, "--task", "multiclass", "--set", "gamma=0", "--json")
    assert (code, err) == (0, "") and json.loads(out)["relative_difference"] < 1e-6


def test_without_mpmath_the_line_is_told():
    code = "import sys; sys.modules['mpmath'] = None; from losskit.cli import main; main(['audit', 'mine:mse', '--like', 'mse'])"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ended.returncode == 2 and ended.stderr == "losskit: losskit audit needs mpmath: pip install 'losskit[testing]'\n"


def test_names_of_losskit_and_places_in_code():
    assert located("FocalLoss").loss is losskit.LOSSES["focal_loss"]
    mine = located("mine.py:focal")
    assert mine.loss is None and mine.takes("gamma") and not mine.takes("alpha")
    assert located("torch.nn.functional:mse_loss").function is torch.nn.functional.mse_loss


SHAPES = ((), (6,), (6, 4), (2, 3, 4), (1, 3, 6, 4))
PAIRS = (
    "ce poly",
    "mse l1",
    "dice jaccard --task multiclass",
    "focal dice --task binary",
    "giou ciou",
    "mse mine:mse",
    "mine:mse mine:once",
    "entropy mse",
    "mse entropy",
)


@pytest.mark.parametrize("pair", PAIRS)
def test_whatever_the_shapes_are(run, pair):
    """Each shape beside each: a table, or one line."""
    draw = np.random.default_rng(0)
    given = 0
    for x in SHAPES:
        np.save("p.npy", draw.random(x).astype("f4"))
        for t in SHAPES:
            np.save("t.npy", draw.integers(0, 2, t))
            code, out, err = run("compare", *pair.split(), *FILES)
            assert (code == 0 and out and not err) or (code == 2 and not out and err.count("\n") == 1), (x, t, out, err)
            given += code == 0
    assert given
