# SPDX-License-Identifier: GPL-3.0-or-later
"""What a school runs, what it could run, and what is going on: the answers of `status`, `check` and `list`."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from . import lock
from .adapters.backup_store import backups_in
from .adapters.offline import releases_here
from .adapters.supply import architecture_here, supply, take_in_files
from .adapters.vendor import newest, store_of
from .errors import ClmsError
from .journal import Journal
from .phases.preflight_checks import check_release
from .plan import is_closed, is_over, kind_word
from .release import Release
from .school import School, parse_school
from .slots import Slot
from .status import describe_run, done_phases, duration, iso, last_durations, progress_of, rehearsed_durations
from .told import told
from .trust import TrustStore

UPDATE_KINDS = ("install", "update", "update_images", "rollback", "restore", "reinstall")

_NO_NEWS = {"latest_version": None, "news_age_seconds": None, "news_expired": False}


def status(home: Path) -> dict[str, Any]:
    """The status of a school from its journal and its local store, without the network.

    :returns: ``current_version``, ``latest_version``, ``news_age_seconds``, ``news_expired`` (they are too old to be
        relied on), ``running``, ``last_update``, ``backups``; with None for what is not known
    :raises ClmsError: JOURNAL_UNREADABLE or JOURNAL_NEWER
    """
    try:
        journal = Journal(home)
    except ClmsError as error:
        if error.code != "NOT_INSTALLED":
            raise
        return dict.fromkeys(("current_version", "running", "last_update")) | {"backups": 0} | _NO_NEWS
    try:
        slot = journal.slot("current")
        rows = journal.rows(limit=1, kinds=UPDATE_KINDS)
        school = parse_school(journal.rows(limit=1)[0].school) if journal.rows(limit=1) else None
        return {
            "current_version": slot.version if slot else None,
            **(_news(school) if school else _NO_NEWS),
            "running": running(journal),
            "last_update": describe_run(rows[0], journal.records(rows[0].id)) if rows else None,
            "backups": len(backups_in(Path(school.backup.path))) if school else 0,
        }
    finally:
        journal.close()


def _news(school: School) -> dict[str, Any]:
    """What is known of the vendor; what cannot be believed is not, until the next check."""
    store = store_of(school)
    age = store.news_age_seconds()
    try:
        entry = newest(store.releases(), school.trust.channel)
        latest = entry.version.text if entry else None
        return {"latest_version": latest, "news_age_seconds": age, "news_expired": store.news_expired()}
    except ClmsError:
        return {"latest_version": None, "news_age_seconds": age, "news_expired": True}


def running(journal: Journal) -> dict[str, Any] | None:
    """The open run: ``id``, ``kind``, ``version``, ``phase``, ``percent``, ``seconds_left``, ``phases`` (each with its
    ``name`` and the ``seconds`` that it took, or None), ``closed``: whether it keeps CLMS closed, ``over``: whether it
    only tidies up, ``failure``: why it is being put back, or None, ``events``: what it has told, the oldest first, and
    ``interrupted``, which says that nobody works at it any more; None when there is none.
    """
    row = journal.open_run()
    if row is None:
        return None
    records = journal.records(row.id)
    phase, progress = progress_of(row, records, now=time.time(), history=last_durations(journal, row))
    done = done_phases(records)
    return {
        "id": row.id,
        "kind": kind_word(row.kind),
        "version": row.version,
        "phase": phase,
        "percent": progress.percent,
        "seconds_left": progress.seconds_left,
        "phases": [{"name": name, "seconds": done.get(name)} for name in row.phases],
        "closed": is_closed(row.phases, phase, done),
        "over": is_over(phase, done),
        "failure": journal.run(row.id).failure(),
        "events": [{**event, "at": iso(event["at"])} for event in reversed(journal.events(run=row.id))],
        "interrupted": not lock.is_held(journal.path.parent),
    }


def check(school: School) -> dict[str, Any]:
    """Ask the release server for the newest release of the school's channel, and look for files of the vendor.

    :returns: ``updateAvailable``, ``currentVersion``, ``latestVersion``, ``updateInfo`` (original design, 3.1),
        ``message`` for people, ``blocked``: why the newest release cannot be installed right now, or None,
        ``files``: see :func:`files`, ``offline``: why the release server could not be asked, where a file speaks
        for the release in its place, or None, and ``newsAgeSeconds``: how long ago it was heard of, or None
    :raises ClmsError: a TRUST_, SERVER_ or RELEASE_ code
    """
    with closing(Journal(school.home)) as journal:
        try:
            return _check(school, journal)
        except ClmsError as error:
            if not is_away(error):  # an agent may ask again every hour
                journal.event_anew("CHECK_REFUSED", told("FAILURE", failure=error))
            raise


def is_away(error: ClmsError) -> bool:
    """Whether a check came to nothing because nobody answered; nothing was refused then."""
    return error.code in ("SERVER_UNREACHABLE", "SERVER_ADDRESS")


def _check(school: School, journal: Journal) -> dict[str, Any]:
    slot = journal.slot("current")
    current = slot.version if slot else None
    take_in_files(school, journal)
    try:
        store = store_of(school)
        found = supply(school, None, architecture_here(), store)
        if found.away is None:
            _fetch_newer(store, school, slot)
    except ClmsError as error:
        if error.code != "RELEASE_UNKNOWN":
            raise
        found = None
    latest = found.release.version.text if found else None
    journal.event("UPDATE_CHECKED", told("NEWEST", version=latest) if latest else told("NEWEST_NONE"))
    away = found.away if found else None
    news_age = store_of(school).news_age_seconds()
    more = {"files": files(school), "offline": away.as_dict() if away else None, "newsAgeSeconds": news_age}
    if found is None or latest == current:
        message = f"Version {current} is the newest." if current else "The vendor has published no release."
        if away:
            message = f"{_no_news(news_age)} {message.rstrip('.')} that this server knows of."
        return _answer(False, current, latest, None, message, None) | more
    release = found.release
    blocked = None
    try:
        check_release(release, slot, "update")
    except ClmsError as error:
        if error.code == "RELEASE_OLDER":
            message = f"Version {current} is newer than what the vendor offers."
            return _answer(False, current, latest, None, message, None) | more
        blocked = error.as_dict()
    journal.event_once("UPDATE_AVAILABLE", told("AVAILABLE", version=release.version))
    runs = f"version {current} is running" if current else "CLMS is not installed yet"
    message = f"Version {release.version} is available; {runs}."
    if away:
        message = f"{_no_news(news_age)} {message}"
    if found.bundle is not None:
        message += f" It is on this server already, in the file {found.bundle.name}."
    return _answer(True, current, latest, update_info(release), message, blocked) | more


def _no_news(age_seconds: float | None) -> str:
    """That nobody has answered, and since when: what a school knows is never told as up to date then."""
    since = "never" if age_seconds is None else f"{duration(age_seconds)} ago"
    return f"There is no fresh news; the vendor was last heard of: {since}."


def _fetch_newer(store: TrustStore, school: School, slot: Slot | None) -> None:
    """Fetch the description of every newer release: one that is forced may have been followed by others."""
    running = slot.parsed_release().sequence if slot else 0
    for entry in store.releases():
        if entry.channel == school.trust.channel and entry.sequence > running:
            with suppress(ClmsError):  # the newest one is described; this one is tried again at the next check
                store.release(entry.version.text)


def _answer(
    available: bool,
    current: str | None,
    latest: str | None,
    info: dict[str, Any] | None,
    message: str,
    blocked: dict[str, str] | None,
) -> dict[str, Any]:
    return {
        "updateAvailable": available,
        "currentVersion": current,
        "latestVersion": latest,
        "updateInfo": info,
        "message": message,
        "blocked": blocked,
    }


def update_info(release: Release) -> dict[str, Any]:
    """A release in the shape ``UpdateInfo`` of the original design, section 3.1."""
    raw = release.raw
    return {
        "version": release.version.text,
        "releaseDate": raw["releaseDate"],
        "changelog": release.changelog,
        "critical": release.critical,
        "forceAfterDate": raw.get("forceAfterDate"),
        "gracePeriodDays": release.grace_days,
        "minVersion": raw.get("minVersion"),
        "dockerTags": {
            service: f"{image.repository}@{image.digest}"
            for service, images in release.images.items()
            for image in list(images.values())[:1]
        },
        "backupRequired": True,
        "breakingChanges": list(release.breaking_changes),
        "estimatedMinutes": release.estimated_minutes,
        "migrationNotes": f"{release.migration.first} → {release.migration.last}" if release.migration else None,
        "size": release.package.size,
    }


def releases(school: School) -> list[dict[str, Any]]:
    """What this school knows of, by sequence: ``version``, ``sequence``, ``channel``, and whether it was ``listed`` by
    the release server when that was last asked, or is in a ``file`` on this server (or None), made at ``created``.
    """
    listed = {entry.version.text: (entry.sequence, entry.channel) for entry in store_of(school).releases()}
    here = {found.release.version.text: found for found in releases_here(school)}
    found = {version: (o.release.sequence, o.release.channel) for version, o in here.items()} | listed
    return [
        {
            "version": version,
            "sequence": sequence,
            "channel": channel,
            "listed": version in listed,
            "file": here[version].path.name if version in here else None,
            "created": here[version].contents.created if version in here else None,
        }
        for version, (sequence, channel) in sorted(found.items(), key=lambda item: item[1])
    ]


def release(school: School, version: str | None) -> dict[str, Any]:
    """What this server knows of one release, without asking anybody.

    :param version: without one, the newest of the school's channel
    :returns: ``info`` (see :func:`update_info`), ``blocked``: why it cannot be installed right now, or None, ``file``:
        the name of the file on this server that holds it, or None, ``fingerprints`` of the keys that may sign its
        package, ``root_version``, ``expected_seconds``: how long it takes as far as that was measured here, or None,
        and ``rehearsed``: whether that was measured for this very release
    :raises ClmsError: RELEASE_UNKNOWN, or a TRUST_ code
    """
    store, here = store_of(school), releases_here(school)
    if version is None:
        known = [one["version"] for one in releases(school) if one["channel"] == school.trust.channel]
        if not known:
            raise ClmsError("RELEASE_UNKNOWN", version=f"of the channel '{school.trust.channel}'")
        version = known[-1]
    found = next((offline for offline in here if offline.release.version.text == version), None)
    described = found.release if found else store.release(version, offline=True)
    with closing(Journal(school.home)) as journal:
        slot = journal.slot("current")
        kind = "update" if described.migration else "update_images"
        expected, rehearsed = _expected(journal, kind, version)
    blocked = None
    try:
        check_release(described, slot, "update" if slot else "install")
    except ClmsError as error:
        blocked = error.as_dict()
    return {
        "info": update_info(described),
        "blocked": blocked,
        "file": found.path.name if found else None,
        "fingerprints": sorted(store.fingerprints()),
        "root_version": store.root_version(),
        "expected_seconds": round(sum(expected.values())) if expected else None,
        "rehearsed": rehearsed,
    }


def _expected(journal: Journal, kind: str, version: str) -> tuple[dict[str, float], bool]:
    """Phase -> seconds: of the last update of its kind that was completed, corrected by a rehearsal of this one."""
    rows = journal.rows(limit=20, kinds=(kind,))
    completed = next((row for row in rows if row.outcome == "COMPLETED"), None)
    found = done_phases(journal.records(completed.id)) if completed else {}
    for row in rows:
        records = journal.records(row.id)
        rehearsed = rehearsed_durations(records)
        if row.version == version and rehearsed:
            return {**found, **done_phases(records), **(rehearsed if kind == "update" else {})}, True
    return found, False


def files(school: School) -> list[dict[str, Any]]:
    """The files of the vendor that were taken in; see :meth:`.offline.Offline.as_dict`."""
    return [found.as_dict() for found in releases_here(school)]


def history(journal: Journal, *, before: int | None = None, limit: int = 100) -> list[dict[str, Any]]:
    """The newest runs first, as :func:`.status.describe_run` gives them.

    :param before: only runs with a lower number
    """
    return [describe_run(row, journal.records(row.id)) for row in journal.rows(before=before, limit=limit)]
