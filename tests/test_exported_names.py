"""`__all__` and the namespaces agree, so that what is public is public on purpose."""

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import dvt

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("dvt", "pipeline", "jobs")
MODULES = {
    name: importlib.import_module(name)
    for package in PACKAGES
    for name in (
        package,
        *(found.name for found in pkgutil.walk_packages([str(ROOT / package)], f"{package}.")),
    )
}


def listed_names(module: ModuleType) -> list[str] | None:
    """`__all__`; a package that exports nothing needs none."""
    names: list[str] | None = getattr(module, "__all__", None)
    return [] if names is None and hasattr(module, "__path__") else names


def problems(module: ModuleType) -> list[str]:
    """What is wrong with the public names of a module."""
    listed = listed_names(module)
    if listed is None:
        return ["has no __all__"]
    found = [] if module.__doc__ else ["has no docstring"]
    if listed != sorted(set(listed), key=lambda name: (not name.isupper(), name)):
        found.append("lists names twice, or not constants first and then by name")
    for name in listed:
        value = getattr(module, name, None)
        if value is None:
            found.append(f"lists {name}, which does not exist")
        elif inspect.isroutine(value) or inspect.isclass(value):
            if not value.__doc__:
                found.append(f"{name} has no docstring")
            package = module.__name__.partition(".")[0]
            if value.__module__.partition(".")[0] != package:
                found.append(f"{name} belongs to {value.__module__}")
    return found


def unlisted(package: ModuleType) -> set[str]:
    """Public names of a package that it does not list, without its modules and imported names."""
    return {
        name
        for name, value in vars(package).items()
        if not name.startswith("_")
        and name not in (listed_names(package) or [])
        and name != "TYPE_CHECKING"
        and not (inspect.ismodule(value) and value.__name__.startswith(f"{package.__name__}."))
        and getattr(value, "__module__", package.__name__).partition(".")[0] in PACKAGES
    }


def test_every_module_lists_its_public_names_which_are_its_own_and_documented() -> None:
    assert {name: found for name, module in MODULES.items() if (found := problems(module))} == {}


def test_the_public_names_of_a_package_are_those_it_lists() -> None:
    packages = {name: module for name, module in MODULES.items() if hasattr(module, "__path__")}
    assert {name: found for name, package in packages.items() if (found := unlisted(package))} == {}


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("", "has no __all__"),
        ("'''Doc.'''\n__all__ = ['a']", "lists a, which does not exist"),
        ("'''Doc.'''\n__all__ = ['b', 'a']\na = b = 1", "lists names twice"),
        ("'''Doc.'''\n__all__ = ['a']\ndef a(): ...", "a has no docstring"),
        ("'''Doc.'''\nfrom json import loads\n__all__ = ['loads']", "loads belongs to json"),
        ("__all__ = []", "has no docstring"),
    ],
)
def test_each_problem_is_found(code: str, problem: str) -> None:
    module = ModuleType("dvt.made_up")
    exec(code, vars(module))
    assert any(found.startswith(problem) for found in problems(module))


def test_every_error_of_the_model_is_a_value_error_and_of_one_tree() -> None:
    for error in (dvt.ModelError, dvt.ConfigError, dvt.CheckpointError):
        assert issubclass(error, dvt.ModelError)
        assert issubclass(error, ValueError)
