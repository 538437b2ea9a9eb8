# SPDX-License-Identifier: GPL-3.0-or-later
"""``POST /api/reports``: schools tell how their runs ended."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from flask import request
from flask_smorest import Blueprint
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .access import caller, needs, signed
from .documented import KEY, problems
from .models import Report, School
from .schemas import ReportAnswer, ReportBody
from .schools import iso_text
from .services import services

blueprint = Blueprint("reports", __name__, url_prefix="/api", description="What schools report of their runs")

_SIGNATURE_HEADERS = [
    {"in": "header", "name": name, "required": True, "schema": {"type": "string"}, "description": description}
    for name, description in {
        "Content-Digest": "RFC 9530, sha-256 or sha-512",
        "Signature-Input": "RFC 9421; covers @method, @target-uri, authorization, content-digest and content-type, "
        "with created, keyid, alg (ed25519) and nonce",
        "Signature": "RFC 9421; exactly one",
    }.items()
]


@blueprint.route("/reports", methods=["POST"])
@needs("report")
@signed
@blueprint.doc(security=[{KEY: []}], parameters=_SIGNATURE_HEADERS)
@blueprint.arguments(ReportBody)
@blueprint.response(201, ReportAnswer, description="Stored")
@blueprint.alt_response(200, schema=ReportAnswer, description="The same report was stored before")
@problems(blueprint, 401, 403, 409, 413, 415, 422, 503)
def report(content: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """Report the outcome of a run. The same report again changes nothing."""
    digest = fingerprint(request.get_json())
    row = Report(school_id=caller().school_id, digest=digest, received_at=services().now(), **content)
    try:
        with services().database.transaction() as session:
            session.add(row)
        return _answer(row), 201
    except IntegrityError:
        with services().database.transaction() as session:
            query = select(Report).where(Report.school_id == caller().school_id, Report.run_id == content["run_id"])
            known = session.scalars(query).one()
    if known.digest != digest:
        raise ClmsError("REPORT_DIFFERS", run=known.run_id)
    return _answer(known), 200


def fingerprint(content: object) -> str:
    """The same for the same report, in whatever order its fields are."""
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def list_reports(session: Session, *, school: str | None, limit: int) -> list[dict[str, Any]]:
    """The newest reports first."""
    query = select(Report).join(School).order_by(Report.received_at.desc(), Report.id.desc()).limit(limit)
    if school is not None:
        query = query.where(School.name == school)
    return [describe(row) for row in session.scalars(query)]


def describe(row: Report) -> dict[str, Any]:
    """A report as the command line shows it."""
    return {
        "school": row.school.name,
        "run_id": row.run_id,
        "kind": row.kind,
        "from_version": row.from_version,
        "version": row.version,
        "status": row.status,
        "error_code": row.error_code,
        "started_at": iso_text(row.started_at),
        "finished_at": iso_text(row.finished_at),
        "closed_seconds": row.closed_seconds,
        "updater_version": row.updater_version,
        "phases": row.phases,
        "received_at": iso_text(row.received_at),
    }


def _answer(row: Report) -> dict[str, Any]:
    return {"school": caller().school, "run_id": row.run_id, "received_at": row.received_at}
