# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent says, in the language of who reads it.

It speaks English. What it says with a code, or with facts from which the sentence can be made anew, is translated; its
free words are shown as they are, and marked as English. Where it names a command, the page names its own buttons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from flask import Flask
from flask_babel import LazyString
from markupsafe import Markup, escape

from ansible_collections.clms.update.plugins.module_utils.errors import CATALOGUE, ClmsError
from ansible_collections.clms.update.plugins.module_utils.finding_texts import FINDINGS
from ansible_collections.clms.update.plugins.module_utils.plan import COMPLETED_TEXTS, PHASES
from ansible_collections.clms.update.plugins.module_utils.status import cause_of
from ansible_collections.clms.update.plugins.module_utils.told import TOLD, names_in

from .language import N_, ORIGINAL, gettext, is_original
from .own_words import REMEDIES, known_detail
from .texts import KINDS, SETTINGS, age, moment

_FREE = ("detail", "problem", "remedy", "writes")
"""values of errors that are free words; others are names and numbers"""
_CAUTIONS = {
    "SCHOOL_HOURS": N_("{at} is during school hours: users will see a page that says CLMS is closed."),
    "QUIET_DAY": N_("{at} is one of the school's quiet days; the update begins all the same."),
    "TIME_TWICE": N_("The clocks are put back then, and that hour comes twice: the first one is meant."),
}
"""what a person should know of a time, see :class:`.calendar_rules.Caution`"""


@dataclass(frozen=True)
class Said:
    """A failure in words."""

    happened: Markup
    remedy: Markup

    @property
    def both(self) -> Markup:
        """Both sentences."""
        return Markup(" ").join(part for part in (self.happened, self.remedy) if part)


def install(app: Flask) -> None:
    """Give the templates these words."""
    app.jinja_env.filters.update(said=said, english=english, failure=failure_of, outcome=outcome_of, told=told)


def said(failure: ClmsError | Mapping[str, Any]) -> Said:
    """A failure in the language of who reads it.

    :param failure: the error, or what :meth:`.errors.ClmsError.as_dict` has made of it, or a check of
        :func:`agent.doctor.examine`; where the values are missing, as in older runs, it is shown as it was said then
    """
    if isinstance(failure, ClmsError):
        code, finding, values = failure.code, "", failure.values
        words = Said(english(failure.happened), english(failure.remedy))
    else:
        code, finding = failure.get("code") or "", failure.get("finding") or ""
        values = failure.get("values") or {}
        words = Said(english(failure["message"]), english(failure.get("remedy")))
    if code in REMEDIES:
        words = Said(words.happened, escape(gettext(REMEDIES[code])))
    text = CATALOGUE.get(code) or FINDINGS.get(finding)
    if text is None or not text.names <= values.keys() or is_original():
        return words
    shown = {name: _value(code, name, values[name]) for name in text.names}
    return Said(_filled_in(text.happened, shown), words.remedy if code in REMEDIES else _filled_in(text.remedy, shown))


def english(text: str | None) -> Markup:
    """Free words of the agent, marked as what they are."""
    if not text or is_original():
        return escape(text or "")
    return Markup('<span lang="{}">{}</span>').format(ORIGINAL, text)


def _filled_in(text: str, values: Mapping[str, Any]) -> Markup:
    return escape(gettext(text) if text else "").format(**values)  # to nothing, gettext says who has translated


def _value(code: str, name: str, value: object) -> Markup:
    if isinstance(value, Mapping):
        words = said(value)
        return words.both if name == "failure" else words.happened
    if isinstance(value, LazyString):  # the page's own words
        return escape(str(value))
    text = str(value)
    if name == "detail" and (known := known_detail(code, text)):
        return _filled_in(*known)
    if name in ("at", "later"):
        return escape(_local_time(text))
    if name == "update":
        named = gettext("The update to version %(version)s", version=text)
        return escape(named if text else gettext("The update to the newest version"))
    if name == "settings":
        return escape(", ".join(gettext(SETTINGS[one]) if one in SETTINGS else one for one in text.split(", ")))
    if name == "kind" and text.removesuffix("_images") in KINDS:
        return escape(gettext(KINDS[text.removesuffix("_images")]))
    if name == "phase" and text in PHASES:
        return escape(gettext(PHASES[text].text))
    if name == "ago":
        return escape(age(float(text)))
    if name == "moment":
        return escape(moment(text))
    return english(text) if name in _FREE else escape(text)


def _local_time(text: str) -> str:
    """A moment as :func:`.calendar_rules.local_text` writes it, in words of this language; else as it was typed."""
    day_and_time, _, zone = text.removesuffix(")").partition(" (")
    try:
        at = datetime.strptime(day_and_time, "%A, %d %B %Y, %H:%M").replace(tzinfo=ZoneInfo(zone))
    except (ValueError, KeyError, OSError):
        return text
    return moment(at.isoformat())


# runs, and what else the agent says with facts


def failure_of(run: Mapping[str, Any]) -> Said:
    """Why a run has failed, see :func:`.status.describe_run`."""
    return said(cause_of(run))


def outcome_of(run: Mapping[str, Any]) -> Markup:
    """What a run has done, or why it has failed."""
    if run["error_code"]:
        return failure_of(run).happened
    text = COMPLETED_TEXTS.get(run["kind"]) if run["outcome"] == "COMPLETED" else None
    if text is None or is_original():
        return english(run["message"])
    return _filled_in(text, {"version": run["version"]})


def told(event: Mapping[str, Any]) -> Markup:
    """What an event tells, see :class:`.told.Told`; one of an older updater is shown as it was told then."""
    known = event.get("told") or {}
    text, values = TOLD.get(known.get("code", "")), known.get("values", {})
    if text is None or not names_in(text) <= values.keys():
        return english(event["message"])
    return _filled_in(text, {name: _value(known["code"], name, values[name]) for name in names_in(text)})


def caution(warning: Mapping[str, Any], due_at: str) -> Markup:
    """What a person should know of the time for which an update was scheduled."""
    text = _CAUTIONS.get(warning["code"])
    return english(warning["message"]) if text is None or is_original() else _filled_in(text, {"at": moment(due_at)})


def check_answer(answer: Mapping[str, Any]) -> Markup:
    """What came of asking the vendor, see :func:`.overview.check`."""
    current, latest = answer.get("currentVersion"), answer.get("latestVersion")
    if is_original():
        return escape(answer["message"])
    if latest is None:
        text = gettext("The vendor has published no release.")
    elif answer["updateAvailable"] and current is None:
        text = gettext("Version %(latest)s is available; CLMS is not installed yet.", latest=latest)
    elif answer["updateAvailable"]:
        text = gettext(
            "Version %(latest)s is available; version %(current)s is running.", latest=latest, current=current
        )
    elif latest == current and answer.get("offline"):
        text = gettext("Version %(current)s is the newest that this server knows of.", current=current)
    elif latest == current:
        text = gettext("Version %(current)s is the newest.", current=current)
    else:
        text = gettext("Version %(current)s is newer than what the vendor offers.", current=current)
    return escape(f"{_no_news(answer)} {text}" if answer.get("offline") else text)


def _no_news(answer: Mapping[str, Any]) -> str:
    """That nobody has answered, and since when."""
    when = age(answer.get("newsAgeSeconds"))
    return gettext("There is no fresh news; the vendor was last heard of: %(when)s.", when=when)
