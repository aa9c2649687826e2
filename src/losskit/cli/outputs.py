"""Files that a command writes: whole, or not at all."""

from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryFile

from losskit.cli import stop


def write(path: Path, text: str) -> Path:
    """Put a page in its place, whose folder is made if needed: an interrupt leaves what was there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f"{path.name}.{token_hex(4)}.part"
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def check(path: Path, option: str) -> None:
    """Find out whether a page can be written there, before anything is computed; nothing is left behind."""
    if path.suffix.lower() not in (".html", ".htm"):
        stop(f"{option} takes a file that ends in .html, got {str(path)!r}")
    near = next(place for place in (path.parent, *path.parent.parents) if place.exists())
    if path.is_dir() or not near.is_dir():
        stop(f"{option} {path}: {path if path.is_dir() else near} is {'a folder' if path.is_dir() else 'no folder'}")
    try:
        with TemporaryFile(dir=near):
            pass
    except OSError as error:
        stop(f"{option} {path}: {error.strerror}")
