"""Pictures of documents that are read without the site, too: the README's and the architecture's. Committed, and made anew by `make docs`."""

import math
import re
from collections.abc import Mapping
from pathlib import Path

import banner
import house
import pictures


def made() -> Mapping[str, str]:
    """Each file's name and content."""
    return {**pictures.files("losses", banner.drawn(), banner.WORDS), **pictures.files("house", house.drawn(), house.WORDS)}


NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def alike(one: str, other: str) -> bool:
    """Whether two pictures look the same: a curve's last digit differs from processor to processor."""
    if NUMBER.sub("#", one) != NUMBER.sub("#", other):
        return False
    return all(math.isclose(float(a), float(b), abs_tol=1e-4) for a, b in zip(NUMBER.findall(one), NUMBER.findall(other), strict=True))


def write(folder: Path) -> None:
    """What has changed."""
    for name, content in made().items():
        file = folder / name
        if not file.exists() or not alike(file.read_text(encoding="utf-8"), content):
            file.write_text(content, encoding="utf-8")
