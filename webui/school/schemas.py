# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes in and out of the school's API, in the shapes of the original design (sections 3.1 and 8.1)."""

from __future__ import annotations

from typing import Any

from marshmallow import Schema, ValidationError, fields, validate

from ansible_collections.clms.update.plugins.module_utils.maintenance_texts import LANGUAGES
from ansible_collections.clms.update.plugins.module_utils.school import LOCATIONS
from ansible_collections.clms.update.plugins.module_utils.version import LONGEST, PATTERN
from webui.common.schemas import Strict, Whole

from .texts import STATUSES

WORDS = ("now", "tonight", "weekend")
"""times that have a word"""
_TIME = (
    r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])[T ]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
    r"(Z|[+-]([01][0-9]|2[0-3]):?[0-5][0-9])?"
)
_VERSION = (Whole(PATTERN, error="Not a version like 1.0.2."), validate.Length(max=LONGEST))
FILE = {"type": "string", "format": "binary"}
"""any content, as OpenAPI says it"""
_MOMENT = {"format": "date-time", "example": "2026-11-23T14:05:09Z"}


class Truth(fields.Boolean):
    """true or false, and no word or number for it."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> bool:
        if not isinstance(value, bool):
            raise ValidationError("Not true or false.")
        return value


class Number(fields.Integer):
    """A whole number; in JSON it may be written as 5.0 too, and a text is none."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.make_error("invalid", input=value)
        return super()._deserialize(value, attr, data, **kwargs)


def _typed(text: str) -> None:
    """What can be typed; JSON can hold half of a character."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValidationError("Not a text.") from None


class ScheduleBody(Strict):
    """What to install, and when."""

    updateId = fields.String(required=True, validate=_VERSION, metadata={"description": "its version"})
    scheduledFor = fields.String(
        required=True,
        validate=Whole(
            f"^({'|'.join(WORDS)}|{_TIME})$", error=f"Not a time like 2026-11-23T22:00, and none of {', '.join(WORDS)}."
        ),
        metadata={
            "description": "a word, or a time within a year: with its offset, or in the school's own zone",
            "example": "tonight",
        },
    )
    createBackup = Truth(
        load_default=True,
        validate=validate.Equal(True, error="Nothing begins without a backup."),
        metadata={"description": "always true: nothing begins without a backup"},
    )
    backupLocation = fields.String(
        load_default=None,
        validate=validate.OneOf(LOCATIONS),
        metadata={"description": "on this server alone, or on the external drive, too; else as the settings say"},
    )


class GoBackBody(Strict):
    """What a person has typed to go back."""

    confirm = fields.String(required=True, validate=_VERSION, metadata={"description": "the version to go back to"})
    password = fields.String(
        required=True,
        validate=(validate.Length(min=1, max=200), _typed),
        metadata={"description": "of the account that asks"},
    )


def _text(**more: Any) -> fields.String:
    """A setting that is a text."""
    return fields.String(validate=(validate.Length(max=4000), _typed), **more)


class RegistryLogin(Strict):
    """A login for the registry."""

    username = fields.String(required=True, validate=(validate.Length(min=1, max=200), _typed))
    password = fields.String(required=True, validate=(validate.Length(min=1, max=200), _typed))


class SettingsPart(Strict):
    """Settings by their names; those that are left out stay as they are."""

    contact = _text(allow_none=True)
    notify_language = fields.String(validate=validate.OneOf([*LANGUAGES]))
    time_zone = _text(metadata={"example": "Europe/Berlin"})
    school_hours = fields.List(_text(), metadata={"example": ["mon-fri 07:30-17:00"]})
    quiet_days = fields.List(_text(), metadata={"example": ["2026-12-21..2027-01-06"]})
    tonight = _text(metadata={"example": "22:00"})
    weekend = _text(metadata={"example": "sat 10:00"})
    missed = fields.String(validate=validate.OneOf(["run", "tonight", "skip"]))
    check_interval_days = Number(validate=validate.Range(0, 366))
    check_on_startup = Truth()
    backup_path = _text()
    max_backups = Number(validate=validate.Range(2, 1000))
    external_backup_path = _text(allow_none=True)
    update_server = _text(metadata={"example": "https://updates.example.com"})
    registry = _text(metadata={"example": "registry.example.com"})


class SettingsChange(SettingsPart):
    """The same, with secrets, which are never shown."""

    api_key = _text()
    registry_login = fields.Nested(RegistryLogin)
    notify = _text(metadata={"description": "addresses as Apprise writes them, one in a line; none tells nobody"})


class SettingsBody(Strict):
    """What is to be another."""

    settings = fields.Nested(SettingsChange, required=True)
    password = fields.String(
        required=True,
        validate=(validate.Length(min=1, max=200), _typed),
        metadata={"description": "of the account that asks"},
    )


class SettingsAnswer(Schema):
    """What is set."""

    settings = fields.Nested(SettingsPart, required=True)
    secrets = fields.Dict(
        keys=fields.String(), values=fields.Boolean(), required=True, metadata={"description": "which are there"}
    )


class Changed(Schema):
    """What is another now."""

    changed = fields.List(fields.String(), required=True, metadata={"description": "names of settings"})


class VendorFile(Schema):
    """A file of the vendor with a release that was taken in."""

    version = fields.String(required=True)
    file = fields.String(required=True)
    created = fields.String(required=True, metadata=_MOMENT)
    size = fields.Integer(required=True)


class TakenIn(Schema):
    """A file was taken in."""

    version = fields.String(required=True, metadata={"description": "of the release in it"})


class Check(Schema):
    """Something that was looked at."""

    name = fields.String(required=True)
    ok = fields.Boolean(required=True, allow_none=True, metadata={"description": "null: it could not be seen"})
    message = fields.String(required=True)
    remedy = fields.String(required=True, allow_none=True)
    code = fields.String(allow_none=True)
    repair = fields.String(allow_none=True, metadata={"description": "what the server can do about it itself"})


class Health(Schema):
    """Whether all is well."""

    ok = fields.Boolean(required=True)
    checks = fields.List(fields.Nested(Check), required=True)


class UpdateInfo(Schema):
    """A release; ``UpdateInfo`` of the original design."""

    version = fields.String(required=True)
    releaseDate = fields.String(required=True, metadata=_MOMENT)
    changelog = fields.String(required=True)
    critical = fields.Boolean(required=True)
    forceAfterDate = fields.String(allow_none=True, metadata=_MOMENT)
    gracePeriodDays = fields.Integer(metadata={"description": "after this school has heard of it, where that is later"})
    minVersion = fields.String(allow_none=True)
    dockerTags = fields.Dict(keys=fields.String(), values=fields.String(), metadata={"description": "by digest"})
    backupRequired = fields.Boolean(required=True)
    breakingChanges = fields.List(fields.String())
    estimatedMinutes = fields.Integer()
    migrationNotes = fields.String(allow_none=True)
    size = fields.Integer(metadata={"description": "of the package, in bytes"})


class CheckAnswer(Schema):
    """What came of asking the vendor."""

    updateAvailable = fields.Boolean(required=True)
    currentVersion = fields.String(allow_none=True)
    latestVersion = fields.String(allow_none=True)
    updateInfo = fields.Nested(UpdateInfo, allow_none=True)
    message = fields.String(required=True, metadata={"description": "for people"})


class SystemUpdate(Schema):
    """An update that is scheduled, goes on, or has ended; ``SystemUpdate`` of the original design."""

    id = fields.String(required=True)
    version = fields.String(allow_none=True, metadata={"description": "none: the newest at that time"})
    status = fields.String(required=True, validate=validate.OneOf(sorted(STATUSES)))
    scheduledFor = fields.String(allow_none=True, metadata=_MOMENT)
    executedAt = fields.String(allow_none=True, metadata=_MOMENT)
    backupPath = fields.String(allow_none=True, metadata={"description": "its backup, on the server"})
    changelog = fields.String(required=True, metadata={"description": "empty where it is not known any more"})
    critical = fields.Boolean(required=True)
    createdAt = fields.String(allow_none=True, metadata=_MOMENT)
    updatedAt = fields.String(allow_none=True, metadata=_MOMENT)
    errorCode = fields.String(allow_none=True)
    message = fields.String(required=True, metadata={"description": "for people"})


class Progress(Schema):
    """What goes on."""

    running = fields.Dict(allow_none=True, metadata={"description": "the run: its phase, percent, seconds_left, …"})
    last = fields.Dict(allow_none=True, metadata={"description": "the last run that changed the version"})
    version = fields.String(allow_none=True, metadata={"description": "that is installed"})
    error = fields.Dict(metadata={"description": "why it cannot be told right now; there is nothing else then"})


class Done(Schema):
    """It was done."""

    success = fields.Boolean(required=True)


class Accepted(Schema):
    """It was taken in."""

    success = fields.Boolean(required=True)
    updateId = fields.String(metadata={"description": "to ask for its status with"})
    warnings = fields.List(fields.String())


class ForcedUpdate(Schema):
    """A critical update that cannot wait for ever."""

    updateId = fields.String(required=True, metadata={"description": "its version"})
    deadline = fields.String(required=True, metadata=_MOMENT)
    overdue = fields.Boolean(required=True)
    postponementsLeft = fields.Integer(required=True)
    liftedUntil = fields.String(required=True, allow_none=True, metadata=_MOMENT)


class Enforcement(Schema):
    """What is forced right now."""

    blocked = fields.Boolean(required=True, metadata={"description": "whether people can only look books up"})
    forced = fields.Nested(ForcedUpdate, required=True, allow_none=True)


class EventsBefore(Schema):
    """Which events."""

    before = fields.Integer(
        load_default=None,
        validate=validate.Range(1, 2**53 - 1),
        metadata={"description": "only older ones than the one of this number; a list ends after 100"},
    )


class Event(Schema):
    """Something that happened; ``UpdateEvent`` of the original design."""

    id = fields.String(required=True)
    type = fields.String(required=True)
    updateId = fields.String(allow_none=True, metadata={"description": "none where it is about no update"})
    timestamp = fields.String(required=True, metadata=_MOMENT)
    message = fields.String(required=True)


class Backup(Schema):
    """A backup on this server."""

    id = fields.String(required=True)
    created = fields.String(required=True, metadata=_MOMENT)
    version = fields.String(required=True)
    bytes = fields.Integer(required=True)
    proven = fields.String(required=True, metadata=_MOMENT)
