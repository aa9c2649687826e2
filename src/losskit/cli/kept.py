"""Compiled loops on disk: what there is, and what of it is removed."""

import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from losskit.cli import doctor
from losskit.engines.cpu.core import files

LOOP = re.compile(r"\w+_[0-9a-f]{24}\.o", re.ASCII)
LEFT = re.compile(r"\w+_[0-9a-f]{24}\.o(\.lock|\.[0-9a-f]{16}\.part)", re.ASCII)  # by a process that was killed
DIGEST = re.compile(rb"[0-9a-f]{64}\n")


class Kept(NamedTuple):
    """A file of losskit's."""

    path: Path
    size: int
    loop: bool


def kept(folder: Path) -> Iterator[Kept]:
    """losskit's own files in a folder: compiled loops, by name and content, and what killed processes left there. Links are nobody's."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # removed meanwhile
            found = path.lstat()
            if not stat.S_ISREG(found.st_mode):
                continue
            if LOOP.fullmatch(path.name):
                with path.open("rb") as file:
                    if DIGEST.fullmatch(file.read(65)):
                        yield Kept(path, found.st_size, True)
            elif LEFT.fullmatch(path.name) and time.time() - found.st_mtime > files.PATIENCE:
                yield Kept(path, found.st_size, False)


def info() -> dict[str, Any]:
    """The folder, its state, and what lies in it."""
    folder = files.folder()
    (finding,) = doctor.cache(folder)
    own = [] if folder is None else list(kept(folder))
    loops = [each for each in own if each.loop]
    return {
        "folder": None if folder is None else str(folder),
        "state": finding.says,
        "loops": len(loops),
        "bytes": sum(each.size for each in own),
        "left over": len(own) - len(loops),
        "fix": finding.fix,
    }


def clear() -> str:
    """Remove losskit's own files; what was removed, and what stays."""
    folder = files.folder()
    if folder is None:
        return "nothing to remove: this user has no cache folder"
    loops = size = others = 0
    for each in list(kept(folder)):
        each.path.unlink(missing_ok=True)
        size += each.size
        loops += each.loop
        others += not each.loop
    stays = sum(1 for _ in folder.iterdir()) if folder.is_dir() else 0
    left = f" and {others} that killed processes left" if others else ""
    told = (
        f"removed {loops} compiled loop{'s' * (loops != 1)}{left} ({size / 1e6:.1f} MB) from {folder}" if loops or others else f"nothing to remove in {folder}"
    )
    return told + (
        f"; {stays} other file{'s' * (stays != 1)} there {'are' if stays != 1 else 'is'} not losskit's, and stay{'s' * (stays == 1)}" if stays else ""
    )
