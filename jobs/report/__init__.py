"""The cost report: one HTML page that shows what a cascade did with an archive.

Reads an output (`tags/`, `dead_letters/`, `shards/`, `run.json`, `summary.json`) and knows
nothing of models, engines or the command line. Compute is told in MACs, counted from the model's
configuration; it claims no time saved, because a run does not time itself at full depth.
"""

from jobs.report.collect import build_report
from jobs.report.data import ReportData
from jobs.report.page import render_html, write_report

__all__ = ["ReportData", "build_report", "render_html", "write_report"]
