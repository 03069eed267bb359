"""Quantities as people write them: `1.2G`, `1%`, `256MiB`, `60/25/15`, and as text again.

Each type parses text and accepts its own values unchanged, so that stored settings validate again.
"""

import re
from typing import Annotated

from pydantic import BeforeValidator

__all__ = [
    "Bytes",
    "CountOrShare",
    "Gmacs",
    "Mix",
    "Pixels",
    "Portion",
    "Seconds",
    "Share",
    "cost_text",
    "counted",
    "duration_text",
    "percent",
]

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_COST = re.compile(rf"{_NUMBER}\s*([KMGT])(?:MACs?)?", re.IGNORECASE)
_GMACS_OF_UNIT = {"K": 1e-6, "M": 1e-3, "G": 1.0, "T": 1e3}
_SIZE = re.compile(rf"{_NUMBER}\s*([KMG]I?|)B?", re.IGNORECASE)
_PIXELS = re.compile(rf"{_NUMBER}\s*([KMG]?)(?:P|PIXELS)?", re.IGNORECASE)
_FACTORS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
_MAX_AMOUNT = 2**40
_DURATION = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?", re.IGNORECASE
)
_SECONDS_OF_UNIT = (86400, 3600, 60, 1)
_MAX_SECONDS = 365 * 86400


def _gmacs(value: object) -> float | None:
    if value is None:
        return None
    match = _COST.fullmatch(str(value).strip())
    gmacs = float(match[1]) * _GMACS_OF_UNIT[match[2].upper()] if match else 0.0
    if gmacs <= 0:
        raise ValueError("must be a mean cost per image in MACs, such as 1.2G or 300M")
    return gmacs


def _share(value: object) -> float | None:
    if value is None:
        return None
    share = _fraction(value)
    if not 0 < share < 1:
        raise ValueError("must be a share between 0 and 100 %, such as 1%")
    return share


def _portion(value: object) -> float | None:
    if value is None:
        return None
    share = _fraction(value)
    # A bare 1 could mean 1 %; the float 1.0 is a parsed 100%.
    is_clear = share < 1 or isinstance(value, float) or str(value).strip().endswith("%")
    if not 0 < share <= 1 or not is_clear:
        raise ValueError("must be a share above 0 and at most 100%, such as 1%")
    return share


def _fraction(value: object) -> float:
    """A share from `1%`, `0.01` or a number; NaN if it is none of these."""
    text = str(value).strip()
    try:
        return float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        return float("nan")


def _count_or_share(value: object) -> int | float | None:
    if value is None:
        return None
    text = str(value).strip()
    if isinstance(value, float) or text.endswith("%"):
        share = _fraction(value)
        if 0 <= share <= 1:
            return share
    elif text.isdecimal():
        return int(text)
    raise ValueError("must be a number of images or a share such as 1%")


def _bytes(value: object) -> int:
    return _amount(value, _SIZE, "a size such as 256MiB or 1.5GB, at most 1024GiB")


def _pixels(value: object) -> int:
    return _amount(value, _PIXELS, "a number of pixels such as 200M")


def _amount(value: object, pattern: re.Pattern[str], what: str) -> int:
    match = pattern.fullmatch(str(value).strip())
    amount = round(float(match[1]) * _FACTORS[match[2].upper()]) if match else 0
    if not 1 <= amount <= _MAX_AMOUNT:
        raise ValueError(f"must be {what}")
    return amount


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    match = _DURATION.fullmatch("".join(str(value).split()))
    parts = match.groups() if match else (None,) * len(_SECONDS_OF_UNIT)
    seconds = sum(
        float(part or 0) * unit for part, unit in zip(parts, _SECONDS_OF_UNIT, strict=True)
    )
    if not 0 < seconds <= _MAX_SECONDS:
        raise ValueError("must be a time such as 90s, 45m, 2h or 1h30m, at most 365d")
    return seconds


def _mix(value: object) -> tuple[float, ...] | None:
    if value is None:
        return None
    parts = value if isinstance(value, list | tuple) else str(value).split("/")
    try:
        numbers = [float(str(part)) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) < 2 or min(numbers) < 0 or not 0 < sum(numbers) < float("inf"):
        raise ValueError("must be shares of the images, one for each exit, such as 60/25/15")
    return tuple(number / sum(numbers) for number in numbers)


Gmacs = Annotated[float | None, BeforeValidator(_gmacs)]
"""Mean cost of an image in GMACs, from text such as `1.2G` or `300M`."""

Share = Annotated[float | None, BeforeValidator(_share)]
"""A share above 0 and below 1, from text such as `1%` or `0.01`."""

Portion = Annotated[float | None, BeforeValidator(_portion)]
"""A share above 0 and at most 1; all is written `100%`, not `1`."""

CountOrShare = Annotated[int | float | None, BeforeValidator(_count_or_share)]
"""A number of images (int), or a share of them (float) from text such as `1%`."""

Bytes = Annotated[int, BeforeValidator(_bytes)]
"""Bytes, from text such as `256MiB` or `1.5GB`."""

Pixels = Annotated[int, BeforeValidator(_pixels)]
"""Pixels, from text such as `200M`."""

Seconds = Annotated[float | None, BeforeValidator(_seconds)]
"""Seconds, from text such as `90s`, `45m` or `1h30m`."""

Mix = Annotated[tuple[float, ...] | None, BeforeValidator(_mix)]
"""Shares of the images, one for each exit, scaled to sum to 1, from text such as `60/25/15`."""


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number and its noun: `1 image`, `1,200 images`."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def cost_text(gmacs: float) -> str:
    """A cost in GMACs, or in MMACs below 0.1 GMACs."""
    return f"{gmacs:.2f} GMACs" if gmacs >= 0.1 else f"{1000 * gmacs:.4g} MMACs"


def percent(share: float) -> str:
    """A share in percent with up to four significant digits: `1 %`."""
    return f"{100 * share:.4g} %"


def duration_text(seconds: float) -> str:
    """A duration: `50.3s`, `1m05s`, `2h00m`."""
    if seconds < 59.95:
        return f"{seconds:.1f}s".replace(".0s", "s")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
