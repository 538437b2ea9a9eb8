# SPDX-License-Identifier: GPL-3.0-or-later
"""Setting a school up on a new server from the folder of a backup and the recovery sheet, with nothing of the old one.

Everything that the school's description names is put where it was; keys of the old server are made anew. Then the
playbook ``reinstall`` does the run.
"""

from __future__ import annotations

import subprocess
from contextlib import closing
from pathlib import Path

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ansible_collections.clms.update.plugins.module_utils.adapters import takeover
from ansible_collections.clms.update.plugins.module_utils.adapters.engine import Engine
from ansible_collections.clms.update.plugins.module_utils.adapters.files import write_atomically
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.journal import Journal
from ansible_collections.clms.update.plugins.module_utils.phases.preflight_checks import check_image_store
from ansible_collections.clms.update.plugins.module_utils.school import School, parse_school

_ENGINE_AUTHORITIES = Path("/etc/docker/certs.d")
_INVENTORY = {"schools": {"hosts": {"school": {"ansible_connection": "local"}}}}


def prepare(folder: Path, sheet_file: Path, config: Path) -> str:
    """Put everything in place for the run of kind ``reinstall``; all of it can be repeated.

    :param folder: of the backup
    :param sheet_file: the recovery sheet, typed in again, mode 0600; it may be deleted afterwards
    :param config: the configuration folder of the new server, which is empty or of an earlier attempt
    :returns: the name of the backup
    :raises ClmsError: RECOVERY_SHEET, SECRET_FILE, NEW_SERVER, IMAGE_MISSING, DISK_TOO_SMALL, an ENGINE_ or BACKUP_
        code
    """
    engine = Engine()
    check_image_store(engine)
    manifest = takeover.opened(folder, sheet_file)
    found = takeover.configuration(folder, manifest, sheet_file)
    school = parse_school(found.description)
    if Journal.exists(school.home):  # an attempt that failed may have left one
        with closing(Journal(school.home)) as journal:
            if journal.slot("current") is not None:
                raise ClmsError("NEW_SERVER", path=school.home, detail="CLMS is installed here")
    for path, content in found.files.items():
        _put(Path(path), content)
    if school.registry_ca_file:  # for the engine, which pulls
        _put(_ENGINE_AUTHORITIES / school.registry / "ca.crt", found.files[school.registry_ca_file])
    _make_keys(school)
    backup = takeover.adopt(folder, manifest, sheet_file, school)
    gate = {**found.description["gate"], "image": takeover.load_gate_image(school, engine, found.gate_image)}
    described = {**found.description, "gate": gate}
    variables = {f"clms_{name}": value for name, value in described.items() if value is not None}
    _put(config / "host_vars/school.yml", yaml.safe_dump(variables).encode())
    _put(config / "hosts.yml", yaml.safe_dump(_INVENTORY).encode())  # last: with it, the school is described
    return backup


def _put(path: Path, content: bytes) -> None:
    """:raises ClmsError: NEW_SERVER when there is another file"""
    if path.exists() and path.read_bytes() != content:
        raise ClmsError("NEW_SERVER", path=path, detail="there is another file of that name")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise ClmsError("NEW_SERVER", path=path, detail=error.strerror) from None


def _make_keys(school: School) -> None:
    """The keys of this server, where they were not made before."""
    host_key, signing_key = Path(school.backup.host_key_file), Path(school.backup.signing_key_file)
    if not host_key.exists():
        host_key.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        subprocess.run(["age-keygen", "-o", str(host_key)], check=True, capture_output=True)
        host_key.chmod(0o600)
    for path in (signing_key, *([Path(school.trust.report_key_file)] if school.trust.report_key_file else [])):
        if not path.exists():
            key = Ed25519PrivateKey.generate()
            _put(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
