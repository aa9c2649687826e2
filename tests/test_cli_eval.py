"""`losskit eval`: what it shows is what the losses give, from every kind of file."""

import base64
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import losskit
from losskit.cli import evaluate, main, report

DRAW = np.random.default_rng(0)
MASK = np.zeros((20, 30), bool)
MASK[5:15, 8:20] = True


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "140")


@pytest.fixture
def run(capsys):
    def call(*words):
        with pytest.raises(SystemExit) as end:
            main(("eval", *map(str, words)))
        out, err = capsys.readouterr()
        assert (end.value.code, err) == (0, ""), err
        return out

    return call


@pytest.fixture
def told(run):
    return lambda *words: json.loads(run(*words, "--json"))["losses"]


def saved(name, x):
    np.save(name, np.asarray(x))
    return torch.from_numpy(np.asarray(x))


def safetensors(name, **arrays):
    """The format, written out by hand."""
    header, content = {"__metadata__": {"format": "pt"}}, b""
    for key, x in arrays.items():
        numbers = x.contiguous().view(torch.uint8).numpy().tobytes() if x.dim() else b""
        kinds = {torch.float32: "F32", torch.bfloat16: "BF16", torch.int64: "I64"}
        header[key] = {"dtype": kinds[x.dtype], "shape": list(x.shape), "data_offsets": [len(content), len(content) + len(numbers)]}
        content += numbers
    text = json.dumps(header).encode()
    with open(name, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + content)


def test_values_and_gradients_are_the_losses(told):
    x, t = saved("p.npy", DRAW.normal(size=(6, 4, 5)).astype("f4")), saved("t.npy", DRAW.integers(0, 4, (6, 5)))
    found = told(
        "--pred", "p.npy", "--target", "t.npy", "--loss", "ce,FocalLoss,dice", "--task", "multiclass", "--set", "focal_loss.gamma=1.5", "--set", "dice.smooth=0"
    )
    wanted = [
        losskit.CrossEntropyLoss(),
        losskit.FocalLoss(task="multiclass", gamma=1.5),
        losskit.DiceLoss(task="multiclass", smooth=0.0),
    ]
    for outcome, module in zip(found, wanted, strict=True):
        leaf = x.clone().requires_grad_()
        value = module(leaf, t)
        (slope,) = torch.autograd.grad(value, leaf)
        assert outcome["value"] == value.item() and outcome["gradient_norm"] == pytest.approx(slope.double().norm().item(), rel=1e-12)
        assert outcome["largest_gradient"] == slope.abs().max().item() and outcome["items"] == t.numel()
    each = functional.cross_entropy(x, t, reduction="none")
    for label in range(4):
        assert found[0]["class_items"][str(label)] == int((t == label).sum()) and found[0]["classes"][str(label)] == pytest.approx(
            each[t == label].mean().item(), rel=1e-5
        )
    per_class = losskit.dice_loss(x, t, task="multiclass", smooth=0.0, average="none", over="batch")
    assert list(found[2]["classes"].values()) == pytest.approx(per_class.tolist())
    place = tuple(int(i) for i in torch.unravel_index(each.argmax(), each.shape))
    assert found[0]["worst"][0]["place"] == str(list(place)) and found[0]["worst"][0]["loss"] == pytest.approx(each.max().item(), rel=1e-5)


def test_what_is_left_out_is_counted(told):
    x = saved("p.npy", DRAW.normal(size=(6, 4, 5)).astype("f4"))
    labels = DRAW.integers(1, 4, (6, 5))
    labels[0], labels[1, :3] = 0, 7
    t, mask = saved("t.npy", labels), saved("m.npy", np.arange(30).reshape(6, 5) % 5 > 0)
    words = ("--pred", "p.npy", "--target", "t.npy", "--mask", "m.npy", "--loss", "ce,dice", "--task", "multiclass", "--ignore-index", "7")
    entropy, dice = told(*words)
    assert entropy["value"] == losskit.cross_entropy(x, t, mask=mask, ignore_index=7).item()
    assert dice["value"] == losskit.dice_loss(x, t, task="multiclass", mask=mask, ignore_index=7).item()
    each, counted = losskit.cross_entropy(x, t, ignore_index=7, reduction="none"), (t != 7) & mask
    for label in range(4):
        own = counted & (t == label)
        assert entropy["class_items"][str(label)] == int(own.sum()) and entropy["classes"][str(label)] == pytest.approx(each[own].mean().item(), rel=1e-5)
    assert entropy["counts"] == {"ignored": int(((t == 7) | ~mask).sum())} and dice["counts"]["empty"] == 1


def test_nan_that_does_not_count_is_taken(told):
    x = DRAW.normal(size=(6, 4)).astype("f4")
    x[2], labels = np.nan, np.array([0, 1, -100, 2, 3, 0])
    saved("p.npy", x), saved("t.npy", labels), saved("m.npy", labels >= 0)
    (ignored,) = told("--pred", "p.npy", "--target", "t.npy", "--loss", "ce")
    (masked,) = told("--pred", "p.npy", "--target", "t.npy", "--loss", "ce", "--mask", "m.npy")
    for found in (ignored, *told("--pred", "p.npy", "--target", "t.npy", "--loss", "focal", "--task", "multiclass")):
        assert np.isfinite(found["value"]) and found["counts"] == {"ignored": 1}
    assert ignored["value"] == masked["value"] and np.isfinite(ignored["value"]) and ignored["counts"] == {"ignored": 1}


@pytest.mark.parametrize("form", ["npz", "npz of one", "compressed", "safetensors", "bfloat16", "big endian", "fortran", "float16", "uint16"])
def test_every_kind_of_array(told, form):
    x, t = torch.from_numpy(DRAW.normal(size=(9, 3)).astype("f4")), torch.from_numpy(DRAW.integers(0, 3, 9))
    pred, target = "p.npy", "t.npy"
    np.save(pred, x.numpy()), np.save(target, t.numpy())
    if form == "npz":
        pred, target = "b.npz:x", "b.npz:t"
        np.savez("b.npz", x=x.numpy(), t=t.numpy())
    elif form == "npz of one":
        np.savez(pred := "b.npz", x=x.numpy())
    elif form == "compressed":
        np.savez_compressed(pred := "b.npz", x=x.numpy())
    elif form in ("safetensors", "bfloat16"):
        x = x.bfloat16() if form == "bfloat16" else x
        safetensors("b.safetensors", other=torch.zeros(3), x=x, t=t)
        pred, target = "b.safetensors:x", "b.safetensors:t"
    elif form == "big endian":
        np.save(pred, x.numpy().astype(">f4")), np.save(target, t.numpy().astype(">i4"))
    elif form == "fortran":
        np.save(pred, np.asfortranarray(x.numpy()))
    elif form == "float16":
        x = x.half()
        np.save(pred, x.numpy())
    elif form == "uint16":
        np.save(target, t.numpy().astype("u2"))
    (found,) = told("--pred", pred, "--target", target, "--loss", "ce")
    assert found["value"] == losskit.cross_entropy(x, t).item()


def test_safetensors_of_the_package_are_read(told):
    package = pytest.importorskip("safetensors.torch", reason="safetensors")
    x, t = torch.randn(5, 3), torch.tensor([0, 1, 2, 1, 0])
    package.save_file({"x": x, "t": t}, "b.safetensors")
    assert told("--pred", "b.safetensors:x", "--target", "b.safetensors:t", "--loss", "ce")[0]["value"] == losskit.cross_entropy(x, t).item()


@pytest.mark.parametrize("form", ["0 and 255", "0 and 1", "bits", "palette", "tiff"])
def test_masks_of_pictures(told, form):
    x = saved("p.npy", DRAW.normal(size=MASK.shape).astype("f4"))
    picture = {
        "0 and 255": lambda: Image.fromarray((MASK * 255).astype("u1")),
        "0 and 1": lambda: Image.fromarray(MASK.astype("u1")),
        "bits": lambda: Image.fromarray(MASK),
        "palette": lambda: Image.fromarray(MASK.astype("u1")).convert("P"),
    }
    target = "t.tif" if form == "tiff" else "t.png"
    if form == "tiff":
        pytest.importorskip("tifffile", reason="peer").imwrite(target, MASK.astype("u1"))
    elif form == "palette":
        indices = Image.fromarray(MASK.astype("u1"))
        indices.putpalette([0, 0, 0, 255, 0, 0])
        indices.save(target)
    else:
        picture[form]().save(target)
    found = told("--pred", "p.npy", "--target", target, "--loss", "dice,bce_with_logits", "--task", "binary")
    t = torch.from_numpy(MASK)
    assert found[0]["value"] == losskit.dice_loss(x[None], t[None], task="binary").item(), "a picture is one sample"
    assert found[1]["value"] == pytest.approx(losskit.binary_cross_entropy_with_logits(x, t.float()).item(), rel=1e-6)


def test_labels_of_pictures(told):
    """Class scores beside one picture of labels."""
    x, labels = saved("p.npy", DRAW.normal(size=(3, *MASK.shape)).astype("f4")), DRAW.integers(0, 3, MASK.shape).astype("u1")
    labels[:2] = 255
    Image.fromarray(labels).save("t.png")
    (found,) = told("--pred", "p.npy", "--target", "t.png", "--loss", "dice", "--task", "multiclass", "--ignore-index", "255")
    t = torch.from_numpy(labels)[None]
    assert found["value"] == losskit.dice_loss(x[None], t, task="multiclass", ignore_index=255).item()
    assert found["counts"] == {"ignored": 60, "empty": 0}


def test_hard_predictions_are_probabilities(told):
    Image.fromarray((~MASK * 255).astype("u1")).save("p.png"), Image.fromarray((MASK * 255).astype("u1")).save("t.png")
    (found,) = told("--pred", "p.png", "--target", "t.png", "--loss", "dice", "--task", "binary", "--set", "smooth=0")
    assert found["value"] == 1.0 and any("from 0 to 1" in note for note in found["notes"])
    (right,) = told("--pred", "t.png", "--target", "t.png", "--loss", "dice", "--task", "binary", "--set", "smooth=0")
    assert right["value"] == 0.0


@pytest.mark.parametrize("form", ["0 and 1", "0 and 255", "npy"])
def test_hard_predictions_of_either_kind(told, form):
    """0 and 1 are not 0 and 1/255."""
    np.save("p.npy", MASK), Image.fromarray(MASK.astype("u1") * (255 if form == "0 and 255" else 1)).save("p.png")
    Image.fromarray(MASK.astype("u1")).save("t.png")
    (found,) = told("--pred", "p.npy" if form == "npy" else "p.png", "--target", "t.png", "--loss", "dice", "--task", "binary", "--set", "smooth=0")
    assert found["value"] == 0.0


def test_pictures_beside_pictures(told):
    """Colours on both sides, read alike by losses of windows and of elements."""
    a, b = (DRAW.integers(0, 256, (20, 30, 3)).astype("u1") for _ in range(2))
    Image.fromarray(a).save("p.png"), Image.fromarray(b).save("t.png")
    found = told("--pred", "p.png", "--target", "t.png", "--loss", "ssim,l1", "--set", "data_range=1")
    x, t = (torch.from_numpy(picture).movedim(-1, 0)[None].float() / 255 for picture in (a, b))
    assert found[0]["value"] == pytest.approx(losskit.ssim_loss(x, t, data_range=1.0).item(), rel=1e-5)
    assert found[1]["value"] == pytest.approx(losskit.l1_loss(x, t).item(), rel=1e-5)


def test_probabilities_read_as_logits_are_noted(told):
    saved("p.npy", DRAW.random((4, 5)).astype("f4")), saved("t.npy", DRAW.integers(0, 2, (4, 5)))
    words = ("--pred", "p.npy", "--target", "t.npy", "--loss", "focal", "--task", "binary")
    assert any("--set from_logits=false" in note for note in told(*words)[0]["notes"])
    assert not told(*words, "--set", "from_logits=false")[0]["notes"]


def test_volumes(told):
    nibabel = pytest.importorskip("nibabel", reason="nibabel")
    x, labels = saved("p.npy", DRAW.normal(size=(3, 6, 7, 8)).astype("f4")), DRAW.integers(0, 3, (6, 7, 8)).astype("i2")
    for name in ("t.nii", "t.nii.gz"):
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), name)
        (found,) = told("--pred", "p.npy", "--target", name, "--loss", "dice", "--task", "multiclass", "--html", "v.html")
        assert found["value"] == losskit.dice_loss(x[None], torch.from_numpy(labels.astype("i8"))[None], task="multiclass").item()


def box(image, category, *numbers, **more):
    return {"image_id": image, "category_id": category, "bbox": list(numbers), **more}


def test_boxes_of_coco(told):
    """The better detection takes the box; what is beside it has no partner; other pictures and categories are not looked at."""
    found = [
        box(1, 2, 2, 0, 9, 10, score=0.5),
        box(1, 2, 0, 0, 10, 10, score=0.9),
        box(2, 1, 5, 5, 3, 4, score=0.7),
        box(2, 1, 5, 5, 0, 4, score=0.1),
        box(3, 2, 0, 0, 1, 1, score=1.0),
    ]
    truth = [box(1, 2, 0, 0, 11, 10), box(2, 1, 5, 5, 4, 4), box(4, 1, 0, 0, 1, 1), box(3, 1, 0, 0, 1, 1)]
    Path("d.json").write_text(json.dumps(found))
    Path("a.json").write_text(json.dumps({"annotations": truth, "categories": [{"id": 1, "name": "cat"}]}))
    (told,) = told("--pred", "d.json", "--target", "a.json", "--loss", "giou")
    x, t = torch.tensor([[0.0, 0, 10, 10], [5, 5, 3, 4]]), torch.tensor([[0.0, 0, 11, 10], [5, 5, 4, 4]])
    each = losskit.giou_loss(x, t, box_format="xywh", reduction="none")
    assert told["value"] == each.mean().item() and told["counts"] == {"ignored": 0, "degenerate": 1, "degenerate targets": 0}
    assert told["classes"] == {"2": each[0].item(), "cat": each[1].item()} and told["class_items"] == {"2": 1, "cat": 1}
    assert "2 pairs of boxes; 3 of --pred have no partner, 2 of --target were not found" in told["notes"]


def test_crowds_are_no_objects(told):
    """COCO marks many objects in one box: no detection is measured against it, and it is not counted as missed."""
    Path("d.json").write_text(json.dumps([box(1, 1, 0, 0, 10, 10, score=0.9), box(1, 1, 50, 50, 10, 10, score=0.8)]))
    Path("a.json").write_text(json.dumps({"annotations": [box(1, 1, 0, 0, 11, 10, iscrowd=0), box(1, 1, 40, 40, 60, 60, iscrowd=1)]}))
    (told,) = told("--pred", "d.json", "--target", "a.json", "--loss", "iou")
    assert told["value"] == pytest.approx(1 / 11)
    assert "1 pairs of boxes; 1 of --pred have no partner, 0 of --target were not found; 1 that mark crowds are left out" in told["notes"]


def test_the_page(run, tmp_path):
    """It stands alone, shows the samples by their loss, and opens no address."""
    x = DRAW.normal(size=(3, 4, 20, 30)).astype("f4")
    saved("p.npy", x), saved("t.npy", DRAW.integers(0, 4, (3, 20, 30)))
    out = run("--pred", "p.npy", "--target", "t.npy", "--loss", "ce,dice", "--task", "multiclass", "--html", "deep/page.html")
    assert "deep/page.html" in out and [path.name for path in (tmp_path / "deep").iterdir()] == ["page.html"]
    page = (tmp_path / "deep" / "page.html").read_text()
    assert page.count("data:image/png;base64,") == 2 * 3 * 3 and not re.search(r"https?:|<script|src=\"(?!data:)", page)
    assert "cross_entropy" in page and "dice_loss" in page and "Where the loss sits" in page
    chinese = run("--pred", "p.npy", "--target", "t.npy", "--loss", "ce", "--lang", "zh", "--html", "zh.html")
    assert "梯度范数" in chinese and "损失在图中的位置" in (tmp_path / "zh.html").read_text()


def test_the_loss_sits_where_it_is():
    """The brightest pixel is the worst, also where a picture is made smaller; the worst sample comes first."""
    x, t = torch.full((2, 600, 700), 5.0), torch.ones(2, 600, 700)
    t[1, 334, 124] = 0.0
    batch = evaluate.Batch(x, t)
    found = evaluate.evaluate(batch, losskit.LOSSES["focal_loss"], {"task": "binary"})
    assert found.heat.shape == x.shape and found.heat.flatten().argmax() == 600 * 700 + 334 * 700 + 124
    assert found.worst[0].place == "sample 1"
    light = report.glow(found.heat[1], float(found.heat.max()))
    assert max(light.shape) <= report.SIDE and light.sum(-1).argmax() == (334 // 3) * light.shape[1] + 124 // 3


def test_a_picture_is_a_picture(tmp_path):
    pixels = torch.arange(24, dtype=torch.uint8).reshape(2, 4, 3)
    found = Image.open(io.BytesIO(base64.b64decode(report.png(pixels).partition(",")[2])))
    assert np.array_equal(np.asarray(found), pixels.numpy())


@pytest.mark.parametrize(
    ("text", "value"),
    [("2", 2), ("2.5", 2.5), ("1e-3", 1e-3), ("true", True), ("None", None), ("-inf", -float("inf")), ("[0.2, 1]", [0.2, 1]), ("batch", "batch")],
)
def test_settings_as_people_type_them(text, value):
    assert evaluate.value_of(text) == value and type(evaluate.value_of(text)) is type(value)


@pytest.mark.parametrize("name", [name for name, loss in losskit.LOSSES.items() if loss.pattern != "vectors" and len(loss.tensors) <= 2])
def test_every_loss_of_a_prediction_and_a_target(name, told):
    """Of each loss, whatever it takes: the numbers that Python gives."""
    from losskit.cli import warm

    loss = losskit.LOSSES[name]
    settings = list(warm.settings_of(loss))[-1]
    given = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    with losskit.use_engine("torch"):
        tensors = next(iter(warm.batches(loss, settings)))
        files = [
            word
            for option, file, x in zip(("--pred", "--target"), ("p.npy", "t.npy"), tensors, strict=False)
            for word in (option, file)
            if saved(file, x) is not None
        ]
        (found,) = told(*files, "--loss", name, *given)
        assert found["value"] == loss.function(*tensors, **settings).item()


def test_of_many_classes_the_worst_are_shown(run):
    saved("p.npy", DRAW.normal(size=(400, 60)).astype("f4")), saved("t.npy", np.arange(400) % 60)
    out = run("--pred", "p.npy", "--target", "t.npy", "--loss", "ce")
    assert "24 / 60" in out and len(re.findall(r"^│ \d+ ", out, re.M)) == 24


@pytest.mark.skipif(sys.platform != "linux", reason="Linux")
def test_memory_is_asked_of_the_system():
    from losskit.cli import room

    assert 0 < room.available() < 1e15
