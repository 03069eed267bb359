"""Every image gets one outcome, the prediction of its own bytes, in any order of events."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedupe.index import DuplicateIndex, Image


def image(number: int) -> Image:
    return 0, number


def digest(content: int) -> bytes:
    return content.to_bytes(16, "little")


class World:
    """Images that are decoded, computed, lost, predicted and fail, in any order."""

    def __init__(self, seed: int, num_images: int, num_contents: int, max_waiting: int) -> None:
        self.random = random.Random(seed)
        self.content = {image(n): self.random.randrange(num_contents) for n in range(num_images)}
        self.index = DuplicateIndex(memory_bytes=700, max_waiting=max_waiting)
        self.to_read = list(self.content)
        self.computed: dict[Image, int] = {}  # and the content that was read
        self.results: dict[Image, int | None] = {}  # content that was predicted; None: failed
        self.num_computed = 0

    def end(self, which: Image, prediction: int | None) -> None:
        assert which not in self.results, "ended twice"
        assert prediction is None or prediction == self.content[which], "that of another"
        self.results[which] = prediction

    def read(self) -> None:
        block = self.to_read[: self.random.randint(1, 6)]
        del self.to_read[: len(block)]
        for which in block:
            if self.random.random() < 0.05:
                self.change(which)
        gone = [which for which in block if self.random.random() < 0.1]
        for which in gone:
            self.computed.pop(which, None)
            self.end(which, None)
            self.to_read += self.index.fail(which)
        there = [which for which in block if which not in gone]
        found = self.index.add(there, [digest(self.content[w]) for w in there])
        for which, prediction in found.predicted:
            assert which in [there[position] for position in found.skipped]
            self.end(which, int(prediction))
        self.to_read += found.restarted
        for position, which in enumerate(there):
            if position in found.skipped:
                self.computed.pop(which, None)
            else:
                self.computed[which] = self.content[which]

    def change(self, which: Image) -> None:
        """Replaces the file, as may happen before it is read (again)."""
        self.content[which] = self.random.randrange(1000, 1010)

    def in_hand(self) -> list[Image]:
        return [which for which in self.computed if which not in self.to_read]

    def predict(self) -> None:
        which = self.random.choice(self.in_hand())
        content = self.computed.pop(which)
        self.num_computed += 1
        self.end(which, content)
        for copy in self.index.predict(which, b"%d" % content):
            self.end(copy, content)

    def fail(self) -> None:
        which = self.random.choice(self.in_hand())
        del self.computed[which]
        self.end(which, None)
        for copy in self.index.fail(which):
            self.end(copy, None)

    def lose(self) -> None:
        """Loses an image with its actor, or a prediction before its commit."""
        if self.results and self.random.random() < 0.5:
            which = self.random.choice(list(self.results))
            del self.results[which]
            self.to_read.append(which)
        elif in_hand := self.in_hand():
            self.to_read.append(self.random.choice(in_hand))

    def step(self, fault_rate: float) -> None:
        if self.random.random() < fault_rate:
            self.lose()
        elif self.to_read and (not self.in_hand() or self.random.random() < 0.5):
            self.read()
        elif self.in_hand():
            (self.fail if self.random.random() < fault_rate else self.predict)()

    @property
    def is_over(self) -> bool:
        """As the scheduler sees it, which does not see copies."""
        return not self.to_read and not self.computed


@given(
    seed=st.integers(0, 2**32),
    num_images=st.integers(1, 40),
    num_contents=st.integers(1, 12),
    max_waiting=st.integers(0, 10),
)
def test_every_image_gets_the_prediction_of_its_bytes_once_in_any_order_of_events(
    seed: int, num_images: int, num_contents: int, max_waiting: int
) -> None:
    world = World(seed, num_images, num_contents, max_waiting)
    for step in range(3000):
        if world.is_over:
            break
        world.step(fault_rate=0.15 if step < 150 else 0.0)
        assert world.index.num_waiting <= max_waiting
        assert world.index.num_waiting == 0 or world.computed, "copies wait for nothing"
        assert world.index.num_predictions <= 3
    assert world.is_over
    assert world.results.keys() == world.content.keys()
    assert world.index.num_waiting == 0


def test_copies_wait_for_the_first_and_later_ones_are_predicted_at_once() -> None:
    index = DuplicateIndex()
    same = [digest(7)] * 3
    first = index.add([image(0), image(1), image(2)], same)
    assert first.skipped == [1, 2]
    assert first.predicted == []
    assert index.predict(image(0), b"yes") == [image(1), image(2)]
    later = index.add([image(3), image(4)], [digest(8), digest(7)])
    assert later.skipped == [1]
    assert later.predicted == [(image(4), b"yes")]


def test_a_copy_beyond_the_limit_is_computed_and_may_be_the_first_to_finish() -> None:
    index = DuplicateIndex(max_waiting=1)
    found = index.add([image(n) for n in range(3)], [digest(7)] * 3)
    assert found.skipped == [1]
    assert index.predict(image(2), b"yes") == [image(1)]
    assert index.predict(image(0), b"yes") == []


def test_a_file_that_changed_before_it_was_read_again_keeps_no_copies() -> None:
    index = DuplicateIndex()
    index.add([image(0), image(1)], [digest(7)] * 2)
    found = index.add([image(0)], [digest(8)])
    assert found.restarted == [image(1)]
    assert found.skipped == []
    assert index.add([image(1)], [digest(7)]).skipped == []


def test_with_two_computed_the_failure_of_one_does_not_reach_the_copies() -> None:
    index = DuplicateIndex(max_waiting=1)
    index.add([image(n) for n in range(3)], [digest(7)] * 3)
    assert index.fail(image(0)) == []
    assert index.fail(image(2)) == [image(1)]


def test_the_predictions_of_the_least_recently_met_digests_are_dropped() -> None:
    index = DuplicateIndex(memory_bytes=3 * 210)
    for content in range(3):
        index.add([image(content)], [digest(content)])
        index.predict(image(content), bytes(10))
    assert index.add([image(9)], [digest(0)]).skipped == [0]
    index.add([image(3)], [digest(3)])
    index.predict(image(3), bytes(10))
    known = Counter(n for n in range(4) if index.add([image(10 + n)], [digest(n)]).skipped)
    assert sorted(known) == [0, 2, 3]
