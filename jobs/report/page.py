"""Turns `ReportData` into one HTML file without scripts and without external resources.

Keys, labels and details are whatever an archive holds. Two defences: everything goes through
Jinja's autoescape, and `visible` spells out characters that would change how a line reads.
"""

import unicodedata
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from jobs.report import charts
from jobs.report.collect import build_report
from jobs.report.data import ExitFlow, ReportData
from jobs.report.run_files import archive_name
from pipeline.storage import open_output_store

__all__ = ["render_html", "write_report"]

_NO_BREAK = "\u00a0"
# Joiners that scripts and emoji need; they do not reorder or hide text.
_HARMLESS_FORMAT_CHARACTERS = "\u200c\u200d"


def render_html(data: ReportData) -> str:
    """Renders the page; the same data gives the same bytes."""
    environment = Environment(
        loader=PackageLoader("jobs.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        visible=visible,
        percent=percent,
        confidence=confidence,
        gmacs=gmacs,
        duration=duration,
        count=count,
        rate=rate,
    )
    return environment.get_template("page.html.j2").render(
        data=data,
        run=data.run,
        archive_name=archive_name,
        headline=headline(data),
        charts=charts,
        histograms=_histograms(data.exits),
    )


def write_report(out: str | Path, html: str | Path | None = None) -> str:
    """Makes the report of an output and puts it in place in one step.

    Args:
        out: Output of `dvt tag`: a folder, or `s3://bucket/prefix`.
        html: Where to write; `out/report.html` if None. Its folder is made if it is missing.

    Returns:
        Where it was written to.

    Raises:
        ValueError: `out` is not an output of dvt.
        OutputFailedError: it cannot be read, or the page not be written.
    """
    target = f"{open_output_store(out).uri}/report.html" if html is None else str(html)
    text = render_html(build_report(out))
    folder, slash, name = target.rpartition("/")
    place = open_output_store(folder or slash or ".")
    place.prepare()
    place.write(name, text.encode())
    return target


def headline(data: ReportData) -> str:
    """What came out, in one sentence of plain words."""
    ratio = data.cost_ratio
    if ratio is None:
        return "No pictures are tagged yet."
    first = data.exits[0]
    if len(data.exits) == 1:
        return "The model has one exit: every picture cost the same."
    if first.num_left == 0:
        who = "No picture left at the first exit"
    elif first.num_left == data.num_tagged:
        who = "All pictures left at the first exit"
    else:
        share = percent(first.num_left / data.num_tagged, digits=0)
        who = f"{share} of the pictures left at the first exit"
    return f"{who}; the archive cost {ratio:.2f} of the compute of full depth."


def visible(text: str) -> str:
    """Spells out control, line-breaking and direction-changing characters by code point."""
    return "".join(
        f"\\u{{{ord(character):04x}}}"
        if unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp")
        and character not in _HARMLESS_FORMAT_CHARACTERS
        else character
        for character in text
    )


def percent(share: float, digits: int = 1) -> str:
    """A share in percent; never rounds something to nothing or a part to the whole."""
    least = 10.0**-digits
    value = 100 * share
    if 0 < value < least:
        return f"<{_NO_BREAK}{least:.{digits}f}{_NO_BREAK}%"
    if 100 - least < value < 100:
        return f">{_NO_BREAK}{100 - least:.{digits}f}{_NO_BREAK}%"
    return f"{value:.{digits}f}{_NO_BREAK}%"


def confidence(value: float) -> str:
    """A confidence; almost certain is not printed as certain."""
    return ">0.999" if 0.9995 <= value < 1 else f"{value:.3f}"


def gmacs(value: float) -> str:
    """GMACs with three digits that mean something, and another unit where it reads better."""
    for size, unit in ((1e6, "PMACs"), (1e3, "TMACs")):
        if value >= 10 * size:
            return f"{value / size:,.1f}{_NO_BREAK}{unit}"
    if 0 < value < 0.1:
        return f"{1000 * value:.3g}{_NO_BREAK}MMACs"
    return f"{value:,.{0 if value >= 1000 else 2}f}{_NO_BREAK}GMACs"


def duration(seconds: float | None) -> str:
    """Seconds as a person would say them."""
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


def _histograms(flows: tuple[ExitFlow, ...]) -> list[Markup]:
    shares = [
        (left + went_on) / flow.num_reached
        for flow in flows
        if flow.num_reached
        for left, went_on in zip(flow.histogram_left, flow.histogram_went_on, strict=True)
    ]
    return [charts.confidence_histogram(flow, max(shares, default=1.0)) for flow in flows]
