"""Packages whose public names are imported when they are first used, so that what is not used costs nothing."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def attributes(package: str, names: Mapping[str, str]) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__getattr__` and `__dir__`.

    Args:
        package: the package's `__name__`.
        names: the module of each public name, relative to the package; "" where the name is a module itself.
    """

    def get(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        module = import_module(f"{package}.{names[name] or name}")
        return getattr(module, name) if names[name] else module

    return get, lambda: sorted(names)
