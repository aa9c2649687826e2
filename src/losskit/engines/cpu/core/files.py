"""Where compiled loops lie on disk, and which of them may be run.

A loop from disk is code, so it is only accepted from those who could run code here anyway: this user, root, and the owner of losskit's own files (on clusters, the
account that installs software and fills a cache for all). Folder and file must belong to one of them, and be writable by nobody else.
"""

import logging
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from shlex import quote

if sys.platform != "win32":
    import fcntl

PATIENCE = 60.0  # seconds that a process waits for another to compile a loop
NOBODY = 65534  # the owner, inside a container, of all files whose owners it does not know
log = logging.getLogger(__name__)
_told: set[Path] = set()  # folders


def folder() -> Path | None:
    """Where compiled loops are kept: LOSSKIT_CACHE_DIR, or the user's cache folder; None for a user without a home."""
    chosen = os.environ.get("LOSSKIT_CACHE_DIR")
    try:
        if chosen:
            return Path(chosen).expanduser()
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home()) / "losskit" / "cache"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "losskit"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "losskit"
    except RuntimeError:
        return None


def read(place: Path, name: str) -> bytes | None:
    """What a file holds; None if there is no such file, or somebody else may have written it."""
    try:
        if sys.platform == "win32":  # access is not a matter of modes there
            return (place / name).read_bytes()
        at = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if not trusted(place, os.fstat(at), place):
                return None
            with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=at), "rb") as file:  # what was looked at is what is read
                found = os.fstat(file.fileno())
                return file.read() if stat.S_ISREG(found.st_mode) and trusted(place / name, found, place) else None
        finally:
            os.close(at)
    except OSError:
        return None


def write(place: Path, name: str, content: bytes) -> None:
    """A file appears whole or not at all; where it cannot, it is compiled again next time."""
    part = place / f"{name}.{token_hex(8)}.part"
    try:
        place.mkdir(0o755, parents=True, exist_ok=True)
        if not trusted(place, place.stat(), place):
            return
        try:
            with open(part, "xb", opener=lambda path, flags: os.open(path, flags, 0o644)) as file:
                file.write(content)
            os.replace(part, place / name)
        finally:
            part.unlink(missing_ok=True)
    except OSError:
        return


@contextmanager
def turn(place: Path | None, name: str) -> Iterator[None]:
    """While a process compiles a loop, others that need the same one wait for it: the ranks of a training start at once, and each would compile everything.

    A lock ends with the process that holds it, and nobody waits for ever. Without locks (on Windows, on some file systems of networks) nobody waits at all.
    """
    held = None if place is None or sys.platform == "win32" else _locked(place, f"{name}.lock")
    try:
        yield
    finally:
        if place is not None and held is not None:
            with suppress(OSError):
                os.unlink(place / f"{name}.lock")
            os.close(held)


def _locked(place: Path, name: str) -> int | None:
    """An open file that this process has locked; None if that cannot be."""
    with suppress(OSError):
        place.mkdir(0o755, parents=True, exist_ok=True)
        if distrust(place, place.stat()) is None:
            file = os.open(place / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
            end = time.monotonic() + PATIENCE
            while time.monotonic() < end:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return file
                except BlockingIOError:
                    time.sleep(0.02)
                except OSError:
                    break
            os.close(file)
    return None


def trusted(path: Path, found: os.stat_result, place: Path) -> bool:
    """Whether only those who could run code here anyway can have written there."""
    why = distrust(path, found)
    if why is not None and place not in _told:
        _told.add(place)
        log.warning(why)  # no warning of Python's: made an error, it would stop a training for a matter of seconds
    return why is None


def distrust(path: Path, found: os.stat_result) -> str | None:
    """Why not to run what lies there, and what to do about it; None if all is well."""
    if sys.platform == "win32":
        return None
    elsewhere = "Set LOSSKIT_CACHE_DIR to a folder of your own"
    if found.st_uid not in trustees():
        return f"{path} belongs to another user (uid {found.st_uid}): losskit compiles, rather than run it. {elsewhere}"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        mine = found.st_uid == os.geteuid() and not found.st_mode & stat.S_ISVTX  # not /tmp
        return f"{path} can be written by other users: losskit compiles, rather than run it. {f'Try: chmod go-w {quote(str(path))}' if mine else elsewhere}"
    return None


def trustees() -> set[int]:
    """Who could run code here anyway."""
    return {os.geteuid(), 0} | {os.stat(__file__).st_uid} - {NOBODY}
