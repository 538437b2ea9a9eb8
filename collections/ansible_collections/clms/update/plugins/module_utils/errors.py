# SPDX-License-Identifier: GPL-3.0-or-later
"""The stable error codes of CLMS Update and the words that go with them.

Every failure that a person can meet has a code here, one sentence that says what happened and one that says
what to do. Texts are `str.format` templates over the keyword arguments of :class:`ClmsError`.
"""

from __future__ import annotations

import re
from typing import Any

from .error_texts import SCHOOL, ErrorText
from .vendor_error_texts import VENDOR

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

CATALOGUE: dict[str, ErrorText] = SCHOOL | VENDOR


def writable(text: str) -> str:
    """A text that every file, terminal and database takes as a text.

    What was named from outside, such as a file on a USB drive or a field in JSON, can be no Unicode at all (a lone
    surrogate), or hold orders for a terminal.
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text.encode("utf-8", "backslashreplace").decode())


class ClmsError(Exception):
    """A failure with a stable code.

    :param code: a key of :data:`CATALOGUE`
    :param values: what the code's texts name, as strings or numbers; never a secret
    :raises KeyError: for a code that is not in the catalogue or a value that its texts need
    """

    def __init__(self, code: str, **values: object) -> None:
        text = CATALOGUE[code]
        self.code = code
        self.values = values
        self.happened = writable(text.happened.format(**values))
        self.remedy = writable(text.remedy.format(**values))
        super().__init__(f"{self.happened} {self.remedy}")

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ClmsError:
        """The opposite of :meth:`as_dict`, for an error that another process met."""
        error = cls.__new__(cls)
        Exception.__init__(error, f"{data['message']} {data['remedy']}")
        error.code = data["code"]
        error.values = {**data.get("values", {}), **{name: data[name] for name in ("seconds",) if name in data}}
        error.happened, error.remedy = data["message"], data["remedy"]
        return error

    def as_dict(self) -> dict[str, Any]:
        """The error as journal, agent and ``--json`` carry it: ``code``, ``message``, ``remedy``, and as texts the
        ``values`` that they name: so that it can be said in another language.
        """
        known = CATALOGUE.get(self.code)  # another process may be of another version
        named = known.names if known else self.values
        values = {name: writable(str(value)) for name, value in self.values.items() if name in named}
        return {"code": self.code, "message": self.happened, "remedy": self.remedy, "values": values}
