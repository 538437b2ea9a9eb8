# SPDX-License-Identifier: GPL-3.0-or-later
"""Updates as the API shows them: scheduled ones and runs have one list, and one id each for as long as they live."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

from .agent import Agent

_ID = re.compile(r"(run|schedule)-([1-9][0-9]{0,14})")
_WITHOUT_RUN = {
    "CANCELLED": ("FAILED", "It was cancelled."),
    "MISSED": ("FAILED", "Its time passed while the server was off."),
    "STARTED": ("PENDING", "It is about to begin."),
    "DONE": ("FAILED", "It could not begin."),
}
"""state of a scheduled update without a run -> status, and words"""
_CHANGES = ("install", "update", "rollback", "restore", "reinstall")
"""kinds of runs that change the version"""


def parse_id(text: str) -> tuple[str, int]:
    """``run`` or ``schedule``, and its number.

    :raises ClmsError: RUN_UNKNOWN
    """
    found = _ID.fullmatch(text)
    if found is None:
        raise ClmsError("RUN_UNKNOWN", run=text[:40])
    return found.group(1), int(found.group(2))


def number_in(text: str) -> int:
    """The number of a run or an event, as an address has it.

    :raises ValueError: where it is none
    """
    if not 0 < int(text) < 2**53:
        raise ValueError(text)
    return int(text)


def updates(agent: Agent) -> list[dict[str, Any]]:
    """All of them, the newest first, in the shape of :class:`.schemas.SystemUpdate`."""
    runs = {run["id"]: run for run in all_runs(agent) if run["kind"] in _CHANGES}
    entries = agent.ask("list", what="schedule")["schedules"]
    known = _releases(agent, {one["version"] for one in (*runs.values(), *entries) if one["version"]})
    found = [_scheduled(entry, runs.pop(entry["run"], None), known) for entry in entries]
    found += [_run(f"run-{number}", run, known) for number, run in runs.items()]
    return sorted(found, key=lambda update: str(update["createdAt"]), reverse=True)


def update(agent: Agent, wanted: str) -> dict[str, Any]:
    """One of them; a run that was scheduled is answered as the scheduled update that it is.

    :raises ClmsError: RUN_UNKNOWN
    """
    kind, number = parse_id(wanted)
    for entry in agent.ask("list", what="schedule")["schedules"]:
        if number == (entry["run"] if kind == "run" else entry["id"]):
            begun = _begun(agent, entry["run"]) if entry["run"] else None
            versions = {entry["version"], begun["version"] if begun else None}
            return _scheduled(entry, begun, _releases(agent, versions - {None}))
    if kind == "run":
        run = one_run(agent, number)
        return _run(wanted, run, _releases(agent, {run["version"]} - {None}))
    raise ClmsError("RUN_UNKNOWN", run=wanted)


def _begun(agent: Agent, number: int) -> dict[str, Any] | None:
    """The run of a scheduled update; a journal that was begun anew does not have it."""
    try:
        return one_run(agent, number)
    except ClmsError as error:
        if error.code != "RUN_UNKNOWN":
            raise
        return None


def check_installable(agent: Agent, version: str) -> None:
    """:raises ClmsError: why a version cannot be installed, as far as its release is known here"""
    try:
        blocked = agent.ask("release", version=version)["blocked"]
    except ClmsError:  # the run fetches its description, or says what is wrong
        return
    if blocked:
        raise ClmsError.from_dict(blocked)


def id_of_event(event: dict[str, Any], schedules: list[dict[str, Any]]) -> str | None:
    """The id, in the list of updates, of the update that an event is about; None where it is about none.

    :param schedules: what is and was scheduled
    """
    if run := event.get("run"):
        scheduled = [entry["id"] for entry in schedules if entry["run"] == run]
        return f"schedule-{scheduled[0]}" if scheduled else f"run-{run}"
    # where a schedule was lost, its numbers are given once more
    known = {entry["id"] for entry in schedules if entry["created_at"] <= event["at"]}
    number = event.get("schedule")
    return f"schedule-{number}" if number in known else None


def all_runs(agent: Agent, before: int | None = None) -> Iterator[dict[str, Any]]:
    """The whole history, the newest first, see :func:`.status.describe_run`; or only runs with a lower number."""
    while runs := agent.ask("list", what="history", before=before)["history"]:
        yield from runs
        before = runs[-1]["id"]


def one_run(agent: Agent, number: int) -> dict[str, Any]:
    """One run of the history.

    :raises ClmsError: RUN_UNKNOWN
    """
    for run in agent.ask("list", what="history", before=number + 1, limit=1)["history"]:
        if run["id"] == number:
            return dict(run)
    raise ClmsError("RUN_UNKNOWN", run=number)


def _releases(agent: Agent, versions: set[str]) -> dict[str, dict[str, Any]]:
    """What is still known of the releases of these versions."""
    found = {}
    for version in versions:
        try:
            found[version] = agent.ask("release", version=version)["info"]
        except ClmsError:
            continue  # the vendor lists it no more
    return found


def _scheduled(entry: dict[str, Any], run: dict[str, Any] | None, known: dict[str, Any]) -> dict[str, Any]:
    shown = (
        _run("", run, known) if run else {**_release(entry["version"], known), "executedAt": None, "backupPath": None}
    )
    if run is None:
        status, message = _WITHOUT_RUN.get(entry["state"], ("SCHEDULED", "It is scheduled."))
        shown |= {"version": entry["version"], "status": status, "message": message, "errorCode": entry["code"]}
        shown["updatedAt"] = entry["created_at"]
    return {**shown, "id": f"schedule-{entry['id']}", "scheduledFor": entry["due_at"], "createdAt": entry["created_at"]}


def _run(number: str, run: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": number,
        "version": run["version"],
        "status": run["status"],
        "scheduledFor": None,
        "executedAt": run["started_at"],
        "backupPath": run["backup_path"],
        **_release(run["version"], known),
        "createdAt": run["started_at"],
        "updatedAt": run["finished_at"] or run["started_at"],
        "errorCode": run["error_code"],
        "message": run["message"],
    }


def _release(version: str | None, known: dict[str, Any]) -> dict[str, Any]:
    info = known.get(version or "", {})
    return {"changelog": info.get("changelog", ""), "critical": bool(info.get("critical", False))}
