"""What losses of one pattern have in common: one record per pattern, read by the registry, the docstrings, the modules, the curves, the audit kit and the tests.

A new pattern is a record here, a module per engine (`engines/protocol.py`), its contract beside this file, a curve (`losskit.curves`) and a subject
(`losskit.testing`); a test says which of them is missing.
"""

from typing import Literal, NamedTuple

from losskit.engines.protocol import PatternName

HANDLING = (
    "reduction",
    "task",
    "dim",
    "ignore_index",
    "missing",
    "inplace",
    "return_parts",
    "class_group",
    "sequence_dim",
    "shift",
    "chunk",
    "accumulate",
    "sub_centers",
    "process_group",
    "box_format",
    "degrees",
    "spacing",
    "crossing",
)  # settings that leave the loss of an item alone as it is
# the same where a formula sees sums only
OVERLAP_HANDLING = (*HANDLING, "power", "from_logits", "over", "average", "background", "empty", "weight", "classes")
WIDE = 1 << 16  # as wide as no window


class Pattern(NamedTuple):
    """Facts about a pattern."""

    passes: tuple[PatternName, ...]  # what its losses run on an engine; none: PyTorch operations, or passes of other patterns
    shape: str = 'the shape that reduction="none" returns'  # of the items, in words
    item: str = "item"
    items: str = "items"
    summed: bool = False  # items are summed up before there is a loss, so none of them can be weighed, and "none" has no meaning
    handling: tuple[str, ...] = HANDLING
    empty: tuple[int, ...] | None = None  # a batch of no items, where its shape is one
    audit: str = "Subject"  # the class of `losskit.testing` that draws its batches


PATTERNS: dict[str, Pattern] = {
    "elementwise": Pattern(("elementwise", "products"), "the input's shape", "element", "elements"),
    "rows": Pattern(("rows", "distributions", "products"), "the input's shape without the class axis", "row of classes", "rows", audit="RowSubject"),
    "overlap": Pattern(("overlap",), summed=True, handling=OVERLAP_HANDLING, audit="OverlapSubject"),
    "ranked": Pattern(("ranked",), summed=True, handling=OVERLAP_HANDLING, audit="OverlapSubject"),
    "boxes": Pattern(("boxes", "pairs"), "the shape (...), one value per pair of boxes", "pair of boxes", "pairs", empty=(0, 4), audit="BoxSubject"),
    "windows": Pattern((), "the shape (N, C)", "picture", "pictures", empty=(0, 1, WIDE, WIDE), audit="WindowSubject"),
    "linear": Pattern(("products",), "the input's shape without the last axis", "row of classes", "rows", audit="LinearSubject"),
    "vectors": Pattern(("products",), empty=(0, 1), audit="VectorSubject"),
    "operations": Pattern((), audit="OverlapSubject"),
}
PatternOfLosses = Literal["elementwise", "rows", "overlap", "ranked", "boxes", "windows", "linear", "vectors", "operations"]
