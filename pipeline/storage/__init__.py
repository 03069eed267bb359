"""Where bytes are: local folders and S3. Only this room tells apart where outputs are.

`Store` reads the files of an archive by URI and checks that they are still those that were listed.
`OutputStore` writes an output's files by name, each atomically. Both send their S3 requests through
`S3Connection`, with the retries of `RetryPolicy` and the errors of `errors`.
"""

from pipeline.storage.base import FileStatus, OutputStore, Store
from pipeline.storage.errors import output_failures
from pipeline.storage.input_stores import Stores
from pipeline.storage.local_files import read_file
from pipeline.storage.local_output import LocalOutputStore, whole_name
from pipeline.storage.opening import open_output_store
from pipeline.storage.retry_policy import RetryPolicy
from pipeline.storage.s3_connection import S3Options
from pipeline.storage.s3_output import S3OutputStore

__all__ = [
    "FileStatus",
    "LocalOutputStore",
    "OutputStore",
    "RetryPolicy",
    "S3Options",
    "S3OutputStore",
    "Store",
    "Stores",
    "open_output_store",
    "output_failures",
    "read_file",
    "whole_name",
]
