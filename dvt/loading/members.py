"""Folders of a cascade of members: `config.json`, `labels.json`, `calibration.json`, the members.

A member is a folder or file inside the cascade's folder that loads as a model of its own.
"""

from collections.abc import Callable
from pathlib import Path, PurePath

from dvt.errors import CheckpointError
from dvt.loading.hub_config import CONFIG, WEIGHTS
from dvt.members.cascade import MemberCascade, MembersConfig
from dvt.model import Calibration, Model

__all__ = ["load_members"]


def load_members(
    folder: Path,
    config: MembersConfig,
    labels: tuple[str, ...] | None,
    calibration: Calibration,
    load: Callable[[Path], Model],
) -> MemberCascade:
    """Loads a cascade of members.

    Args:
        folder: of the cascade.
        config: in its `config.json`.
        labels: in its `labels.json`.
        calibration: in its `calibration.json`.
        load: loads a member from a path.

    Raises:
        CheckpointError: a member is missing, outside the folder or unusable, or the parts do not
            fit together.
    """
    members: list[Model] = []
    for number, member in enumerate(config.members):
        # Not resolved: in the hub's cache, files are links to a folder beside it.
        source = PurePath(member.source)
        is_inside = not source.is_absolute() and source.parts and ".." not in source.parts
        if not is_inside or source == PurePath(WEIGHTS):  # the weights file means its folder
            raise CheckpointError(
                f"{folder / CONFIG}: members.{number}.source: must be inside the folder "
                f"(got {member.source!r})"
            )
        members.append(load(folder.absolute() / source))
    try:
        cascade = MemberCascade(config, members, labels, calibration)
    except ValueError as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from error
    if labels is not None and len(labels) != cascade.spec.num_classes:
        raise CheckpointError(
            f"{folder}: labels.json must name {cascade.spec.num_classes} classes "
            f"(got {len(labels)})"
        )
    return cascade
