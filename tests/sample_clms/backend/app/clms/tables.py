# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables whose rows the API takes and gives field by field; which fields there are is said in ``model.py``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pymysql.cursors import DictCursor


class Invalid(Exception):
    """A request has a value that we do not take; the text is for the person who sent it."""


@dataclass(frozen=True)
class Field:
    """A column, called the same in the API."""

    name: str
    limit: int = 255
    """longest text, or largest number"""
    required: bool = False
    default: str | int = ""

    def read(self, data: Mapping[str, Any]) -> str | int:
        """The value in a request.

        :raises Invalid: when it is missing, of the wrong kind or too large
        """
        value = data.get(self.name)
        if value is None and not self.required:
            return self.default
        kind = type(self.default)
        if type(value) is not kind or (self.required and value == ""):
            raise Invalid(f"{self.name} must be given as {'text' if kind is str else 'a number'}.")
        size = len(value) if isinstance(value, str) else value
        if not 0 <= size <= self.limit:
            raise Invalid(f"{self.name} must not be larger than {self.limit}.")
        return value


@dataclass(frozen=True)
class Table:
    """A table with an ``id`` and the fields that people fill in."""

    name: str
    fields: tuple[Field, ...]

    @property
    def columns(self) -> str:
        """All columns for a SELECT."""
        return ", ".join(["id", *(field.name for field in self.fields)])

    def read(self, data: Any) -> dict[str, str | int]:
        """The row in the body of a request.

        :raises Invalid: when a field is wrong or not known
        """
        if not isinstance(data, dict):
            raise Invalid("The request must have a JSON object.")
        unknown = sorted(set(data) - {field.name for field in self.fields})
        if unknown:
            raise Invalid(f"{unknown[0]} is not a field of {self.name}.")
        return {field.name: field.read(data) for field in self.fields}

    def insert(self, cursor: DictCursor, row: Mapping[str, str | int]) -> int:
        """Add ``row``; gives its id."""
        marks = ", ".join(["%s"] * len(row))
        # the names are those of model.py, never a user's
        sql = f"INSERT INTO {self.name} ({', '.join(row)}) VALUES ({marks})"  # noqa: S608
        cursor.execute(sql, tuple(row.values()))
        return int(cursor.lastrowid)
