# SPDX-License-Identifier: GPL-3.0-or-later
"""Unsigned and foreign releases, downgrade, freeze, mix and match, other products."""

from __future__ import annotations

import json
import platform
import time
import zipfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from tuf.api.metadata import MetaFile

from publisher.vendor import Vendor
from tests.stand.stand import Finished

from .bench import CHAIN, Bench
from .cases import HELD, REFUSED, Case, Result
from .desk import STRANGER, Desk, altered, flip, shorten

_SOON = 4
"""seconds until a timestamp expires; within them a school asks for it"""
PAST = datetime.now(UTC) - timedelta(minutes=1)
Spoil = Callable[[Bench, Desk], None]


def served_and_refused(
    spoil: Spoil, code: str, says: str, command: tuple[str, ...], fresh: bool, moves: str, bench: Bench, _: Result
) -> str:
    """The vendor serves a repository that was spoilt.

    :param fresh: the school has forgotten what it has verified, or it would not ask for metadata that it has
    """
    if fresh:
        bench.forget_news()
    else:
        bench.check_works()
        bench.forget_files()
    desk = bench.desk()
    desk.publish()
    spoil(bench, desk)
    with bench.serving(desk.served):
        bench.refused(code, *command, says=says, moves=moves)
    return REFUSED


def case(
    name: str,
    injected: str,
    spoil: Spoil,
    code: str = "TRUST_REFUSED",
    *,
    says: str = "",
    command: tuple[str, ...] = ("check",),
    fresh: bool = False,
    moves: str = "",
    slow: bool = False,
) -> Case:
    """A case in which a spoilt repository is served."""
    act = partial(served_and_refused, spoil, code, says, command, fresh, moves)
    return Case(name, injected, act, slow=slow or command[0] == "update")


# unsigned or foreign


def another_vendor(bench: Bench, desk: Desk) -> None:
    """Everything is signed, by somebody else."""
    home = desk.folder / "o"
    bench.stand.command("clms-release", "init", "--home", home, "--name", "Other")
    other = Desk(desk.folder, Vendor.load(home))
    for path in sorted(desk.served.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    other.publish()


def targets_by_stranger(bench: Bench, desk: Desk) -> None:
    """A list of releases with one that the vendor does not know, by an unknown key."""
    desk.lead_to_targets(desk.resign("targets", [STRANGER], next_version))


def targets_by_online_key(bench: Bench, desk: Desk) -> None:
    """The same by the key that lies on the vendor's server."""
    desk.lead_to_targets(desk.resign("targets", [desk.online], next_version))


def targets_unsigned(bench: Bench, desk: Desk) -> None:
    """The same by nobody."""
    desk.lead_to_targets(desk.resign("targets", [], next_version))


def next_version(signed: Any) -> None:
    """As if something had changed."""
    signed.version += 1


def altered_metadata(role: str) -> Spoil:
    """Something that was signed is changed."""

    def spoil(bench: Bench, desk: Desk) -> None:
        altered(desk.newest(role), lambda data: data["signed"].update(expires="2099-01-01T00:00:00Z"))

    return spoil


# downgrade and freeze


def after_news(earlier: Callable[[Path, Desk], None], command: str, bench: Bench, _: Result) -> str:
    """The school sees news; then somebody puts back what was before."""
    desk = bench.desk()
    before = desk.folder / "before"
    desk.publish().rename(before)
    desk.repository.refresh(desk.online)
    with bench.serving(desk.publish()):
        bench.check_works()
    earlier(before, desk)
    with bench.serving(desk.served):
        bench.refused("TRUST_REFUSED", command)
    return REFUSED


def timestamp_put_back(before: Path, desk: Desk) -> None:
    """The timestamp leads to the state before the news."""
    desk.newest("timestamp").write_bytes((before / "metadata/timestamp.json").read_bytes())


def snapshot_put_back(before: Path, desk: Desk) -> None:
    """A new timestamp, by somebody who has the online key, leads to the snapshot before the news."""
    earlier = json.loads((before / "metadata/timestamp.json").read_bytes())["signed"]["meta"]["snapshot.json"]

    def lead_back(signed: Any) -> None:
        next_version(signed)
        signed.snapshot_meta = MetaFile.from_dict(earlier)

    desk.newest("timestamp").write_bytes(desk.resign("timestamp", [desk.online], lead_back))


def older_release(bench: Bench, _: Result) -> str:
    """Signed with all keys, in a channel of its own, and older than what runs."""
    desk = bench.desk()
    desk.sign("0.9.0", sequence=1, channel="old", minVersion=None)
    with bench.serving(desk.publish()):
        bench.refused("RELEASE_OLDER", "update", "--version", "0.9.0", says="0.9.0", moves="signed")
    return REFUSED


def older_is_newest(bench: Bench, _: Result) -> str:
    """The newest entry of the school's channel is an older version."""
    desk = bench.desk()
    desk.sign("0.9.0", sequence=9000, minVersion=None)
    with bench.serving(desk.publish()):
        done = bench.check()
        assert (done.code, done.json()["updateAvailable"]) == (0, False), done.output
        bench.refused("RELEASE_OLDER", "update", says="0.9.0")
    return REFUSED


def expired(role: str) -> Spoil:
    """What a role says does not count any more."""

    def in_the_past(signed: Any) -> None:
        next_version(signed)
        signed.expires = PAST

    def spoil(bench: Bench, desk: Desk) -> None:
        if role == "timestamp":
            desk.newest(role).write_bytes(desk.resign(role, [desk.online], in_the_past))
        else:
            desk.lead_to_targets(desk.resign(role, [desk.offline], in_the_past))

    return spoil


def freeze(bench: Bench, _: Result) -> str:
    """The words of a school that gets no news: never that it is up to date, and how old its news are."""
    desk = bench.desk()
    desk.publish()

    def soon(signed: Any) -> None:
        next_version(signed)
        signed.expires = datetime.now(UTC) + timedelta(seconds=_SOON)

    desk.newest("timestamp").write_bytes(desk.resign("timestamp", [desk.online], soon))
    with bench.serving(desk.served):
        bench.check_works()
        time.sleep(_SOON + 1)  # nothing new is served since
        message = bench.refused("TRUST_EXPIRED", "check", says="no fresh news")
        assert "expired" in message, message
        said = bench.school.clms_update("check")
        words = said.output + said.errors
        assert said.code != 0, words
        assert not any(word in words for word in ("up to date", "newest", "is available")), words
        status = bench.school.clms_update("status", "--json").json()
        assert status["news_age_seconds"] >= 0, status
        assert status["news_expired"], status
        assert "too long ago to rely on" in bench.school.clms_update("status").output
    return REFUSED


def clock_ahead(bench: Bench, _: Result) -> str:
    """The clock of a school without a network is five years ahead: a warning, and nobody is locked out."""
    bench.check_works()

    def ahead(*arguments: str) -> Finished:
        config = bench.school.folder / "etc"
        return bench.stand.command("faketime", "-f", "+5y", "clms-update", "--config", config, *arguments, check=False)

    with bench.unchanged(), bench.trusting(url="https://127.0.0.1:1"):
        done = ahead("check", "--json")
        assert done.code != 0, done.output
        assert done.json()["error"]["code"] in ("TRUST_EXPIRED", "SERVER_UNREACHABLE"), done.output
        status = ahead("status", "--json").json()
        assert status["news_expired"], status
        assert status["running"] is None, status
        assert bench.school.page() == 200, "CLMS is closed"
    bench.check_works()  # the right clock counts again, as if nothing had been
    return HELD


def timestamp_of_a_bundle(bench: Bench, desk: Desk) -> None:
    """The timestamp of a bundle counts for months; a server that serves it could hide news for as long."""
    with zipfile.ZipFile(bench.special.bundle) as archive:
        for name in archive.namelist():
            if name.startswith("metadata/"):
                (desk.served / name).write_bytes(archive.read(name))


# mix and match, lengths and hashes


def metadata_of_before(role: str) -> Spoil:
    """The timestamp is new, what it leads to is of an earlier state."""

    def spoil(bench: Bench, desk: Desk) -> None:
        before = desk.newest(role).read_bytes()
        desk.sign("1.0.9-more", sequence=9000, channel="test")
        desk.publish()
        desk.newest(role).write_bytes(before)

    return spoil


def other_frontend(bench: Bench, desk: Desk) -> None:
    """The description of the newest release, with the frontend of the one before."""
    path = desk.target(f"releases/{CHAIN[-1]}.json")
    mixed = json.loads(path.read_bytes())
    mixed["services"]["frontend"] = desk.release(CHAIN[1])["services"]["frontend"]
    path.write_bytes(json.dumps(mixed, indent=2).encode())


def other_description(bench: Bench, desk: Desk) -> None:
    """In place of a release's description stands that of another one."""
    wanted, other = (desk.target(f"releases/{version}.json") for version in (CHAIN[-1], CHAIN[1]))
    wanted.write_bytes(other.read_bytes())


def spoilt_target(path: str, how: Callable[[Path], None]) -> Spoil:
    """A file is not what the list of targets says."""
    return lambda bench, desk: how(desk.target(path))


def appended(path: Path) -> None:
    """A file is longer than it was signed."""
    path.write_bytes(path.read_bytes() + b" ")


# other product, other architecture


def other_product(bench: Bench, desk: Desk) -> None:
    """Signed with all keys for something that is no CLMS."""
    desk.sign("1.0.9-shop", sequence=9000, channel="test", product="shop")
    desk.publish()


def other_architecture(bench: Bench, desk: Desk) -> None:
    """Signed with all keys, with images for other machines only."""
    services = desk.release("1.0.1")["services"]
    for service in services.values():
        service["images"] = {
            "s390x" if platform.machine() != "s390x" else "amd64": next(iter(service["images"].values()))
        }
    desk.sign("1.0.9-arch", sequence=9000, channel="test", services=services)
    desk.publish()


def works_when_honest(bench: Bench, _: Result) -> str:
    """The counterpart: a desk that signs as it should is believed."""
    desk = bench.desk()
    desk.sign("1.2.0", sequence=9000)
    with bench.serving(desk.publish()):
        bench.check_works("1.2.0")
    return HELD


def cases() -> Iterator[Case]:
    """All of them."""
    yield Case("unsigned or foreign: the counterpart", "A new release, signed as it should be.", works_when_honest)
    yield case("unsigned or foreign: another vendor's repository", another_vendor.__doc__ or "", another_vendor)
    for name, spoil in (
        ("targets by an unknown key", targets_by_stranger),
        ("targets by the online key", targets_by_online_key),
        ("targets without a signature", targets_unsigned),
    ):
        slow = spoil is targets_unsigned
        yield case(f"unsigned or foreign: {name}", spoil.__doc__ or "", spoil, moves="online", slow=slow)
    for role in ("timestamp", "snapshot", "targets"):
        yield case(
            f"unsigned or foreign: altered {role}", f"The expiry date in {role}.json was changed.",
            altered_metadata(role), fresh=True, moves="online", slow=role != "targets",
        )  # fmt: skip
    for command in ("check", "update"):
        for role, put_back in (("timestamp", timestamp_put_back), ("snapshot", snapshot_put_back)):
            yield Case(
                f"downgrade: {role} put back, {command}", put_back.__doc__ or "",
                partial(after_news, put_back, command), slow=command == "update",
            )  # fmt: skip
    yield Case("downgrade: an older release by name", older_release.__doc__ or "", older_release, slow=True)
    yield Case("downgrade: an older release as the newest", older_is_newest.__doc__ or "", older_is_newest, slow=True)
    yield Case("freeze: expired timestamp", "The same timestamp is served on and on, until it has expired.", freeze)
    yield Case("clock: five years ahead, offline", clock_ahead.__doc__ or "", clock_ahead)
    yield case(
        "freeze: expired timestamp, update", "The same, when an update is asked for.", expired("timestamp"),
        "TRUST_EXPIRED", command=("update",),
    )  # fmt: skip
    yield case(
        "freeze: expired targets",
        "The list of releases has expired.",
        expired("targets"),
        "TRUST_EXPIRED",
        moves="online",
        slow=True,
    )
    yield case(
        "freeze: a bundle's timestamp from the server", timestamp_of_a_bundle.__doc__ or "", timestamp_of_a_bundle,
        "SERVER_REFUSED", says="offline bundle",
    )  # fmt: skip
    for role in ("snapshot", "targets"):
        yield case(
            f"mix and match: {role} of an earlier state", "What a new timestamp leads to is of an earlier state.",
            metadata_of_before(role), moves="online", slow=role == "targets",
        )  # fmt: skip
    for name, spoil in (("frontend of another release", other_frontend), ("another release", other_description)):
        yield case(f"mix and match: {name}", spoil.__doc__ or "", spoil, slow=spoil is other_description)
    newest = f"releases/{CHAIN[-1]}.json"
    yield case("mix and match: wrong length", appended.__doc__ or "", spoilt_target(newest, appended), slow=True)
    yield case("mix and match: wrong hash", "One bit of a description turned over.", spoilt_target(newest, flip))
    yield case(
        "mix and match: cut off", "The last 100 bytes are missing.",
        spoilt_target(newest, lambda path: shorten(path, 100)), slow=True,
    )  # fmt: skip
    yield case(
        "other product", other_product.__doc__ or "", other_product, "RELEASE_OTHER_PRODUCT",
        command=("update", "--version", "1.0.9-shop"), moves="signed",
    )  # fmt: skip
    yield case(
        "other architecture", other_architecture.__doc__ or "", other_architecture, "RELEASE_ARCHITECTURE",
        command=("update", "--version", "1.0.9-arch"), moves="signed",
    )  # fmt: skip
