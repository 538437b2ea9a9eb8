# SPDX-License-Identifier: GPL-3.0-or-later
"""GPG's pitfalls: each a signature that gpg itself has made, listed and signed by the vendor all the same.

Whoever gets as far holds all other keys; what is tried is whether the package's own signature counts for itself.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters.vendor import fetch_package, store_of
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from publisher.keys import check_gpg_home

from .bench import Bench
from .cases import HELD, REFUSED, Case, Result
from .desk import Desk

VERSION = "1.0.9-gpg"
PACKAGE = b"the package of a release" * 50
MEGABYTE = 1_000_000
_WHOLE = ("another key in the ring", "expired key", "revoked key", "two signatures, the vendor's first", "SHA-1")
"""enough of them for a whole run of `clms-update update`"""


class Gpg:
    """A copy of the vendor's GPG home, in which keys may come to harm."""

    def __init__(self, desk: Desk) -> None:
        self.home = desk.folder / "g"
        self.vendor = desk.vendor.fingerprint
        shutil.copytree(desk.vendor.gpg_home, self.home, ignore=shutil.ignore_patterns("S.*", "*.lock", ".#*"))
        self.home.chmod(0o700)
        check_gpg_home(self.home)
        self.package = desk.folder / "package.zip"
        self.package.write_bytes(PACKAGE)

    def run(self, *arguments: str, text: bytes = b"") -> bytes:
        """Run gpg without asking anybody anything."""
        command = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--quiet", "--passphrase", ""]
        done = subprocess.run(
            [*command, "--pinentry-mode", "loopback", *arguments], input=text, capture_output=True, check=False
        )
        assert done.returncode == 0, f"gpg {' '.join(arguments)}: {done.stderr.decode(errors='replace')[-500:]}"
        return done.stdout

    def make_key(self, name: str) -> str:
        """Another key; its fingerprint."""
        made = self.run("--status-fd", "1", "--quick-generate-key", name, "ed25519", "sign", "never")
        return made.decode().split("KEY_CREATED P ")[1].split()[0]

    def public(self, *fingerprints: str) -> bytes:
        """Public keys, in one file."""
        return self.run("--armor", "--export", *fingerprints)

    def sign(
        self, *signers: str, options: tuple[str, ...] = (), how: str = "--detach-sign", text: bytes = b""
    ) -> bytes:
        """A signature of the package, or of a text."""
        path = self.package
        if text:
            path = self.package.with_name("other.zip")
            path.write_bytes(text)
        users = [part for signer in signers for part in ("--local-user", signer)]
        return self.run(*users, *options, "--output", "-", how, str(path))


Vector = Callable[[Gpg], tuple[bytes, bytes | None]]
"""Makes a signature, and what is listed as the vendor's public key where that is not the right one."""


def good(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """A signature as it should be."""
    return gpg.sign(gpg.vendor), None


def tampered(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """The signature of another package."""
    return gpg.sign(gpg.vendor, text=b"another package"), None


def unknown_key(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """Signed by a key that is nowhere listed."""
    return gpg.sign(gpg.make_key("CLMS Vendor (demo)")), None


def other_key_in_ring(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """Signed by another key that lies in the same file as the vendor's."""
    stranger = gpg.make_key("stranger")
    return gpg.sign(stranger), gpg.public(gpg.vendor, stranger)


def other_key_instead(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """Signed by another key that lies in the place of the vendor's."""
    stranger = gpg.make_key("stranger")
    return gpg.sign(stranger), gpg.public(stranger)


def expired_key(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """The key has expired since."""
    gpg.run("--quick-set-expire", gpg.vendor, "seconds=2")
    made = gpg.sign(gpg.vendor), gpg.public(gpg.vendor)
    time.sleep(3.2)  # gpg counts whole seconds, and the last one still counts
    return made


def revoked_key(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """The key was revoked since."""
    made = gpg.sign(gpg.vendor)
    revocation = (gpg.home / "openpgp-revocs.d" / f"{gpg.vendor}.rev").read_text().replace(":-----", "-----")
    gpg.run("--import", text=revocation.encode())
    return made, gpg.public(gpg.vendor)


def expired_signature(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """The signature itself has expired."""
    made = gpg.sign(gpg.vendor, options=("--default-sig-expire", "seconds=1"))
    time.sleep(2.2)
    return made, None


def two_signatures(order: str, gpg: Gpg) -> tuple[bytes, bytes | None]:
    """The vendor's signature, and that of somebody else."""
    stranger = gpg.make_key("stranger")
    by = {"v": gpg.sign(gpg.vendor), "s": gpg.sign(stranger)}
    return b"".join(by[who] for who in order), gpg.public(gpg.vendor, stranger) if "s" in order else None


def sha1(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """Signed over SHA-1."""
    return gpg.sign(gpg.vendor, options=("--digest-algo", "SHA1")), None


def inline(how: str, gpg: Gpg) -> tuple[bytes, bytes | None]:
    """What was signed lies inside the signature."""
    return gpg.sign(gpg.vendor, how=how), None


def inline_other(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """A good signature of something else, which lies inside it."""
    return gpg.sign(gpg.vendor, how="--sign", text=b"something else"), None


def text_mode(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """Signed as a text, so that line ends may change."""
    return gpg.sign(gpg.vendor, options=("--textmode",)), None


def subkey(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """Signed by a subkey of the vendor's key: what counts is the primary fingerprint."""
    gpg.run("--quick-add-key", gpg.vendor, "ed25519", "sign", "never")
    listed = gpg.run("--with-colons", "--list-keys", gpg.vendor).decode().splitlines()
    prints = [line.split(":")[9] for line in listed if line.startswith("fpr:")]
    return gpg.sign(f"{prints[-1]}!"), gpg.public(gpg.vendor)


def subkey_unlisted(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """Signed by a subkey that the listed public key does not have."""
    return subkey(gpg)[0], None


def empty(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """A signature of no bytes."""
    return b"", None


def large(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """1 MB that is no signature."""
    return b"\0" * MEGABYTE, None


def padded(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """A good signature and 1 MB behind it."""
    return gpg.sign(gpg.vendor) + bytes(range(256)) * (MEGABYTE // 256), None


def armoured_twice(gpg: Gpg) -> tuple[bytes, bytes | None]:
    """Two armoured signatures of the vendor in one file."""
    return gpg.sign(gpg.vendor, options=("--armor",)) * 2, None


def listed(bench: Bench, vector: Vector) -> Path:
    """What a vendor serves whose package has such a signature."""
    desk = bench.desk()
    signature, public_key = vector(Gpg(desk))
    desk.sign(
        VERSION, sequence=9000, channel="gpg", package=PACKAGE, signature=signature, public_key=public_key,
        minVersion=None,
    )  # fmt: skip
    return desk.publish()


def refused(vector: Vector, says: str, bench: Bench, _: Result) -> str:
    """The school is asked to install such a release."""
    with bench.serving(listed(bench, vector)):
        bench.refused("PACKAGE_SIGNATURE", "update", "--version", VERSION, says=says, moves="signed")
    return REFUSED


def refused_in_process(vector: Vector, says: str, bench: Bench, result: Result) -> str:
    """Fetched from the vendor's server and verified by the product's own function, without the run around it."""
    with bench.serving(listed(bench, vector)), pytest.raises(ClmsError) as caught:
        fetch(bench)
    assert (caught.value.code, says in caught.value.happened) == ("PACKAGE_SIGNATURE", True), caught.value
    result.detail = caught.value.happened
    return REFUSED


def accepted(vector: Vector, bench: Bench, _: Result) -> str:
    """The counterpart: a signature that has to count."""
    with bench.serving(listed(bench, vector)):
        path, signer = fetch(bench)
    assert path.read_bytes() == PACKAGE
    return f"{HELD}, by {signer[:16]}"


def fetch(bench: Bench) -> tuple[Path, str]:
    """Fetch and verify the package, as a run does."""
    school = bench.described()
    store = store_of(school)
    folder = bench.folder / "fetched"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return fetch_package(store, store.release(VERSION), folder)


def cases() -> Iterator[Case]:
    """All of them."""
    vectors: list[tuple[str, Vector, str]] = [
        ("another package", tampered, "BADSIG"),
        ("unknown key", unknown_key, "ERRSIG"),
        ("another key in the ring", other_key_in_ring, "another key"),
        ("another key in its place", other_key_instead, "another key"),
        ("expired key", expired_key, "KEYEXPIRED"),
        ("revoked key", revoked_key, "REVKEYSIG"),
        ("expired signature", expired_signature, "EXPSIG"),
        ("two signatures, the vendor's first", partial(two_signatures, "vs"), "more than one"),
        ("two signatures, the vendor's last", partial(two_signatures, "sv"), "more than one"),
        ("two signatures, both the vendor's", partial(two_signatures, "vv"), "more than one"),
        ("SHA-1", sha1, "too weak"),
        ("text inside the signature", partial(inline, "--sign"), "no valid signature"),
        ("another text inside the signature", inline_other, "no valid signature"),
        ("clear text", partial(inline, "--clearsign"), "no valid signature"),
        ("text mode", text_mode, "not a signature over a file"),
        ("subkey that is not listed", subkey_unlisted, "ERRSIG"),
        ("empty", empty, "NODATA"),
        ("1 MB", large, "NODATA"),
        ("1 MB behind a good one", padded, "NODATA"),
        ("two armoured ones", armoured_twice, "more than one"),
    ]
    for name, vector, says in vectors:
        words = (vector.func if isinstance(vector, partial) else vector).__doc__ or ""
        yield Case(f"GPG: {name}", words, partial(refused_in_process, vector, says))
        if name in _WHOLE:
            yield Case(f"GPG: {name}, update", words, partial(refused, vector, says), slow=True)
    yield Case("GPG: the counterpart", good.__doc__ or "", partial(accepted, good))
    yield Case("GPG: subkey of the vendor's key", subkey.__doc__ or "", partial(accepted, subkey))
