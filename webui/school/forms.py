# SPDX-License-Identifier: GPL-3.0-or-later
"""What people fill in. What the agent refuses is shown beside the field that it is about."""

from __future__ import annotations

from zoneinfo import available_timezones

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
from wtforms.validators import InputRequired, Length, NumberRange, Optional

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

_NEEDED = InputRequired("Please fill this in.")
_TYPED = Length(max=200, message="This is too long.")

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
}
"""Code of a refusal -> the field that it is about."""
_PARTS = {"registry_login": "registry_password"}
"""Name of a setting -> the field in which most of it is typed."""


class Form(FlaskForm):  # type: ignore[misc]
    """A form that can say what the agent has said."""

    def refuse(self, error: ClmsError) -> None:
        """Show a refusal beside its field.

        :raises ClmsError: the same, where it is about none of these fields
        """
        name = str(error.values["setting"]) if error.code == "SETTING_WRONG" else _FIELDS.get(error.code, "")
        field = self._fields.get(_PARTS.get(name, name))
        if field is None:
            raise error
        field.errors = [*field.errors, f"{error.happened} {error.remedy}"]


class SignIn(Form):
    """Sign in."""

    name = StringField("Name", [_NEEDED, _TYPED], render_kw={"autocomplete": "username", "autocapitalize": "none"})
    password = PasswordField("Password", [_NEEDED, _TYPED], render_kw={"autocomplete": "current-password"})
    submit = SubmitField("Sign in")


class SetUp(Form):
    """Make the first account."""

    code = StringField(
        "Set-up code",
        [_NEEDED, _TYPED],
        description="Whoever looks after the server gets it there with: clms-update account --code",
        render_kw={"autocomplete": "off"},
    )
    name = StringField(
        "Your name here",
        [_NEEDED, _TYPED],
        description="Small letters, digits, dots and hyphens",
        render_kw={"autocomplete": "username", "autocapitalize": "none"},
    )
    new = PasswordField(
        "Password",
        [_NEEDED, _TYPED],
        description="At least 10 characters; a few words in a row are good",
        render_kw={"autocomplete": "new-password"},
    )
    again = PasswordField("Password once more", [_NEEDED, _TYPED], render_kw={"autocomplete": "new-password"})
    submit = SubmitField("Make the account")


class NewPassword(Form):
    """Choose another password."""

    password = PasswordField("Password until now", [_NEEDED, _TYPED], render_kw={"autocomplete": "current-password"})
    new = PasswordField(
        "New password",
        [_NEEDED, _TYPED],
        description="At least 10 characters; a few words in a row are good",
        render_kw={"autocomplete": "new-password"},
    )
    again = PasswordField("New password once more", [_NEEDED, _TYPED], render_kw={"autocomplete": "new-password"})
    submit = SubmitField("Change the password")


def typed_twice(form: SetUp | NewPassword) -> bool:
    """Whether both passwords are the same; else the second field says that they are not."""
    if form.new.data == form.again.data:
        return True
    form.again.errors = [*form.again.errors, "This is not the same as above."]
    return False


class Schedule(Form):
    """When to update."""

    when = RadioField("When", choices=["now", "tonight", "weekend", "own"], default="tonight")
    at = DateTimeLocalField("Day and time", [Optional()], format="%Y-%m-%dT%H:%M")
    submit = SubmitField("Schedule the update")


class GoBack(Form):
    """Go back to an earlier state: typed, and with the password."""

    confirm = StringField("Version", [_NEEDED, Length(max=64)], render_kw={"autocomplete": "off"})
    password = PasswordField("Your password", [_NEEDED, _TYPED], render_kw={"autocomplete": "current-password"})
    submit = SubmitField()


SETTINGS = (
    *("contact", "time_zone", "school_hours", "quiet_days", "tonight", "weekend", "missed", "check_interval_days"),
    *("check_on_startup", "backup_path", "max_backups", "external_backup_path", "update_server", "registry"),
)
"""Names of the settings that are no secrets; see ``agent/settings.py``."""
_KEPT = "Leave it empty to keep the one that is there"
_LONG = Length(max=4000, message="This is too long.")


class Settings(Form):
    """What a school wants of updates, where they come from, and who is told."""

    seen = HiddenField()
    contact = StringField(
        "Who helps", [_TYPED], description="People are shown this when something is wrong: a name and how to reach them"
    )
    time_zone = SelectField("Time zone", choices=sorted(z for z in available_timezones() if "/" in z or z == "UTC"))
    school_hours = TextAreaField(
        "School hours", [_LONG], description="One in a line, like: mon-fri 07:30-17:00", render_kw={"rows": 2}
    )
    quiet_days = TextAreaField(
        "Holidays and exam weeks",
        [_LONG],
        description="Nothing begins by itself then. One in a line, like: 2026-12-21..2027-01-06 or 2027-03-15",
        render_kw={"rows": 3},
    )
    tonight = StringField("“Tonight” is at", [_NEEDED, _TYPED], description="Like: 22:00")
    weekend = StringField("“At the weekend” is", [_NEEDED, _TYPED], description="Like: sat 10:00")
    missed = SelectField(
        "If the server is off at the time of an update",
        choices=[
            SelectChoice("run", "do it as soon as the server is on"),
            SelectChoice("tonight", "do it on the next night"),
            SelectChoice("skip", "leave it out"),
        ],
    )
    check_interval_days = IntegerField(
        "Days between two looks for updates",
        [InputRequired("Please write a number."), NumberRange(0, 366, "From 0 to 366.")],
        description="0 is never by itself",
    )
    check_on_startup = BooleanField("Look for updates whenever the server starts, too")
    backup_path = StringField(
        "Folder of the backups", [_NEEDED, _TYPED], description="Earlier ones stay where they are"
    )
    max_backups = IntegerField(
        "Backups to keep", [InputRequired("Please write a number."), NumberRange(2, 1000, "From 2 to 1000.")]
    )
    external_backup_path = StringField(
        "Copy them to",
        [_TYPED],
        description="A folder on an external drive, or nothing",
        render_kw={"autocomplete": "off"},
    )
    update_server = StringField("Update server", [_NEEDED, _TYPED], description="Like: https://updates.example.com")
    api_key = PasswordField("API key of this school", [_TYPED], description=_KEPT, render_kw={"autocomplete": "off"})
    registry = StringField("Docker registry", [_NEEDED, _TYPED], description="Like: registry.example.com")
    registry_user = StringField("User name there", [_TYPED], render_kw={"autocomplete": "off"})
    registry_password = PasswordField(
        "Password there", [_TYPED], description=_KEPT, render_kw={"autocomplete": "new-password"}
    )
    notify = TextAreaField(
        "Addresses",
        [_LONG],
        description="Mail, chat or webhook, one in a line, as Apprise writes them, like: "
        "mailtos://user:password@school.example. Leave it empty to keep those that are there",
        render_kw={"rows": 3},
    )
    notify_nobody = BooleanField("Tell nobody any more")
    password = PasswordField("Your password", [_NEEDED, _TYPED], render_kw={"autocomplete": "current-password"})
    submit = SubmitField("Save the settings")
