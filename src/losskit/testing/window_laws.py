"""The laws of losses of windows, beside those that all kinds share: the published definition, what may be done to both pictures. An item is a picture."""

import math

import torch

from losskit.testing import windows
from losskit.testing.subject import Change, LawBroken, NotOffered, Result, gradient, require_close
from losskit.testing.tables import WINDOW_LAWS, law
from losskit.testing.windows import WindowSubject, require_exact


@law("the value and the gradients are those of the textbook formula", WINDOW_LAWS)
def textbook(s: WindowSubject) -> None:
    """On pictures more or less alike; a loose tolerance, for `error_budget` is the strict one."""
    require_exact(s, *s.batch((1 if s.settings.get("multi_scale") else 3, 1)), tolerance=max(1e-4, s.tolerance) if s.real is torch.float32 else 1e-9)


@law("value and gradients keep their digits whatever the pictures", WINDOW_LAWS)
def error_budget(s: WindowSubject) -> None:
    """Within the registry's tolerance: nearly equal, opposite, dark, bright and nearly flat, flat, shifted, far too large."""
    require_exact(s, *windows.extreme(s))


@law("equal pictures cost exactly 0, with gradient 0", WINDOW_LAWS)
def equal_pictures(s: WindowSubject) -> None:
    """Whatever they show, flat ones included."""
    x, _ = windows.extreme(s)
    pair = s.fresh(x, x.clone())
    value = s.each(*pair)
    for what, z in (("value", value), *(("gradient", g) for g in gradient(value, *pair))):
        if bool((z != 0).any()):
            raise LawBroken(f"{what} of equal pictures: {z[z != 0][0].item()!r}")


@law("mirrored, and turned by 90 degrees, pictures cost the same", WINDOW_LAWS)
def mirrored_and_turned(s: WindowSubject) -> None:
    """A window looks the same from every side. Pictures of even size, of which halving leaves nothing out."""
    x, t = (z[..., : z.shape[-2] // 2 * 2, :] for z in s.batch((2, 2)))
    pair = s.fresh(x, t)
    each = s.each(*pair)
    plain = gradient(each, *pair)
    changes: dict[str, Change] = {"mirrored": lambda z: z.flip(-1), "upside down": lambda z: z.flip(-2), "turned": lambda z: z.mT.flip(-1)}
    for name, change in changes.items():
        other = s.fresh(change(x).contiguous(), change(t).contiguous())
        got = s.each(*other)
        s.require(Result(got, gradient(got, *other)), Result(each, [change(g) for g in plain]), f"of pictures {name}")


@law("both pictures and data_range in other units cost the same", WINDOW_LAWS)
def units(s: WindowSubject) -> None:
    """By powers of two, which round nothing."""
    if not s.offers("data_range"):
        raise NotOffered("no argument data_range")
    x, t = s.batch((2, 2))
    each = s.each(x, t)
    for power in (-40, -8, 8, 40):
        factor = 2.0**power
        other = type(s)(s.function, s.loss, {**s.settings, "data_range": s.settings["data_range"] * factor}, s.dtype, s.engine)
        require_close(other.each(x * factor, t * factor), each, s.tolerance, f"value in units of 2^{power}")


@law("a NaN stays in its picture", WINDOW_LAWS)
def nan_stays(s: WindowSubject) -> None:
    """NaN in gives NaN out, there and nowhere else, in value and gradient."""
    batch = s.batch((2, 3))
    whole = s.fresh(*batch)
    each = s.each(*whole)
    grads = gradient(each, *whole)
    bad = torch.zeros(2, 3, dtype=torch.bool)
    bad[1, 1] = True
    for k, side in enumerate(("input", "target")):
        broken = [z.clone() for z in batch]
        broken[k][1, 1, 3, 3] = math.nan
        other = s.fresh(*broken)
        got = s.each(*other)
        require_close(got, torch.where(bad, math.nan, each), 0.0, f"value with NaN in the {side}")
        for g, plain in zip(gradient(got, *other), grads, strict=True):
            require_close(g[~bad], plain[~bad], 0.0, f"gradient with NaN in the {side}")
