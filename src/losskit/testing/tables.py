"""The tables of laws, one per kind of loss, and how a law is entered: a small function of a subject that raises `LawBroken` with a counterexample.

A law that needs an argument the callable lacks raises `NotOffered`. The order is that of a report.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

Law = TypeVar("Law", bound=Callable[[Any], None])


class Statement(NamedTuple):
    """A law and what it says."""

    law: Callable[[Any], None]
    says: str


LAWS: dict[str, Statement] = {}
ROW_LAWS: dict[str, Statement] = {}
OVERLAP_LAWS: dict[str, Statement] = {}
BOX_LAWS: dict[str, Statement] = {}
VECTOR_LAWS: dict[str, Statement] = {}
WINDOW_LAWS: dict[str, Statement] = {}
OPERAND_LAWS: dict[str, Statement] = {}
ROW_OPERAND_LAWS: dict[str, Statement] = {}


def law(says: str, *tables: dict[str, Statement]) -> Callable[[Law], Law]:
    """Enter a law into tables."""

    def enter(function: Law) -> Law:
        for table in tables:
            table[function.__name__] = Statement(function, says)
        return function

    return enter
