"""What a call goes on from: the state of an earlier one, or a new index; opens the target."""

import logging

from jobs.index.arrays_target import ArraysTarget
from jobs.index.bulk_target import BulkTarget
from jobs.index.documents import Documents
from jobs.index.lance_target import LanceTarget
from jobs.index.state import IndexKind, IndexState, VectorSpace, read_state
from jobs.index.target import Target
from pipeline.errors import UsageError
from pipeline.output.changes import TableVersion
from pipeline.storage import OutputStore

__all__ = ["new_state", "open_target", "usable_state"]

logger = logging.getLogger(__name__)


def usable_state(
    store: OutputStore,
    kind: IndexKind,
    out: OutputStore,
    newest: TableVersion,
    documents: Documents,
) -> IndexState | None:
    """The state to go on from; None to build the index anew.

    Args:
        store: of the index.
        kind: that is asked for.
        out: the output.
        newest: version of its `tags`.
        documents: of that version.

    Raises:
        UsageError: the index is of another kind, output or model.
    """
    state = read_state(store)
    if state is None:
        return None
    way_out = "choose another --to, or --overwrite to build it anew"
    if state.kind != kind:
        raise UsageError(f"to: {store.uri} is an index of the format {state.kind}; {way_out}")
    if state.table != newest.identity and state.out != out.uri:
        raise UsageError(f"to: {store.uri} is an index of {state.out}; {way_out}")
    space, earlier = documents.space, state.spaces.get("embedding")
    if space is not None and earlier is not None and space.model != earlier.model:
        raise UsageError(
            f"out: its vectors are of the model {space.model}, those of {store.uri} are of "
            f"{earlier.model}; {way_out}"
        )
    if state.columns != _columns(documents):
        logger.info("%s has other columns than its tags now; building it anew", store.uri)
        return None
    if state.kind == "parquet-npy":  # written as a whole
        versions = {state.applied, state.pending and state.pending.version}
        is_same = state.table == newest.identity and newest.number in versions
        return state if is_same else None
    return state


def new_state(
    kind: IndexKind, out: OutputStore, newest: TableVersion, documents: Documents
) -> IndexState:
    """The state of an index without documents."""
    space = documents.space
    return IndexState(
        kind=kind,
        out=out.uri,
        table=newest.identity,
        columns=_columns(documents),
        spaces={} if space is None else {"embedding": space},
    )


def open_target(
    store: OutputStore, kind: IndexKind, documents: Documents, spaces: dict[str, VectorSpace]
) -> Target:
    """The target of a kind; nothing is written yet.

    Raises:
        UsageError: the kind needs what is not there: LanceDB, or embeddings.
    """
    if kind == "parquet-npy":
        return ArraysTarget(store, spaces)
    if kind == "lancedb":
        return LanceTarget(store, documents.schema, documents.kept, spaces)
    return BulkTarget(store, kind, documents.schema, spaces)


def _columns(documents: Documents) -> dict[str, str]:
    return {field.name: str(field.type) for field in documents.schema}
