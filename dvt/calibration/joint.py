"""All thresholds chosen together: the most accurate answers that a mean cost can buy.

The reference's sweep walks a one-parameter family of exit shares. Here every combination on a grid
is looked at: for two thresholds exhaustively, for more by pairs of neighbours from the sweep's rows
on (a beam). What the search maximises is the *expected* share of right answers (`smoothing`), for
the observed one would reward luck. Three rules keep it from being worse than the sweep:

- the sweep's own rows are among the candidates, and what is chosen must have at least the observed
  accuracy of the sweep at that budget: never worse on the data it was fitted on;
- it leaves the sweep's row only for an expected gain of at least one standard error of the
  observed one (the one-standard-error rule): where the sweep is as good, nothing changes;
- and only if the same search, made on either half of the images, has more right answers on the
  other half than the sweep has, in three splits: a gain that does not carry over is none.

Shapes: E exits, n images, M candidates.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dvt.calibration.candidates import Candidates
from dvt.calibration.grid import pair_totals
from dvt.calibration.points import exits_taken
from dvt.calibration.smoothing import expected_values
from dvt.calibration.sweep import SWEEP_POSITIONS, sweep_thresholds
from dvt.errors import ModelError
from dvt.exits import FULL_DEPTH

__all__ = ["JointSearch"]

Floats = NDArray[np.float64]

_LINES = 256  # of each exit, where there is one grid for all
_BEAM_LINES, _BEAM_WIDTH, _BEAM_ROUNDS = 48, 48, 3
_SAME = 1 + 1e-9  # sums of costs in another order
_BISECTIONS = 24
_NUM_SPLITS = 3


class JointSearch:
    """Candidates for all thresholds together, judged once, asked for any budget.

    Args:
        confidences_En: largest softmax probability of every image at every exit.
        right_En: whether each exit's answer is right, or agrees with the last exit.
        gmacs_per_exit: cumulative cost of leaving at each exit, [E].
    """

    def __init__(
        self,
        confidences_En: NDArray[np.float32],
        right_En: NDArray[np.bool_],
        gmacs_per_exit: Sequence[float],
    ) -> None:
        self._confidences, self._right = confidences_En, right_En
        self._costs = np.asarray(gmacs_per_exit, dtype=np.float64)
        self._expected = expected_values(confidences_En, right_En)
        rows = [sweep_thresholds(confidences_En, position) for position in SWEEP_POSITIONS]
        sweep = np.minimum(np.unique(np.array(rows), axis=0), FULL_DEPTH)
        self._sweep = self._only(*sweep)
        self._all = self._explore()

    def at_budget(self, gmacs: float) -> tuple[float, ...]:
        """Thresholds with the best expected accuracy at this mean cost, or less.

        Raises:
            ModelError: not even the first exit can be had for that.
        """
        limit = gmacs * _SAME
        if limit < self._costs[0]:
            raise ModelError(
                f"budget: must be at least the first exit's {self._costs[0]:.4g} GMACs "
                f"(got {gmacs:.4g})"
            )
        swept = self._swept(limit)
        floor = -np.inf if swept is None else self._judge(swept)[2]
        chosen = self._best(limit, floor)
        if chosen is None:
            assert swept is not None, "without a floor, all images can leave at the first exit"
            return swept
        if swept is None or chosen == swept:
            return chosen
        is_better = self._is_worth_it(chosen, swept) and self._carries_over(limit)
        return chosen if is_better else swept

    def _best(self, limit: float, floor: float) -> tuple[float, ...] | None:
        """The best expected accuracy within a cost and with so many right answers observed."""
        chosen = self._all.best_within(limit, floor)
        for first in self._pairs() if chosen is not None else ():
            assert chosen is not None
            near = self._grid(np.array(chosen), first, _LINES, is_near=True)
            chosen = near.joined(self._only(chosen)).best_within(limit, floor) or chosen
        return chosen

    def _only(self, *rows: Sequence[float] | Floats) -> Candidates:
        judged = np.array([self._judge(row) for row in rows])
        return Candidates(np.array(rows, dtype=np.float64), *judged.T)

    def _pairs(self) -> range:
        """The first exits of all pairs of neighbours that have thresholds."""
        num_thresholds = len(self._costs) - 1
        return range(max(num_thresholds - 1, min(num_thresholds, 1)))

    def _swept(self, limit: float) -> tuple[float, ...] | None:
        """The sweep's thresholds for this mean cost, at a position between two if need be."""
        same = np.flatnonzero(np.abs(self._sweep.costs / limit - 1) < 2 * (_SAME - 1))
        if len(same):
            return self._sweep.row(int(same[np.argmax(self._sweep.observed[same])]))
        low, high = 0.0, 20.0 * SWEEP_POSITIONS[-1]
        found: tuple[float, ...] | None = None
        for _ in range(_BISECTIONS):
            middle = (low + high) / 2
            row = tuple(np.minimum(sweep_thresholds(self._confidences, middle), FULL_DEPTH))
            if self._judge(row)[0] <= limit:
                low, found = middle, row
            else:
                high = middle
        return found

    def front(self, most: int) -> list[tuple[float, ...]]:
        """Thresholds that no others beat in both cost and expected accuracy, cheapest first.

        Args:
            most: how many at most.
        """
        best = self._all.best(most)
        return [best.row(index) for index in range(len(best.costs))]

    def _is_worth_it(self, chosen: tuple[float, ...], swept: tuple[float, ...]) -> bool:
        images = np.arange(self._confidences.shape[1])
        new, old = exits_taken(self._confidences, chosen), exits_taken(self._confidences, swept)
        gain = self._expected[new, images].sum() - self._expected[old, images].sum()
        num_changed = np.count_nonzero(self._right[new, images] != self._right[old, images])
        return bool(gain >= np.sqrt(num_changed))

    def _carries_over(self, limit: float) -> bool:
        """Whether what either half of the images chooses is better than the sweep on the other.

        In each of several splits, for one alone may be lucky too.
        """
        for split in self._splits:
            gained = 0
            for half, others in split:
                swept = half._swept(limit)
                if swept is None:
                    continue
                chosen = half._best(limit, half._judge(swept)[2]) or swept
                gained += self._num_right(others, chosen) - self._num_right(others, swept)
            if gained <= 0:
                return False
        return True

    @cached_property
    def _splits(self) -> "list[list[tuple[JointSearch, NDArray[np.int64]]]]":
        """Of each split, a search on either half, and the images of the other."""
        costs = tuple(self._costs.tolist())
        splits = []
        for seed in range(_NUM_SPLITS):  # drawn, since data may be sorted
            order = np.random.default_rng(seed).permutation(self._confidences.shape[1])
            parts = np.array_split(order, 2)
            splits.append(
                [
                    (JointSearch(self._confidences[:, own], self._right[:, own], costs), others)
                    for own, others in (parts, parts[::-1])
                    if len(own)
                ]
            )
        return splits

    def _num_right(self, images: NDArray[np.int64], thresholds: tuple[float, ...]) -> int:
        exits = exits_taken(self._confidences[:, images], thresholds)
        return int(self._right[exits, images].sum())

    def _judge(self, thresholds: Sequence[float] | Floats) -> tuple[float, float, float]:
        """Mean cost, expected and observed number of right answers."""
        images = np.arange(self._confidences.shape[1])
        exits = exits_taken(self._confidences, thresholds)
        return (
            float(self._costs[exits].mean()),
            float(self._expected[exits, images].sum()),
            float(self._right[exits, images].sum()),
        )

    def _explore(self) -> Candidates:
        num_exits = len(self._costs)
        if num_exits == 1:
            return self._sweep
        if num_exits <= 3:
            return self._grid(self._sweep.thresholds[0], 0, _LINES).joined(self._sweep)
        pool = starts = self._sweep
        for _ in range(_BEAM_ROUNDS):
            for part in self._neighbours(starts):
                pool = pool.joined(part.best())
            starts = pool.best(_BEAM_WIDTH)
        return pool

    def _neighbours(self, starts: Candidates) -> Iterator[Candidates]:
        for row in starts.thresholds:
            for first in self._pairs():
                yield self._grid(row, first, _BEAM_LINES)

    def _grid(self, row: Floats, first: int, num_lines: int, is_near: bool = False) -> Candidates:
        """Every pair of lines at exits `first` and `first + 1`, the other thresholds as given.

        Args:
            row: thresholds.
            first: exit.
            num_lines: at either exit.
            is_near: only close to the given ones, and finer.
        """
        num_exits, num_images = self._confidences.shape
        staying = (self._confidences[:first] < row[:first, None]).all(axis=0)
        before = exits_taken(self._confidences, row)[~staying]
        fixed = self._yields(before, np.flatnonzero(~staying)).sum(axis=1)
        images = np.flatnonzero(staying)
        confidences = self._confidences[:, images]
        second = first + 1
        has_second = second < num_exits - 1
        lines = (
            self._lines(first, confidences[first], num_lines, row[first] if is_near else None),
            self._lines(second, confidences[second], num_lines, row[second] if is_near else None)
            if has_second
            else np.array([-np.inf]),  # the last exit takes all
        )
        later = np.full(len(images), num_exits - 1)
        if has_second:
            later = second + 1 + exits_taken(confidences[second + 1 :], row[second + 1 :])
        totals = pair_totals(
            confidences[[first, second]],
            lines,
            self._yields(np.full(len(images), first), images),
            self._yields(np.full(len(images), second), images),
            self._yields(later, images),
        )
        totals += fixed[:, None, None]
        cells = np.repeat(row[None], totals[0].size, axis=0)
        first_of_cell, second_of_cell = np.meshgrid(*lines, indexing="ij")
        cells[:, first] = first_of_cell.ravel()
        if has_second:
            cells[:, second] = second_of_cell.ravel()
        costs, expected, observed = (total.ravel() for total in totals)
        return Candidates(cells, costs / num_images, expected, observed.round())

    def _yields(self, exits: NDArray[np.int64], images: NDArray[np.int64]) -> Floats:
        """Cost, expected and observed right answers of these images at these exits, [3, n]."""
        expected, observed = self._expected[exits, images], self._right[exits, images]
        return np.stack([self._costs[exits], expected, observed.astype(np.float64)])

    def _lines(
        self, exit_index: int, confidences: NDArray[np.float32], number: int, near: float | None
    ) -> Floats:
        """Candidate thresholds: even in rank, denser towards the hard images, and the sweep's."""
        edges = np.array([0.0, FULL_DEPTH])
        if len(confidences) == 0:
            return edges
        ranked, last = np.sort(confidences).astype(np.float64), len(confidences) - 1
        if last < number:
            return np.unique(np.concatenate([edges, ranked]))
        if near is not None:
            centre, reach = np.searchsorted(ranked, near), max(number // 2, last // 64)
            ranks = np.linspace(centre - reach, centre + reach, number).clip(0, last)
            return np.unique(np.append(ranked[ranks.astype(np.int64)], near))
        halves = (np.linspace(0, last, number // 2), np.geomspace(1, last + 1, number // 2) - 1)
        chosen = ranked[np.concatenate(halves).astype(np.int64)]
        return np.unique(np.concatenate([edges, chosen, self._sweep.thresholds[:, exit_index]]))
