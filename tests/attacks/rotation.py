# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes of keys: forged ones are refused, an honest one leads to an update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from securesystemslib.signer import Signer

from .bench import Bench
from .cases import REFUSED, Case, Result
from .desk import STRANGER, Desk


def names_stranger(version: int, desk: Desk, signed: Any) -> None:
    """A root in which a stranger's key signs root and targets."""
    signed.version += version
    signed.roles["root"].threshold = 1
    for role in ("root", "targets"):
        for keyid in tuple(signed.roles[role].keyids):
            signed.revoke_key(keyid, role)
        signed.add_key(STRANGER.public_key, role)


def forged_root(who: str, step: int, bench: Bench, _: Result) -> str:
    """A root that nobody should follow, and releases signed by the key that it names."""
    bench.check_works()
    desk = bench.desk()
    desk.publish()
    signers: dict[str, Sequence[Signer]] = {
        "new": [STRANGER],
        "old": desk.roots,
        "both": [*desk.roots, STRANGER],
        "one": [desk.roots[0], STRANGER],
        "releases": [desk.offline, STRANGER],
        "online": [desk.online, STRANGER],
    }
    newest = int(desk.newest("root").name.split(".")[0])
    root = desk.resign("root", signers[who], partial(names_stranger, step, desk))
    (desk.metadata / f"{newest + 1}.root.json").write_bytes(root)
    desk.lead_to_targets(desk.resign("targets", [STRANGER], lambda signed: setattr(signed, "version", 9000)))
    with bench.serving(desk.served):
        bench.refused("TRUST_REFUSED", "check")
    bench.check_works()
    return REFUSED


def honest(bench: Bench, result: Result) -> str:
    """Both keys change as the guide says; the school follows, and updates afterwards."""
    version = bench.next_version()
    desk = bench.desk()
    for options in ((), ("--online",)):
        bench.stand.command("clms-release", "rotate-keys", "--home", desk.vendor.home, *options, "--json")
    changed = desk.reload()
    assert changed.vendor.fingerprint != desk.vendor.fingerprint
    with bench.serving(changed.publish()):
        bench.check_works()
        bench.updates_to(version, result)
        # the key before counts no more
        stale = bench.desk()
        stale.sign("9.9.9", sequence=9999)
        stale.publish()
        for path in stale.metadata.glob("*"):
            if not path.name.endswith(".root.json"):
                (changed.metadata / path.name).write_bytes(path.read_bytes())
    with bench.serving(changed.served):
        bench.refused("TRUST_REFUSED", "check")
    return f"{version}, by the new keys"


def withheld(bench: Bench, _: Result) -> str:
    """Keys are stolen, and the release server with them; the vendor sends a file that revokes the keys."""
    version = bench.next_version()
    bench.check_works()
    desk, thief = bench.desk(), bench.desk()
    for options in ((), ("--online",)):
        bench.stand.command("clms-release", "rotate-keys", "--home", desk.vendor.home, *options, "--json")
    bundles = desk.folder / "b"
    bench.stand.command("clms-release", "bundle", version, "--home", desk.vendor.home, "--to", bundles, "--json")
    thief.sign("9.9.9", sequence=9999)
    with bench.serving(thief.publish()):
        bench.check_works("9.9.9")  # as long as nobody has told the school, it cannot know
        (bundle,) = bundles.glob("*.zip")
        done = bench.school.clms_update("import", str(bundle), "--json")
        assert done.code == 0, done.output
        assert bench.check().code != 0, "the stolen keys still count"  # its client notes here which root is the newest
        bench.refused("TRUST_REFUSED", "check")
        bench.refused(("RELEASE_UNKNOWN", "TRUST_REFUSED"), "update", "--version", "9.9.9")
    with bench.serving(desk.reload().publish()):
        bench.check_works()
    return REFUSED


def cases() -> Iterator[Case]:
    """All of them."""
    for name, injected, who, step in (
        ("signed by the new key alone", "A next root that only the key in it has signed.", "new", 1),
        ("signed by the old keys alone", "A next root that the key in it has not signed.", "old", 1),
        ("signed by one old key of two", "A next root by one stolen root key, where two count.", "one", 1),
        ("signed by the key of the releases", "A next root by a stolen release key.", "releases", 1),
        ("signed by the online key", "A next root by the online key and the one in it.", "online", 1),
        ("a version is skipped", "A root signed by all keys whose version is two higher.", "both", 2),
        ("the same version again", "A root signed by all keys with the version before.", "both", 0),
    ):
        slow = who in ("online", "one") or step == 0
        yield Case(f"key rotation: {name}", injected, partial(forged_root, who, step), slow=slow)
    yield Case("key rotation: the new root is withheld", withheld.__doc__ or "", withheld, slow=True)
    yield Case("key rotation: the honest one", honest.__doc__ or "", honest, slow=True, last=True)
