"""The output of a job: what is committed, what makes an image done, and one run at a time.

`layout` is a run's way through an output: `lease` lets one run write, `continuation` says whether
it may continue, `repair` compares the tables with what they should hold. `ledger` opens shards
(`resume`, by `key_lookup` or `earlier_rows`; `retag` for stricter thresholds; `finished_shards`)
and commits `results`. A table is `delta_table` over `delta_log`, which fences earlier runs out;
`parquet_files` writes its files and `compaction` merges them. `metadata` has the small files beside
the tables, `summary`, `counts` and `status` their figures; `verify` checks everything, with
`table_files` and `key_digests`. `changes` compares two versions of a table.
"""
