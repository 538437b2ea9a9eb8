# SPDX-License-Identifier: GPL-3.0-or-later
"""The language of the page: the one that a person has chosen, else the one that the browser asks for, else English.

A language is a folder below ``translations/``; see ``setup/words.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from babel import Locale, negotiate_locale
from flask import Blueprint, Flask, Response, current_app, has_request_context, redirect, request, session, url_for
from flask_babel import Babel, get_locale
from flask_babel import gettext as _gettext
from flask_babel import lazy_gettext as _lazy_gettext
from flask_babel import ngettext as _ngettext
from werkzeug.wrappers import Response as AnyResponse

from .places import inside

ORIGINAL = "en"
"""in which the code, the agent and the API speak"""
TRANSLATIONS = Path(__file__).with_name("translations")
_CATALOGUE = "LC_MESSAGES/messages.mo"
_CHOSEN = "language"
"""in the session: the one that a person has chosen"""
_NAMES = "clms_languages"

blueprint = Blueprint("language", __name__)


def gettext(text: str, **values: object) -> str:
    """A text in the language of the answer, with what it names as ``%(name)s``."""
    return str(_gettext(text, **values))


def ngettext(one: str, many: str, num: int) -> str:
    """The same for one and for many; each of them can name ``%(num)s``."""
    return str(_ngettext(one, many, num))


def lazy_gettext(text: str, **values: object) -> Any:
    """The same, for texts that are there before anybody asks: the language is that of each answer."""
    return _lazy_gettext(text, **values)


def N_(text: str) -> str:
    """Marks a text that is translated where it is shown."""
    return text


def install(app: Flask) -> None:
    """Let ``app`` speak the languages that have a catalogue."""
    found = (path.name for path in sorted(TRANSLATIONS.iterdir()) if (path / _CATALOGUE).is_file())
    app.extensions[_NAMES] = {code: name_of(code) for code in (ORIGINAL, *found)}
    Babel(app, default_translation_directories=str(TRANSLATIONS), locale_selector=_selected)
    app.jinja_env.policies["ext.i18n.trimmed"] = True
    app.jinja_env.globals.update(languages=languages, language=current, this_place=_this_place)
    app.after_request(_say_so)


def name_of(code: str) -> str:
    """What those who speak a language call it."""
    name = Locale.parse(code).get_display_name() or code
    return name[0].upper() + name[1:]


def languages() -> dict[str, str]:
    """Code of a language -> what those who speak it call it."""
    found: dict[str, str] = current_app.extensions[_NAMES]
    return found


def current() -> str:
    """The code of the language in which the answer is."""
    return str(get_locale() or ORIGINAL)


def is_original() -> bool:
    """Whether the answer is in the language in which the agent speaks."""
    return current() == ORIGINAL


def clear_session() -> None:
    """Forget all of a session but its language."""
    chosen = session.get(_CHOSEN)
    session.clear()
    if chosen:
        session[_CHOSEN] = chosen


def _selected() -> str:
    if not has_request_context() or request.path.startswith("/api/") or request.path == "/metrics":
        return ORIGINAL  # programs understand one language
    chosen = session.get(_CHOSEN)
    if chosen in languages():
        return str(chosen)
    known = {code.lower(): code for code in languages()}
    wanted = [tag.replace("-", "_").lower() for tag, quality in request.accept_languages if quality]
    # that of another region is better than another language
    return known[(negotiate_locale(wanted, known) or ORIGINAL).lower()]


def _say_so(response: Response) -> Response:
    if response.mimetype == "text/html":
        response.vary.add("Accept-Language")
        response.content_language.add(current().replace("_", "-"))
    return response


def _this_place() -> str:
    """Where somebody is who chooses a language; pages that only take forms cannot be gone back to."""
    rule = request.url_rule
    there = rule is not None and "GET" in (rule.methods or ())
    return request.full_path.rstrip("?") if there else url_for("pages.overview")


@blueprint.post("/language")
def choose() -> AnyResponse:
    """Speak another language from now on."""
    if (wanted := request.form.get("language", "")) in languages():
        session[_CHOSEN] = wanted
    return redirect(inside(request.form.get("next", "")))
