"""Networks in one file, an ONNX graph or a `torch.export` program, with `config.json` beside it."""

from pathlib import Path

from dvt.errors import CheckpointError
from dvt.loading.hub_config import CONFIG, PREPROCESSOR, describe
from dvt.loading.weights import check_not_a_pointer
from dvt.model import Model

__all__ = ["FIRST_NETWORKS", "NETWORK_SUFFIXES", "files_of_model", "load_network", "network_file"]

NETWORK_SUFFIXES = (".onnx", ".pt2")
_ONNX_FOLDER = "onnx"  # of hub repositories, below their `config.json`
FIRST_NETWORKS = ("model.onnx", f"{_ONNX_FOLDER}/model.onnx", "model.pt2")


def network_file(folder: Path) -> Path | None:
    """The network of a folder: a file with one of the usual names, or the only one.

    Raises:
        CheckpointError: there are several.
    """
    for name in FIRST_NETWORKS:
        if (folder / name).is_file():
            return folder / name
    found = sorted(path for path in folder.iterdir() if path.suffix in NETWORK_SUFFIXES)
    if len(found) > 1:
        names = ", ".join(path.name for path in found[:5])
        raise CheckpointError(f"{folder}: holds several networks ({names}); name one of them")
    return found[0] if found else None


def files_of_model(path: Path) -> dict[str, Path]:
    """The files that a model in one file needs, by their place relative to it.

    Args:
        path: of a file that `load_model` loads.
    """
    if path.suffix not in NETWORK_SUFFIXES:
        return {path.name: path}
    folder = _described_in(path)
    files = {name: folder / name for name in (CONFIG, PREPROCESSOR) if (folder / name).is_file()}
    if path.suffix == ".onnx":
        from dvt.members.onnx_file import external_files

        files |= {name: path.parent / name for name in external_files(path)}
    return files | {path.name: path}


def _described_in(path: Path) -> Path:
    """The folder with the `config.json` of a network."""
    is_apart = path.parent.name == _ONNX_FOLDER and not (path.parent / CONFIG).is_file()
    return path.parent.parent if is_apart else path.parent


def load_network(path: Path) -> Model:
    """Loads a network.

    Args:
        path: of an `.onnx` or `.pt2` file.

    Raises:
        CheckpointError: the file or its `config.json` is missing, damaged, hostile or unsupported.
    """
    check_not_a_pointer(path)
    description = describe(_described_in(path))
    if description is None:
        raise CheckpointError(
            f"{path}: needs a {CONFIG} beside it with image size, preprocessing and class names, "
            "see docs/bring-your-own-model.md"
        )
    # Loaded late: importing either library takes longer than `dvt --help`.
    if path.suffix == ".onnx":
        from dvt.members.onnx import load_onnx

        return load_onnx(path, description)
    from dvt.members.exported import load_exported

    return load_exported(path, description)
