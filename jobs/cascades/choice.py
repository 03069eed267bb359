"""Which members make the fastest cascade at a bounded loss.

Every subset that ends in the last member is tried: temperatures and carried logits are fitted, and
of the thresholds that lose at most the bound the cheapest are taken, in seconds measured on this
machine. Shapes: n images, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, combinations, takewhile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from dvt.calibration.paths import cheapest_path
from dvt.calibration.points import Thresholds, exits_taken
from dvt.calibration.temperature import fit_exit
from dvt.exits import FULL_DEPTH, confidence, scores
from dvt.members.cascade import ExitConfig
from jobs.cascades.recording import MemberLogits

__all__ = ["Candidate", "Choice", "choose", "fused_logits"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cascade of some of the members.

    Attributes:
        members: their numbers, from 0, ascending.
        exits: temperatures and carried logits, one a stage.
        thresholds: the cheapest that lose at most the bound.
        seconds: mean per image with these thresholds.
        right: share of images whose answer is right; without labels, that of the last member.
        exit_shares: of the images, by exit.
    """

    members: tuple[int, ...]
    exits: tuple[ExitConfig, ...]
    thresholds: Thresholds
    seconds: float
    right: float
    exit_shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """The cascade to make, and what it was chosen from.

    Attributes:
        chosen: the fastest, or the one of all members where that was asked for.
        alone: the last member alone.
        without: of the members of the fastest cascade, from 0: seconds of the fastest
            without it.
        with_: of the other members: seconds of the fastest cascade that has it, None if none keeps
            the bound.
    """

    chosen: Candidate
    alone: Candidate
    without: dict[int, float | None]
    with_: dict[int, float | None]


def choose(recorded: MemberLogits, max_drop: float, keep_all: bool = False) -> Choice:
    """Chooses among all cascades that end in the last member.

    Args:
        recorded: of all members, the last being the best.
        max_drop: largest loss against the last member alone: of accuracy with labels, else of
            agreement with it.
        keep_all: take the cascade of all members, however fast.
    """
    every = tuple(range(len(recorded.logits)))
    alone = float((recorded.logits[-1][-1].argmax(dim=1) == recorded.truth).float().mean())
    tried = _candidates(recorded, alone - max_drop)
    # Fused logits may lose more than the bound already at full depth; the last member alone cannot.
    found = [each for each in tried if each.right >= alone - max_drop]
    fastest = found[0]

    def fastest_if(has: bool, number: int) -> float | None:
        return next((each.seconds for each in found if (number in each.members) == has), None)

    without = {number: fastest_if(False, number) for number in fastest.members[:-1]}
    with_ = {number: fastest_if(True, number) for number in every if number not in fastest.members}
    return Choice(
        chosen=next(each for each in tried if each.members == every) if keep_all else fastest,
        alone=next(each for each in found if len(each.members) == 1),
        without=without,
        with_=with_,
    )


def _candidates(recorded: MemberLogits, least: float) -> list[Candidate]:
    """All cascades that end in the last member, the fastest first."""
    last = len(recorded.logits) - 1
    found = [
        _candidate(recorded, (*others, last), least)
        for size in range(last + 1)
        for others in combinations(range(last), size)
    ]
    return sorted(found, key=lambda candidate: candidate.seconds)


def fused_logits(logits: Sequence[Tensor], exits: Sequence[ExitConfig]) -> list[Tensor]:
    """The logits [n, C] that each exit decides by."""
    fused: list[Tensor] = []
    for own, exit_ in zip(logits, exits, strict=True):
        scaled = own / exit_.temperature
        fused.append(scaled + exit_.carry * fused[-1] if fused and exit_.carry else scaled)
    return fused


def _candidate(recorded: MemberLogits, subset: tuple[int, ...], least: float) -> Candidate:
    logits = [stage for member in subset for stage in recorded.logits[member]]
    seconds = [stage for member in subset for stage in recorded.seconds[member]]
    exits = _fit_exits(logits, recorded.labels)
    fused = fused_logits(logits, exits)
    largest = [confidence(scores(each)) for each in fused]
    confidences_En = torch.stack([values for values, _ in largest]).numpy()
    right_En = torch.stack([answers == recorded.truth for _, answers in largest]).numpy()
    costs = list(accumulate(seconds))
    thresholds = _cheapest(confidences_En, right_En, costs, least)
    exits_n = exits_taken(confidences_En, thresholds)
    counts = np.bincount(exits_n, minlength=len(exits))
    return Candidate(
        members=subset,
        exits=tuple(exits),
        thresholds=thresholds,
        seconds=float(counts @ np.array(costs)) / len(exits_n),
        right=_share_right(right_En, exits_n),
        exit_shares=tuple(float(count) / len(exits_n) for count in counts),
    )


def _fit_exits(logits: Sequence[Tensor], labels_n: Tensor | None) -> list[ExitConfig]:
    """Temperatures and carried logits of all exits.

    Without labels, exits are fitted to the scores of the last one, which stays as it is: nothing
    says how sure it may be.
    """
    if labels_n is not None:
        targets = F.one_hot(labels_n, logits[-1].shape[1]).float()
    else:
        targets = scores(logits[-1])
    exits: list[ExitConfig] = []
    last = len(logits) - 1
    for number, own in enumerate(logits):
        if labels_n is None and number == last:
            exits.append(ExitConfig())
            continue
        carries = labels_n is not None and number > 0
        previous = fused_logits(logits[:number], exits)[-1] if carries else None
        fit = fit_exit(own, previous, targets)
        if number == last and previous is not None:
            # Full depth must not be worse than the last member alone: thresholds are proven
            # against full depth.
            fused = own / fit.temperature + fit.carry * previous
            num_right, num_alone = (_num_right(each, targets) for each in (fused, own))
            if num_right < num_alone:
                fit = fit_exit(own, None, targets)
        exits.append(ExitConfig(temperature=round(fit.temperature, 4), carry=round(fit.carry, 4)))
    return exits


def _num_right(logits_nC: Tensor, targets_nC: Tensor) -> int:
    return int((logits_nC.argmax(dim=1) == targets_nC.argmax(dim=1)).sum())


def _cheapest(
    confidences_En: NDArray[np.float32],
    right_En: NDArray[np.bool_],
    costs: Sequence[float],
    least: float,
) -> Thresholds:
    """The cheapest thresholds with at least this share of right answers; else full depth."""
    full_depth = (FULL_DEPTH,) * (len(costs) - 1)

    def loss(thresholds: Thresholds) -> float:
        return least - _share_right(right_En, exits_taken(confidences_En, thresholds))

    if not full_depth or loss(full_depth) > 0:
        return full_depth
    *_, reached = takewhile(
        lambda row: loss(row) <= 0, cheapest_path(confidences_En, costs, loss, 0.0)
    )
    return reached


def _share_right(right_En: NDArray[np.bool_], exits_n: NDArray[np.int64]) -> float:
    return float(right_En[exits_n, np.arange(len(exits_n))].mean())
