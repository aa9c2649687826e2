"""A loss computed by hand: its formula with numbers put in, line by line. What comes out is compared with the loss itself while the site is built."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

import formulas
import losskit
from by_hand import WRITTEN, Worked, number
from formulas import Clause, Node, Unreadable
from losskit.contract.registry import Loss

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "log": math.log,
    "exp": math.exp,
    "cosh": math.cosh,
    "sqrt": math.sqrt,
    "max": max,
    "atan": math.atan,
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "Gamma": math.gamma,
    "lgamma": math.lgamma,
    "floor": math.floor,
    "softplus": lambda x: math.log1p(math.exp(x)),
}
ERROR, LOGIT, PROBABILITY = (2.5, 1.0), (0.5, 1.0), (0.8, 1.0)  # x and t
ROW, LABEL = (2.0, 1.0, -1.0), 0  # logits of three classes, the right one first
WANTED = (0.5, 0.3, 0.2)  # a distribution over them
MASK_P, MASK_T = (0.9, 0.8, 0.3, 0.1), (1.0, 1.0, 0.0, 0.0)  # probabilities of four pixels, and what they are
BOX, TARGET = (1.0, 1.0, 4.0, 3.0), (2.0, 1.0, 5.0, 4.0)
PICTURE = (8.0, 8.0)
SKIPPED = {"reduction", "ignore_index", "dim", "missing", "from_logits", "full"}


def put(values: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as text; what is no number stays a name."""
    numbers = {name: number(v) for name, v in values.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return numbers | {name: [number(e) for e in v] for name, v in values.items() if isinstance(v, list)}


def holds(condition: Node, of: Mapping[str, Any]) -> bool:
    """Whether a condition is met."""
    left, right = (formulas.value(p, of, FUNCTIONS) for p in condition.parts)
    return bool({"=": left == right, "<": left < right, ">": left > right, ">=": left >= right, "<=": left <= right}[condition.text])


def follow(loss: Loss, of: dict[str, Any], named: Mapping[str, Node] | None = None) -> tuple[list[str], float]:
    """The lines of a computation: definitions first, then the formula whose condition holds. `of` is completed by what is defined."""
    clauses = [c for line in formulas.lines(loss.formula) for c in line]
    definitions = [c for c in clauses if c.math and c.math.kind == "relation" and not c.link and c.math.parts[0].kind in ("name", "power")]
    lines: list[str] = []
    waiting = list(definitions)
    for _ in definitions:  # a definition may use one that stands after it
        for c in list(waiting):
            if define(c, of, lines):
                waiting.remove(c)
    main = [c for c in clauses if c.math and c not in definitions]
    chosen = next(c for c in main if matches(c, of, main))
    assert chosen.math is not None
    found = formulas.value(chosen.math, of, FUNCTIONS)
    lines.append(rf"\mathrm{{loss}} = {formulas.latex(chosen.math, put(of))} = {number(found)}")
    return lines, found


def matches(c: Clause, of: Mapping[str, Any], main: list[Clause]) -> bool:
    """Whether this is the case at hand."""
    if c.condition is not None:
        return holds(c.condition, of)
    return c.link == "" or c.link == "elsewhere"


def define(c: Clause, of: dict[str, Any], lines: list[str]) -> bool:
    """A definition `r = (x - t) / scale`, or one of several ways to give a number, `v = var = exp(log_var)`."""
    assert c.math is not None
    if c.math.parts[0].kind == "power":
        return define_square(c, of, lines)
    name = c.math.parts[0].text
    if name in of:
        return True
    for part in c.math.parts[1:]:
        try:
            found = formulas.value(part, of, FUNCTIONS)
        except Unreadable:
            continue
        of[name] = found
        lines.append(rf"{formulas.latex(c.math.parts[0])} = {formulas.latex(part, put(of))} = {number(found)}")
        return True
    return False


def define_square(c: Clause, of: dict[str, Any], lines: list[str]) -> bool:
    """`W^2 = ...`."""
    assert c.math is not None
    name = c.math.parts[0].parts[0].text
    if name in of:
        return True
    try:
        found = math.sqrt(formulas.value(c.math.parts[1], of, FUNCTIONS))
    except Unreadable:
        return False
    of[name] = found
    lines.append(
        rf"{formulas.latex(c.math.parts[0])} = {formulas.latex(c.math.parts[1], put(of))} = {number(found**2)},\; {formulas.symbol(name)} = {number(found)}"
    )
    return True


def settings_of(loss: Loss) -> dict[str, Any]:
    """The settings shown: the loss's first listed ones, and defaults."""
    return {k: v for k, v in loss.settings.items() if v is not None} | dict(loss.arguments[0])


def elements(loss: Loss) -> Worked:
    """One prediction and one target."""
    x, t = PROBABILITY if loss.input == "probability" else LOGIT if loss.input == "logit" else ERROR
    t = 0.7 if loss.task == "detection" and loss.target != "label" else t
    settings = settings_of(loss)
    of: dict[str, Any] = {"x": x, "t": t, **{k: v for k, v in settings.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}}
    if loss.input == "probability":
        of["p"] = of.pop("x")
    of |= {"target_log_var": 0.0} if "target_log_var" in loss.settings else {}
    if "exp(log_" not in loss.formula:  # given by its logarithm, and not said so in the formula
        of |= {name.removeprefix("log_"): math.exp(v) for name, v in of.items() if name.startswith("log_")}
    if "quantile" in settings:
        of["q"] = settings["quantile"]
    if loss.name == "focal_loss":
        of |= {"p": FUNCTIONS["sigmoid"](x)}
        of |= {"p_t": of["p"], "alpha_t": of["alpha"]}
    given = [f"{'p' if loss.input == 'probability' else 'x'} = {number(x)}", f"t = {number(t)}"]
    shown = {k: v for k, v in of.items() if k in settings and k not in SKIPPED}
    given += [f"{formulas.symbol(k)} = {number(v)}" for k, v in shown.items()]
    lines, found = follow(loss, of)
    call = called(loss, f"torch.tensor([{x}])", f"torch.tensor([{t}])")
    return Worked(given, lines, found, call)


def called(loss: Loss, *tensors: str, **extra: Any) -> str:
    """The call in Python, with the settings that are not defaults."""
    settings = dict(loss.arguments[0]) | extra
    return f"losskit.{loss.name}({', '.join([*tensors, *(f'{k}={v!r}' for k, v in settings.items())])})"


def rows(loss: Loss) -> Worked:
    """Three classes, of which the first is right."""
    scores = torch.tensor(ROW, dtype=torch.float64)
    p = scores.softmax(0).tolist()
    settings = settings_of(loss)
    of: dict[str, Any] = {k: v for k, v in settings.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    of["T"] = settings.get("temperature", 1.0)
    given = [rf"x = ({', '.join(map(number, ROW))})"]
    lines = []
    if loss.target == "position" or loss.input == "cosine":
        raise Unreadable("a position" if loss.target == "position" else "a margin before the softmax")
    if loss.input == "log-probability":
        logs = [round(math.log(v), 4) for v in p]
        of |= {"x_y": logs[LABEL], "x": None}
        given = [rf"x = \log p = ({', '.join(map(number, logs))})"]
        call = called(loss, f"torch.tensor([{logs}])", f"torch.tensor([{LABEL}])")
    else:
        lines.append(rf"p = \operatorname{{softmax}}(x) = ({', '.join(map(number, p))})")
        of |= {"p": p, "p_y": p[LABEL]}
        call = called(loss, f"torch.tensor([{list(ROW)}])", f"torch.tensor([{LABEL}])") if loss.target == "label" else ""
    if loss.target == "none":
        call = called(loss, f"torch.tensor([{list(ROW)}])")
    elif loss.target == "distribution":
        of["t"] = list(WANTED)
        given.append(rf"t = ({', '.join(map(number, WANTED))})")
        call = called(loss, f"torch.tensor([{list(ROW)}])", f"torch.tensor([{list(WANTED)}])")
    else:
        given.append("y = 0")
    more, found = follow(loss, of)
    return Worked(given, lines + more, found, call)


def overlap(loss: Loss) -> Worked:
    """Four pixels."""
    settings = settings_of(loss)
    smooth = settings.get("smooth", 0.0)
    of: dict[str, Any] = {k: v for k, v in settings.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    of |= {"s": smooth, "n": float(len(MASK_P))}
    products = " + ".join(rf"{number(a)} \cdot {number(b)}" for a, b in zip(MASK_P, MASK_T, strict=True))
    of["I"] = sum(a * b for a, b in zip(MASK_P, MASK_T, strict=True))
    of["P"], of["T"] = sum(MASK_P), sum(MASK_T)
    given = [f"p = ({', '.join(map(number, MASK_P))})", f"t = ({', '.join(map(number, MASK_T))})", f"s = {number(smooth)}"]
    given += [f"{formulas.symbol(k)} = {number(of[k])}" for k in ("alpha", "beta", "gamma") if k in of]
    lines = [
        rf"I = {products} = {number(of['I'])}",
        rf"P = {' + '.join(map(number, MASK_P))} = {number(of['P'])}",
        rf"T = {' + '.join(map(number, MASK_T))} = {number(of['T'])}",
    ]
    if "sum_c" in loss.formula:
        of |= {name: [of[name]] for name in ("I", "P", "T")} | {"w": [1 / of["T"] ** 2]}
    more, found = follow(loss, of)
    kept = {k: v for k, v in loss.arguments[0].items() if k != "task"}
    call = f"losskit.{loss.name}(torch.tensor([{list(MASK_P)}]), torch.tensor([{list(MASK_T)}]), task='binary', from_logits=False"
    return Worked(given, lines + more, found, call + "".join(f", {k}={v!r}" for k, v in kept.items()) + ")")


def boxes(loss: Loss) -> Worked:
    """Two boxes."""
    (x1, y1, x2, y2), (u1, v1, u2, v2) = BOX, TARGET
    w, h, w_, h_ = x2 - x1, y2 - y1, u2 - u1, v2 - v1
    both = max(min(x2, u2) - max(x1, u1), 0) * max(min(y2, v2) - max(y1, v1), 0)
    either = w * h + w_ * h_ - both
    cw, ch = max(x2, u2) - min(x1, u1), max(y2, v2) - min(y1, v1)
    mx, my = (x1 + x2 - u1 - u2) / 2, (y1 + y2 - v1 - v2) / 2
    settings = settings_of(loss)
    of: dict[str, Any] = {k: v for k, v in settings.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    of |= {
        "w": w,
        "h": h,
        "w*": w_,
        "h*": h_,
        "c_w": cw,
        "c_h": ch,
        "d": math.hypot(mx, my),
        "c": math.hypot(cw, ch),
        "IoU": both / either,
        "m_x": mx,
        "m_y": my,
    }
    if "image_size" in settings:
        of |= {
            "d_1": math.hypot(x1 - u1, y1 - v1),
            "d_2": math.hypot(x2 - u2, y2 - v2),
            "H": float(settings["image_size"][0]),
            "W": float(settings["image_size"][1]),
        }
    given = [f"A = ({', '.join(map(number, BOX))})", f"B = ({', '.join(map(number, TARGET))})"]
    lines = [rf"\mathrm{{IoU}} = \frac{{{number(both)}}}{{{number(w * h)} + {number(w_ * h_)} - {number(both)}}} = {number(both / either)}"]
    names = {name for line in formulas.lines(loss.formula) for c in line if c.math for name in mentioned(c.math)}
    if "d" in names:
        lines.append(rf"d^2 = {formulas.symbol('m_x')}^2 + {formulas.symbol('m_y')}^2 = ({number(mx)})^2 + ({number(my)})^2 = {number(of['d'] ** 2)}")
        lines.append(rf"c^2 = {number(cw)}^2 + {number(ch)}^2 = {number(of['c'] ** 2)}")
    if loss.name == "giou_loss":
        lines += [rf"|C| = {number(cw)} \cdot {number(ch)} = {number(cw * ch)}", rf"|A \cup B| = {number(either)}"]
        found = 1 - both / either + (cw * ch - either) / (cw * ch)
        lines.append(rf"\mathrm{{loss}} = 1 - {number(both / either)} + \frac{{{number(cw * ch)} - {number(either)}}}{{{number(cw * ch)}}} = {number(found)}")
    elif loss.name == "iou_loss":
        found = 1 - both / either
        lines.append(rf"\mathrm{{loss}} = 1 - {number(both / either)} = {number(found)}")
    else:
        more, found = follow(loss, of)
        lines += more
    call = called(loss, f"torch.tensor([{list(BOX)}])", f"torch.tensor([{list(TARGET)}])")
    return Worked(given, lines, found, call)


def mentioned(node: Node) -> set[str]:
    """The names in a formula."""
    return {node.text} | {name for part in node.parts for name in mentioned(part)} if node.kind == "name" or node.parts else set()


KINDS: Mapping[str, Callable[[Loss], Worked]] = {"elementwise": elements, "rows": rows, "overlap": overlap, "boxes": boxes}


def followed(loss: Loss) -> Worked | None:
    """The computation, if the formula's text can be followed."""
    if loss.pattern not in KINDS:
        return None
    try:
        made = KINDS[loss.pattern](loss)
    except (Unreadable, StopIteration, KeyError, TypeError):
        return None
    return made if made.call else None


def worked(loss: Loss) -> Worked:
    """The computation: followed from the formula's text, or written out in `by_hand`. What it comes to must be what the loss gives."""
    made = followed(loss) or WRITTEN[loss.name]()
    with losskit.use_engine("torch"):
        real = float(eval(made.call, {"losskit": losskit, "torch": torch}))
    if not math.isclose(real, made.value, rel_tol=1e-5, abs_tol=1e-7):
        raise AssertionError(f"{loss.name}: by hand {made.value}, the loss gives {real}: {made.call}, {made.lines}")
    return made
