"""What was measured when a cascade was made, as text and as JSON."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

from jobs.cascades.choice import Choice
from jobs.cascades.recording import Member, MemberLogits

__all__ = ["CascadeFacts", "MemberFacts"]


@dataclass(frozen=True, slots=True)
class MemberFacts:
    """One member.

    Attributes:
        name: of the model.
        gmacs: at its full depth.
        ms: per image at its full depth, on this machine.
        right: share of right answers at its full depth; without labels, of those of the last.
        in_cascade: whether it is a part of the cascade.
        other_ms: per image of the fastest cascade without it, if it is a part of the fastest, else
            of the fastest with it; None if there is none, or if it is the last.
        input_effect: share of its labels that change because its input is made from the shared
            pixels; None if it is not.
    """

    name: str
    gmacs: float
    ms: float
    right: float
    in_cascade: bool
    other_ms: float | None
    input_effect: float | None


@dataclass(frozen=True, slots=True)
class CascadeFacts:
    """A cascade.

    Attributes:
        members: all that were offered.
        of: what `right` counts, "accuracy" or "agreement".
        num_images: that it was fitted to.
        temperatures: of its exits.
        carries: weights of the previous exit's logits.
        exit_shares: of the images, with thresholds that keep the bound on these images.
        ms: per image with these thresholds.
        alone_ms: per image of the last member alone.
        right: share of right answers with these thresholds.
    """

    members: tuple[MemberFacts, ...]
    of: str
    num_images: int
    temperatures: tuple[float, ...]
    carries: tuple[float, ...]
    exit_shares: tuple[float, ...]
    ms: float
    alone_ms: float
    right: float

    @classmethod
    def of_choice(
        cls,
        members: Sequence[Member],
        recorded: MemberLogits,
        choice: Choice,
        effects: Sequence[float | None],
    ) -> Self:
        """Collects the facts.

        Args:
            members: that were offered.
            recorded: of the same.
            choice: among their cascades.
            effects: of the shared pixels on each member's labels.
        """
        truth = recorded.truth
        other = {**choice.without, **choice.with_}
        return cls(
            members=tuple(
                MemberFacts(
                    name=member.name,
                    gmacs=member.model.spec.gmacs_per_exit[-1],
                    ms=1000 * sum(recorded.seconds[number]),
                    right=float((recorded.logits[number][-1].argmax(1) == truth).float().mean()),
                    in_cascade=number in choice.chosen.members,
                    other_ms=None if (found := other.get(number)) is None else 1000 * found,
                    input_effect=effects[number],
                )
                for number, member in enumerate(members)
            ),
            of="agreement" if recorded.labels is None else "accuracy",
            num_images=len(recorded.keys),
            temperatures=tuple(exit_.temperature for exit_ in choice.chosen.exits),
            carries=tuple(exit_.carry for exit_ in choice.chosen.exits),
            exit_shares=choice.chosen.exit_shares,
            ms=1000 * choice.chosen.seconds,
            alone_ms=1000 * choice.alone.seconds,
            right=choice.chosen.right,
        )

    def data(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def lines(self) -> tuple[str, ...]:
        """As text."""
        lines = [f"{self.num_images:,} images; {self.of} of each member at its full depth"]
        for member in self.members:
            lines.append(
                f"  {member.name}: {member.gmacs:.3g} GMACs, {member.ms:.3g} ms, "
                f"{100 * member.right:.1f} %{_input_text(member)}"
            )
        for member in self.members:
            if member.in_cascade or member.other_ms is None:
                continue
            lines.append(
                f"  {member.name} is left out: {member.other_ms:.3g} ms per image with it, "
                f"{self.ms:.3g} without"
            )
        exits = " / ".join(f"{100 * share:.0f}" for share in self.exit_shares)
        lines.append(
            f"cascade: {self.ms:.3g} ms per image, {self.alone_ms / self.ms:.2f}x the last member "
            f"alone; exits {exits} %; {self.of} {100 * self.right:.1f} %"
        )
        return tuple(lines)


def _input_text(member: MemberFacts) -> str:
    if member.input_effect is None:
        return ""
    return f", {100 * member.input_effect:.1f} % of its labels change with the shared pixels"
