"""Which images are in which parcel, where its data lies, and whether it is still there.

Kept apart from what the scheduler keeps, so that the one can be checked against the other.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pipeline.scheduling import Rows
from pipeline.simulation.archive import Archive, Exits, Images

__all__ = ["Parcels"]

_ROW_BITS = 20
_ROW_MASK = (1 << _ROW_BITS) - 1


@dataclass(slots=True)
class _Parcel:
    """Shards [n], rows therein [n] and exits [n] of the images; `shard` if it is one for all."""

    shard: int | None
    shards: Rows | None
    rows: Rows
    exits: Exits
    node: str
    is_lost: bool = False


class Parcels:
    """Parcels of an archive that are in flight.

    Args:
        archive: tells the exits.
    """

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._parcels: dict[int, _Parcel] = {}
        self._bundles: dict[int, _Parcel] = {}

    def __len__(self) -> int:
        return len(self._parcels) + len(self._bundles)

    def decode(self, parcel: int, shard: int, rows: Rows, node: str) -> None:
        """A decoder starts on a parcel."""
        exits = self._archive.exits(shard, rows)
        self._parcels[parcel] = _Parcel(shard, None, rows, exits, node)

    def bundle(self, call: int, groups: list[Images], node: str) -> tuple[tuple[int, Rows], ...]:
        """Images that a call forwards; returns (parcel, rows) in the bundle's order."""
        images = groups[0] if len(groups) == 1 else Images.join(groups)
        order = np.argsort(images.tickets)
        tickets, exits = images.tickets[order], images.exits[order]
        pieces = tuple(self.by_parcel([tickets]).items())
        shards = np.concatenate([self._shards(parcel, rows) for parcel, rows in pieces])
        rows = np.concatenate([self._parcels[parcel].rows[rows] for parcel, rows in pieces])
        self._bundles[call] = _Parcel(None, shards, rows, exits, node)
        return pieces

    def keep(self, parcel: int, call: int) -> None:
        """A bundle is a parcel now."""
        self._parcels[parcel] = self._bundles.pop(call)

    def release(self, parcel: int) -> None:
        """A parcel is over; one that no decoder ever saw is not known here."""
        self._parcels.pop(parcel, None)

    def images(self, parcel: int, rows: Rows) -> Images:
        """Rows of a parcel, as an actor gets them."""
        return Images(rows | (parcel << _ROW_BITS), self._parcels[parcel].exits[rows])

    def origins(self, parcel: int, rows: Rows) -> list[tuple[int, Rows]]:
        """Where rows of a parcel are from: (shard, rows therein)."""
        entry = self._parcels[parcel]
        if entry.shard is not None:
            return [(entry.shard, entry.rows[rows])]
        shards = self._shards(parcel, rows)
        found = entry.rows[rows]
        return [(shard, found[shards == shard]) for shard in np.unique(shards).tolist()]

    def by_parcel(self, tickets: list[NDArray[np.int64]]) -> dict[int, Rows]:
        """Tickets as rows of their parcels, both ascending."""
        if not tickets:
            return {}
        ordered = np.sort(np.concatenate(tickets))
        parcels = ordered >> _ROW_BITS
        borders = [0, *(np.flatnonzero(np.diff(parcels)) + 1).tolist(), len(ordered)]
        rows = ordered & _ROW_MASK
        return {int(parcels[start]): rows[start:stop] for start, stop in pairwise(borders)}

    def whole(self) -> list[int]:
        """Parcels whose data exists."""
        return [number for number, entry in self._parcels.items() if not entry.is_lost]

    def on_node(self, node: str) -> list[int]:
        """Parcels whose data lies on a node."""
        return [number for number in self.whole() if self._parcels[number].node == node]

    def lose(self, parcel: int) -> None:
        """A parcel's data is gone."""
        self._parcels[parcel].is_lost = True

    def is_lost(self, parcel: int) -> bool:
        """Whether a parcel's data is gone."""
        return self._parcels[parcel].is_lost

    def _shards(self, parcel: int, rows: Rows) -> Rows:
        entry = self._parcels[parcel]
        if entry.shards is None:
            return np.full(len(rows), entry.shard)
        return entry.shards[rows]
