"""Hits as one HTML file: thumbnails, scores and reasons; no scripts, nothing from elsewhere."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from jobs.report.thumbnails import ThumbnailReader
from jobs.search.engine import Found
from pipeline.logs import visible
from pipeline.storage import open_output_store

__all__ = ["contact_sheet", "write_contact_sheet"]


def contact_sheet(found: Found, title: str) -> str:
    """Renders the page; images that cannot be read now are shown by a few words instead.

    Args:
        found: the result of a search.
        title: what was asked for.
    """
    with ThumbnailReader() as reader:
        thumbnails = [reader.read(hit.uri) for hit in found.hits]
    environment = Environment(
        loader=PackageLoader("jobs.search", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    shown = list(zip(found.hits, thumbnails, strict=True))
    template = environment.get_template("contact_sheet.html.j2")
    return template.render(shown=shown, weak_from=found.weak_from, title=title)


def write_contact_sheet(found: Found, title: str, file: str) -> None:
    """Writes the page, replacing an earlier one in one step.

    Raises:
        OutputFailedError: the file cannot be written.
    """
    folder, slash, name = file.rpartition("/")
    store = open_output_store(folder or slash or ".")
    store.prepare()
    store.write(name, contact_sheet(found, title).encode())
