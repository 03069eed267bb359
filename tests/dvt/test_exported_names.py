"""`__all__` lists exactly the public names of each package."""

import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import dvt
import dvt.calibration
import dvt.inference
import dvt.loading
import dvt.training

PACKAGES = [dvt, dvt.calibration, dvt.inference, dvt.loading, dvt.training]
MODULES = sorted(module.name for module in pkgutil.walk_packages(dvt.__path__, prefix="dvt."))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_a_packages_public_names_are_those_it_lists(package: ModuleType) -> None:
    own = {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert own == set(package.__all__)
    constants_first = sorted(package.__all__, key=lambda name: (not name.isupper(), name))
    assert package.__all__ == constants_first


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_a_package_shows_no_module_but_its_own(package: ModuleType) -> None:
    """`import torch` in an `__init__` would make `dvt.torch` a public name."""
    modules = [value.__name__ for value in vars(package).values() if isinstance(value, ModuleType)]
    assert [name for name in modules if not name.startswith(f"{package.__name__}.")] == []


@pytest.mark.parametrize("name", MODULES)
def test_every_name_a_module_lists_exists_and_is_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        value = getattr(module, public)
        if inspect.isroutine(value) or inspect.isclass(value):
            assert value.__doc__, f"{name}.{public}"
            assert value.__module__.startswith("dvt."), f"{name}.{public} is foreign"


def test_all_errors_form_one_tree_below_value_error() -> None:
    for error in (dvt.ModelError, dvt.ConfigError, dvt.CheckpointError):
        assert issubclass(error, dvt.ModelError)
        assert issubclass(error, ValueError)
