# SPDX-License-Identifier: GPL-3.0-or-later
"""What the schemas of each API are made of."""

from __future__ import annotations

from typing import Any

from marshmallow import RAISE, Schema, ValidationError, validate


class Strict(Schema):
    """Refuses what it does not know."""

    class Meta:
        """As marshmallow wants it."""

        unknown = RAISE


class Whole(validate.Regexp):
    """A pattern for the whole text: in Python, ``$`` also fits before a line break at the end."""

    def __call__(self, value: Any) -> Any:
        """:raises ValidationError: when it does not fit"""
        if self.regex.fullmatch(value) is None:
            raise ValidationError(self._format_error(value))
        return value
