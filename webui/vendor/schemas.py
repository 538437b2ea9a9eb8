# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes in and out of the API; the OpenAPI document is made from these."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from ansible_collections.clms.update.plugins.module_utils.plan import KINDS, kind_word
from ansible_collections.clms.update.plugins.module_utils.version import Version
from webui.common import openapi as common
from webui.common.schemas import Strict, Whole

from .schools import iso_text

OUTCOMES = ("COMPLETED", "FAILED", "ROLLED_BACK")
"""The statuses of the original design in which a run has ended."""

_KINDS = sorted({kind_word(kind) for kind in KINDS} | {"recover"})
_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"
_MOMENT = {"example": "2026-11-23T14:05:09Z"}
_DAY = {"format": "date", "example": "2026-11-23"}


class Moment(fields.AwareDateTime):
    """A moment in UTC, written in exactly one way."""

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> str | None:
        return iso_text(value)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> datetime:
        if not isinstance(value, str) or not re.fullmatch(_TIME, value):
            raise ValidationError("Not a time like 2026-11-23T14:05:09Z.")
        return super()._deserialize(value, attr, data, **kwargs)


class Seconds(fields.Float):
    """A duration; a number in quotes is none."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValidationError("Not a valid number.")
        number = super()._deserialize(value, attr, data, **kwargs)
        if not 0 <= number <= 10_000_000:
            raise ValidationError("Must be a number of seconds.")
        return number


def _version(text: str) -> None:
    try:
        Version(text)
    except ValueError:
        raise ValidationError("Not a version like 1.0.2.") from None


class ReleaseQuery(Schema):
    """Which releases are meant."""

    channel = fields.String(load_default="stable", validate=Whole(r"^[a-z][a-z0-9_-]{0,40}$"))
    architecture = fields.String(
        load_default="amd64",
        validate=Whole(r"^[a-z0-9_]{1,20}$"),
        metadata={"description": "whose images dockerTags names"},
    )


class LatestAnswer(Schema):
    """The newest release."""

    version = fields.String(required=True)
    releaseDate = fields.String(required=True, metadata=_DAY)
    changelog = fields.String(required=True)
    critical = fields.Boolean(required=True)
    dockerTags = fields.Dict(
        keys=fields.String(),
        values=fields.String(),
        required=True,
        metadata={"description": "service -> registry/repository@sha256:…"},
    )


class UpdateAnswer(Schema):
    """One release, and where its package lies."""

    version = fields.String(required=True)
    downloadUrl = fields.Url(required=True)
    signatureUrl = fields.Url(required=True)
    size = fields.String(required=True, metadata={"description": "of the package, for people", "example": "500 MB"})
    sha256 = fields.String(required=True)
    changelog = fields.String(required=True)
    critical = fields.Boolean(required=True)
    forceAfterDate = fields.String(required=True, allow_none=True, metadata=_DAY)
    minVersion = fields.String(required=True, allow_none=True)
    dockerTags = fields.Dict(keys=fields.String(), values=fields.String(), required=True)


class PhaseSeconds(Strict):
    """How long a phase took."""

    name = fields.String(required=True, validate=Whole(r"^[a-z][a-z_]{0,39}$"))
    seconds = Seconds(required=True)


class ReportBody(Strict):
    """How a run at a school ended."""

    run_id = fields.String(
        required=True,
        validate=Whole(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
        metadata={"description": "names the run among all runs of the school, for good"},
    )
    kind = fields.String(required=True, validate=validate.OneOf(_KINDS))
    from_version = fields.String(required=True, allow_none=True, validate=_version)
    version = fields.String(required=True, allow_none=True, validate=_version)
    status = fields.String(required=True, validate=validate.OneOf(OUTCOMES))
    error_code = fields.String(required=True, allow_none=True, validate=Whole(r"^[A-Z][A-Z0-9_]{0,63}$"))
    started_at = Moment(required=True, metadata=_MOMENT)
    finished_at = Moment(required=True, metadata=_MOMENT)
    closed_seconds = Seconds(required=True, allow_none=True)
    updater_version = fields.String(required=True, validate=_version)
    phases = fields.List(fields.Nested(PhaseSeconds), required=True, validate=validate.Length(max=40))

    @validates_schema
    def check_error(self, data: dict[str, Any], **_options: Any) -> None:
        """A run that was completed has no error; any other has one."""
        if (data["status"] == "COMPLETED") != (data["error_code"] is None):
            raise ValidationError("Does not fit the status.", "error_code")


class ReportAnswer(Schema):
    """A report that was stored."""

    school = fields.String(required=True)
    run_id = fields.String(required=True)
    received_at = Moment(required=True, metadata=_MOMENT)


class HealthAnswer(Schema):
    """How the server is."""

    status = fields.String(required=True)
    releases = fields.String(
        required=True, metadata={"description": "'ok', or the code of what is wrong with the published releases"}
    )


class ProblemAnswer(common.ProblemAnswer):
    """A problem document (RFC 9457)."""

    difference_seconds = fields.Integer(
        metadata={"description": "of SIGNATURE_CLOCK: the signature's time minus the server's"}
    )
    server_time = fields.String(metadata={"description": "of SIGNATURE_CLOCK", "format": "date-time"})
