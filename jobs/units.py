"""Amounts as people write them: `1.2G`, `1%`, `60/25/15`. One place for all commands."""

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
    "duration_text",
    "percent",
]

_UNITS = {"K": 1e-6, "M": 1e-3, "G": 1.0, "T": 1e3}
_COST = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([KMGT])(?:MACs?)?", re.IGNORECASE)


_BYTES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([KMG]I?|)B?", re.IGNORECASE)
_PIXELS = re.compile(r"(\d+(?:\.\d*)?|\.\d+)\s*([KMG]?)(?:P|PIXELS)?", re.IGNORECASE)
_MOST = 2**40
_DURATION = re.compile(
    r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m(?:in)?)?(?:(\d+(?:\.\d+)?)s)?", re.IGNORECASE
)
_PARTS_S = (86400, 3600, 60, 1)
_MOST_S = 365 * 86400


def _gmacs(value: object) -> float | None:
    if value is None:
        return None
    match = _COST.fullmatch(str(value).strip())
    gmacs = float(match[1]) * _UNITS[match[2].upper()] if match else 0.0
    if gmacs <= 0:
        raise ValueError("must be a mean cost per image in MACs, such as 1.2G or 300M")
    return gmacs


def _share(value: object) -> float | None:
    if value is None:
        return None
    text = str(value).strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise ValueError("must be a share between 0 and 100 %, such as 1%")
    return share


def _portion(value: object) -> float | None:
    # 100 % only with its sign: a bare 1 may be meant as 1 %.
    if str(value).strip().replace(" ", "") in ("100%", "100.0%"):
        return 1.0
    try:
        return _share(value)
    except ValueError:
        raise ValueError("must be a share above 0 and at most 100%, such as 1%") from None


def _count_or_share(value: object) -> int | float | None:
    if value is None:
        return None
    text = str(value).strip()
    try:
        if text.endswith("%"):
            share = float(text[:-1]) / 100
            if 0 <= share <= 1:
                return share
        elif int(text) >= 0:
            return int(text)
    except ValueError:
        pass
    raise ValueError("must be a number of images or a share such as 1%")


def _bytes(value: object) -> int:
    return _amount(value, _SIZE, "a size such as 256MiB or 1.5GB, at most 1024GiB")


def _pixels(value: object) -> int:
    return _amount(value, _PIXELS, "a number of pixels such as 200M")


def _amount(value: object, pattern: re.Pattern[str], what: str) -> int:
    match = pattern.fullmatch(str(value).strip())
    amount = round(float(match[1]) * _BYTES[match[2].upper()]) if match else 0
    if not 1 <= amount <= _MOST:
        raise ValueError(f"must be {what}")
    return amount


def _seconds(value: object) -> float | None:
    if value is None:
        return None
    match = _DURATION.fullmatch("".join(str(value).split()))
    parts = match.groups() if match else ()
    seconds = sum(
        float(part or 0) * unit for part, unit in zip(parts, _PARTS_S[: len(parts)], strict=True)
    )
    if not 0 < seconds <= _MOST_S:
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
Share = Annotated[float | None, BeforeValidator(_share)]
Portion = Annotated[float | None, BeforeValidator(_portion)]
CountOrShare = Annotated[int | float | None, BeforeValidator(_count_or_share)]
Bytes = Annotated[int, BeforeValidator(_bytes)]
Pixels = Annotated[int, BeforeValidator(_pixels)]
Seconds = Annotated[float | None, BeforeValidator(_seconds)]
Mix = Annotated[tuple[float, ...] | None, BeforeValidator(_mix)]


def cost_text(gmacs: float) -> str:
    """A cost for a person; small ones in MMACs."""
    return f"{gmacs:.2f} GMACs" if gmacs >= 0.1 else f"{1000 * gmacs:.4g} MMACs"


def percent(share: float) -> str:
    """A share for a person, without needless digits."""
    return f"{100 * share:.4g} %"


def duration_text(seconds: float) -> str:
    """A time for a person: `50.3s`, `1m05s`, `2h00m`."""
    if seconds < 59.95:
        return f"{seconds:.1f}s".replace(".0s", "s")
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{rest:02}s"
