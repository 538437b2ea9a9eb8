# SPDX-License-Identifier: GPL-3.0-or-later
"""What schemathesis is told beside the OpenAPI document; it loads this file itself."""

from __future__ import annotations

from typing import Any

import schemathesis

MEANINGS = ("BACKUP_LOCATION", "BUNDLE_REFUSED", "KEY_REUSED", "SCHEDULE_PAST", "SCHEDULE_TIME", "SETTING_WRONG")
"""codes with which a request may be refused (422) that is as the document wants it; all else would be its fault"""


@schemathesis.check
def refused_for_its_meaning(_context: Any, response: Any, case: Any) -> None:
    """A request that the document allows is not called malformed."""
    generation = case.meta.generation if case.meta else None
    if generation is not None and generation.mode.is_positive and response.status_code in (400, 422):
        code = response.json()["code"]
        assert code in MEANINGS, f"{code}: {response.json()['detail']}"


@schemathesis.check
def problems_say_what_to_do(_context: Any, response: Any, _case: Any) -> None:
    """Every failure is a problem document (RFC 9457) of its status, with a stable code."""
    if response.status_code >= 400:
        content_type = response.headers["content-type"][0]
        assert content_type == "application/problem+json", content_type
        problem = response.json()
        assert problem["status"] == response.status_code
        assert problem["type"] == f"urn:clms-update:problem:{problem['code'].lower().replace('_', '-')}"
        assert problem["detail"]
        assert problem["remedy"]
