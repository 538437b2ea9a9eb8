# SPDX-License-Identifier: GPL-3.0-or-later
"""The verdict on a detached signature: a table of status lines, and vectors that gpg itself has made."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.gpg import (
    Finished,
    SignatureRefusedError,
    judge,
    verify_package,
)

PRIMARY = "A1772AE2CDFF3274BD752B3AD861867D8E451910"
OTHER = "0B5A7B2E3D1C4F5E6A7B8C9D0E1F2A3B4C5D6E7F"
SUBKEY = "FFEEDDCCBBAA99887766554433221100FFEEDDCC"


def goodsig(key: str = PRIMARY) -> str:
    return f"GOODSIG {key[-16:]} CLMS vendor"


def validsig(key: str = PRIMARY, primary: str = PRIMARY, hash_: int = 10, kind: str = "00") -> str:
    return f"VALIDSIG {key} 2026-01-01 1767225600 0 4 0 22 {hash_} {kind} {primary}"


def status(*lines: str) -> str:
    return "".join(f"[GNUPG:] {line}\n" for line in lines)


GOOD = ("NEWSIG", f"KEY_CONSIDERED {PRIMARY} 0", "SIG_ID abc 2026-01-01 1767225600", goodsig(), validsig())


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param((*GOOD, "TRUST_ULTIMATE 0 pgp"), id="plain"),
        pytest.param((*GOOD, "TRUST_UNDEFINED 0 always"), id="trust does not matter"),
        pytest.param((*GOOD, "VERIFICATION_COMPLIANCE_MODE 23"), id="compliance mode"),
        pytest.param(("NEWSIG vendor@example.org", goodsig(), validsig()), id="signer's address"),
        pytest.param(("NEWSIG", goodsig(SUBKEY), validsig(SUBKEY)), id="by a subkey"),
        pytest.param(("NEWSIG", goodsig(), validsig(hash_=8)), id="SHA256"),
    ],
)
def test_accepted(lines: Sequence[str]) -> None:
    assert judge(status(*lines), {PRIMARY, OTHER}) == PRIMARY


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        pytest.param((), "no valid signature", id="nothing"),
        pytest.param(("NODATA 3",), "NODATA", id="no OpenPGP data"),
        pytest.param(("NEWSIG", "BADSIG D861867D8E451910 CLMS vendor"), "BADSIG", id="bad"),
        pytest.param(("NEWSIG", f"ERRSIG {PRIMARY} 22 10 00 1 9 {PRIMARY}"), "ERRSIG", id="cannot be checked"),
        pytest.param((*GOOD, "NO_PUBKEY D861867D8E451910"), "NO_PUBKEY", id="no public key"),
        pytest.param(("NEWSIG", "EXPSIG D861867D8E451910 x", validsig()), "EXPSIG", id="expired signature"),
        pytest.param(("NEWSIG", "EXPKEYSIG D861867D8E451910 x", validsig()), "EXPKEYSIG", id="expired key"),
        pytest.param(("NEWSIG", "REVKEYSIG D861867D8E451910 x", validsig()), "REVKEYSIG", id="revoked key"),
        pytest.param(("KEYEXPIRED 1", *GOOD), "KEYEXPIRED", id="an expired key in the ring"),
        pytest.param((*GOOD, "FAILURE gpg-exit 33554433"), "FAILURE", id="failure"),
        pytest.param((*GOOD, "PLAINTEXT 62 0"), "PLAINTEXT", id="text inside the signature"),
        pytest.param((*GOOD, "SOMETHING_NEW 1"), "SOMETHING_NEW", id="unknown status"),
        pytest.param((*GOOD, *GOOD), "more than one", id="two good signatures"),
        pytest.param((*GOOD, "NEWSIG"), "more than one", id="a second signature without verdict"),
        pytest.param((*GOOD, "NEWSIG", "BADSIG x y"), "more than one", id="good and bad"),
        pytest.param(("NEWSIG", "BADSIG x y", *GOOD), "BADSIG", id="bad and good"),
        pytest.param(GOOD[:-1], "no valid signature", id="GOODSIG only"),
        pytest.param(("NEWSIG", validsig()), "no valid signature", id="VALIDSIG only"),
        pytest.param((goodsig(), validsig()), "no valid signature", id="no NEWSIG"),
        pytest.param(("NEWSIG", goodsig(OTHER), validsig()), "two different keys", id="verdicts on two keys"),
        pytest.param(("NEWSIG", "GOODSIG", validsig()), "two different keys", id="GOODSIG without key"),
        pytest.param(("NEWSIG", goodsig(SUBKEY), validsig(SUBKEY, SUBKEY)), "another key", id="unpinned primary"),
        pytest.param(("NEWSIG", goodsig(), validsig(PRIMARY, SUBKEY)), "another key", id="pinned key as subkey"),
        pytest.param(("NEWSIG", goodsig(), validsig(hash_=2)), "too weak", id="SHA1"),
        pytest.param(("NEWSIG", goodsig(), validsig(hash_=1)), "too weak", id="MD5"),
        pytest.param(("NEWSIG", goodsig(), validsig(kind="01")), "not a signature over a file", id="text mode"),
        pytest.param(("NEWSIG", goodsig(), f"VALIDSIG {PRIMARY}"), "incomplete", id="VALIDSIG of old gpg"),
    ],
)
def test_refused(lines: Sequence[str], why: str) -> None:
    with pytest.raises(SignatureRefusedError, match=why):
        judge(status(*lines), {PRIMARY, OTHER})


def test_refused_when_nothing_is_pinned() -> None:
    with pytest.raises(SignatureRefusedError, match="another key"):
        judge(status(*GOOD), set())


def test_refused_when_something_else_was_written() -> None:
    with pytest.raises(SignatureRefusedError, match="not a status"):
        judge(status(*GOOD) + "gpg: hello\n", {PRIMARY})


def test_an_exit_code_other_than_zero_is_enough(tmp_path: Path) -> None:
    for name in ("package", "signature", "key"):
        (tmp_path / name).touch()
    calls: list[Sequence[str]] = []

    def runner(command: Sequence[str]) -> Finished:
        calls.append(command)
        return Finished(0, "") if "--import" in command else Finished(2, status(*GOOD))

    with pytest.raises(ClmsError) as caught:
        verify_package(
            version="1.0.1",
            package=tmp_path / "package",
            signature=tmp_path / "signature",
            key=tmp_path / "key",
            fingerprints={PRIMARY},
            runner=runner,
        )
    assert (caught.value.code, len(calls)) == ("PACKAGE_SIGNATURE", 2)
    home = calls[0][calls[0].index("--homedir") + 1]
    assert not Path(home).exists()


class Gpg:
    """A GPG home with real keys."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.vendor = self.make_key("vendor")
        self.key = home / "vendor.asc"
        self.export(self.vendor)
        self.package = home / "package.zip"
        self.package.write_bytes(b"the package")
        self.signature = home / "package.zip.sig"

    def run(self, *arguments: str, text: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--yes", "--quiet", "--passphrase", ""]
        command += ["--pinentry-mode", "loopback", *arguments]
        return subprocess.run(command, input=text, capture_output=True, check=True).stdout

    def make_key(self, name: str, *, expires: str = "never", at: str = "20250101T000000") -> str:
        made = self.run(
            *("--faked-system-time", f"{at}!", "--status-fd", "1"),
            *("--quick-generate-key", name, "ed25519", "sign", expires),
        )
        return made.decode().split("KEY_CREATED P ")[1].split()[0]

    def export(self, *fingerprints: str) -> None:
        self.key.write_bytes(self.run("--armor", "--export", *fingerprints))

    def sign(self, *signers: str, options: Sequence[str] = ()) -> None:
        users = [part for signer in signers for part in ("--local-user", signer)]
        arguments = [*users, *options, "--output", str(self.signature), "--detach-sign", str(self.package)]
        self.run(*arguments)

    def verify(self) -> str:
        return verify_package(
            version="1.0.1",
            package=self.package,
            signature=self.signature,
            key=self.key,
            fingerprints={self.vendor},
        )

    def refused(self) -> str:
        with pytest.raises(ClmsError) as caught:
            self.verify()
        assert caught.value.code == "PACKAGE_SIGNATURE"
        return caught.value.happened


@pytest.fixture
def gpg() -> Iterator[Gpg]:
    # not tmp_path: gpg's agent has a socket in there, and the path of a socket is short
    home = Path(tempfile.mkdtemp(prefix="clms-"))
    yield Gpg(home)
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=True)
    shutil.rmtree(home, ignore_errors=True)  # the agent is removing its sockets meanwhile


def test_a_real_signature(gpg: Gpg) -> None:
    gpg.sign(gpg.vendor)
    assert gpg.verify() == gpg.vendor


def test_an_altered_package(gpg: Gpg) -> None:
    gpg.sign(gpg.vendor)
    gpg.package.write_bytes(b"the Package")
    assert "BADSIG" in gpg.refused()


def test_an_expired_key(gpg: Gpg) -> None:
    gpg.vendor = gpg.make_key("short", expires="1d")
    gpg.export(gpg.vendor)
    gpg.sign(gpg.vendor, options=("--faked-system-time", "20250101T010000!"))
    assert "EXPKEYSIG" in gpg.refused() or "KEYEXPIRED" in gpg.refused()


def test_an_expired_signature(gpg: Gpg) -> None:
    gpg.sign(gpg.vendor, options=("--faked-system-time", "20250102T000000!", "--default-sig-expire", "1d"))
    assert "SIG" in gpg.refused()


def test_a_revoked_key(gpg: Gpg) -> None:
    gpg.sign(gpg.vendor)
    revocation = (gpg.home / "openpgp-revocs.d" / f"{gpg.vendor}.rev").read_text().replace(":-----", "-----")
    gpg.run("--import", text=revocation.encode())
    gpg.export(gpg.vendor)
    assert "REVKEYSIG" in gpg.refused()


def test_a_key_that_is_not_shipped(gpg: Gpg) -> None:
    gpg.sign(gpg.make_key("stranger"))
    assert "ERRSIG" in gpg.refused()


def test_a_key_that_is_shipped_but_not_pinned(gpg: Gpg) -> None:
    stranger = gpg.make_key("stranger")
    gpg.export(gpg.vendor, stranger)
    gpg.sign(stranger)
    assert "another key" in gpg.refused()


def test_two_signatures(gpg: Gpg) -> None:
    stranger = gpg.make_key("stranger")
    gpg.export(gpg.vendor, stranger)
    gpg.sign(gpg.vendor, stranger)
    assert "more than one" in gpg.refused()


def test_a_signature_with_sha1(gpg: Gpg) -> None:
    made = gpg.run("--status-fd", "1", "--quick-generate-key", "old", "rsa2048", "sign", "never").decode()
    gpg.vendor = made.split("KEY_CREATED P ")[1].split()[0]
    gpg.export(gpg.vendor)
    gpg.sign(gpg.vendor, options=("--digest-algo", "SHA1"))
    assert gpg.refused()


def test_signed_text_inside_the_signature(gpg: Gpg) -> None:
    gpg.run("--local-user", gpg.vendor, "--output", str(gpg.signature), "--sign", str(gpg.package))
    assert gpg.refused()


def test_a_clear_text_signature(gpg: Gpg) -> None:
    gpg.run("--local-user", gpg.vendor, "--output", str(gpg.signature), "--clearsign", str(gpg.package))
    assert gpg.refused()


@pytest.mark.parametrize("content", [b"", b"no signature"], ids=["empty", "no OpenPGP data"])
def test_no_signature(content: bytes, gpg: Gpg) -> None:
    gpg.signature.write_bytes(content)
    assert gpg.refused()


def test_no_key(gpg: Gpg) -> None:
    gpg.sign(gpg.vendor)
    gpg.key.write_bytes(b"no key")
    assert "public key" in gpg.refused()
    gpg.key.unlink()
    assert "public key" in gpg.refused()
