"""What a network wants its pixels to be, by name or in figures. Pure.

Every form is that of a card: `value / 255`, minus `mean`, over `std`, by channel. So `raw` (0 to 255) is a standard deviation of 1/255.

Example:
    >>> named("symmetric").mean
    (0.5, 0.5, 0.5)
    >>> named("0.5/0.25").std
    (0.25, 0.25, 0.25)
"""

from __future__ import annotations

import math

import msgspec

from shared.errors import InputError

AUTO, UNIT = "auto", "unit"


class Normalisation(msgspec.Struct, frozen=True, kw_only=True):
    """Means and standard deviations by channel, as a card has them."""

    name: str
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)


KNOWN = {
    one.name: one
    for one in (
        Normalisation(name="imagenet", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        Normalisation(name=UNIT),
        Normalisation(name="symmetric", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
        Normalisation(name="raw", std=(1 / 255, 1 / 255, 1 / 255)),
    )
}
"""What nearly all exported networks want: torchvision's, 0 to 1, -1 to 1, 0 to 255."""


def named(text: str) -> Normalisation:
    """Return the normalisation of a name, or of figures as `mean/std` or `mean,mean,mean/std,std,std` on the scale 0 to 1.

    Raises:
        InputError: neither a name nor figures.
    """
    if text in KNOWN:
        return KNOWN[text]
    mean, slash, std = text.partition("/")
    if not slash:
        raise InputError(
            f"there is no normalisation {text!r}.", f"Give one of {', '.join(KNOWN)}, or figures as MEAN,MEAN,MEAN/STD,STD,STD."
        )
    means, deviations = _three(mean), _three(std)
    if min(deviations) <= 0.0:
        raise InputError(f"the standard deviations {std} are not above 0.", "They are on the scale 0 to 1, such as 0.229.")
    return Normalisation(name="figures", mean=means, std=deviations)


def _three(text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(one) for one in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in {1, 3} or not all(math.isfinite(one) for one in values):
        raise InputError(f"{text!r} are not one or three figures.", "Write them as 0.485,0.456,0.406/0.229,0.224,0.225.")
    return values * 3 if len(values) == 1 else values
