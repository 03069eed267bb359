"""Logits of all members on the same pictures, and the seconds that each stage takes here.

Shapes: n images, S pixels per side, C classes.
"""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

import dvt
from dvt.device import best_device
from dvt.inference import StageExecutor
from dvt.inference.profiling import time_in_turns
from dvt.members.alignment import align_classes
from dvt.members.cascade import ExitConfig, MemberCascade, MemberConfig, MembersConfig
from dvt.reuse import StageState
from jobs.datasets import ClassIds, DecodedBatch, LabelledSource, check_readable, in_batches
from jobs.evaluation.recorder import is_in_second_half
from pipeline.progress import Progress, ProgressListener
from pipeline.runtime.resource_plan import decode_settings

__all__ = ["Member", "MemberLogits", "compose", "input_effects", "record_members"]

T = TypeVar("T")

_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Member:
    """A model that may become a part of a cascade.

    Attributes:
        source: as for `dvt.load_model`.
        model: loaded.
    """

    source: str
    model: dvt.Model

    @property
    def name(self) -> str:
        """For messages."""
        return self.model.spec.name


@dataclass(frozen=True, slots=True)
class MemberLogits:
    """What the members answered.

    Attributes:
        logits: of each member's stages, [n, C] in the class order of the last member.
        seconds: of each member's stages, per image in a full batch.
        labels: class ids [n]; None without labels.
        keys: of the images.
    """

    logits: tuple[tuple[Tensor, ...], ...]
    seconds: tuple[tuple[float, ...], ...]
    labels: Tensor | None
    keys: tuple[str, ...]

    def first_half(self) -> "MemberLogits":
        """The images of the first half; the other one stays for the proof of thresholds."""
        rows = torch.tensor([not is_in_second_half(key) for key in self.keys])
        if not rows.any():
            return self
        return replace(
            self,
            logits=tuple(tuple(stage[rows] for stage in member) for member in self.logits),
            labels=None if self.labels is None else self.labels[rows],
            keys=tuple(key for key, kept in zip(self.keys, rows.tolist(), strict=True) if kept),
        )

    @property
    def truth(self) -> Tensor:
        """The answers [n] that count as right: the labels, else those of the last member."""
        return self.logits[-1][-1].argmax(dim=1) if self.labels is None else self.labels


def compose(members: Sequence[Member], name: str, exits: Sequence[ExitConfig]) -> MemberCascade:
    """A cascade of members, their classes aligned.

    Raises:
        ModelError: the classes of the members differ.
    """
    labels = [member.model.labels for member in members]
    orders = align_classes([member.name for member in members], labels)
    config = MembersConfig(
        name=name,
        members=tuple(
            MemberConfig(source=f"members/{number}", class_order=order)
            for number, order in enumerate(orders, start=1)
        ),
        exits=tuple(exits),
    )
    return MemberCascade(config, [member.model for member in members], labels[-1])


def record_members(
    members: Sequence[Member],
    source: LabelledSource,
    ids: ClassIds | None,
    data: str,
    batch_size: int,
    on_progress: ProgressListener,
) -> MemberLogits:
    """Runs all stages of all members on pictures, and times them in turns.

    Args:
        members: from the cheapest to the best.
        source: of the pictures.
        ids: class ids of their labels; None to ignore the labels.
        data: name of the pictures, for errors.
        batch_size: images per forward pass.
        on_progress: called after each batch.

    Raises:
        UsageError: the data cannot be used.
        ModelError: the classes of the members differ.
    """
    num_stages = sum(member.model.spec.num_stages for member in members)
    cascade = compose(members, "all", [ExitConfig()] * num_stages)
    device = best_device()
    executor = cascade.make_executor(device, cascade.inference_dtype(device))
    settings = decode_settings(cascade.spec)
    parts: list[list[Tensor]] = [[] for _ in range(num_stages)]
    labels: list[int] = []
    keys: list[str] = []
    num_unreadable, started = 0, time.monotonic()
    timed: DecodedBatch | None = None
    for batch in in_batches(source.batches(settings), batch_size):
        num_unreadable += batch.num_unreadable
        if not batch.keys:
            continue
        timed = timed or batch
        for stage, logits in enumerate(_run_all(executor, batch, batch_size)):
            parts[stage].append(logits)
        keys += batch.keys
        if ids is not None:
            labels += [ids.id_of(label) for label in batch.labels]
        elapsed_s = time.monotonic() - started
        on_progress(Progress(None, 0, len(keys), num_unreadable, (), elapsed_s))
    check_readable(data, len(keys), num_unreadable)
    assert timed is not None
    seconds = _stage_seconds(executor, timed, batch_size)
    joined = [torch.cat(part) for part in parts]
    return MemberLogits(
        logits=tuple(_by_member(members, joined)),
        seconds=tuple(_by_member(members, seconds)),
        labels=None if ids is None else torch.tensor(labels),
        keys=tuple(keys),
    )


def input_effects(
    members: Sequence[Member], source: LabelledSource, logits: MemberLogits, batch_size: int
) -> tuple[float | None, ...]:
    """Share of the labels that differ from those with pictures decoded at a member's own size.

    Args:
        members: as recorded.
        source: the same pictures.
        logits: of the members.
        batch_size: images per forward pass.

    Returns:
        One for each member's last stage; None where the shared pixels are its own.
    """
    cascade = compose(members, "all", [ExitConfig()] * sum(map(len, logits.logits)))
    device, shared = best_device(), decode_settings(cascade.spec)
    effects: list[float | None] = []
    for member, order, own_logits in zip(
        members, cascade.config.members, logits.logits, strict=True
    ):
        settings = decode_settings(member.model.spec)
        if settings == shared:
            effects.append(None)
            continue
        executor = member.model.make_executor(device, cascade.inference_dtype(device))
        answers = [
            _run_all(executor, batch, batch_size)[-1].argmax(dim=1)
            for batch in in_batches(source.batches(settings), batch_size)
            if batch.keys
        ]
        own = own_logits[-1]
        to_own = torch.arange(own.shape[1])
        if order.class_order is not None:
            to_own = torch.tensor(order.class_order)
        effects.append(float((to_own[own.argmax(dim=1)] != torch.cat(answers)).float().mean()))
    return tuple(effects)


def _run_all(executor: StageExecutor, batch: DecodedBatch, batch_size: int) -> list[Tensor]:
    """Logits of all stages on some images, in host memory."""
    logits: list[list[Tensor]] = [[] for _ in range(executor.spec.num_stages)]
    for start in range(0, len(batch.keys), batch_size):
        pixels = executor.upload(batch.pixels[start : start + batch_size])()
        state: StageState | None = None
        for stage, part in enumerate(logits):
            output = executor.run(stage, pixels, state, batch_size)
            part.append(output.logits.float().cpu().clone())  # the next run may overwrite it
            state = None if output.state is None else StageState.join([output.state])
    return [torch.cat(part) for part in logits]


def _stage_seconds(executor: StageExecutor, batch: DecodedBatch, batch_size: int) -> list[float]:
    """Seconds per image of each stage in a full batch, medians of rounds in turns."""
    repeats = -(-batch_size // len(batch.keys))
    pixels = executor.upload(np.tile(batch.pixels, (repeats, 1, 1, 1))[:batch_size])()
    states: list[StageState | None] = [None]
    for stage in range(executor.spec.num_stages):
        state = executor.run(stage, pixels, states[-1], batch_size).state
        states.append(None if state is None else StageState.join([state]))

    def run(stage: int) -> object:
        return executor.run(stage, pixels, states[stage], batch_size)

    functions = {
        str(stage): (lambda stage=stage: run(stage)) for stage in range(executor.spec.num_stages)
    }
    rounds = time_in_turns(functions, _ROUNDS, executor.device)
    return [statistics.median(rounds[name]) / batch_size for name in functions]


def _by_member(members: Sequence[Member], values: Sequence[T]) -> Iterator[tuple[T, ...]]:
    start = 0
    for member in members:
        stop = start + member.model.spec.num_stages
        yield tuple(values[start:stop])
        start = stop
