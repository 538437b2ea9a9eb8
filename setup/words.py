# SPDX-License-Identifier: GPL-3.0-or-later
"""`make words`: write the catalogues of the page anew, of every language that has a folder.

`messages.pot` is what the code says; `messages.po` is where it is translated; `messages.mo` is what a school's server
reads, and is committed, because a school installs without tools.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.messages.catalog import Catalog
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from ansible_collections.clms.update.plugins.module_utils.disk import UNITS
from ansible_collections.clms.update.plugins.module_utils.error_texts import SCHOOL
from ansible_collections.clms.update.plugins.module_utils.errors import CATALOGUE
from ansible_collections.clms.update.plugins.module_utils.finding_texts import FINDINGS
from ansible_collections.clms.update.plugins.module_utils.plan import COMPLETED_TEXTS, PHASES
from ansible_collections.clms.update.plugins.module_utils.told import TEST_TITLE, TITLES, TOLD, names_in
from webui.common import problems
from webui.school import failures
from webui.school.language import TRANSLATIONS
from webui.school.own_words import REMEDIES

PAGE = TRANSLATIONS.parent
_STATUSES = {**problems.STATUSES, **failures.STATUSES}
_METHODS = [("**.py", "python"), ("templates/**.html", "jinja2")]
_OPTIONS = {"templates/**.html": {"trimmed": "true", "silent": "false"}}
_KEYWORDS = {**DEFAULT_KEYWORDS, "lazy_gettext": None}
_WHO = "CLMS Update maintainers"
_MADE = datetime(2026, 11, 27, tzinfo=UTC)
"""in every catalogue: with the day on which it was written, each time would make another file"""


def main() -> int:
    """Write all of them, and say what is left to translate."""
    left = 0
    code = template()
    (TRANSLATIONS / "messages.pot").write_bytes(written(code))
    for folder in folders():
        catalogue = updated(folder, code)
        (folder / "messages.po").write_bytes(written(catalogue))
        (folder / "messages.mo").write_bytes(compiled(catalogue))
        missing = sum(1 for message in catalogue if message.id and (message.fuzzy or not _translated(message.string)))
        left += missing
        print(f"{catalogue.locale}: {len(catalogue)} texts, {missing} of them to be translated")
    return 1 if left else 0


def folders() -> list[Path]:
    """Where the catalogues of the languages are; a folder `<code>/LC_MESSAGES` makes a new one."""
    return sorted(TRANSLATIONS.glob("*/LC_MESSAGES"))


def template() -> Catalog:
    """What the code says."""
    found = _new(None)
    for file, _line, text, comments, context in extract_from_dir(
        PAGE, _METHODS, _OPTIONS, _KEYWORDS, comment_tags=("Translators:",), strip_comment_tags=True
    ):
        found.add(text, locations=[(f"webui/school/{file}", 0)], auto_comments=comments, context=context)
    for text, where in named_in_tables():
        found.add(text, auto_comments=[where])
    return found


def named_in_tables() -> Iterator[tuple[str, str]]:
    """What the page finds in the tables of others, and where each text is from."""
    for code in page_codes():
        yield CATALOGUE[code].happened, f"{code}, what happened"
        yield REMEDIES.get(code, CATALOGUE[code].remedy), f"{code}, what to do"
    for name, found in FINDINGS.items():
        yield found.happened, f"{name}, what was found"
        if found.remedy:
            yield found.remedy, f"{name}, what to do"
    for _, title in (*_STATUSES.values(), failures.UNAVAILABLE):
        yield title, "title of a page that says what is wrong"
    for phase in PHASES.values():
        yield phase.text, f"phase {phase.name}"
    for kind, text in COMPLETED_TEXTS.items():
        yield text, f"a run of kind {kind} was completed"
    for name, text in TOLD.items():
        if text.strip("{}") not in names_in(text):  # else there are no words in it
            yield text, f"{name}, what an event tells"
    for title in (*TITLES.values(), TEST_TITLE):
        yield title, "title of what people are told"
    for unit in UNITS:
        yield unit, "unit of a size"


def page_codes() -> list[str]:
    """The errors that the page can meet: all of a school's, and those of servers that it answers with itself."""
    return [code for code in CATALOGUE if code in SCHOOL or code in _STATUSES]


def updated(folder: Path, code: Catalog) -> Catalog:
    """The catalogue of a language with the texts that the code has now; those that are new have no translation."""
    locale = Locale.parse(folder.parent.name)
    found, path = _new(locale), folder / "messages.po"
    known = read(path) if path.exists() else found
    for message in code:
        if message.id:
            before = known.get(message.id, message.context)
            found.add(
                message.id, before.string if before else None, message.locations,
                flags=before.flags if before else (), auto_comments=message.auto_comments,
                user_comments=before.user_comments if before else (), context=message.context,
            )  # fmt: skip
    return found


def read(path: Path) -> Catalog:
    """A catalogue that was written."""
    with path.open("rb") as source:
        return read_po(source, locale=path.parts[-3])


def compiled(catalogue: Catalog) -> bytes:
    """What a school's server reads."""
    sink = BytesIO()
    write_mo(sink, catalogue)
    return sink.getvalue()


def _new(locale: Locale | None) -> Catalog:
    return Catalog(
        locale, project="CLMS Update", version="page", header_comment="# SPDX-License-Identifier: GPL-3.0-or-later",
        creation_date=_MADE, revision_date=_MADE, fuzzy=False, charset="utf-8", copyright_holder=_WHO,
        last_translator=_WHO, language_team=_WHO, msgid_bugs_address=_WHO,
    )  # fmt: skip


def written(catalogue: Catalog) -> bytes:
    """The text of a catalogue."""
    sink = BytesIO()
    write_po(sink, catalogue, width=110, include_lineno=False)
    return sink.getvalue()


def _translated(text: str | tuple[str, ...] | list[str] | None) -> bool:
    return bool(text) and (isinstance(text, str) or all(text or ()))


if __name__ == "__main__":
    sys.exit(main())
