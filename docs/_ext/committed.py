"""Pictures of documents that are read without the site, too: the README's and the architecture's. Committed, and made anew by `make docs`."""

from collections.abc import Mapping
from pathlib import Path

import banner
import house
import pictures


def made() -> Mapping[str, str]:
    """Each file's name and content."""
    return {**pictures.files("losses", banner.drawn(), banner.WORDS), **pictures.files("house", house.drawn(), house.WORDS)}


def write(folder: Path) -> None:
    """What has changed."""
    for name, content in made().items():
        file = folder / name
        if not file.exists() or file.read_text(encoding="utf-8") != content:
            file.write_text(content, encoding="utf-8")
