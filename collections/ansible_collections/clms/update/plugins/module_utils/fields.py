# SPDX-License-Identifier: GPL-3.0-or-later
"""Typed reading of decoded JSON or YAML that comes from outside, with complaints that name the place.

The standard library only, because managed nodes use it too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T", str, int, float, bool, list[Any], dict[str, Any])

_REQUIRED = object()


class FieldError(ValueError):
    """A field is missing, unknown or of the wrong kind; the text names the field by its dotted path."""


class Fields:
    """A mapping that is taken apart field by field; :meth:`done` refuses what nobody asked for."""

    def __init__(self, data: object, path: str = "") -> None:
        """:raises FieldError: when ``data`` is not a mapping with string keys."""
        if not isinstance(data, Mapping) or not all(isinstance(key, str) for key in data):
            raise FieldError(f"{path or 'it'} must be a mapping")
        self._data = data
        self._path = path
        self._asked: set[str] = set()

    def where(self, name: str) -> str:
        """The dotted path of the field ``name``."""
        return f"{self._path}.{name}" if self._path else name

    def names(self) -> list[str]:
        """All names in the mapping; each counts as asked for."""
        self._asked.update(self._data)
        return list(self._data)

    def get(self, name: str, kind: type[T], default: Any = _REQUIRED) -> T:
        """The value of ``name``, of exactly the kind ``kind`` (an int passes for a float)."""
        self._asked.add(name)
        value = self._data.get(name)
        if value is None:
            if default is _REQUIRED:
                raise FieldError(f"{self.where(name)} is missing")
            return default  # type: ignore[no-any-return]
        if kind is float and type(value) is int:
            value = float(value)
        # Ansible hands over subclasses of str and dict that carry tags; bool is a subclass of int
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise FieldError(f"{self.where(name)} must be of type {kind.__name__}")
        return value

    def any(self, name: str) -> Any:
        """The value of ``name`` as it stands, or None."""
        self._asked.add(name)
        return self._data.get(name)

    def is_mapping(self, name: str) -> bool:
        """Whether ``name`` holds a mapping."""
        return isinstance(self._data.get(name), Mapping)

    def text(self, name: str, *, pattern: str = r"(?s).+", limit: int = 4096, default: Any = _REQUIRED) -> Any:
        """A string that matches ``pattern`` completely and has at most ``limit`` characters."""
        value = self.get(name, str, default)
        if value is default and default is not _REQUIRED:
            return value
        if len(value) > limit or not re.fullmatch(pattern, value):
            raise FieldError(f"{self.where(name)} has a value that is not allowed")
        return str(value)

    def number(self, name: str, *, low: int = 0, high: int = 2**53, default: Any = _REQUIRED) -> Any:
        """A whole number from ``low`` to ``high``."""
        value = self.get(name, int, default)
        if value is default and default is not _REQUIRED:
            return value
        if not low <= value <= high:
            raise FieldError(f"{self.where(name)} must be from {low} to {high}")
        return int(value)

    def texts(self, name: str, *, default: Any = _REQUIRED, pattern: str = r"(?s).+") -> list[str]:
        """A list of strings, each matching ``pattern``."""
        value = self.get(name, list, default)
        for item in value:
            if not isinstance(item, str) or not re.fullmatch(pattern, item):
                raise FieldError(f"{self.where(name)} must be a list of allowed strings")
        return [str(item) for item in value]

    def sub(self, name: str, default: Any = _REQUIRED) -> Fields:
        """The mapping in ``name``."""
        return Fields(self.get(name, dict, default), self.where(name))

    def each(self, name: str, default: Any = _REQUIRED) -> list[Fields]:
        """The mappings in the list ``name``."""
        return [Fields(item, f"{self.where(name)}[{i}]") for i, item in enumerate(self.get(name, list, default))]

    def done(self) -> None:
        """:raises FieldError: when the mapping has a field that was never asked for."""
        unknown = sorted(set(self._data) - self._asked)
        if unknown:
            raise FieldError(f"{self.where(unknown[0])} is not known")
