"""The sections of the page, a module and a template each.

To add one: write `NAME.py` with the records that it shows and, if it reads a table, a class with
`COLUMNS` and `add(rows)`; write `NAME.html.j2`; add a field to `ReportData` and fill it in
`build_report`; list NAME here.
"""

__all__ = ["SECTIONS"]

SECTIONS = (
    "exits",
    "compute",
    "audit",
    "confidence",
    "labels",
    "dead_letters",
    "other_files",
    "images",
    "throughput",
    "thresholds",
)
"""Names of the sections, in the order of the page."""
