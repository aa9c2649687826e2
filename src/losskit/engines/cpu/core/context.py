"""What a loop is given, as one list of fields: the struct, the places in it, and a packing by name come from that list alone."""

import struct
from typing import Any

from torch import Tensor


class Context:
    """The numbers of a loop's context, eight bytes each, in the order of `fields`: "x:p n scale:d params:4d operands:6p" are the address of a tensor's numbers (0 for
    None), an integer, a float, four floats, six addresses.

    `places` are the names that templates use: the field's name in capitals is where it starts, PLACES how many numbers there are. `pack` takes the fields by name;
    what is left out is 0, and fields of several numbers may be given fewer, but for those that are `full`. "t|labels:p" is a field with two names for templates.
    """

    def __init__(self, fields: str, full: tuple[str, ...] = ()) -> None:
        self.places: dict[str, int] = {}
        layout, arguments, values = "=", [], []
        place = 0
        for field in fields.split():
            names, _, kind = field.partition(":")
            name, _, other = names.partition("|")
            letter, count = kind[-1:] if kind[-1:] in ("p", "d") else "q", int(kind.rstrip("pd") or 1)
            several = kind.rstrip("pd") != ""
            self.places |= {each.upper(): place for each in (name, other) if each}
            address = letter == "p"
            arguments.append(f"{name}={'()' if several else None if address else 0}")
            if several:
                values.append(f"*{f'map(address, {name})' if address else name}" + ("" if name in full else f", *EMPTY[len({name}):{count}]"))
            else:
                values.append(f"0 if {name} is None else {name}.data_ptr()" if address else name)
            layout += f"{count}{'d' if letter == 'd' else 'q'}"
            place += count
        self.places["PLACES"] = place
        scope: dict[str, Any] = {"pack": struct.Struct(layout).pack, "EMPTY": (0,) * place, "address": Tensor.data_ptr}
        exec(f"def packed(*, {', '.join(arguments)}): return pack({', '.join(values)})", scope)
        self.pack = scope["packed"]


ADD_UP = Context("parts:p out:p scale:d")  # of the loop that adds up what tasks found
