"""Copies: every image ends once, with the answer of its own bytes, in any order of events."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pipeline.dedupe.index import Duplicates, Image


def image(number: int) -> Image:
    return 0, number


def digest(content: int) -> bytes:
    return content.to_bytes(16, "little")


class World:
    """Images that are read, computed, lost, answered and fail, in any order."""

    def __init__(self, seed: int, num_images: int, num_contents: int, max_waiting: int) -> None:
        self.random = random.Random(seed)
        self.content = {image(n): self.random.randrange(num_contents) for n in range(num_images)}
        self.duplicates = Duplicates(memory_bytes=700, max_waiting=max_waiting)
        self.to_read = list(self.content)
        self.computed: dict[Image, int] = {}  # and the content that was read
        self.results: dict[Image, int | None] = {}  # content that was answered; None: dead
        self.num_computed = 0

    def end(self, which: Image, answer: int | None) -> None:
        assert which not in self.results, "ended twice"
        assert answer is None or answer == self.content[which], "another's answer"
        self.results[which] = answer

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
            self.to_read += self.duplicates.ended(which)
        there = [which for which in block if which not in gone]
        found = self.duplicates.decoded(there, [digest(self.content[w]) for w in there])
        for which, answer in found.shared:
            assert which in [there[place] for place in found.over]
            self.end(which, int(answer))
        self.to_read += found.again
        for place, which in enumerate(there):
            if place in found.over:
                self.computed.pop(which, None)
            else:
                self.computed[which] = self.content[which]

    def change(self, which: Image) -> None:
        """The file is another from now on, as it may be before it is read (again)."""
        self.content[which] = self.random.randrange(1000, 1010)

    def in_hand(self) -> list[Image]:
        return [which for which in self.computed if which not in self.to_read]

    def answer(self) -> None:
        which = self.random.choice(self.in_hand())
        content = self.computed.pop(which)
        self.num_computed += 1
        self.end(which, content)
        for copy in self.duplicates.answered(which, b"%d" % content):
            self.end(copy, content)

    def fail(self) -> None:
        which = self.random.choice(self.in_hand())
        del self.computed[which]
        self.end(which, None)
        for copy in self.duplicates.ended(which):
            self.end(copy, None)

    def lose(self) -> None:
        """An image with its actor, or an answer before its commit."""
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
            (self.fail if self.random.random() < fault_rate else self.answer)()

    @property
    def is_over(self) -> bool:
        """As the scheduler sees it, which knows nothing of copies."""
        return not self.to_read and not self.computed


@given(
    seed=st.integers(0, 2**32),
    num_images=st.integers(1, 40),
    num_contents=st.integers(1, 12),
    max_waiting=st.integers(0, 10),
)
def test_every_image_ends_once_with_the_answer_of_its_bytes_in_any_order_of_events(
    seed: int, num_images: int, num_contents: int, max_waiting: int
) -> None:
    world = World(seed, num_images, num_contents, max_waiting)
    for step in range(3000):
        if world.is_over:
            break
        world.step(fault_rate=0.15 if step < 150 else 0.0)
        assert world.duplicates.num_waiting <= max_waiting
        assert world.duplicates.num_waiting == 0 or world.computed, "nobody will tell them"
        assert world.duplicates.num_known <= 3
    assert world.is_over
    assert world.results.keys() == world.content.keys()
    assert world.duplicates.num_waiting == 0


def test_copies_wait_for_the_first_and_later_ones_are_told_at_once() -> None:
    duplicates = Duplicates()
    same = [digest(7)] * 3
    first = duplicates.decoded([image(0), image(1), image(2)], same)
    assert first.over == [1, 2]
    assert first.shared == []
    assert duplicates.answered(image(0), b"yes") == [image(1), image(2)]
    later = duplicates.decoded([image(3), image(4)], [digest(8), digest(7)])
    assert later.over == [1]
    assert later.shared == [(image(4), b"yes")]


def test_what_finds_no_room_to_wait_is_computed_and_may_answer_first() -> None:
    duplicates = Duplicates(max_waiting=1)
    found = duplicates.decoded([image(n) for n in range(3)], [digest(7)] * 3)
    assert found.over == [1]
    assert duplicates.answered(image(2), b"yes") == [image(1)]
    assert duplicates.answered(image(0), b"yes") == []


def test_a_file_that_changed_before_it_was_read_again_keeps_no_copies() -> None:
    duplicates = Duplicates()
    duplicates.decoded([image(0), image(1)], [digest(7)] * 2)
    found = duplicates.decoded([image(0)], [digest(8)])
    assert found.again == [image(1)]
    assert found.over == []
    assert duplicates.decoded([image(1)], [digest(7)]).over == []


def test_with_two_computed_the_failure_of_one_is_its_own() -> None:
    duplicates = Duplicates(max_waiting=1)
    duplicates.decoded([image(n) for n in range(3)], [digest(7)] * 3)
    assert duplicates.ended(image(0)) == []
    assert duplicates.ended(image(2)) == [image(1)]


def test_answers_of_digests_that_were_met_least_lately_are_forgotten() -> None:
    duplicates = Duplicates(memory_bytes=3 * 210)
    for content in range(3):
        duplicates.decoded([image(content)], [digest(content)])
        duplicates.answered(image(content), bytes(10))
    assert duplicates.decoded([image(9)], [digest(0)]).over == [0]
    duplicates.decoded([image(3)], [digest(3)])
    duplicates.answered(image(3), bytes(10))
    known = Counter(n for n in range(4) if duplicates.decoded([image(10 + n)], [digest(n)]).over)
    assert sorted(known) == [0, 2, 3]
