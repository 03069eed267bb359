"""What must hold after every step, whatever has failed."""

import numpy as np

from pipeline.scheduling import DECODERS
from pipeline.simulation.coordinator import SimulatedCoordinator
from pipeline.simulation.ledger import BrokenInvariantError

__all__ = ["BrokenInvariantError", "Invariants"]

_STEPS = 500
_IMAGES_PER_STEP = 50


class Invariants:
    """Checks a simulated run: sums after every step, each single image from time to time.

    Args:
        coordinator: of the run.

    Attributes:
        peak_bytes: most bytes seen in each queue, reservations included.
    """

    def __init__(self, coordinator: SimulatedCoordinator) -> None:
        self._coordinator = coordinator
        self._limits = limits = coordinator.limits
        self._queue_bytes = limits.queue_bytes
        self._next_full_check = 0
        self.peak_bytes = [0] * len(limits.pools)
        # What may exceed a queue's limit alone: a block, or all that one actor may hold and
        # forward.
        self._largest = [limits.block_length * limits.pools[0].bytes_per_image]
        for before, pool in zip(limits.pools, limits.pools[1:], strict=False):
            batches = before.last_stage - before.first_stage + 2 + limits.calls_in_flight
            self._largest.append(batches * limits.block_length * pool.bytes_per_image)

    def check(self) -> None:
        """Checks after a step.

        Raises:
            BrokenInvariantError: with what is wrong, and when.
        """
        run = self._coordinator
        problem = self._broken_sum()
        if problem is None and run.statistics.num_steps > self._next_full_check:
            # So rarely that it takes no more time than the sums.
            self._next_full_check = run.statistics.num_steps + max(
                _STEPS, run.ledger.num_pending // _IMAGES_PER_STEP
            )
            problem = self._different_images()
        if problem is not None:
            raise BrokenInvariantError(f"{problem} (at {run.events.now_s:.3f} s)")

    def check_end(self) -> None:
        """Checks once the run is finished.

        Raises:
            BrokenInvariantError: images are missing, or something was left behind.
        """
        run = self._coordinator
        run.ledger.commit()
        problem = None
        if run.ledger.num_committed != run.scenario.images:
            problem = f"{run.ledger.num_committed} of {run.scenario.images} images were completed"
        elif len(run.objects):
            problem = f"{len(run.objects)} blocks were never released"
        elif run.scheduler.bytes_in_flight:
            problem = f"{run.scheduler.bytes_in_flight} bytes were never released"
        if problem is not None:
            raise BrokenInvariantError(f"{problem} (at the end)")

    def _broken_sum(self) -> str | None:
        run, limits = self._coordinator, self._limits
        if not run.events.num_work and not run.is_finished:
            return "deadlock: work is left and nothing is in flight"
        num_scheduled, next_has_room = 0, True
        for pool in reversed(range(DECODERS, len(limits.pools))):
            load = run.scheduler.load(pool)
            num_scheduled += load.queued_images + load.quarantined_images + load.held_images
            num_idle = run.cluster.num_idle[pool]
            if load.queued_images and num_idle > load.num_isolated and next_has_room:
                return f"pool {pool}: {num_idle} actors idle, {load.queued_images} images wait"
            if pool != DECODERS:
                num_bytes = load.queue_bytes + load.reserved_bytes
                largest, limit = self._largest[pool], self._queue_bytes[pool]
                if num_bytes > max(limit, largest):
                    return f"queue {pool}: {num_bytes} bytes of {limit}"
                self.peak_bytes[pool] = max(self.peak_bytes[pool], num_bytes)
                next_has_room = not num_bytes or num_bytes + largest <= limit
        if run.scheduler.bytes_in_flight > max(limits.budget_bytes, sum(self._largest)):
            return f"budget: {run.scheduler.bytes_in_flight} bytes of {limits.budget_bytes}"
        if num_scheduled != run.num_pending:
            return f"{run.num_pending} images are pending, the scheduler has {num_scheduled}"
        return None

    def _different_images(self) -> str | None:
        """Compares the scheduler's images with those that are pending, one by one."""
        scheduled = self._coordinator.scheduler.pending_images()
        pending = self._coordinator.pending_images()
        for name, images in (("scheduler", scheduled), ("ledger", pending)):
            if len(np.unique(images)) != len(images):
                return f"{name}: an image is there twice"
        different = np.setxor1d(scheduled, pending)
        if len(different):
            shard, row = divmod(int(different[0]), 2**32)
            return f"{len(different)} images lost or too many, such as row {row} of shard {shard}"
        return None
