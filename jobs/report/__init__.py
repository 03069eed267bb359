"""The cost report: one HTML page on what a cascade did with an archive.

`collect.py` reads an output, `page.py` renders it, and each section of the page is a module in
`sections/`. The report needs the output only: no model, no Ray. Compute is counted in MACs from the
model's configuration. A run does not time itself at full depth, so no time saved is claimed.
"""

from jobs.report.collect import ReportData, build_report
from jobs.report.page import render_html, write_report

__all__ = ["ReportData", "build_report", "render_html", "write_report"]
