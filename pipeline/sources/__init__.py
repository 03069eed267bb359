"""Where images come from: an archive lists its images, and its fetcher gets their bytes.

An INPUT argument names files (`locations`), which are pictures or hold some (`tar`, `parquet`,
`uris`), and which lie in a store (`local`, `s3`). Several of them are one `Archive`.
"""

from pipeline.sources.archive import Archive
from pipeline.sources.base import Fetcher, Source
from pipeline.sources.opening import open_archive
from pipeline.sources.options import SourceOptions
from pipeline.storage.local_files import read_file

__all__ = ["Archive", "Fetcher", "Source", "SourceOptions", "open_archive", "read_file"]
