"""What a loop is given, as one list of fields: the struct, the places in it, and a packing by name come from that list alone."""

import struct
from typing import Any

from torch import Tensor


class Context:
    """The numbers of a loop's context, eight bytes each, in the order of `fields`: "value n scale:d params:4d" are two integers or addresses, a float, four floats.

    `places` are the names that templates use: the field's name in capitals is where it starts, PLACES how many numbers there are. `pack` takes the fields by name;
    what is left out is 0, and fields of several numbers may be given fewer. "t|labels" is a field with two names for templates.
    """

    def __init__(self, fields: str) -> None:
        self.places: dict[str, int] = {}
        layout, arguments, values = "=", [], []
        place = 0
        for field in fields.split():
            name, _, kind = field.partition(":")
            count, letter = (int(kind.rstrip("d") or 1), "d" if kind.endswith("d") else "q") if kind else (1, "q")
            several = kind.rstrip("d") != ""
            name, _, other = name.partition("|")
            self.places |= {each.upper(): place for each in (name, other) if each}
            arguments.append(f"{name}={'()' if several else '0'}")
            values.append(f"*{name}, *EMPTY[len({name}):{count}]" if several else name)
            layout += f"{count}{letter}"
            place += count
        self.places["PLACES"] = place
        scope: dict[str, Any] = {"pack": struct.Struct(layout).pack, "EMPTY": (0,) * place}
        exec(f"def packed(*, {', '.join(arguments)}): return pack({', '.join(values)})", scope)
        self.pack = scope["packed"]


def at(x: Tensor | None) -> int:
    """Where a tensor's numbers lie; 0 for none."""
    return 0 if x is None else x.data_ptr()


ADD_UP = Context("parts out scale:d")  # of the loop that adds up what tasks found
