# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups are deleted, and which never are."""

from __future__ import annotations

from collections.abc import Collection, Iterable

MINIMUM = 2
"""this many of the newest backups stay, whatever the settings say"""


def to_delete(backups: Iterable[str], *, maximum: int, protected: Collection[str] = ()) -> list[str]:
    """Decide which backups go.

    :param backups: their names, which sort by age
    :param maximum: how many may stay; protected ones count, and stay even when they are more than that
    :param protected: names that stay
    :returns: oldest first
    """
    newest_first = sorted(set(backups), reverse=True)
    always = set(newest_first[:MINIMUM]) | (set(protected) & set(newest_first))
    room = max(maximum, MINIMUM) - len(always)
    rest = [name for name in newest_first if name not in always]
    return sorted(rest[max(room, 0) :])


def unused_images(images: Iterable[str], needed: Iterable[Collection[str]]) -> list[str]:
    """The saved images that no backup needs any more.

    :param images: configuration digests of the images that are kept beside the backups
    :param needed: for each remaining backup, the digests it names
    """
    used = {digest for digests in needed for digest in digests}
    return sorted(set(images) - used)
