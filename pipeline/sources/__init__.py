"""Where images come from: an archive lists its images, and its fetcher reads their bytes.

`opening` turns INPUT arguments into an `Archive`: `locations` finds the files that each names, in a
`folder` or by `s3_listing`, and the sources for `tar`, `parquet` and `uri_list` list the images in
them. `sharding` cuts the listing into shards. `fetching` reads the images of a block ahead.
"""

from pipeline.sources.archive import Archive
from pipeline.sources.base import Fetcher, Source
from pipeline.sources.opening import open_archive
from pipeline.sources.options import SourceOptions

__all__ = ["Archive", "Fetcher", "Source", "SourceOptions", "open_archive"]
