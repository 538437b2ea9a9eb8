# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a release comes from: the vendor's servers, or a bundle on this server where they cannot be reached."""

from __future__ import annotations

import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..errors import ClmsError
from ..journal import Journal
from ..release import Release
from ..school import School
from ..trust import TrustStore
from .bundle_finder import look_for_files
from .offline import Offline, releases_here
from .vendor import newest, store_of

AWAY = frozenset({"SERVER_UNREACHABLE", "SERVER_REFUSED", "TRUST_EXPIRED"})
"""What an update does not fail for when a bundle has the release: there is no news, or none that still counts."""


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture_here() -> str:
    """This server's architecture, as image indexes name it."""
    machine = platform.machine()
    return _ARCHITECTURES.get(machine, machine)


@dataclass(frozen=True)
class Supply:
    """A release, and what can be had of it on this server."""

    release: Release
    bundle: Path | None
    """holds the release, its package and its images"""
    away: ClmsError | None = None
    """why the release server could not be asked, so that only the bundle speaks for the release"""


def take_in_files(school: School, journal: Journal) -> None:
    """Look for files of the vendor, and record what came of them."""
    with suppress(OSError):  # a full disk is told by whoever needs the room
        found = look_for_files(school)
        for taken in found.taken:
            journal.event("FILE_IMPORTED", taken.told)
        for refusal in found.refusals:
            journal.event("FILE_REFUSED", refusal)


def supply(school: School, version: str | None, architecture: str, store: TrustStore | None = None) -> Supply:
    """The release of that version, freshly verified; without a version the newest of the school's channel.

    :param store: the school's, where the caller goes on with what was fetched
    :raises ClmsError: a TRUST_, RELEASE_ or SERVER_ code
    """
    store, away = store or store_of(school), None
    try:
        store.refresh()
    except ClmsError as error:
        if error.code not in AWAY:
            raise
        away = error
    here = [offline for offline in releases_here(school) if offline.contents.architecture == architecture]
    if away is not None:
        found = _chosen(school, here, version)
        if found is None:
            raise away
        return Supply(found.release, found.path, away)
    if version is None:
        entry = newest(store.releases(), school.trust.channel)
        if entry is None:
            raise ClmsError("RELEASE_UNKNOWN", version=f"of the channel '{school.trust.channel}'")
        version = entry.version.text
    try:
        release = store.release(version)
    except ClmsError as error:
        found = _chosen(school, here, version) if error.code == "RELEASE_UNKNOWN" else None
        if found is None:
            raise
        return Supply(found.release, found.path)  # handed over by the vendor before it was published
    same = [offline for offline in here if offline.release == release]
    return Supply(release, same[-1].path if same else None)


def _chosen(school: School, here: list[Offline], version: str | None) -> Offline | None:
    if version is not None:
        return next((offline for offline in here if offline.release.version.text == version), None)
    channel = [offline for offline in here if offline.release.channel == school.trust.channel]
    return channel[-1] if channel else None
