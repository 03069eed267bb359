"""The options of the image sources."""

from typing import Annotated, Literal

from pydantic import Field

from pipeline.options import Names, Options, Texts

__all__ = ["InputFormat", "SourceOptions"]

InputFormat = Literal["auto", "files", "webdataset", "parquet"]


class SourceOptions(Options):
    """Source options."""

    input_format: Annotated[
        InputFormat, Field(description="format of INPUT; auto: detected from file names")
    ] = "auto"
    include: Annotated[
        Texts, Field(description="take only keys that match this glob pattern; repeatable")
    ] = ()
    exclude: Annotated[
        Texts, Field(description="skip keys that match this glob pattern; repeatable")
    ] = ()
    all_files: Annotated[
        bool, Field(description="take hidden files, thumbnail caches and recycle bins too")
    ] = False
    keep_columns: Annotated[
        Names, Field(description="Parquet columns to copy into the tags table, e.g. A,B")
    ] = ()
    requester_pays: Annotated[
        bool, Field(description="accept charges for S3 requests and traffic")
    ] = False
