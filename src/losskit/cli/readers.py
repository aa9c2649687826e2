"""Arrays from files: the header first, so that what lies, or does not fit, is refused before it is loaded. Nothing is ever unpickled."""

import json
import logging
import math
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, NoReturn

import numpy as np
import torch
from torch import Tensor

from losskit.cli import stop

NEVER = "losskit never unpickles: save it as .npy, numpy.save('x.npy', x.float().numpy()), or as .safetensors"
PICKLES = (".pt", ".pth", ".pkl", ".pickle", ".bin", ".ckpt", ".joblib")
MAGIC = {
    b"\x93NUMPY": ("a NumPy array", ".npy"), b"PK\x03\x04": ("a zip archive", ".npz"), b"\x89PNG\r\n": ("a PNG picture", ".png"), b"II*\0": ("a TIFF picture", ".tif"),
    b"MM\0*": ("a TIFF picture", ".tif"), b"\x1f\x8b": ("a gzip archive", ".nii.gz"), b"\x80": ("a pickle", ""),
}  # fmt: skip
SAFE = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16, "I32": torch.int32, "I64": torch.int64,
    "F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64,
}  # fmt: skip
NUMBERS = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float32", "float64")
MODES = {"1": "bool", "L": "uint8", "P": "uint8", "I;16": "uint16", "I;16B": "uint16", "I": "int32", "F": "float32", "RGB": "uint8"}
HEADER = 100 << 20  # bytes: the longest header of a safetensors file


class Source(NamedTuple):
    """A file whose header was read: what it says of the array, and what loads it."""

    path: Path
    told: str  # the file, as messages name it
    shape: tuple[int, ...]
    dtype: str
    nbytes: int
    picture: bool  # one sample, without an axis for it
    load: Callable[[], Tensor]


def describe(name: str, text: str) -> Source:
    """The header of a file, or of one array of it: `file.npz:key`."""
    path, key = Path(text), ""
    if not path.exists() and ":" in path.name:
        before, _, key = text.rpartition(":")
        path = Path(before)
    told = f"--{name} {text}"
    if not path.exists():
        stop(f"{told}: there is no such file")
    if path.is_dir():
        stop(f"{told} is a folder: give a file")
    ending = "".join(path.suffixes[-2:]).lower() if path.name.lower().endswith(".nii.gz") else path.suffix.lower()
    if ending in PICKLES:
        stop(f"{told}: {NEVER}")
    if ending not in READERS:
        stop(f"{told}: files end in {', '.join(READERS)}, got {ending or 'no ending'!r}")
    if key and ending not in (".npz", ".safetensors"):
        stop(f"{told}: only .npz and .safetensors have keys, leave {':' + key!r} out")
    if path.stat().st_size == 0:
        stop(f"{told} is empty: it has 0 bytes")
    with refusing(told, path, ending):
        return READERS[ending](path, key, told)


@contextmanager
def refusing(told: str, path: Path, ending: str = "") -> Any:
    """Whatever a reader says is one line; what the file is instead stands in it, where the first bytes tell."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ModuleNotFoundError, MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # readers of other packages raise anything
        with path.open("rb") as file:
            start = file.read(8)
        what, own = next((found for magic, found in MAGIC.items() if start.startswith(magic)), ("", ending))
        if own != ending and not (ending == ".tiff" and own == ".tif"):
            stop(f"{told} holds {what}" + (f", and {ending} was expected: rename it, or save it again" if own else f": {NEVER}"))
        why = (str(error) or type(error).__name__).strip().splitlines()[0]
        stop(f"{told} cannot be read, it is damaged or no {ending.removeprefix('.')} file: {why}")


def needed(package: str, told: str, name: str = "") -> Any:
    """A reader's package, or the line that installs it."""
    try:
        return import_module(package)
    except ModuleNotFoundError:
        stop(f"{told} needs {name or package}: pip install {name or package}")


def objects(told: str) -> NoReturn:
    """An array of Python objects is a pickle."""
    stop(f"{told} holds Python objects, which only pickle reads (allow_pickle=False): {NEVER}")


def size_of(shape: tuple[int, ...], itemsize: int, held: int, told: str) -> int:
    """The bytes of an array, which must be there: no fewer, no more."""
    said = math.prod(shape) * itemsize
    if said != held:
        stop(
            f"{told} says shape {shape}, {said:,} bytes, and holds {held:,}: it is {'truncated' if held < said else 'longer than it says'}, or its header is wrong"
        )
    return said


def npy_header(stream: BinaryIO, size: int, told: str) -> tuple[tuple[int, ...], np.dtype[Any], int]:
    """Shape, dtype and bytes of an .npy file, which is `size` bytes long."""
    version = np.lib.format.read_magic(stream)
    shape, _, dtype = (np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0)(stream)
    if dtype.hasobject:
        objects(told)
    numbers(dtype, told)
    if any(n < 0 for n in shape):
        stop(f"{told} says shape {shape}, which no array has")
    return shape, dtype, size_of(shape, dtype.itemsize, size - stream.tell(), told)


def numbers(dtype: np.dtype[Any], told: str) -> None:
    """What losses read."""
    if dtype.name not in NUMBERS:
        stop(f"{told} holds {dtype.name}: expected numbers, one of {', '.join(NUMBERS)}")


def of_npy(path: Path, key: str, told: str) -> Source:
    """NumPy's own format."""
    with path.open("rb") as file:
        shape, dtype, nbytes = npy_header(file, path.stat().st_size, told)
    return Source(path, told, shape, dtype.name, nbytes, False, lambda: tensor(np.load(path, allow_pickle=False), told))


def of_npz(path: Path, key: str, told: str) -> Source:
    """A zip archive of .npy files."""
    with zipfile.ZipFile(path) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        info = members[choose(members, key, told, path)]
        with archive.open(info) as file:
            shape, dtype, nbytes = npy_header(file, info.file_size, told)  # type: ignore[arg-type]

    def load() -> Tensor:
        with zipfile.ZipFile(path) as archive, archive.open(info) as file:
            return tensor(np.lib.format.read_array(file, allow_pickle=False), told)

    return Source(path, told, shape, dtype.name, nbytes, False, load)


def of_safetensors(path: Path, key: str, told: str) -> Source:
    """8 bytes, how long the header is; the header, in JSON; the numbers."""
    size = path.stat().st_size
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        if not 2 <= length <= min(size - 8, HEADER):
            raise ValueError(f"its header would be {length:,} bytes long, and the file has {size:,}")
        found = json.loads(file.read(length))
    arrays = {name: entry for name, entry in found.items() if name != "__metadata__"}
    entry = arrays[choose(arrays, key, told, path)]
    begin, end = entry["data_offsets"]
    shape = tuple(int(n) for n in entry["shape"])
    if entry["dtype"] not in SAFE:
        stop(f"{told} holds {entry['dtype']}: expected numbers, one of {', '.join(SAFE)}")
    dtype = SAFE[entry["dtype"]]
    if not 0 <= begin <= end or min(shape, default=0) < 0:
        raise ValueError(f"its header says {shape} from {begin} to {end}")
    nbytes = size_of(shape, dtype.itemsize, max(0, min(end, size - 8 - length) - begin), told)

    def load() -> Tensor:
        with path.open("rb") as file:
            file.seek(8 + length + begin)
            return torch.frombuffer(bytearray(file.read(nbytes)), dtype=dtype).reshape(shape)

    return Source(path, told, shape, str(dtype).removeprefix("torch."), nbytes, False, load)


def choose(members: Mapping[str, Any], key: str, told: str, path: Path) -> str:
    """The one array of an archive that was asked for; where there is one, it need not be named."""
    if key in members or (not key and len(members) == 1):
        return key or next(iter(members))
    shown = ", ".join(list(members)[:8]) + (", ..." if len(members) > 8 else "")
    stop(f"{told} has no array {key!r}, it has: {shown}" if key else f"{told} has {len(members)} arrays, say which: {path}:KEY, of {shown or 'none'}")


def of_png(path: Path, key: str, told: str) -> Source:
    """A mask, or a picture of colours: (3, height, width)."""
    pillow = needed("PIL.Image", told, "pillow")
    pillow.MAX_IMAGE_PIXELS = None  # what does not fit is refused below, by its size
    with pillow.open(path, formats=["PNG"]) as picture:
        (width, height), mode = picture.size, picture.mode
    if mode not in MODES:
        stop(f"{told} has the mode {mode}: a mask has one number per pixel, try image.convert('L')")
    shape = (3, height, width) if mode == "RGB" else (height, width)

    def load() -> Tensor:
        with pillow.open(path, formats=["PNG"]) as picture:
            found = tensor(np.asarray(picture), told)
        return found.movedim(-1, 0) if mode == "RGB" else found

    return Source(path, told, shape, MODES[mode], math.prod(shape) * np.dtype(MODES[mode]).itemsize, True, load)


def of_tiff(path: Path, key: str, told: str) -> Source:
    """A mask or a stack of them; colours along the first axis."""
    tifffile = needed("tifffile", told)
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what is wrong is told in one line
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        shape, dtype, axes = tuple(series.shape), np.dtype(series.dtype), series.axes
    numbers(dtype, told)
    colours = axes.endswith("S")

    def load() -> Tensor:
        found = tensor(tifffile.imread(path, series=0), told)
        return found.movedim(-1, 0) if colours else found

    return Source(path, told, (shape[-1], *shape[:-1]) if colours else shape, dtype.name, math.prod(shape) * dtype.itemsize, True, load)


def of_nifti(path: Path, key: str, told: str) -> Source:
    """A volume."""
    nibabel = needed("nibabel", told)
    logging.getLogger("nibabel.global").setLevel(logging.CRITICAL)
    volume = nibabel.load(path)
    shape, dtype = tuple(int(n) for n in volume.shape), np.dtype(volume.get_data_dtype())
    numbers(dtype, told)
    offset, held = int(volume.dataobj.offset), path.stat().st_size
    if path.suffix == ".nii" and held < offset + math.prod(shape) * dtype.itemsize:
        size_of(shape, dtype.itemsize, max(held - offset, 0), told)
    scaled = (volume.dataobj.slope, volume.dataobj.inter) != (1.0, 0.0)
    name = "float64" if scaled else dtype.name

    def load() -> Tensor:
        return tensor(np.asanyarray(nibabel.load(path).dataobj), told)

    return Source(path, told, shape, name, math.prod(shape) * np.dtype(name).itemsize, True, load)


READERS: Mapping[str, Callable[[Path, str, str], Source]] = {
    ".npy": of_npy, ".npz": of_npz, ".safetensors": of_safetensors, ".png": of_png, ".tif": of_tiff, ".tiff": of_tiff, ".nii": of_nifti, ".nii.gz": of_nifti,
}  # fmt: skip


def tensor(array: Any, told: str) -> Tensor:
    """An array as a tensor: of this machine's byte order, unsigned numbers of more than 8 bits as int64."""
    numbers(array.dtype, told)
    if array.dtype.kind == "u" and array.dtype.itemsize > 1:
        if array.dtype.itemsize == 8 and array.size and int(array.max()) > np.iinfo(np.int64).max:
            stop(f"{told} holds {int(array.max())}, which is beyond int64")
        array = array.astype(np.int64)
    array = np.asarray(array, dtype=array.dtype.newbyteorder("="), order="C")
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def loaded(source: Source) -> Tensor:
    """The array, which must be what its header says."""
    with refusing(source.told, source.path, source.path.suffix):
        found = source.load()
    if tuple(found.shape) != source.shape:
        stop(f"{source.told} says shape {source.shape}, and holds {tuple(found.shape)}")
    return found
