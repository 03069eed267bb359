"""What must hold after every step, whatever has failed."""

import numpy as np

from pipeline.scheduling import DECODERS
from pipeline.simulation.accounts import BrokenInvariantError
from pipeline.simulation.scenario import Scenario
from pipeline.simulation.world import World

__all__ = ["Invariants"]

_STEPS = 500
_IMAGES_PER_STEP = 50


class Invariants:
    """Checks a world; sums only, so that it costs little.

    Args:
        scenario: that runs.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._limits = limits = scenario.limits
        self._queues = limits.queue_bytes
        self._next_full_check = 0
        # What passes alone though it is larger than its queue: a block, or all that one actor may
        # hold and forward.
        self._largest = [limits.block_length * limits.pools[0].bytes_per_image]
        ranges = scenario.stage_ranges
        for (first, last), pool in zip(ranges, limits.pools[1:], strict=False):
            batches = last - first + 2 + scenario.calls_in_flight
            self._largest.append(batches * scenario.batch_size * pool.bytes_per_image)

    def check(self, world: World) -> None:
        """Checks after a step: sums always, each single image from time to time.

        Raises:
            BrokenInvariantError: with what is wrong, and when.
        """
        problem = self._problem(world)
        steps = world.counts.num_steps
        if problem is None and steps >= self._next_full_check:
            # So rarely that it takes no more time than the sums.
            self._next_full_check = steps + max(_STEPS, world.accounts.num_open // _IMAGES_PER_STEP)
            problem = _different_images(world)
        if problem is not None:
            raise BrokenInvariantError(f"{problem} (at {world.agenda.now_s:.3f} s)")

    def check_end(self, world: World) -> None:
        """Checks once the work is done.

        Raises:
            BrokenInvariantError: images are missing, or something was left behind.
        """
        world.accounts.commit()
        images = world.scenario.images
        problem = None
        if world.accounts.num_committed != images:
            problem = f"{world.accounts.num_committed} of {images} images ended"
        elif len(world.blocks):
            problem = f"{len(world.blocks)} blocks were never released"
        elif world.scheduler.bytes_in_flight:
            problem = f"{world.scheduler.bytes_in_flight} bytes were never released"
        if problem is not None:
            raise BrokenInvariantError(f"{problem} (at the end)")

    def _problem(self, world: World) -> str | None:
        if not world.agenda.num_work and not world.is_finished:
            return "deadlock: work is left and nothing is in flight"
        scheduler, limits = world.scheduler, self._limits
        queues, peaks = self._queues, world.counts.peak_bytes
        num_known, room_behind = 0, True
        for pool in reversed(range(DECODERS, len(queues))):
            load = scheduler.load(pool)
            num_known += load.queued_images + load.quarantined_images + load.held_images
            if load.queued_images and world.fleet.idle[pool] > load.num_isolated and room_behind:
                return (
                    f"pool {pool}: {world.fleet.idle[pool]} idle, {load.queued_images} images wait"
                )
            if pool == DECODERS:
                break
            num_bytes = load.queue_bytes + load.reserved_bytes
            peaks[pool] = max(peaks[pool], num_bytes)
            largest = self._largest[pool]
            if num_bytes > max(queues[pool], largest):
                return f"queue {pool}: {num_bytes} bytes of {queues[pool]}"
            room_behind = not num_bytes or num_bytes + largest <= queues[pool]
        if scheduler.bytes_in_flight > max(limits.budget_bytes, sum(self._largest)):
            return f"budget: {scheduler.bytes_in_flight} bytes of {limits.budget_bytes}"
        # Rows that a new coordinator has yet to list again are open, but not known to it.
        num_open = world.accounts.num_open - world.num_to_list_again
        if num_known != num_open:
            return f"{num_open} images are open, the scheduler knows of {num_known}"
        return None


def _different_images(world: World) -> str | None:
    """The images that the scheduler has, one by one, against those that are open."""
    has = world.scheduler.pending_images()
    expected = world.open_images()
    for of, images in (("scheduler", has), ("accounts", expected)):
        if len(np.unique(images)) != len(images):
            return f"{of}: an image is there twice"
    different = np.setxor1d(has, expected)
    if len(different):
        shard, row = divmod(int(different[0]), 2**32)
        return f"{len(different)} images are lost or too many, such as row {row} of shard {shard}"
    return None
