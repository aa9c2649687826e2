"""The audit kit: examine any loss function, ours, a peer's or your own, against the textbook and the laws of the contract.

>>> import torch
>>> from losskit.testing import audit
>>> result = audit(torch.nn.functional.mse_loss, like="mse_loss", show=False)
>>> result.verdict("textbook")
'holds'
>>> result.verdict("mask_deletes")
'not offered'
>>> audit(torch.nn.functional.cross_entropy, like="cross_entropy", show=False, laws=["ignore_deletes"]).verdict("ignore_deletes")
'fails'
"""

from losskit.testing import box_laws, laws, operand_laws, overlap_laws, row_laws, shared_laws, vector_laws, window_laws  # noqa: F401 - they fill the tables
from losskit.testing.audit import AuditResult, Finding, audit, examine
from losskit.testing.boxes import BoxSubject
from losskit.testing.linear import LinearSubject
from losskit.testing.operands import OperandSubject
from losskit.testing.overlap import OverlapSubject
from losskit.testing.rows import RowSubject
from losskit.testing.subject import LawBroken, NotOffered, Subject
from losskit.testing.tables import BOX_LAWS, LAWS, OPERAND_LAWS, OVERLAP_LAWS, ROW_LAWS, VECTOR_LAWS, WINDOW_LAWS
from losskit.testing.vectors import VectorSubject
from losskit.testing.windows import WindowSubject

__all__ = [
    "BOX_LAWS",
    "LAWS",
    "OPERAND_LAWS",
    "OVERLAP_LAWS",
    "ROW_LAWS",
    "VECTOR_LAWS",
    "WINDOW_LAWS",
    "AuditResult",
    "BoxSubject",
    "Finding",
    "LawBroken",
    "LinearSubject",
    "NotOffered",
    "OperandSubject",
    "OverlapSubject",
    "RowSubject",
    "Subject",
    "VectorSubject",
    "WindowSubject",
    "audit",
    "examine",
]
