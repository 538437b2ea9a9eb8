# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the disks of a server are large enough for a run: the arithmetic, and the words for it."""

from __future__ import annotations

from dataclasses import dataclass

from .errors import ClmsError


@dataclass(frozen=True)
class Mount:
    """A file system."""

    identity: int
    """device number: two folders with the same one share their space"""
    path: str
    free: int
    """bytes that root can still write"""


@dataclass(frozen=True)
class Need:
    """Space that a run will use."""

    purpose: str
    size: int
    """bytes"""
    mount: Mount


UNITS = ("bytes", "kB", "MB", "GB", "TB")


def human_parts(size: int) -> tuple[int | float, str]:
    """The number and the unit (10^3 of the one before) in which people read a size."""
    value = float(size)
    for unit in UNITS[:-1]:
        if abs(value) < 1000:
            return (round(value) if unit in ("bytes", "kB", "MB") else float(f"{value:.1f}")), unit
        value /= 1000
    return float(f"{value:.1f}"), UNITS[-1]


def human(size: int) -> str:
    """Bytes as people read them: ``1.4 GB`` (10^9)."""
    number, unit = human_parts(size)
    return f"{number} {unit}"


def check_space(needs: list[Need], *, reserve: int) -> list[str]:
    """Add up the needs on each mount and compare them with what is free.

    :param reserve: bytes that must stay free on every mount
    :returns: the arithmetic, one line for each mount
    :raises ClmsError: DISK_TOO_SMALL, with the arithmetic of every mount that is too small
    """
    lines, problems = [], []
    for mount in {need.mount.identity: need.mount for need in needs}.values():
        here = [need for need in needs if need.mount.identity == mount.identity]
        total = sum(need.size for need in here) + reserve
        terms = " + ".join([*(f"{need.purpose} {human(need.size)}" for need in here), f"reserve {human(reserve)}"])
        line = f"on {mount.path}: {terms} = {human(total)} needed, {human(mount.free)} free"
        lines.append(line)
        if total > mount.free:
            problems.append(f"{line}, {human(total - mount.free)} missing")
    if problems:
        raise ClmsError("DISK_TOO_SMALL", detail="; ".join(problems))
    return lines
