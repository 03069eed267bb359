"""Where a model is: what `--model` takes, as paths.

`hf-hub:org/name[@revision]` is a model of the Hugging Face hub, `local-dir:PATH` a folder as timm
names it. Everything else is a shipped name or a path.
"""

from importlib.resources import files
from pathlib import Path

from dvt.loading.hub import HUB, HubSource, hub_folder, parse_hub
from dvt.loading.hub_config import CONFIG, WEIGHTS

__all__ = ["find_model", "is_on_hub", "pin_model", "same_model", "shipped_models"]

_LOCAL = "local-dir:"


def shipped_models() -> dict[str, Path]:
    """Names and folders of the checkpoints in this package."""
    root = Path(str(files("dvt"))) / "checkpoints"
    return {folder.name: folder for folder in sorted(root.iterdir()) if (folder / CONFIG).is_file()}


def find_model(source: str | Path) -> Path | None:
    """The existing folder or file of a source; the weights file means its folder.

    Files of the hub are downloaded.

    Raises:
        CheckpointError: see `hub_folder`.
    """
    name = str(source)
    on_hub = parse_hub(name)
    if on_hub is not None:
        return hub_folder(on_hub)
    path = Path(name.removeprefix(_LOCAL)).expanduser() if name.startswith(_LOCAL) else Path(source)
    try:
        if path.is_file():
            return path.parent if path.name == WEIGHTS else path
        if path.is_dir():
            return path
    except OSError:  # a name too long for a path
        return None
    return shipped_models().get(name)


def is_on_hub(source: str | Path) -> bool:
    """Whether a source is a model of the hub, whose folder belongs to the hub's cache."""
    return str(source).startswith(HUB)


def pin_model(source: str) -> str:
    """A source that means the same model from any folder and at any time.

    A revision of the hub becomes a commit, `local-dir:` an absolute path.

    Raises:
        CheckpointError: see `hub_folder`.
    """
    on_hub = parse_hub(source)
    if on_hub is not None:
        return str(HubSource(on_hub.repository, hub_folder(on_hub).name))
    if source.startswith(_LOCAL):
        return str(Path(source.removeprefix(_LOCAL)).expanduser().absolute())
    return source


def same_model(source: str, earlier: str) -> str:
    """The earlier commit of a model that is named without a revision; else the source itself.

    Args:
        source: that a run is given.
        earlier: pinned, of the run that it continues.
    """
    now, before = parse_hub(source), parse_hub(earlier)
    is_same = now and before and now.revision is None and now.repository == before.repository
    return earlier if is_same else source
