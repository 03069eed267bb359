"""The folder of a cascade: its configuration and copies of its members."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dvt.embedding import PROJECTION
from dvt.labels import GROUPS
from dvt.loading import files_of_model, find_model
from dvt.members.cascade import MembersConfig
from jobs.cascades.recording import Member
from pipeline.errors import UsageError

__all__ = ["new_folder", "write_cascade"]

# What belongs to training or calibration of the member alone.
_LEFT_OUT = shutil.ignore_patterns(
    "training", "held_out.safetensors", "group_held_out.safetensors", "calibration.json"
)


@contextmanager
def new_folder(out: Path, members: Sequence[Member]) -> Iterator[Path]:
    """A folder that becomes `out` once it is complete.

    Raises:
        UsageError: `out` exists already, is in a member's folder, or cannot be written.
    """
    for member in members:
        path = find_model(member.source)
        if path is not None and path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise UsageError(f"out: must not be inside the member {member.source} (got {out})")
    if out.exists():
        raise UsageError(f"out: {out} exists already; remove it or choose another folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as folder:
            path = Path(folder) / "cascade"
            path.mkdir()
            yield path
            path.rename(out)
    except OSError as error:
        raise UsageError(f"out: cannot write {out}: {error.strerror}") from error


def write_cascade(
    folder: Path, config: MembersConfig, members: Sequence[Member], labels: Sequence[str]
) -> None:
    """Copies the members into a folder and writes its configuration last.

    The groups are those of the last member, whose classes are the cascade's; the projection of
    embeddings is the first member's, whose embeddings are stored.

    Args:
        folder: of the cascade.
        config: of the cascade; the members' places are filled in.
        members: in its order.
        labels: of the cascade.
    """
    placed = tuple(
        entry.model_copy(update={"source": _copied(member, folder, number)})
        for number, (entry, member) in enumerate(zip(config.members, members, strict=True), start=1)
    )
    (folder / "labels.json").write_text(json.dumps(labels, indent=1) + "\n", encoding="utf-8")
    groups, projection = members[-1].model.own_groups, members[0].model.projection
    if groups is not None:
        text = groups.as_json(members[-1].model.labels)
        (folder / GROUPS).write_text(text + "\n", encoding="utf-8")
    if projection is not None:
        projection.save(folder / PROJECTION)
    config = config.model_copy(update={"members": placed})
    (folder / "config.json").write_text(config.model_dump_json(indent=1) + "\n", encoding="utf-8")


def _copied(member: Member, folder: Path, number: int) -> str:
    """Copies a member; returns its place in the folder."""
    path = find_model(member.source)
    assert path is not None  # it has been loaded from there
    place = Path("members") / f"{number}-{path.stem if path.is_file() else path.name}"
    if path.is_dir():
        shutil.copytree(path, folder / place, ignore=_LEFT_OUT)
        return place.as_posix()
    for name, file in files_of_model(path).items():
        (folder / place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / place / name)
    return (place / path.name).as_posix()
