"""Bad files and bad words: one readable line, exit status 2, and nothing half-written. Each row is a file that somebody will have."""

import gzip
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from losskit.cli import main, readers, room

X, T = np.random.default_rng(0).normal(size=(6, 4)).astype("f4"), np.arange(6) % 4


class Trap:
    """What a pickle runs when it is loaded."""

    def __reduce__(self):
        return os.mkdir, ("sprung",)


def npy(x=X, **header):
    """The bytes of an .npy file, with a header that may lie."""
    file = BytesIO()
    if header:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": x.shape} | header)
        return file.getvalue() + x.tobytes()
    np.save(file, x, allow_pickle=True)
    return file.getvalue()


def npz(**members):
    file = BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def safe(header, content=b""):
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + content


def entry(shape, end, dtype="F32"):
    return {"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}}


def picture(form, **settings):
    file = BytesIO()
    Image.fromarray(np.zeros((6, 4), "u1")).save(file, form, **settings)
    return file.getvalue()


def large_png():
    """A picture that says it is 60,000 x 60,000."""
    head = struct.pack(">IIBBBBB", 60000, 60000, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)


def nan(x, place):
    x = x.copy()
    x[place] = np.nan
    return x


FILES = {  # name: content, what is told of it
    "pickle.npy": (pickle.dumps(Trap()), "holds a pickle: losskit never unpickles"),
    "objects.npy": (npy(np.array([Trap()], dtype=object)), "which only pickle reads (allow_pickle=False): losskit never unpickles"),
    "objects.npz": (npz(x=npy(np.array([Trap()], dtype=object))), "which only pickle reads (allow_pickle=False)"),
    "model.pt": (pickle.dumps(Trap()), "losskit never unpickles: save it as .npy"),
    "model.pkl": (pickle.dumps(Trap()), "losskit never unpickles"),
    "long.npy": (npy(shape=(1 << 40, 1 << 40)), "says shape (1099511627776, 1099511627776)"),
    "lies.npy": (npy(shape=(60, 4)), "says shape (60, 4), 960 bytes, and holds 96: it is truncated, or its header is wrong"),
    "short.npy": (npy(shape=(5, 4)), "says shape (5, 4), 80 bytes, and holds 96: it is longer than it says"),
    "truncated.npy": (npy()[:-10], "and holds 86: it is truncated"),
    "header.npy": (npy()[:20], "cannot be read, it is damaged or no npy file"),
    "negative.npy": (npy(shape=(-6, 4)), "says shape (-6, 4), which no array has"),
    "empty.npy": (b"", "is empty: it has 0 bytes"),
    "none.npy": (npy(X[:0]), "holds no items: shape (0, 4)"),
    "nan.npy": (npy(nan(X, (2, 1))), "--pred holds 1 NaN of 24 numbers, the first at [2, 1]"),
    "text.npy": (npy(np.array(["a", "b"])), "expected numbers"),
    "complex.npy": (npy(X.astype("c8")), "holds complex64: expected numbers"),
    "picture.npy": (picture("PNG"), "holds a PNG picture, and .npy was expected"),
    "array.png": (npy(), "holds a NumPy array, and .png was expected"),
    "archive.npy": (npz(x=npy()), "holds a zip archive, and .npy was expected"),
    "other.csv": (b"1,2,3", "files end in .npy, .npz"),
    "none": (b"1,2,3", "got 'no ending'"),
    "many.npz": (npz(a=npy(), b=npy()), "has 2 arrays, say which: many.npz:KEY, of a, b"),
    "nothing.npz": (npz(), "has 0 arrays, say which"),
    "lies.npz": (npz(x=npy(shape=(60, 4))), "says shape (60, 4), 960 bytes, and holds 96"),
    "truncated.npz": (npz(x=npy())[:-30], "cannot be read, it is damaged or no npz file"),
    "flipped.npz": (npz(x=npy()).replace(X.tobytes()[40:48], b"\1" * 8), "cannot be read, it is damaged or no npz file: Bad CRC-32"),
    "huge.safetensors": (struct.pack("<Q", 1 << 60) + b"{}", "its header would be 1,152,921,504,606,846,976 bytes long"),
    "short.safetensors": (b"\1\2", "cannot be read"),
    "words.safetensors": (safe(b"no json here"), "cannot be read, it is damaged or no safetensors file"),
    "lies.safetensors": (safe(entry([60, 4], 960), X.tobytes()), "says shape (60, 4), 960 bytes, and holds 96: it is truncated"),
    "offsets.safetensors": (safe(entry([6, 4], 90), X.tobytes()), "says shape (6, 4), 96 bytes, and holds 90"),
    "negative.safetensors": (safe(entry([-6, 4], 96), X.tobytes()), "its header says (-6, 4)"),
    "kind.safetensors": (safe(entry([6, 4], 96, "F8_E4M3"), X.tobytes()), "holds F8_E4M3: expected numbers"),
    "fields.safetensors": (safe({"x": {"shape": [1]}}), "cannot be read"),
    "truncated.png": (picture("PNG")[:44], "cannot be read, it is damaged or no png file"),
    "large.png": (large_png(), "of memory are free: evaluate a part of them"),
    "jpeg.png": (picture("JPEG"), "cannot be read, it is damaged or no png file"),
    "truncated.tif": (picture("TIFF")[:60], "cannot be read, it is damaged or no tif file"),
    "array.tif": (npy(), "holds a NumPy array, and .tif was expected"),
    "words.json": (b"{nothing", "is no JSON, or is truncated"),
    "deep.json": (b"[" * 200_000, "is no JSON, or is truncated"),
    "other.json": (b'{"a": 1}', "is not COCO's JSON"),
    "fields.json": (b'[{"image_id": 1}]', "entry 0 is no box: expected image_id, category_id, bbox of four numbers"),
    "corner.json": (b'[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3]}]', "has a bbox of 3 numbers"),
    "nan.json": (b'[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, NaN]}]', "entry 0 holds NaN or an infinity"),
    "list.json": (b'[{"image_id": [1], "category_id": 1, "bbox": [1, 2, 3, 4]}]', "has an image_id or category_id that is a list"),
    "none.json": (b"[]", "holds no boxes"),
    "far.json": (b'[{"image_id": 9, "category_id": 1, "bbox": [1, 2, 3, 4]}]', "overlaps one of --target"),
}


@pytest.fixture(autouse=True)
def place(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    np.save("p.npy", X), np.save("t.npy", T)
    Path("a.json").write_text('{"annotations": [{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}]}')


@pytest.fixture
def refused(capsys, tmp_path):
    def call(*words):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(SystemExit) as end:
            main(list(map(str, words)))
        out, err = capsys.readouterr()
        assert end.value.code == 2 and not out, (end.value.code, out, err)
        assert err.startswith("losskit: ") and err.count("\n") == 1 and len(err) < 700, err
        assert sorted(tmp_path.rglob("*")) == before, "something was written"
        return err

    return call


@pytest.mark.parametrize("name", FILES)
def test_bad_files(refused, monkeypatch, name):
    content, told = FILES[name]
    if name.endswith(".tif"):
        pytest.importorskip("tifffile", reason="peer")
    if name == "large.png":
        monkeypatch.setattr(room, "available", lambda: 1e9)
    Path(name).write_bytes(content)
    target = "a.json" if name.endswith(".json") else "t.npy"
    err = refused("eval", "--pred", name, "--target", target, "--loss", "giou" if name.endswith(".json") else "ce", "--html", "page.html")
    assert told in err and (name in err or "--pred" in err)
    assert not Path("sprung").exists()


@pytest.mark.parametrize("name", [name for name in FILES if not name.endswith((".json", ".png"))])
def test_bad_targets(refused, name):
    Path(name).write_bytes(FILES[name][0])
    assert "--target" in refused("eval", "--pred", "p.npy", "--target", name, "--loss", "mse" if name == "nan.npy" and np.save("p.npy", X) is None else "ce")


EVAL = ("eval", "--pred", "p.npy", "--target", "t.npy", "--loss")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("eval", "--pred", "gone.npy", "--target", "t.npy", "--loss", "ce"), "--pred gone.npy: there is no such file"),
        (("eval", "--pred", "p.npy", "--target", "gone.npz:x", "--loss", "ce"), "--target gone.npz:x: there is no such file"),
        (("eval", "--pred", "p.npy:x", "--target", "t.npy", "--loss", "ce"), "only .npz and .safetensors have keys"),
        (("eval", "--pred", ".", "--target", "t.npy", "--loss", "ce"), "--pred . is a folder"),
        (("eval", "--pred", "p.npy", "--loss", "ce"), "cross_entropy needs a target: give --target"),
        (("eval", "--target", "t.npy", "--loss", "ce"), "--pred"),
        ((*EVAL, "focl"), "--loss must be the name of a loss, got 'focl': did you mean"),
        ((*EVAL, "ce,"), "--loss must be the name of a loss, got ''"),
        ((*EVAL, "wiou_v3"), "--loss wiou_v3 is WIoUv3Loss, which no file can ask"),
        ((*EVAL, "triplet_margin"), "triplet_margin_loss takes anchor, positive, negative"),
        ((*EVAL, "ce", "--set", "gama=2"), "cross_entropy: CrossEntropyLoss has no argument 'gama'"),
        ((*EVAL, "focal", "--set", "gama=2", "--task", "multiclass"), "did you mean gamma=?"),
        ((*EVAL, "ce", "--set", "label_smoothing"), "--set takes name=value, or loss.name=value, got 'label_smoothing'"),
        ((*EVAL, "ce", "--set", "label_smoothing=much"), "label_smoothing"),
        ((*EVAL, "ce", "--set", "dice.smooth=1"), "no loss here is called 'dice', there is ce"),
        ((*EVAL, "ce", "--set", "reduction=none"), "--set reduction=none"),
        ((*EVAL, "ce", "--task", "binary"), "--task binary: cross_entropy has no task: leave it out"),
        ((*EVAL, "dice"), "DiceLoss needs task=: one of 'binary', 'multiclass', 'multilabel'"),
        ((*EVAL, "dice", "--task", "many"), "task"),
        ((*EVAL, "ce", "--ignore-index", "x"), "--ignore-index"),
        ((*EVAL, "mse"), "mse_loss: target has shape (6,)"),
        ((*EVAL, "giou"), "giou_loss: "),
        ((*EVAL, "ce", "--html", "page.txt"), "--html takes a file that ends in .html, got 'page.txt'"),
        ((*EVAL, "ce", "--html", "p.npy/page.html"), "p.npy is no folder"),
        ((*EVAL, "ce", "--lang", "fr"), "'en', 'zh'"),
        (("eval", "--pred", "a.json", "--target", "t.npy", "--loss", "giou"), "COCO's JSON goes with another"),
        (("eval", "--pred", "gone.json", "--target", "a.json", "--loss", "giou"), "--pred gone.json: there is no such file"),
        (("eval", "--pred", "a.json", "--target", "a.json", "--loss", "mse"), "mse_loss is no loss of boxes"),
    ],
)
def test_bad_words(refused, words, told):
    assert told in refused(*words)


def test_labels_that_are_none(refused):
    np.save("t.npy", T + 0.5)
    assert "0.5 is no whole number" in refused(*EVAL, "ce")
    np.save("t.npy", T + 90)
    assert "cross_entropy: target" in refused(*EVAL, "ce")
    Image.fromarray(np.array([[0, 1], [255, 2]], "u1")).save("t.png")
    np.save("p.npy", np.zeros((2, 2), "f4"))
    assert "add --ignore-index 255" in refused("eval", "--pred", "p.npy", "--target", "t.png", "--loss", "dice", "--task", "binary")


def test_a_bad_mask(refused):
    np.save("m.npy", np.ones((5, 4), bool))
    assert "mask" in refused(*EVAL, "ce", "--mask", "m.npy")


@pytest.mark.skipif(sys.platform != "linux", reason="Linux")  # whose file systems have holes
def test_what_does_not_fit_is_refused_before_it_is_loaded(tmp_path):
    """A file of 4 TB, all of it there: a process of its own, with little memory, looks at the header alone."""
    with open("huge.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 20, 1 << 20)})
        try:
            file.truncate(file.tell() + (4 << 40))
        except OSError:
            pytest.skip("Linux")
    command = [sys.executable, "-m", "losskit", "eval", "--pred", "huge.npy", "--target", "huge.npy", "--loss", "mse", "--html", "page.html"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 2 and not ended.stdout
    assert "--pred huge.npy and --target huge.npy need about" in ended.stderr and "of memory are free" in ended.stderr and ended.stderr.count("\n") == 1
    assert not Path("page.html").exists()


def test_memory_is_asked_before_anything_is_read(refused, monkeypatch):
    monkeypatch.setattr(room, "available", lambda: 100.0)
    monkeypatch.setattr(readers, "loaded", lambda source: pytest.fail("it was loaded"))
    assert "100 B of memory are free" in refused(*EVAL, "ce")
    assert "100 B of memory are free" in refused("eval", "--pred", "a.json", "--target", "a.json", "--loss", "giou")


@pytest.mark.parametrize(("package", "name"), [("nibabel", "v.nii"), ("nibabel", "v.nii.gz"), ("tifffile", "v.tif"), ("PIL.Image", "v.png")])
def test_a_reader_that_is_not_installed_is_named(refused, monkeypatch, package, name):
    monkeypatch.setitem(sys.modules, package, None)
    Path(name).write_bytes(b"anything")
    install = {"PIL.Image": "pillow"}.get(package, package)
    assert f"needs {install}: pip install {install}" in refused("eval", "--pred", name, "--target", "t.npy", "--loss", "ce")


@pytest.mark.parametrize("form", [".nii", ".nii.gz"])
def test_bad_volumes(refused, form):
    nibabel = pytest.importorskip("nibabel", reason="nibabel")
    volume = nibabel.Nifti1Image(np.zeros((6, 7, 8), "f4"), np.eye(4)).to_bytes()
    for content in (volume[:-100], volume[:100], b"words" * 100):
        Path(f"v{form}").write_bytes(gzip.compress(content) if form == ".nii.gz" else content)
        assert f"--pred v{form}" in refused("eval", "--pred", f"v{form}", "--target", "t.npy", "--loss", "ce")


def test_an_old_page_survives_what_goes_wrong(capsys, monkeypatch):
    """The page is written beside its place, then moved there."""
    Path("page.html").write_text("old")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(SystemExit) as end:
        main([*EVAL, "ce", "--html", "page.html"])
    assert end.value.code == 2 and "No space left on device" in capsys.readouterr().err
    assert Path("page.html").read_text() == "old" and not list(Path().glob("*.part"))


def test_unsigned_labels_beyond_int64(refused):
    np.save("t.npy", np.full(6, 2**63, "u8"))
    assert "beyond int64" in refused(*EVAL, "ce")
    assert torch.equal(readers.tensor(np.arange(3, dtype="u4"), ""), torch.arange(3))


VALID = {
    "t.npy": npy(T.astype("u1")),
    "t.npz": npz(x=npy(T.astype("u1"))),
    "t.safetensors": safe({"x": {"dtype": "U8", "shape": [6], "data_offsets": [0, 6]}}, T.astype("u1").tobytes()),
    "t.png": picture("PNG"),
    "t.tif": picture("TIFF"),
    "t.json": b'[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]',
}


@pytest.mark.parametrize("name", VALID)
def test_damage_anywhere_is_one_line(capsys, name):
    """Bytes changed at random, and ends cut off: numbers, or one line, and no more."""
    if name.endswith(".tif"):
        pytest.importorskip("tifffile", reason="peer")
    draw = np.random.default_rng(sum(map(ord, name)))
    refusals = 0
    for number in range(25):
        content = bytearray(VALID[name])
        for _ in range(1 + number % 4):
            content[draw.integers(len(content))] = draw.integers(256)
        Path(name).write_bytes(content if number % 5 else content[: draw.integers(1, len(content))])
        files = ("--pred", name, "--target", "a.json", "--loss", "giou") if name == "t.json" else ("--pred", "p.npy", "--target", name, "--loss", "ce")
        with pytest.raises(SystemExit) as end:
            main(["eval", *files])
        out, err = capsys.readouterr()
        assert (end.value.code == 0 and out and not err) or (end.value.code == 2 and not out and err.startswith("losskit: ") and err.count("\n") == 1), (
            out,
            err,
        )
        refusals += end.value.code == 2
    assert refusals > 5, "nothing was damaged"


SHAPES = ((), (6,), (6, 4), (2, 3, 4), (3, 3, 3), (1, 3, 6, 4), (2, 1, 6, 4))
LOSSES = (
    "ce",
    "focal --task multiclass",
    "focal --task binary",
    "dice --task multiclass",
    "dice --task binary",
    "dice --task multilabel",
    "lovasz --task binary",
)
LOSSES += (
    "boundary --task multiclass",
    "mse",
    "giou",
    "entropy",
    "kl",
    "ssim --set data_range=1",
    "bce_with_logits",
    "multilabel_margin",
    "dfl",
    "hinge",
    "margin_ranking",
)


@pytest.mark.sparse(3)
@pytest.mark.parametrize("loss", LOSSES)
def test_whatever_the_shapes_are(capsys, loss):
    """Each shape beside each: numbers, or one line."""
    draw = np.random.default_rng(0)
    given = 0
    for x in SHAPES:
        np.save("p.npy", draw.random(x).astype("f4"))
        for t in SHAPES:
            np.save("t.npy", draw.integers(0, 2, t))
            with pytest.raises(SystemExit) as end:
                main(["eval", "--pred", "p.npy", "--target", "t.npy", "--html", "page.html", "--loss", *loss.split()])
            out, err = capsys.readouterr()
            assert (end.value.code == 0 and out and not err) or (end.value.code == 2 and not out and err.count("\n") == 1), (x, t, out, err)
            given += end.value.code == 0
    assert given or loss.startswith(("kl", "ssim")), "none of them fits"  # these want distributions, and pictures of 11 x 11


def test_class_scores_are_told_beside_a_picture_of_labels(refused):
    Image.fromarray(np.zeros((6, 4), "u1")).save("t.png")
    assert "a prediction of shape (C, 6, 4) beside this target, got (6, 4)" in refused(
        "eval", "--pred", "p.npy", "--target", "t.png", "--loss", "dice", "--task", "multiclass"
    )
