# SPDX-License-Identifier: GPL-3.0-or-later
"""What a program said, without what it quotes: databases and applications quote what they stumble over, which may be a
person's name. Whatever is quoted and not said to be the name of a column, key or table is left out.
"""

from __future__ import annotations

import re

_END_CHARACTERS = 20_000
# the database's own words, as drivers for Python and others hand them on: a number and a quoted sentence
_DRIVER = re.compile(r"""\((\d+), (['"])(.*)\2\)""")
# a database does not escape the quotes in what it quotes
_VALUE = re.compile(r"(?im)\b(entry|value:?|data:?) '.*'(?= for (?:key|column)\b)")
# an apostrophe inside a word begins no quotation and ends none
_QUOTED = re.compile(
    r"""(?is)(?P<named>\b(?:column|key|table|constraint|field|index|database)(?:\s+name)?\s+)?"""
    r"""(?:(?<!\w)|(?<=\b[bnrux]))(?P<mark>['"]).*?(?P=mark)(?!\w)"""
)


def without_quotes(output: str) -> str:
    """An output, with the names of columns, keys and tables but without anything else that it quotes."""
    said = _DRIVER.sub(lambda match: f"({match[1]}) {match[3]}".replace("\\'", "'"), output)
    return _QUOTED.sub(lambda match: match[0] if match["named"] else "'…'", _VALUE.sub(r"\1 '…'", said))


def last_words(output: str) -> str:
    """The last three lines of an output, at most 500 characters, for messages and the journal."""
    lines = [line.strip() for line in without_quotes(output[-_END_CHARACTERS:]).splitlines() if line.strip()]
    return " ".join(lines[-3:])[-500:]
