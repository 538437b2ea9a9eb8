# SPDX-License-Identifier: GPL-3.0-or-later
"""The vendor's keys: root keys in files, a GPG key that signs targets and packages, and an online key in a file for
snapshot and timestamp.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.exceptions import Error as SigningError
from securesystemslib.signer import CryptoSigner, GPGSigner, Signer
from tuf.api.exceptions import RepositoryError

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.gpg import verify_package
from ansible_collections.clms.update.plugins.module_utils.secret_file import read_secret

from .settings import GPG_TIMEOUT
from .vendor import write_file

LONGEST_SOCKET = 107
"""Characters the kernel takes for the path of a unix socket; gpg's agent has one in the GPG home."""


@contextmanager
def signing_errors() -> Iterator[None]:
    """Turn what gpg and securesystemslib raise into SIGNING_FAILED."""
    try:
        yield
    except (OSError, ValueError, subprocess.SubprocessError, SigningError, RepositoryError) as error:
        if isinstance(error, subprocess.CalledProcessError):
            lines = str(error.stderr or "").strip().splitlines()
            detail = lines[-1] if lines else f"gpg ended with code {error.returncode}"
        else:
            detail = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ClmsError("SIGNING_FAILED", detail=detail.rstrip(".")[:300]) from error


def _gpg(gpg_home: Path, *arguments: str) -> str:
    return subprocess.run(
        ["gpg", "--homedir", str(gpg_home), "--batch", "--quiet", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=GPG_TIMEOUT,
        check=True,
    ).stdout


def check_gpg_home(gpg_home: Path) -> None:
    """:raises ClmsError: VENDOR_HOME when gpg's agent could not work there"""
    if len(str(gpg_home / "S.gpg-agent.browser")) > LONGEST_SOCKET:
        detail = f"the path of the GPG home {gpg_home} is too long for gpg's agent"
        raise ClmsError("VENDOR_HOME", path=gpg_home.parent, detail=detail)


def create_gpg_key(gpg_home: Path, name: str) -> str:
    """Make an Ed25519 key that signs with its primary key and never expires; it is revoked by a new root instead.

    :returns: its fingerprint
    :raises ClmsError: SIGNING_FAILED
    """
    with signing_errors():
        gpg_home.mkdir(mode=0o700, exist_ok=True)
        unprotected = ("--pinentry-mode", "loopback", "--passphrase", "")
        made = ("--yes", "--quick-generate-key", name, "ed25519", "sign", "never")  # also beside one of the same name
        status = _gpg(gpg_home, "--status-fd", "1", *unprotected, *made)
        created = re.search(r"^\[GNUPG:\] KEY_CREATED P ([0-9A-F]{40})$", status, re.MULTILINE)
        if not created:
            raise ValueError("gpg did not make a key")
        return created.group(1)


def find_gpg_key(gpg_home: Path, fingerprint: str) -> str:
    """The primary fingerprint of an existing secret key.

    :raises ClmsError: SIGNING_FAILED
    """
    wanted = fingerprint.replace(" ", "").upper()
    if not re.fullmatch("[0-9A-F]{40}", wanted):
        raise ClmsError("SIGNING_FAILED", detail="a GPG key is named by its fingerprint of 40 hexadecimal digits")
    with signing_errors():
        if wanted not in _fingerprints(gpg_home, wanted):
            raise ValueError(f"{wanted} is not a primary key in {gpg_home}")
    return wanted


def _fingerprints(gpg_home: Path, name: str) -> list[str]:
    """Primary fingerprints of the secret keys that ``name`` fits, in the order of the ring."""
    found, primary = [], False
    for line in _gpg(gpg_home, "--with-colons", "--list-secret-keys", name).splitlines():
        fields = line.split(":")
        if fields[0] in ("sec", "ssb"):
            primary = fields[0] == "sec"
        elif fields[0] == "fpr" and primary:
            found.append(fields[9])
    return found


def export_public_key(gpg_home: Path, fingerprint: str) -> bytes:
    """The armoured public key without the signatures of others.

    :raises ClmsError: SIGNING_FAILED
    """
    with signing_errors():
        return _gpg(gpg_home, "--armor", "--export-options", "export-minimal", "--export", fingerprint).encode()


def gpg_signer(gpg_home: Path, fingerprint: str) -> Signer:
    """The signer of targets.

    :raises ClmsError: SIGNING_FAILED
    """
    # securesystemslib puts the folder into a command line that it splits like a shell
    folder = shlex.quote(str(gpg_home))
    with signing_errors():
        _uri, key = GPGSigner.import_(fingerprint.lower(), folder)
        signer = GPGSigner(key, folder)
        signer.sign(b"")  # a key that signs with a subkey is refused here and not with half a release written
        return signer


def create_key_file(path: Path) -> Signer:
    """Make an Ed25519 key in a file that only its owner can read.

    :raises ClmsError: SIGNING_FAILED when the file cannot be written, or its file system knows no modes
    """
    signer = CryptoSigner.generate_ed25519()
    with signing_errors():
        write_file(path, signer.private_bytes, mode=0o600)
    return signer


def file_signer(path: Path) -> Signer:
    """The signer with a key of :func:`create_key_file`.

    :raises ClmsError: SECRET_FILE, SIGNING_FAILED
    """
    content = read_secret(path)
    with signing_errors():
        return CryptoSigner(load_pem_private_key(content, None))


def sign_package(gpg_home: Path, fingerprint: str, package: Path, *, version: str) -> bytes:
    """The detached signature of a package, which has passed the check that schools make.

    :raises ClmsError: SIGNING_FAILED, PACKAGE_SIGNATURE
    """
    with tempfile.TemporaryDirectory(prefix="clms-sign-") as folder:
        key, signature = Path(folder, "key.asc"), Path(folder, "signature")
        key.write_bytes(export_public_key(gpg_home, fingerprint))
        with signing_errors():
            arguments = ("--local-user", f"{fingerprint}!", "--digest-algo", "SHA512", "--output", str(signature))
            _gpg(gpg_home, *arguments, "--detach-sign", str(package))
        verify_package(version=version, package=package, signature=signature, key=key, fingerprints={fingerprint})
        return signature.read_bytes()


def end_agent(gpg_home: Path) -> None:
    """End the agent that gpg started for this home; its cached passphrase goes with it."""
    subprocess.run(
        ["gpgconf", "--homedir", str(gpg_home), "--kill", "gpg-agent"],
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=GPG_TIMEOUT,
        check=False,
    )
