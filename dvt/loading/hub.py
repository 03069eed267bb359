"""Models of the Hugging Face hub: `hf-hub:org/name[@revision]`.

A revision is a branch, tag or commit; without one it is the main branch. Only files that
`load_model` reads are downloaded, never pickles or code, into the hub's own cache. HF_ENDPOINT,
HF_HOME, HF_TOKEN and HF_HUB_OFFLINE apply. Where the hub cannot be reached, the cache serves what
it has.
"""

import logging
import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple, NoReturn

from dvt.errors import CheckpointError
from dvt.loading.hub_config import CONFIG, WEIGHTS, describe, only_vit
from dvt.loading.networks import FIRST_NETWORKS, NETWORK_SUFFIXES

__all__ = ["HUB", "HubSource", "hub_folder", "parse_hub"]

logger = logging.getLogger(__name__)

HUB = "hf-hub:"

_SOURCE = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+|[\w.-]+)(@(?P<revision>[^@\s]+))?")
_DEFAULT_REVISION = "main"
# Beside configuration and weights, all optional.
_SMALL_FILES = (
    *("preprocessor_config.json", "labels.json", "groups.json", "calibration.json"),
    *("embedding.safetensors", "held_out.safetensors", "group_held_out.safetensors"),
)
_MEMBERS = "members/"  # of a cascade that `dvt cascade` wrote
_MEMBER_SUFFIXES = (".json", ".safetensors", ".onnx.data", ".onnx_data", *NETWORK_SUFFIXES)
_SECONDS = 10.0


class HubSource(NamedTuple):
    """A model of the hub."""

    repository: str
    revision: str | None

    def __str__(self) -> str:
        return f"{HUB}{self.repository}" + (f"@{self.revision}" if self.revision else "")


def parse_hub(source: str) -> HubSource | None:
    """The model that a source names; None if it does not begin with `hf-hub:`.

    Raises:
        CheckpointError: it does, and is malformed.
    """
    if not source.startswith(HUB):
        return None
    found = _SOURCE.fullmatch(source.removeprefix(HUB))
    if found is None or ".." in source:
        raise CheckpointError(f"model: must be {HUB}org/name or {HUB}org/name@revision ({source})")
    return HubSource(found["repository"], found["revision"])


def hub_folder(source: HubSource) -> Path:
    """The folder of the cache with the model's files; its name is the commit.

    Raises:
        CheckpointError: the extra is missing, the model does not exist, is private or gated, the
            hub cannot be reached and the cache has nothing, or no file of it can be loaded.
    """
    try:
        import huggingface_hub as hub
        from huggingface_hub import errors
    except ImportError as error:
        raise CheckpointError(
            f"model: {source}: needs the extra hub (pip install 'dvt-pipeline[hub]')"
        ) from error
    try:
        info = hub.HfApi().model_info(source.repository, revision=source.revision, timeout=_SECONDS)
        assert info.sha is not None
        names = [sibling.rfilename for sibling in info.siblings or ()]
        return _download(source, info.sha, names)
    except CheckpointError:
        raise
    except errors.GatedRepoError as error:
        raise CheckpointError(
            f"model: {source}: access is restricted; accept its terms on the hub and set HF_TOKEN"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise CheckpointError(
            f"model: {source}: has no revision {source.revision or _DEFAULT_REVISION!r}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise CheckpointError(
            f"model: {source}: no such repository, or a private one; for a private one, set "
            "HF_TOKEN to a token that may read it"
        ) from error
    except (errors.HFValidationError, errors.BadRequestError) as error:
        raise CheckpointError(f"model: {source}: no valid name of a repository") from error
    except Exception as error:  # of the HTTP library, which is another one in each version
        folder = _cached(source)
        if folder is None:
            raise CheckpointError(
                f"model: {source}: not in the cache, and the hub cannot be reached "
                f"({type(error).__name__}: {' '.join(str(error).split())[:150]})"
            ) from error
        logger.info("%s: commit %s from the cache, the hub cannot be reached", source, folder.name)
        return folder


def _download(source: HubSource, commit: str, names: list[str]) -> Path:
    """Downloads what is missing of a commit, the weights last."""
    import huggingface_hub as hub

    def fetch(name: str, revision: str = commit) -> Path:
        return Path(hub.hf_hub_download(source.repository, name, revision=revision))

    if CONFIG not in names:
        raise CheckpointError(f"model: {source}: has no {CONFIG}")
    # By the revision's own name once, so that the cache finds it offline.
    folder = fetch(CONFIG, source.revision or _DEFAULT_REVISION).parent
    if folder.name != commit:
        raise CheckpointError(f"model: {source}: changed during the download; try again")
    for name in _SMALL_FILES:
        if name in names:
            fetch(name)
    for name in _weights(source, folder, names):
        fetch(name)
    return folder


def _weights(source: HubSource, folder: Path, names: list[str]) -> list[str]:
    """The large files, once the configuration is in the folder."""
    members = [
        name for name in names if name.startswith(_MEMBERS) and name.endswith(_MEMBER_SUFFIXES)
    ]
    if members:
        return members
    description = describe(folder)
    if WEIGHTS in names and (description is None or description.is_vit):
        return [WEIGHTS]
    at_top = [name for name in names if "/" not in name and name.endswith(NETWORK_SUFFIXES)]
    network = next((name for name in (*FIRST_NETWORKS, *at_top) if name in names), None)
    if network is not None:
        return [*_beside(network, names), network]
    if description is not None:
        only_vit(description, folder / CONFIG)
    _no_weights(source, names)


def _beside(network: str, names: list[str]) -> list[str]:
    """Files in which ONNX keeps large tensors."""
    place, stem = PurePosixPath(network).parent, PurePosixPath(network).name
    return [
        name
        for name in names
        if PurePosixPath(name).parent == place
        and PurePosixPath(name).name.startswith((f"{stem}.data", f"{stem}_data"))
    ]


def _no_weights(source: HubSource, names: list[str]) -> NoReturn:
    pickles = [name for name in names if name.endswith((".bin", ".pt", ".pth", ".pkl"))]
    hint = f"; {pickles[0]} is a pickle, which dvt does not read from the hub" if pickles else ""
    raise CheckpointError(f"model: {source}: has no {WEIGHTS}, .onnx or .pt2{hint}")


def _cached(source: HubSource) -> Path | None:
    import huggingface_hub as hub

    found = hub.try_to_load_from_cache(source.repository, CONFIG, revision=source.revision)
    return Path(found).parent if isinstance(found, str) else None
