"""What an OpenSearch or Elasticsearch index must be created with: settings and mappings.

Sources: OpenSearch's `knn_vector`, Elasticsearch 9's `dense_vector`, whose default `index_options`
depend on the number of dimensions, so they are stated.
"""

from collections.abc import Mapping
from typing import Any, Literal

import pyarrow as pa

from jobs.index.state import VectorSpace

__all__ = ["Engine", "index_body"]

Engine = Literal["opensearch", "elasticsearch"]

_MAX_KEYWORD_CHARACTERS = 8191  # of up to four bytes; Lucene takes 32,766 bytes
_KEYWORD = {"type": "keyword", "ignore_above": _MAX_KEYWORD_CHARACTERS}
_PROPERTIES: dict[str, dict[str, Any]] = {
    "key": {**_KEYWORD, "fields": {"words": {"type": "text", "analyzer": "path_words"}}},
    "folder": {**_KEYWORD, "fields": {"tree": {"type": "text", "analyzer": "folders"}}},
    "uri": {"type": "keyword", "index": False, "doc_values": False},
    "words": {"type": "text", "analyzer": "english"},
    "exit_stage": {"type": "byte"},
}
_ANALYSIS = {
    "tokenizer": {
        "path_words": {"type": "pattern", "pattern": r"[^\p{L}\p{N}]+"},
        "folders": {"type": "path_hierarchy", "delimiter": "/"},
    },
    "analyzer": {
        "path_words": {
            "type": "custom",
            "tokenizer": "path_words",
            "filter": ["lowercase", "asciifolding"],
        },
        "folders": {"type": "custom", "tokenizer": "folders"},
    },
}


def index_body(
    engine: Engine, schema: pa.Schema, spaces: Mapping[str, VectorSpace]
) -> dict[str, Any]:
    """Body of the request that creates the index.

    Args:
        engine: that will hold it.
        schema: of the documents.
        spaces: vector spaces by the name of their column.
    """
    properties = {
        field.name: _PROPERTIES.get(field.name) or {**_type_of(field.type)}
        for field in schema
        if field.name not in spaces
    }
    vectors = {name: _vector(engine, space.width) for name, space in spaces.items()}
    settings: dict[str, Any] = {"analysis": _ANALYSIS}
    if engine == "opensearch" and spaces:
        settings["index"] = {"knn": True}
    return {
        "settings": settings,
        "mappings": {"dynamic": "strict", "properties": properties | vectors},
    }


def _vector(engine: Engine, width: int) -> dict[str, Any]:
    if engine == "opensearch":
        return {
            "type": "knn_vector",
            "dimension": width,
            "space_type": "cosinesimil",
            "mode": "on_disk",
            "compression_level": "16x",
        }
    return {
        "type": "dense_vector",
        "dims": width,
        "index": True,
        "similarity": "cosine",
        "index_options": {"type": "int8_hnsw"},
    }


def _type_of(kind: pa.DataType) -> dict[str, Any]:
    if pa.types.is_list(kind):
        kind = kind.value_type
    if pa.types.is_boolean(kind):
        return {"type": "boolean"}
    if pa.types.is_integer(kind):
        return {"type": "integer" if kind.bit_width <= 32 else "long"}
    if pa.types.is_floating(kind):
        return {"type": "float" if kind.bit_width <= 32 else "double"}
    if pa.types.is_date(kind) or pa.types.is_timestamp(kind):
        return {"type": "date"}
    return dict(_KEYWORD)
