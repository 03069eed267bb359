"""Fixtures of the model's tests that the jobs' tests need as well."""

from tests.dvt.conftest import (
    golden_fill,
    golden_scores,
    golden_shapes,
    golden_sweep,
    one_thread,
    published_layout,
    tiny_cascade,
    tiny_config,
)

__all__ = [
    "golden_fill",
    "golden_scores",
    "golden_shapes",
    "golden_sweep",
    "one_thread",
    "published_layout",
    "tiny_cascade",
    "tiny_config",
]
