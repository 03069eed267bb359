"""`ray_cluster.yaml` is a file that Ray's own cluster launcher accepts.

Ray checks field names, types and references between fields, but not `node_config`, which goes
to EC2 unseen: the few fields there that the file's comments promise are checked here.
"""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).resolve().parents[1]
Config = dict[str, Any]


@pytest.fixture
def cluster() -> Config:
    config: Config = yaml.safe_load((ROOT / "ray_cluster.yaml").read_text(encoding="utf-8"))
    return config


def launcher_accepts(config: Config) -> Config:
    """Return the config with Ray's defaults filled in; raises what `ray up` raises."""
    prepared: Config = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def test_ray_accepts_the_file(cluster: Config) -> None:
    prepared = launcher_accepts(cluster)
    assert set(prepared["available_node_types"]) == {"head", "cpu_decode", "gpu_cascade"}


def misspell_head_type(config: Config) -> None:
    config["head_node_type"] = "haed"


def misspell_node_field(config: Config) -> None:
    node = config["available_node_types"]["gpu_cascade"]
    node["max_wrokers"] = node.pop("max_workers")


def misspell_top_level_field(config: Config) -> None:
    config["setup_comands"] = config.pop("setup_commands")


def ask_for_more_workers_than_allowed(config: Config) -> None:
    config["available_node_types"]["cpu_decode"]["min_workers"] = config["max_workers"] + 1


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (misspell_head_type, ValueError, "must be one of `available_node_types`"),
        (misspell_node_field, ValidationError, "max_wrokers"),
        (misspell_top_level_field, ValidationError, "setup_comands"),
        (ask_for_more_workers_than_allowed, ValueError, "smaller than the sum"),
    ],
)
def test_ray_refuses_a_damaged_file(
    cluster: Config, damage: Callable[[Config], None], error: type[Exception], message: str
) -> None:
    damage(cluster)
    with pytest.raises(error, match=message):
        launcher_accepts(cluster)


def test_workers_are_spot_and_the_head_is_not(cluster: Config) -> None:
    is_spot = {
        name: node["node_config"].get("InstanceMarketOptions") == {"MarketType": "spot"}
        for name, node in cluster["available_node_types"].items()
    }
    assert is_spot == {"head": False, "cpu_decode": True, "gpu_cascade": True}


def test_every_node_starts_ray_with_the_token(cluster: Config) -> None:
    for commands in ("head_start_ray_commands", "worker_start_ray_commands"):
        start = cluster[commands][-1]
        assert "RAY_AUTH_MODE=token ray start" in start
    assert cluster["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"


def test_every_node_installs_the_pinned_versions(cluster: Config) -> None:
    gpu_setup = cluster["available_node_types"]["gpu_cascade"]["worker_setup_commands"]
    for commands in (cluster["setup_commands"], gpu_setup):
        assert "-c ~/dvt-pipeline/constraints.txt ~/dvt-pipeline[cluster]" in commands[-1]
    assert cluster["file_mounts"]["/home/ubuntu/dvt-pipeline"] == "."


def test_the_file_holds_no_credentials() -> None:
    text = (ROOT / "ray_cluster.yaml").read_text(encoding="utf-8")
    assert re.findall(r"A(?:KIA|SIA)[0-9A-Z]{16}|secret|BEGIN [A-Z ]*PRIVATE KEY", text) == []
