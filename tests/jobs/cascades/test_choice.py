"""Members that do not pay on the clock are left out."""

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from dvt.members.cascade import ExitConfig
from jobs.cascades.choice import choose, fused_logits
from jobs.cascades.recording import MemberLogits

NUM_IMAGES, NUM_CLASSES = 3000, 5


def answers(accuracy: float, labels: Tensor, seed: int) -> Tensor:
    """Logits of a model that is right on a share of the images, and less sure where it is wrong."""
    generator = torch.Generator().manual_seed(seed)
    is_right = torch.rand(len(labels), generator=generator) < accuracy
    shift = torch.randint(1, NUM_CLASSES, (len(labels),), generator=generator)
    said = torch.where(is_right, labels, (labels + shift) % NUM_CLASSES)
    sureness = torch.where(is_right, 6.0, 1.0) + torch.rand(len(labels), generator=generator)
    return F.one_hot(said, NUM_CLASSES) * sureness[:, None]


@pytest.fixture(params=["labelled", "unlabelled"])
def recorded(request: pytest.FixtureRequest) -> MemberLogits:
    """A cheap member, a dear one that guesses, and the last."""
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, NUM_CLASSES, NUM_IMAGES))
    accuracies = (0.8, 0.2, 0.95)
    return MemberLogits(
        logits=tuple((answers(share, labels, n),) for n, share in enumerate(accuracies)),
        seconds=((0.001,), (0.009,), (0.010,)),
        labels=labels if request.param == "labelled" else None,
        keys=tuple(map(str, range(NUM_IMAGES))),
    )


def test_the_fastest_cascade_within_the_bound_is_chosen(recorded: MemberLogits) -> None:
    choice = choose(recorded, max_drop=0.01)
    assert choice.chosen.members == (0, 2)
    assert choice.alone.seconds == pytest.approx(0.010)
    assert choice.chosen.seconds < 0.95 * choice.alone.seconds
    assert choice.chosen.right >= choice.alone.right - 0.01
    # What the other member would cost, and what the cascade would without its first.
    assert choice.with_[1] is not None
    assert choice.with_[1] > choice.chosen.seconds
    assert choice.without[0] == pytest.approx(0.010)
    assert sum(choice.chosen.exit_shares) == pytest.approx(1)


def test_all_members_are_kept_on_request(recorded: MemberLogits) -> None:
    choice = choose(recorded, max_drop=0.01, keep_all=True)
    assert choice.chosen.members == (0, 1, 2)
    assert len(choice.chosen.thresholds) == 2


def test_a_bound_that_nothing_early_meets_leaves_the_last_member_alone() -> None:
    labels = torch.arange(NUM_CLASSES).repeat(200)
    sure_and_wrong = F.one_hot((labels + 1) % NUM_CLASSES, NUM_CLASSES) * 9.0
    recorded = MemberLogits(
        logits=((sure_and_wrong,), (answers(1.0, labels, 1),)),
        seconds=((0.001,), (0.010,)),
        labels=None,
        keys=tuple(map(str, range(len(labels)))),
    )
    choice = choose(recorded, max_drop=0.01)
    assert choice.chosen.members == (1,)
    assert choice.chosen.thresholds == ()


def test_carried_logits_are_those_of_the_exit_before() -> None:
    logits = [torch.ones(2, 3), 2 * torch.ones(2, 3), 4 * torch.ones(2, 3)]
    exits = [ExitConfig(temperature=2), ExitConfig(carry=0.5), ExitConfig(carry=1)]
    values = [float(each[0, 0]) for each in fused_logits(logits, exits)]
    assert values == [0.5, 2.25, 6.25]


def test_only_the_first_half_is_fitted_to(recorded: MemberLogits) -> None:
    """The rest is for the proof: a change of its answers changes no choice."""
    first = recorded.first_half()
    is_first = np.isin(np.array(recorded.keys), first.keys)
    assert 0.45 < is_first.mean() < 0.55
    others = torch.from_numpy(~is_first)
    spoilt = tuple((stage.clone(),) for (stage,) in recorded.logits)
    for (stage,) in spoilt:
        stage[others] = stage[others].flip(1)
    changed = MemberLogits(spoilt, recorded.seconds, recorded.labels, recorded.keys)
    assert choose(changed.first_half(), 0.01).chosen == choose(first, 0.01).chosen


def test_full_depth_is_not_worse_than_the_last_member_alone() -> None:
    """Sure and often wrong, the first member would pull down the last one's answers."""
    labels = torch.arange(NUM_CLASSES).repeat(400)
    logits = ((answers(0.9, labels, 1),), (answers(0.97, labels, 2) * 0.2,))
    recorded = MemberLogits(logits, ((0.001,), (0.01,)), labels, tuple(map(str, labels)))
    chosen = choose(recorded, max_drop=0.0, keep_all=True).chosen
    fused = fused_logits([stage for (stage,) in logits], chosen.exits)[-1]
    right, alone = (
        float((each.argmax(1) == labels).float().mean()) for each in (fused, logits[1][0])
    )
    assert right >= alone
