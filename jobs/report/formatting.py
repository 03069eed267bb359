"""Numbers and names as text of the page."""

__all__ = ["confidence", "count", "duration", "gmacs", "percent", "rate"]

_NO_BREAK = "\u00a0"


def percent(share: float, digits: int = 1) -> str:
    """A share in percent; a part is never rounded to nothing or to the whole."""
    least = 10.0**-digits
    value = 100 * share
    if 0 < value < least:
        return f"<{_NO_BREAK}{least:.{digits}f}{_NO_BREAK}%"
    if 100 - least < value < 100:
        return f">{_NO_BREAK}{100 - least:.{digits}f}{_NO_BREAK}%"
    return f"{value:z.{digits}f}{_NO_BREAK}%"


def confidence(value: float) -> str:
    """A confidence; values just below 1 are not rounded to 1."""
    return ">0.999" if 0.9995 <= value < 1 else f"{value:.3f}"


def gmacs(value: float) -> str:
    """A cost in GMACs with three significant digits, in another unit where that reads better."""
    for size, unit in ((1e6, "PMACs"), (1e3, "TMACs")):
        if value >= 10 * size:
            return f"{value / size:,.1f}{_NO_BREAK}{unit}"
    if 0 < value < 0.1:
        return f"{1000 * value:.3g}{_NO_BREAK}MMACs"
    return f"{value:,.{0 if value >= 1000 else 2}f}{_NO_BREAK}GMACs"


def duration(seconds: float | None) -> str:
    """A duration with its two greatest units."""
    if seconds is None:
        return "–"
    if seconds < 59.95:
        return f"{seconds:.1f}{_NO_BREAK}s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}{_NO_BREAK}min {rest}{_NO_BREAK}s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours:,}{_NO_BREAK}h {minutes}{_NO_BREAK}min"


def count(number: int) -> str:
    """A whole number with thousands separators."""
    return f"{number:,}"


def rate(images_per_second: float | None) -> str:
    """Images per second."""
    if images_per_second is None:
        return "–"
    digits = 0 if images_per_second >= 100 else 1 if images_per_second >= 1 else 3
    return f"{images_per_second:,.{digits}f}"
