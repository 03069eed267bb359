"""The options of the cascade."""

from typing import Annotated

from pydantic import Field

from dvt.inference import StateFormat
from dvt.labels import SureOf
from pipeline.options import Options
from pipeline.units import Portion

__all__ = ["CascadeOptions"]


class CascadeOptions(Options):
    """Cascade options."""

    top_k: Annotated[int, Field(ge=1, le=1000, description="labels stored per image")] = 5
    batch_size: Annotated[int, Field(ge=1, le=4096, description="images per forward pass")] = 64
    sure_of: Annotated[
        SureOf,
        Field(description="an image exits when it is sure of its label, or of its group of labels"),
    ] = "label"
    embeddings: Annotated[
        bool,
        Field(
            description="store an embedding of each image for search; added to an output that has "
            "none, it computes those that are missing"
        ),
    ] = False
    audit: Annotated[
        Portion,
        Field(description="share of images also run at full depth to compare answers, e.g. 1%"),
    ] = None
    state: Annotated[
        StateFormat | None,
        Field(
            description="format of the features sent between pools: float32, bfloat16 or int8 "
            "[default: the format they are computed in]"
        ),
    ] = None
