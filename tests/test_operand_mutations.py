"""The laws notice a broken formula of several operands: the loss's own file with a token replaced, as in `test_mutations.py`."""

from dataclasses import replace

import pytest
from test_mutations import mutant

import losskit
from losskit.testing import OPERAND_LAWS
from losskit.testing.operands import subjects
from losskit.testing.subject import LawBroken

SUBJECTS = list(subjects())
BROKEN = [  # what, loss, operands, old, new, the law, what it says
    ("derivative by df", "student_t_nll_loss", ("log_scale", "df"), "- share / df - by_step", "- by_step", "textbook", "gradient to df"),
    ("log-gamma left out", "student_t_nll_loss", ("log_scale", "df"), "value = level - step", "value = level", "textbook", "value"),
    ("pull of the tails", "student_t_nll_loss", ("scale", "df"), "(df + 1.0) * share / where", "df * share / where", "textbook", "gradient to input"),
    (
        "cancels for a small df",
        "student_t_nll_loss",
        ("log_scale", "df"),
        "by_level = rest -",
        "by_level = 1.0 - share -",
        "error_budget",
        "gradient to log_scale",
    ),
    ("cancels for a large df", "student_t_nll_loss", ("scale", "df"), "above_share(square, log)", "(log - share)", "error_budget", "gradient to df"),
    ("far errors overflow", "student_t_nll_loss", ("scale", "df"), "far = u > 1e18", "far = u > 1e30", "error_budget", "value"),
]


@pytest.mark.parametrize(("loss", "names", "old", "new", "law", "said"), [row[1:] for row in BROKEN], ids=[f"{row[1]}: {row[0]}" for row in BROKEN])
def test_broken_formula_is_noticed(loss, names, old, new, law, said):
    s = next(s for s in SUBJECTS if s.loss.name == loss and s.names == names)
    with losskit.use_engine("torch"):
        OPERAND_LAWS[law].law(s)
        with pytest.raises(LawBroken, match=f"^{said}"):
            OPERAND_LAWS[law].law(replace(s, function=mutant(loss, old, new)))
