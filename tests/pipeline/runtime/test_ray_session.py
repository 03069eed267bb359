"""How Ray is started: private, on loopback, without the user's current folder; clusters checked."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.runtime.ray_cluster import check_cluster

_SCRIPT = """
import os, stat, subprocess
from pathlib import Path
from pipeline.runtime.ray_session import running_ray
with running_ray(1):
    import ray
    @ray.remote
    def imported():
        import sys, jobs
        return jobs.__file__, sys.path
    path, folders = ray.get(imported.remote())
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    print("JOBS", path)
    print("CWD" if os.getcwd() in folders else "NO-CWD")
    print("MODE", oct(stat.S_IMODE(session.resolve().parent.parent.stat().st_mode)))
    node = ray.nodes()[0]
    print("ADDRESS", node["NodeManagerAddress"])
print("LEFT", session.exists())
"""


def run_script(folder: Path, **environment: str) -> dict[str, str]:
    """In a folder that has packages of our names, which end the process that imports them."""
    for name in ("jobs", "pipeline", "dvt"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text("raise SystemExit('imported from here')\n")
    root = Path(__file__).resolve().parents[3]
    script = folder.parent / "script.py"
    script.write_text(_SCRIPT)
    inherited = {name: os.environ[name] for name in ("PATH",) if name in os.environ}
    done = subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env=inherited | {"PYTHONPATH": str(root)} | environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = (line.split(" ", 1) for line in done.stdout.splitlines())
    return {line[0]: line[-1] for line in lines}


@pytest.mark.ray
def test_ray_is_private_and_imports_nothing_from_the_current_folder(tmp_path: Path) -> None:
    """Without HOME, and below a RAY_TMPDIR that is too long for sockets."""
    folder = tmp_path / "mine"
    folder.mkdir()
    scratch = tmp_path / ("scratch-" + "x" * 70)
    found = run_script(folder, RAY_TMPDIR=str(scratch))
    assert not found["JOBS"].startswith(str(folder))
    assert "NO-CWD" in found
    assert found["ADDRESS"] == "127.0.0.1"
    assert found["MODE"] == "0o700"
    assert found["LEFT"] == "False"
    assert list(scratch.iterdir()) == []


def test_an_address_where_nothing_listens_is_named() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
    with pytest.raises(UsageError, match=f"RAY_ADDRESS: nothing listens at {address} .*refused"):
        check_cluster(address)
