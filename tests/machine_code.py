"""What a kernel for NVIDIA GPUs is made of, read from its machine code by the disassembler that comes with Triton; no GPU is needed."""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

LINE = re.compile(r"/\*(?P<at>[0-9a-f]{4,})\*/\s+(?:@!?U?P\w+\s+)?(?P<name>[A-Z][\w.]*)(?P<rest>[^;]*);")
RESOURCES = re.compile(r"REG:(?P<registers>\d+) STACK:(?P<stack>\d+)")
JUMP = re.compile(r"0x([0-9a-f]+)")
WIDTHS = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16}  # bytes; an access that names none has four


class Instruction(NamedTuple):
    """One line of the disassembly."""

    at: int
    name: str
    rest: str


@dataclass(frozen=True)
class Stretch:
    """Instructions that follow each other: all of a kernel, or one of its loops. Those of every branch, whichever a thread takes."""

    instructions: Sequence[Instruction]

    def widths(self, access: str) -> Mapping[int, int]:
        """How many accesses there are of each width in bytes: LDG are loads from the GPU's memory, STG stores to it."""
        names = [i.name.split(".") for i in self.instructions]
        return Counter(next((WIDTHS[part] for part in parts if part in WIDTHS), 4) for parts in names if parts[0] == access)

    def bytes(self, access: str) -> int:
        """How many bytes a thread loads or stores."""
        return sum(width * count for width, count in self.widths(access).items())

    def holds(self, other: "Stretch") -> bool:
        """Whether another one lies in it."""
        return other is not self and self.instructions[0].at <= other.instructions[0].at and other.instructions[-1].at <= self.instructions[-1].at


@dataclass(frozen=True)
class Code:
    """A kernel's machine code, and what it takes of the GPU."""

    name: str
    whole: Stretch
    loops: Sequence[Stretch]
    registers: int
    spilled: int  # bytes a thread keeps in memory for want of registers
    shared: int
    warps: int
    programs: int

    @property
    def busy(self) -> Sequence[Stretch]:
        """Where a thread spends its time: the innermost loops that load or store; all of a kernel that has none."""
        inner = [loop for loop in self.loops if not any(loop.holds(other) for other in self.loops)]
        return [loop for loop in inner if loop.bytes("LDG") + loop.bytes("STG")] or [self.whole]


def goal(i: Instruction) -> int | None:
    """Where a jump leads."""
    to = JUMP.search(i.rest) if i.name.split(".")[0] == "BRA" else None
    return int(to[1], 16) if to else None


def instructions_of(text: str) -> list[Instruction]:
    """The instructions in a disassembly, without what fills the memory up behind the end: a jump to itself and NOPs."""
    found = [Instruction(int(m["at"], 16), m["name"], m["rest"]) for m in map(LINE.search, text.splitlines()) if m]
    return [i for i in found if i.name != "NOP" and goal(i) != i.at]


def loops_of(instructions: Sequence[Instruction]) -> list[Stretch]:
    """Every loop, from where jumps lead back to the last of those jumps."""
    places = {i.at: k for k, i in enumerate(instructions)}
    ends = {places[to]: k for k, i in enumerate(instructions) if (to := goal(i)) is not None and to < i.at}
    return [Stretch(instructions[first : last + 1]) for first, last in sorted(ends.items())]


def read(kernel: Any) -> Code:
    """The machine code of a kernel that `kernels.caught` has built for an NVIDIA GPU."""
    import triton

    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.cubin")
        file.write_bytes(kernel.asm["cubin"])
        text = subprocess.run([tool, "-sass", "-res-usage", file], capture_output=True, text=True, check=True).stdout
    resources = RESOURCES.search(text)
    assert resources, text
    instructions = instructions_of(text)
    data = kernel.metadata
    registers, spilled = int(resources["registers"]), int(resources["stack"])
    return Code(data.name, Stretch(instructions), loops_of(instructions), registers, spilled, int(data.shared), int(data.num_warps), kernel.programs)
