"""The one line with which a file is refused."""

from pathlib import Path

import pytest

import dvt


def refusal(path: Path) -> str:
    """The message about the file, without its name."""
    with pytest.raises(dvt.CheckpointError) as caught:
        dvt.load_model(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < 400
    return message.removeprefix(f"{path}: ")
