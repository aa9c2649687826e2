"""The command line. Its libraries (typer, rich, ...) are the extra `tour`; the rest of losskit does without them."""

import codecs
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from typing import NoReturn

BLANK, LINES = 0x2800, {"─": "-", "━": "-", "│": "|", "┃": "|"}  # braille without a dot; box drawing
NAMES = {"sklearn": "scikit-learn", "skimage": "scikit-image", "PIL": "pillow"}  # modules that are installed under another name


def stop(message: str, code: int = 2) -> NoReturn:
    """End with one readable line on stderr."""
    print(f"losskit: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def plainer(error: UnicodeError) -> tuple[str, int]:
    """What to print for letters that the output's encoding lacks: curves and frames in plain characters, and ? for everything else."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(map(plain, letters)), error.end


def plain(letter: str) -> str:
    """A letter of ASCII that looks a little like this one."""
    code = ord(letter)
    if code >> 8 == BLANK >> 8:
        return " " if code == BLANK else "*"
    return LINES.get(letter, "+" if 0x2500 <= code < 0x2580 else "?")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; every error is one line on stderr and exit code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if isinstance(sys.stdout, TextIOWrapper) and sys.stdout.errors in ("strict", "surrogateescape"):
        codecs.register_error("losskit", plainer)
        sys.stdout.reconfigure(errors="losskit")
    try:
        from losskit.cli.app import run

        code = run(words)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "losskit":
            raise
        command = next((w for w in words if not w.startswith("-")), "")
        stop(f"losskit {command}".strip() + f" needs {NAMES.get(missing, missing)}: pip install 'losskit[tour]'")
    except KeyboardInterrupt:
        stop("stopped", 130)
    sys.exit(code)
