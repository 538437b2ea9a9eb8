# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers in words: for people who run a library, not servers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.disk import human
from ansible_collections.clms.update.plugins.module_utils.plan import PHASES
from ansible_collections.clms.update.plugins.module_utils.status import duration, iso

_STATES = {
    "COMPLETED": "completed",
    "FAILED": "failed",
    "ROLLED_BACK": "rolled back",
    "DOWNLOADING": "going on",
    "UPDATING": "going on",
}
_KINDS = {
    "install": "The installation",
    "update": "The update{version}",
    "rollback": "Going back{version}",
    "restore": "The restore of a backup",
    "reinstall": "Setting CLMS up from a backup",
    "backup": "The backup",
    "recover": "Putting CLMS back in order",
}


def age(seconds: float) -> str:
    """How long ago something was: a minute is exact enough."""
    return f"{duration(seconds)} ago" if seconds >= 60 else "just now"


def seconds_since(text: str) -> float:
    """How long ago ``2026-11-23T14:05:09Z`` was."""
    return (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()


def moment(text: str | None) -> str:
    """``2026-11-23T14:05:09Z`` in the server's own time zone: ``2026-11-23 15:05``."""
    if text is None:
        return "?"
    return datetime.fromisoformat(text).astimezone().strftime("%Y-%m-%d %H:%M")


def error_text(error: dict[str, Any]) -> str:
    """What happened. What to do. (CODE)"""
    parts = (error.get("message"), error.get("remedy"), f"({error['code']})" if error.get("code") else "")
    return " ".join(str(part) for part in parts if part)


def _kind(run: dict[str, Any]) -> str:
    # which version it would have been is not known of a run that was refused at once
    version = f" to version {run['version']}" if run["version"] else ""
    return _KINDS[run["kind"].removesuffix("_images")].format(version=version)


def outcome_text(run: dict[str, Any]) -> str:
    """How a run ended: the outcome, for a failure also its cause, what to do, and where that leaves the school."""
    if run["outcome"] == "COMPLETED":
        closed = run["closed_seconds"]
        return str(run["message"]) + (f" It was closed to users for {duration(closed)}." if closed else "")
    error = error_text({"message": run["message"], "remedy": run["remedy"], "code": run["error_code"]})
    serving = f"Version {run['from_version']} is running." if run["from_version"] else ""
    state = {"REFUSED": "Nothing was touched.", "ABORTED": serving, "ROLLED_BACK": serving}.get(run["outcome"], "")
    return " ".join(part for part in (f"{_kind(run)} did not succeed.", error, state) if part)


def recovery_text(run: dict[str, Any]) -> str:
    """How putting the school back in order ended."""
    if run["id"] is None or run["kind"] == "recover":
        return str(run["message"])
    ended = "was finished" if run["outcome"] == "COMPLETED" else "was undone"
    return f"{_kind(run)} had been interrupted; it {ended}. CLMS is in order again."


def status_text(status: dict[str, Any], title: str) -> str:
    """The answer of ``status``."""
    current, latest = status["current_version"], status["latest_version"]
    lines = [f"{title} runs CLMS {current}." if current else f"CLMS is not installed at {title} yet."]
    if latest is None:
        lines.append("Nothing is known of newer versions yet. To ask for them: clms-update check")
    else:
        asked = f" (asked {age(status['news_age_seconds'])})" if status["news_age_seconds"] is not None else ""
        verb = "was" if status["news_expired"] else "is"
        news = f"It {verb} the newest version" if latest == current else f"The newest version {verb} {latest}"
        lines.append(f"{news}{asked}.")
        if status["news_expired"]:
            lines.append("That is too long ago to rely on. To ask the vendor: clms-update check")
    run = status["running"]
    if run and run["interrupted"]:
        lines.append(f"{_kind(run)} was interrupted. To put CLMS back in order: clms-update recover")
    elif run:
        left = f", about {duration(run['seconds_left'])} left" if run["seconds_left"] else ""
        text = PHASES[run["phase"]].text if run["phase"] in PHASES else "finishing"
        lines.append(f"Going on right now: {_kind(run)}, {run['percent']} %{left}. {text}.")
    last = status["last_update"]
    if last and not (run and run["id"] == last["id"]):
        lines.append(f"Last: {_kind(last)}, {_STATES[last['status']]} on {moment(last['finished_at'])}.")
        if last["error_code"]:
            lines.append(f"  {error_text({'message': last['message'], 'code': last['error_code']})}")
    lines.append(f"Backups: {status['backups']}.")
    return "\n".join(lines)


def check_text(answer: dict[str, Any]) -> str:
    """The answer of ``check``."""
    lines = [answer["message"]]
    if answer["offline"]:
        heard = answer["newsAgeSeconds"]
        last = f"was last heard of {age(heard)}" if heard is not None else "was never heard of"
        lines.append(f"The vendor could not be asked, and {last}: {answer['offline']['message']}")
    info = answer["updateInfo"]
    if info:
        if info["critical"]:
            lines.append("It is a critical update: install it soon.")
        lines += ["", "What is new:", *_indented(str(info["changelog"]).strip().splitlines())]
        if info["breakingChanges"]:
            lines += ["", "What will be different for users:", *_indented(info["breakingChanges"])]
    if answer["blocked"]:
        lines += ["", f"It cannot be installed right now. {error_text(answer['blocked'])}"]
    elif info:
        lines += ["", f"It takes about {info['estimatedMinutes']} minutes. To install it: clms-update update"]
    return "\n".join(lines)


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]


def list_text(answer: dict[str, Any]) -> str:
    """The answer of ``list``, whichever list it is."""
    rows: list[tuple[str, ...]]
    if "backups" in answer:
        rows = [
            (b["id"], moment(b["created"]), b["version"], human(b["bytes"]), moment(b["proven"]))
            for b in answer["backups"]
        ]
        return table(("backup", "made", "version", "size", "proven"), rows) or "There is no backup yet."
    if "history" in answer:
        rows = [
            (str(r["id"]), moment(r["started_at"]), r["kind"], r["version"] or "", _STATES[r["status"]], r["message"])
            for r in answer["history"]
        ]
        return table(("run", "started", "kind", "version", "ended", ""), rows) or "Nothing has been done here yet."
    if "events" in answer:
        rows = [(moment(e["at"]), e["type"], e["message"]) for e in answer["events"]]
        return table(("when", "event", ""), rows) or "Nothing has happened here yet."
    rows = [
        (
            r["version"],
            r["channel"],
            f"file {r['file']}, made {age(seconds_since(r['created']))}" if r["file"] else "release server",
            "runs here" if r["version"] == answer["current_version"] else "",
        )
        for r in answer["releases"]
    ]
    if not rows:
        return "Nothing is known yet. To ask the vendor: clms-update check"
    heard = answer["news_age_seconds"]
    asked = f"The vendor was asked {age(heard)}." if heard is not None else "The vendor was never asked."
    return f"{table(('version', 'channel', 'where', ''), rows)}\n{asked}"


def import_text(file: dict[str, Any]) -> str:
    """The answer of ``import``."""
    size = human(file["size"])
    return (
        f"Version {file['version']} is on this server now, verified: the vendor made the file on "
        f"{moment(file['created'])}, it has {size}.\n"
        f"To install it: clms-update update --version {file['version']}"
    )


def support_text(bundle: dict[str, Any]) -> str:
    """That a support bundle was written."""
    return (
        f"For support: {bundle['file']} ({human(bundle['size'])}). It holds logs and records, no passwords and keys; "
        "look into it before you send it."
    )


def events_for_json(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The journal's events with times as the rest of the interface writes them."""
    return [{**event, "at": iso(event["at"])} for event in events]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns side by side, or nothing when there are no rows."""
    if not rows:
        return ""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows))
    return "\n".join(line.rstrip() for line in lines)


def doctor_text(answer: dict[str, Any]) -> str:
    """The answer of ``doctor``."""
    signs = {True: "ok      ", False: "PROBLEM ", None: "not seen"}
    lines = []
    for check in answer["checks"]:
        problem = error_text(check) if check["ok"] is False else check["message"]
        lines.append(f"{signs[check['ok']]}  {check['name']}: {problem}")
    lines.append("Everything is in order." if answer["ok"] else "Mend the problems above, then run this again.")
    return "\n".join(lines)
