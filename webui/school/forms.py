# SPDX-License-Identifier: GPL-3.0-or-later
"""What people fill in. What the agent refuses is shown beside the field that it is about."""

from __future__ import annotations

from flask_wtf import FlaskForm
from wtforms import DateTimeLocalField, PasswordField, RadioField, StringField, SubmitField
from wtforms.validators import InputRequired, Length, Optional

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


class Form(FlaskForm):  # type: ignore[misc]
    """A form that can say what the agent has said."""

    def refuse(self, error: ClmsError) -> None:
        """Show a refusal beside its field.

        :raises ClmsError: the same, where it is about none of these fields
        """
        field = self._fields.get(_FIELDS.get(error.code, ""))
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
