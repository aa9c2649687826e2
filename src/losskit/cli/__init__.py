"""The command line. Its libraries (typer, rich, ...) are the extra `tour`; the rest of losskit does without them."""

import sys
from collections.abc import Sequence
from typing import NoReturn

NAMES = {"sklearn": "scikit-learn", "PIL": "pillow"}  # modules that are installed under another name


def stop(message: str, code: int = 2) -> NoReturn:
    """End with one readable line on stderr."""
    print(f"losskit: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line; every error is one line on stderr and exit code 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
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
    except BrokenPipeError:  # `losskit list | head`: the reader has seen enough
        sys.stderr.close()
        sys.exit(0)
    sys.exit(code)
