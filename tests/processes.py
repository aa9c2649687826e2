"""Fresh Python processes."""

import os
import subprocess
import sys


def python(code: str, **environment: str) -> str:
    """The output of a fresh Python process."""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def require_stored(code: str) -> None:
    """Loops that one process compiles, where nobody has before it, the next one loads; the code ends by printing whether Numba was imported.

    Under the cache folder of all tests: they are compiled once, not in each test anew.
    """
    assert "False" in (python(code), python(code)), "a second process compiled again: what it calls may be no code that can be stored"
