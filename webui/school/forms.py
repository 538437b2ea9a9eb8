# SPDX-License-Identifier: GPL-3.0-or-later
"""What people fill in. What the agent refuses is shown beside the field that it is about."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from flask import request
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    DateTimeLocalField,
    HiddenField,
    IntegerField,
    PasswordField,
    RadioField,
    SelectChoice,
    SelectField,
    StringField,
    SubmitField,
    TextAreaField,
)
from wtforms.validators import InputRequired, Length, NumberRange, StopValidation

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.maintenance_texts import LANGUAGES
from ansible_collections.clms.update.plugins.module_utils.school import LOCATIONS

from .failures import answer_as
from .kept import AGAIN
from .language import N_, gettext, name_of, ngettext
from .language import lazy_gettext as _
from .said import said
from .texts import SETTINGS

_NEEDED = InputRequired(_("Please fill this in."))
_TOO_LONG = _("This is too long.")
_TYPED = Length(max=200, message=_TOO_LONG)

_FIELDS = {
    "ACCOUNT_CODE": "code",
    "ACCOUNT_NAME": "name",
    "PASSWORD_WEAK": "new",
    "SIGN_IN_REFUSED": "password",
    "SIGN_IN_WAIT": "password",
    "CONFIRMATION_MISSING": "confirm",
    "SCHEDULE_TIME": "at",
    "SCHEDULE_PAST": "at",
    "SCHEDULE_TWICE": "when",
    "BACKUP_LOCATION": "backup_location",
}
"""Code of a refusal -> the field that it is about."""
_PARTS = {"registry_login": "registry_password"}
"""Name of a setting -> the field in which most of it is typed."""


OF_WTFORMS = (N_("Not a valid choice."), N_("Not a valid datetime value."), N_("Not a valid integer value."))
"""what fields say by themselves"""


class _Words:
    """The page's own catalogue, in place of that of WTForms."""

    gettext = staticmethod(gettext)
    ngettext = staticmethod(ngettext)


class Form(FlaskForm):  # type: ignore[misc]
    """A form that can say what the agent has said."""

    class Meta(FlaskForm.Meta):  # type: ignore[misc]
        """As WTForms wants it."""

        def get_translations(self, form: Any) -> type[_Words]:
            """What fields say by themselves is translated with this."""
            return _Words

    def is_submitted(self) -> bool:
        """Not where it is only to be shown as somebody has filled it in before, see :mod:`.kept`."""
        return bool(super().is_submitted()) and AGAIN not in request.form

    def refuse(self, error: ClmsError) -> None:
        """Show a refusal beside its field, and one that is about none of these fields above the form: what was typed
        stays. The answer says then by its status what the matter is, as a page of its own would.
        """
        field = self._fields.get(_PARTS.get(name := _field_of(error), name))
        if field is not None:
            field.errors = [*field.errors, said(error).both]
            return
        self.form_errors.append(said(error).both)
        answer_as(error)


def _field_of(error: ClmsError) -> str:
    return str(error.values["setting"]) if error.code == "SETTING_WRONG" else _FIELDS.get(error.code, "")


class SignIn(Form):
    """Sign in."""

    name = StringField(_("Name"), [_NEEDED, _TYPED], render_kw={"autocomplete": "username", "autocapitalize": "none"})
    password = PasswordField(_("Password"), [_NEEDED, _TYPED], render_kw={"autocomplete": "current-password"})
    submit = SubmitField(_("Sign in"))


class SetUp(Form):
    """Make the first account."""

    code = StringField(
        _("Set-up code"),
        [_NEEDED, _TYPED],
        description=_("Whoever looks after the server gets it there with: clms-update account --code"),
        render_kw={"autocomplete": "off"},
    )
    name = StringField(
        _("Your name here"),
        [_NEEDED, _TYPED],
        description=_("Small letters, digits, dots and hyphens"),
        render_kw={"autocomplete": "username", "autocapitalize": "none"},
    )
    new = PasswordField(
        _("Password"),
        [_NEEDED, _TYPED],
        description=_("At least 10 characters; a few words in a row are good"),
        render_kw={"autocomplete": "new-password"},
    )
    again = PasswordField(_("Password once more"), [_NEEDED, _TYPED], render_kw={"autocomplete": "new-password"})
    submit = SubmitField(_("Make the account"))


class NewPassword(Form):
    """Choose another password."""

    password = PasswordField(_("Password until now"), [_NEEDED, _TYPED], render_kw={"autocomplete": "current-password"})
    new = PasswordField(
        _("New password"),
        [_NEEDED, _TYPED],
        description=_("At least 10 characters; a few words in a row are good"),
        render_kw={"autocomplete": "new-password"},
    )
    again = PasswordField(_("New password once more"), [_NEEDED, _TYPED], render_kw={"autocomplete": "new-password"})
    submit = SubmitField(_("Change the password"))


def typed_twice(form: SetUp | NewPassword) -> bool:
    """Whether both passwords are the same; else the second field says that they are not."""
    if form.new.data == form.again.data:
        return True
    form.again.errors = [*form.again.errors, _("This is not the same as above.")]
    return False


def _own_time(form: Schedule, field: DateTimeLocalField) -> None:
    """A time that was given is never passed over: CLMS would be closed at another one."""
    own = form.when.data == "own"
    if not any(text.strip() for text in field.raw_data or ()):
        field.errors = []  # nothing is no time that is written in a wrong way
        raise StopValidation(_("Please give a day and a time.") if own else None)
    if not own:
        raise StopValidation(_("Choose “At another time” above, or leave this empty."))


class Schedule(Form):
    """When to update, and where its backup goes."""

    when = RadioField(_("When"), choices=["now", "tonight", "weekend", "own"], default="tonight")
    at = DateTimeLocalField(_("Day and time"), [_own_time], format="%Y-%m-%dT%H:%M")
    backup_location = RadioField(_("Where does the backup go?"), choices=LOCATIONS, default="external")
    submit = SubmitField(_("Schedule the update"))

    @property
    def chosen(self) -> str:
        """The time, as the agent takes it."""
        return str(self.when.data if self.when.data != "own" else self.at.data.isoformat(timespec="minutes"))


class GoBack(Form):
    """Go back to an earlier state: typed, and with the password."""

    confirm = StringField(_("Version"), [_NEEDED, Length(max=64, message=_TOO_LONG)], render_kw={"autocomplete": "off"})
    password = PasswordField(_("Your password"), [_NEEDED, _TYPED], render_kw={"autocomplete": "current-password"})
    submit = SubmitField()


_KEPT = _("Leave it empty to keep the one that is there")
_LONG = Length(max=4000, message=_TOO_LONG)


class Settings(Form):
    """What a school wants of updates, where they come from, and who is told."""

    seen = HiddenField()
    contact = StringField(
        _(SETTINGS["contact"]),
        [_TYPED],
        description=_("People are shown this when something is wrong: a name and how to reach them"),
    )
    time_zone = SelectField(
        _(SETTINGS["time_zone"]), choices=sorted(z for z in available_timezones() if "/" in z or z == "UTC")
    )
    school_hours = TextAreaField(
        _(SETTINGS["school_hours"]),
        [_LONG],
        description=_("One in a line, like: mon-fri 07:30-17:00"),
        render_kw={"rows": 2},
    )
    quiet_days = TextAreaField(
        _(SETTINGS["quiet_days"]),
        [_LONG],
        description=_("Nothing begins by itself then. One in a line, like: 2026-12-21..2027-01-06 or 2027-03-15"),
        render_kw={"rows": 3},
    )
    tonight = StringField(_(SETTINGS["tonight"]), [_NEEDED, _TYPED], description=_("Like: 22:00"))
    weekend = StringField(_(SETTINGS["weekend"]), [_NEEDED, _TYPED], description=_("Like: sat 10:00"))
    missed = SelectField(
        _(SETTINGS["missed"]),
        choices=[
            SelectChoice("run", _("do it as soon as the server is on")),
            SelectChoice("tonight", _("do it on the next night")),
            SelectChoice("skip", _("leave it out")),
        ],
    )
    check_interval_days = IntegerField(
        _(SETTINGS["check_interval_days"]),
        [InputRequired(_("Please write a number.")), NumberRange(0, 366, _("From 0 to 366."))],
        description=_("0 is never by itself"),
    )
    check_on_startup = BooleanField(_(SETTINGS["check_on_startup"]))
    backup_path = StringField(
        _(SETTINGS["backup_path"]), [_NEEDED, _TYPED], description=_("Earlier ones stay where they are")
    )
    max_backups = IntegerField(
        _(SETTINGS["max_backups"]),
        [InputRequired(_("Please write a number.")), NumberRange(2, 1000, _("From 2 to 1000."))],
    )
    external_backup_path = StringField(
        _(SETTINGS["external_backup_path"]),
        [_TYPED],
        description=_("A folder on an external drive, or nothing"),
        render_kw={"autocomplete": "off"},
    )
    update_server = StringField(
        _(SETTINGS["update_server"]), [_NEEDED, _TYPED], description=_("Like: https://updates.example.com")
    )
    api_key = PasswordField(_(SETTINGS["api_key"]), [_TYPED], description=_KEPT, render_kw={"autocomplete": "off"})
    registry = StringField(_(SETTINGS["registry"]), [_NEEDED, _TYPED], description=_("Like: registry.example.com"))
    registry_user = StringField(_("User name there"), [_TYPED], render_kw={"autocomplete": "off"})
    registry_password = PasswordField(
        _("Password there"), [_TYPED], description=_KEPT, render_kw={"autocomplete": "new-password"}
    )
    notify = TextAreaField(
        _(SETTINGS["notify"]),
        [_LONG],
        description=_(
            "Mail, chat or webhook, one in a line, as Apprise writes them, like: "
            "mailtos://user:password@school.example. Leave it empty to keep those that are there"
        ),
        render_kw={"rows": 3},
    )
    notify_language = SelectField(
        _(SETTINGS["notify_language"]), choices=[SelectChoice(code, name_of(code)) for code in LANGUAGES]
    )
    notify_nobody = BooleanField(_("Tell nobody any more"))
    password = PasswordField(_("Your password"), [_NEEDED, _TYPED], render_kw={"autocomplete": "current-password"})
    submit = SubmitField(_("Save the settings"))
