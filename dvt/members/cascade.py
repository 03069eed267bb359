"""A cascade of any models: the stages of each member follow those of the member before.

Pictures are decoded once, at the largest size that a member needs; the other members' inputs are
cropped and resized from these pixels, with antialiasing. Each exit divides its logits by a
temperature and may add those of the exit before:

    z_k = logits_k / temperature_k + carry_k * z_(k-1)

Between members, an image carries z alone, or nothing. Shapes: B images, S pixels per side of the
decoded pixels, s of a member's input, C classes.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from dvt.inference.executor import StageExecutor
from dvt.members.inputs import InputBox, shared_input
from dvt.members.pixel_model import PixelModel
from dvt.model import Calibration, Model, ModelSpec, StageSpec
from dvt.reuse import StageState
from dvt.stage import StageOutput
from dvt.validation import FrozenModel

__all__ = ["ExitConfig", "MemberCascade", "MemberConfig", "MembersConfig"]


class ExitConfig(FrozenModel):
    """How an exit makes its logits."""

    temperature: Annotated[
        float, Field(gt=0, le=100, description="divides the logits of the stage")
    ] = 1.0
    carry: Annotated[
        float, Field(ge=0, le=100, description="weight of the previous exit's logits")
    ] = 0.0


class MemberConfig(FrozenModel):
    """One member."""

    source: Annotated[str, Field(description="folder or file inside the cascade's folder")]
    class_order: Annotated[
        tuple[Annotated[int, Field(ge=0)], ...] | None,
        Field(description="the member's number of each class of the cascade; null: the same"),
    ] = None


class MembersConfig(FrozenModel):
    """`config.json` of a cascade of members."""

    kind: Literal["members"] = "members"
    name: str
    members: Annotated[tuple[MemberConfig, ...], Field(min_length=1)]
    exits: Annotated[tuple[ExitConfig, ...], Field(description="one a stage, over all members")]

    @model_validator(mode="after")
    def _nothing_before_the_first_exit(self) -> Self:
        if self.exits and self.exits[0].carry:
            raise ValueError(
                f"exits.0.carry: must be 0, no exit comes before (got {self.exits[0].carry:g})"
            )
        return self


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a stage of the cascade is: the member, and the stage within it (both from 0)."""

    member: int
    stage: int


class MemberCascade(PixelModel):
    """A cascade of models.

    Args:
        config: of the cascade.
        members: loaded, in the order of the configuration.
        labels: class names in order of the cascade's ids, or None.
        calibration: thresholds and measured figures.

    Raises:
        ValueError: the configuration does not fit the members.
    """

    def __init__(
        self,
        config: MembersConfig,
        members: Sequence[Model],
        labels: tuple[str, ...] | None = None,
        calibration: Calibration | None = None,
    ) -> None:
        super().__init__(labels, calibration)
        self.config = config
        self.members = tuple(members)
        self._places = [
            _Place(number, stage)
            for number, member in enumerate(self.members)
            for stage in range(member.spec.num_stages)
        ]
        if len(config.exits) != len(self._places):
            raise ValueError(
                f"exits: must be {len(self._places)}, one a stage of the members "
                f"(got {len(config.exits)})"
            )
        self._num_classes = self._common_classes()
        specs = [member.spec for member in self.members]
        self._size, self._preprocess, self._boxes = shared_input(specs)

    def _common_classes(self) -> int:
        order = self.config.members[0].class_order
        num_classes = self.members[0].spec.num_classes if order is None else len(order)
        for number, (config, model) in enumerate(
            zip(self.config.members, self.members, strict=True)
        ):
            available = model.spec.num_classes
            ids = config.class_order or range(available)
            if len(ids) != num_classes or max(ids) >= available or len(set(ids)) != len(ids):
                raise ValueError(
                    f"members.{number}.class_order: must name {num_classes} different classes of "
                    f"{available} (got {len(set(ids))}, the largest {max(ids)})"
                )
        return num_classes

    @property
    def spec(self) -> ModelSpec:
        """The stages of all members, each with the member's name."""
        stages: list[StageSpec] = []
        for index, place in enumerate(self._places):
            own = self.members[place.member].spec
            stage = own.stages[place.stage]
            name = own.name if own.num_stages == 1 else f"{own.name} {stage.name}"
            is_carried = index + 1 < len(self._places) and self.config.exits[index + 1].carry > 0
            num_logits = self._num_classes if is_carried else 0
            state = replace(stage.state, num_logits=num_logits)
            stages.append(replace(stage, name=name, state=state))
        last = self.members[-1].spec
        return ModelSpec(
            self.config.name,
            self._num_classes,
            self._size,
            self._preprocess,
            tuple(stages),
            last_member=(last.name, last.gmacs_per_exit[-1]) if len(self.members) > 1 else None,
        )

    def digest(self) -> str:
        """Identifies the configuration and all members, 16 hex digits."""
        digest = hashlib.sha256(self.config.model_dump_json().encode())
        for member in self.members:
            digest.update(member.digest().encode())
        return digest.hexdigest()[:16]

    def inference_dtype(self, device: torch.device) -> torch.dtype:
        """bfloat16 if a member is fastest in it; members that have no such precision ignore it."""
        dtypes = {member.inference_dtype(device) for member in self.members}
        return torch.bfloat16 if torch.bfloat16 in dtypes else torch.float32

    def make_executor(
        self, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> StageExecutor:
        """As `Model.make_executor`: executors of all members, on one device."""
        device, dtype = device or torch.device("cpu"), dtype or torch.float32
        executors = [member.make_executor(device, dtype) for member in self.members]
        orders = [
            None if member.class_order is None else torch.tensor(member.class_order, device=device)
            for member in self.config.members
        ]
        members = [
            _Member(executor, box, order)
            for executor, box, order in zip(executors, self._boxes, orders, strict=True)
        ]
        return _MemberExecutor(self.spec, members, self._places, self.config.exits, device, dtype)


@dataclass(frozen=True, slots=True)
class _Member:
    """A member as it runs.

    Attributes:
        executor: of the member.
        box: its input within the decoded pixels.
        class_order: its number of each class, [C]; None if they are the same.
    """

    executor: StageExecutor
    box: InputBox
    class_order: Tensor | None


class _MemberExecutor(StageExecutor):
    def __init__(
        self,
        spec: ModelSpec,
        members: Sequence[_Member],
        places: Sequence[_Place],
        exits: Sequence[ExitConfig],
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(spec, device, dtype)
        self._members, self._places, self._exits = members, places, exits

    def _forward(self, stage: int, pixels_BSS3: Tensor, upstream: StageState | None) -> StageOutput:
        place, exit_ = self._places[stage], self._exits[stage]
        member = self._members[place.member]
        inner = None
        if place.stage > 0 and upstream is not None:
            inner = StageState(upstream.features, upstream.relations)
        pixels = member.box.apply(pixels_BSS3)
        output = member.executor.run(place.stage, pixels, inner, len(pixels))
        logits_BC = output.logits.float()
        if member.class_order is not None:
            logits_BC = logits_BC[:, member.class_order]
        logits_BC = logits_BC / exit_.temperature
        if exit_.carry:
            assert upstream is not None
            assert upstream.logits is not None
            logits_BC = logits_BC + exit_.carry * upstream.logits
        return StageOutput(logits_BC, output.embedding, self._state(stage, output, logits_BC))

    def _state(self, stage: int, output: StageOutput, logits_BC: Tensor) -> StageState | None:
        carried = logits_BC if self.spec.stages[stage].state.num_logits else None
        if output.state is not None:
            return replace(output.state, logits=carried)
        return None if carried is None else StageState(None, None, carried)
