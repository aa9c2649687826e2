"""English as people write it: kinds of sentences that crept in once, and what to write instead. Patterns, so that they do not come back."""

import re
from pathlib import Path

import pytest

import losskit

ROOT = Path(__file__).parent.parent
SOURCE = Path(losskit.__file__).parent
TEXTS = [*sorted(SOURCE.rglob("*.py")), *sorted((ROOT / "tests").glob("*.py")), *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("*.md"))]

UNITS = (
    "box|row|class|sample|item|element|loss|pixel|channel|kernel|pattern|call|process|program|dtype|engine|pair|step|thread|warp|position|score|vector|block|task|tile|"
    "page|seed|axis|column|side|voxel|bin|batch|epoch"
)
PER = re.compile(
    r"\b(?:(?:one|two|few) |(?:[Aa]|an|each|\d+|some) (?!per)\w+ )?"
    r"(?P<what>one|two|once|eight|numbers?|losses|values?|scores|weights?|regressions|questions?|rows?|boxes|elements|items|pairs|sums|kernel|mask|file|exponentials?|"
    rf"compilation|milliseconds|pixels|entry) an? (?P<unit>{UNITS})\b"
)
RULES = {
    'write "per": "one value per box", not "one value a box"': PER,
    "a tensor does not hear, ask, pay or feel": re.compile(
        r"\b(?:hears?|hearing) (?:nothing|of|it)\b|\b(?:boxes|tensors?|gradients?|corners|losses|loss|items?) (?:asks?|pays?|feels?|knows?)\b"
    ),
    'say what happens: "is handed over", "is freed"': re.compile(r"\bis given away\b|\bgives? away\b"),
    'say when: "computed in the same pass"': re.compile(r"\b(?:comes?|came) along\b"),
    'say "without synchronising the device"': re.compile(r"\bno device is waited for\b|\bstalls nothing\b"),
    'say "accepted"': re.compile(r"\bis forgiven\b"),
    'say "rotated boxes"': re.compile(r"\bturned by an angle\b", re.I),
    'say what is wrong: "importing Numba"': re.compile(r"\b[Ww]aking Numba\b"),
}


def findings(text: str, pattern: re.Pattern[str]) -> list[str]:
    return [match[0] for match in pattern.finditer(text)]


@pytest.mark.parametrize("rule", RULES)
def test_words(rule):
    found = [
        f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path.name}:{number}: {match}"
        for path in TEXTS
        if path.name != Path(__file__).name
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in findings(line, RULES[rule])
    ]
    assert not found, f"{rule}:\n" + "\n".join(found)


CAUGHT = (
    "takes one value a box, shape",
    "a number a class, (C,)",
    "once a process",
    "its corners hear nothing of it",
    "A box out of order never pays: boxes pay",
    "the gradient is given away",
    "a second loss that came along",
    "no device is waited for",
    "looked at where that stalls nothing",
    "rounding up to 1e-6 is forgiven",
    "Boxes turned by an angle",
    "Waking Numba up",
)
PASSED = ("one value per box", "the label is neither a class nor ignored", "of a class", "a mask of a class", "lie along an axis", "got a number too large")


def test_the_patterns_catch_what_they_are_for_and_nothing_else():
    for sentence in CAUGHT:
        assert any(findings(sentence, pattern) for pattern in RULES.values()), sentence
    for rule, pattern in RULES.items():
        assert any(findings(sentence, pattern) for sentence in CAUGHT), rule
    for sentence in PASSED:
        assert not any(findings(sentence, pattern) for pattern in RULES.values()), sentence
