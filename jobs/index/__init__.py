"""Search indexes over the tags of an output, kept up to date by the versions of the `tags` table.

`opening` says what a call goes on from. `update` finds what changed since the version that an index
holds (`pipeline.output.changes`), turns the rows into `documents` (with `words` and `vectors`) and
gives them to a `target`: a LanceDB table (`lance_target`, over `lance_table`), bulk files of
OpenSearch or Elasticsearch (`bulk_target`, `bulk_mappings`), or arrays and Parquet files
(`arrays_target`). `joined_vectors` reads vectors computed elsewhere. `state` remembers what the
index holds, so that a call may be killed anywhere. `recall` measures the vector index.
"""
