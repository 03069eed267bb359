"""Renders `ReportData` as one HTML file without scripts and without external resources.

Keys, labels and details are whatever an archive holds. Jinja's autoescape covers all of them, and
`visible` spells out characters that would change how a line reads.
"""

from pathlib import Path, PurePosixPath

from jinja2 import Environment, PackageLoader, StrictUndefined

from jobs.report import formatting
from jobs.report.collect import ReportData, build_report
from jobs.report.sections import SECTIONS
from jobs.report.sections.confidence import confidence_chart
from jobs.report.sections.exits import flow_chart
from jobs.report.sections.throughput import throughput_chart
from jobs.report.svg import exit_color, stacked_bar
from pipeline.logs import visible
from pipeline.output.metadata import RunFile
from pipeline.storage import open_output_store

__all__ = ["render_html", "write_report"]


def write_report(out: str | Path, html: str | Path | None = None) -> str:
    """Writes the report of an output, replacing an earlier one in one step.

    Args:
        out: output of `dvt tag`: a folder, or `s3://bucket/prefix`.
        html: file of the page; `out/report.html` if None. Its folder is created if missing.

    Returns:
        The file of the page.

    Raises:
        UsageError: `out` is no output of dvt, or its files contradict each other.
        OutputFailedError: `out` cannot be read or the page cannot be written.
    """
    target = f"{open_output_store(out).uri}/report.html" if html is None else str(html)
    text = render_html(build_report(out))
    folder, slash, name = target.rpartition("/")
    store = open_output_store(folder or slash or ".")
    store.prepare()
    store.write(name, text.encode())
    return target


def render_html(data: ReportData) -> str:
    """Renders the page; the same data gives the same bytes."""
    environment = Environment(
        loader=PackageLoader("jobs.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update({name: getattr(formatting, name) for name in formatting.__all__})
    environment.filters["visible"] = visible
    environment.globals.update(
        confidence_chart=confidence_chart,
        exit_color=exit_color,
        flow_chart=flow_chart,
        stacked_bar=stacked_bar,
        throughput_chart=throughput_chart,
    )
    return environment.get_template("page.html.j2").render(
        data=data,
        run=data.run,
        archive=_archive_name(data.run),
        headline=headline(data),
        sections=SECTIONS,
    )


def headline(data: ReportData) -> str:
    """The outcome in one sentence."""
    ratio = data.compute.ratio
    if ratio is None:
        return "No images are tagged yet."
    if len(data.exits) == 1:
        return "The model has one exit: every image cost the same."
    num_first = data.exits[0].num_images
    if num_first == 0:
        exited = "No image"
    elif num_first == data.num_tagged:
        exited = "All images"
    else:
        exited = f"{formatting.percent(num_first / data.num_tagged, digits=0)} of the images"
    return f"{exited} exited at the first stage; compute was {ratio:.2f} of full depth."


def _archive_name(run: RunFile) -> str:
    """The last part of the first input, and the number of others."""
    first = PurePosixPath(run.inputs[0].rstrip("/")).name or run.inputs[0]
    more = len(run.inputs) - 1
    return f"{first} and {more} more" if more else first
