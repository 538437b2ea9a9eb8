# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the release manager: ``clms-release``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.https import HttpsClient
from ansible_collections.clms.update.plugins.module_utils.registry import Registry
from ansible_collections.clms.update.plugins.module_utils.secret_file import read_credentials

from . import keys, settings
from .bundle import make_bundle
from .publish import publish
from .release import build, sign
from .repository import Repository
from .rotation import key_target, replace_root_key, root_signers, rotate_gpg_key, rotate_online_key
from .vendor import Vendor, locked, write_file

DONE, FAILED, REFUSED = 0, 1, 2

_FAILED_CODES = {
    "CA_FILE",
    "ENGINE_UNREACHABLE",
    "IMAGE_MISMATCH",
    "PACKAGE_SIGNATURE",
    "PUBLISH_FAILED",
    "PUSH_FAILED",
    "REGISTRY_DIGEST_MISSING",
    "REGISTRY_LOGIN",
    "REGISTRY_UNREACHABLE",
    "SIGNING_FAILED",
}
"""Errors that a second try may not meet; all others refuse the input."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; see ``clms-release --help``."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], dict[str, Any]] = options.command
    try:
        result = command(options)
    except ClmsError as error:
        if options.json:
            print(json.dumps({"error": error.as_dict()}, ensure_ascii=False))
        else:
            print(f"{error.happened}\n{error.remedy}", file=sys.stderr)
        return FAILED if error.code in _FAILED_CODES else REFUSED
    if options.json:
        print(json.dumps(result, ensure_ascii=False))
    else:
        _print(result)
    return DONE


def _init(options: argparse.Namespace) -> dict[str, Any]:
    home: Path = options.home
    gpg_home = _gpg_home(options) or home / "gnupg"
    keys.check_gpg_home(gpg_home)
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(path.name not in (".lock", "gnupg", "root-keys") for path in home.iterdir()):
            raise ClmsError("VENDOR_HOME", path=home, detail="it is initialised already, or not empty")
        if any((home / "root-keys").glob("*.pem")):
            raise ClmsError("VENDOR_HOME", path=home, detail="root-keys holds keys, which would be written over")
        home.chmod(0o700)
    except OSError as error:
        raise ClmsError("VENDOR_HOME", path=home, detail=error.strerror) from None
    with locked(home):
        try:
            if options.gpg_key is None:
                fingerprint = keys.create_gpg_key(gpg_home, options.name)
            else:
                fingerprint = keys.find_gpg_key(gpg_home, options.gpg_key)
            vendor = Vendor(home, options.name, gpg_home, fingerprint)
            offline = keys.gpg_signer(gpg_home, fingerprint)
            online = keys.create_key_file(vendor.online_key)
            vendor.root_keys.mkdir(mode=0o700, exist_ok=True)
            root_keys = [vendor.root_keys / f"{number}.pem" for number in range(1, settings.ROOT_KEYS + 1)]
            roots = [keys.create_key_file(path) for path in root_keys]
            files = [key_target(gpg_home, fingerprint)]
            repository = Repository.create(vendor.repository, roots, offline, online, files)
            write_file(vendor.public_key, keys.export_public_key(gpg_home, fingerprint))
            write_file(vendor.root, repository.root_bytes())
            vendor.save()
        finally:
            _end_own_agent(home, gpg_home)
    return {
        "home": str(home),
        "fingerprint": fingerprint,
        "publicKey": str(vendor.public_key),
        "root": str(vendor.root),
        "rootKeys": [str(path) for path in root_keys],
    }


def _build(options: argparse.Namespace) -> dict[str, Any]:
    vendor = Vendor.load(options.home)
    with locked(vendor.home):
        staging = build(vendor, options.definition, source=options.source, changelog=options.changelog)
    return {"version": staging.name, "staging": str(staging)}


def _sign(options: argparse.Namespace) -> dict[str, Any]:
    vendor = Vendor.load(options.home)
    credentials = read_credentials(options.registry_credentials)
    with locked(vendor.home), closing(HttpsClient(ca_file=options.registry_ca)) as http:
        registry = Registry(options.registry, http=http, credentials=options.registry_credentials)
        try:
            release = sign(
                vendor,
                options.version,
                registry=registry,
                address=options.registry,
                credentials=credentials,
                offline=keys.gpg_signer(vendor.gpg_home, vendor.fingerprint),
                online=keys.file_signer(vendor.online_key),
            )
        finally:
            _end_own_agent(vendor.home, vendor.gpg_home)
    images = {
        f"{service}/{architecture}": f"{image.repository}@{image.digest}"
        for service, by_architecture in release.images.items()
        for architecture, image in by_architecture.items()
    }
    return {
        "version": release.version.text,
        "sequence": release.sequence,
        "channel": release.channel,
        "images": images,
        "package": {"path": release.package.path, "size": release.package.size, "sha256": release.package.sha256},
    }


def _publish(options: argparse.Namespace) -> dict[str, Any]:
    vendor = Vendor.load(options.home)
    with locked(vendor.home):
        written = publish(vendor.repository, options.to)
    return {"to": str(options.to), "written": written}


def _refresh(options: argparse.Namespace) -> dict[str, Any]:
    vendor = Vendor.load(options.home)
    repository = Repository(vendor.repository)
    with locked(vendor.home):
        try:
            online = keys.file_signer(vendor.online_key)
            if options.all:
                offline = keys.gpg_signer(vendor.gpg_home, vendor.fingerprint)
                roots = root_signers(vendor, options.root_key)
                repository.refresh_all(roots, offline, online, [key_target(vendor.gpg_home, vendor.fingerprint)])
            else:
                repository.refresh(online)
        finally:
            _end_own_agent(vendor.home, vendor.gpg_home)
    return {"expires": repository.expires()}


def _bundle(options: argparse.Namespace) -> dict[str, Any]:
    vendor = Vendor.load(options.home)
    with locked(vendor.home):
        try:
            made = make_bundle(
                vendor,
                options.version,
                options.to,
                architecture=options.architecture,
                offline=keys.gpg_signer(vendor.gpg_home, vendor.fingerprint),
                online=keys.file_signer(vendor.online_key),
            )
        finally:
            _end_own_agent(vendor.home, vendor.gpg_home)
    return {"bundle": str(made.path), "size": made.path.stat().st_size, "counts_until": made.counts_until}


def _rotate_keys(options: argparse.Namespace) -> dict[str, Any]:
    other = "--online" if options.online else "--new-root-key"
    if (options.online or options.new_root_key) and (options.gpg_home or options.gpg_key or options.lost):
        options.usage(f"argument {other}: not allowed with --gpg-home, --gpg-key or --lost")
    vendor = Vendor.load(options.home)
    gpg_home = _gpg_home(options)
    if gpg_home:
        keys.check_gpg_home(gpg_home)
    with locked(vendor.home):
        try:
            roots = root_signers(vendor, options.root_key)
            if options.online:
                rotate_online_key(vendor, roots)
            elif options.new_root_key:
                replace_root_key(vendor, roots, options.new_root_key)
            else:
                vendor = rotate_gpg_key(vendor, roots, gpg_home, options.gpg_key, lost=options.lost)
        finally:
            if (own := vendor.home / "gnupg").is_dir():  # either key may be in there
                keys.end_agent(own)
    repository = Repository(vendor.repository)
    return {"fingerprint": vendor.fingerprint, "root": str(vendor.root), "expires": repository.expires()}


def _disable(options: argparse.Namespace) -> dict[str, Any]:
    vendor = Vendor.load(options.home)
    with locked(vendor.home):
        try:
            offline = keys.gpg_signer(vendor.gpg_home, vendor.fingerprint)
            online = keys.file_signer(vendor.online_key)
            unlisted = Repository(vendor.repository).withdraw(options.version, offline, online)
        finally:
            _end_own_agent(vendor.home, vendor.gpg_home)
    return {"version": options.version, "unlisted": unlisted}


def _list(options: argparse.Namespace) -> dict[str, Any]:
    repository = Repository(Vendor.load(options.home).repository)
    releases = []
    for entry in repository.releases():
        release = json.loads(repository.read(f"releases/{entry['version']}.json"))
        releases.append({**entry, "date": release["releaseDate"], "critical": release["critical"]})
    withdrawn = [entry["version"] for entry in repository.withdrawn()]
    return {"releases": releases, "withdrawn": withdrawn, "expires": repository.expires()}


def _gpg_home(options: argparse.Namespace) -> Path | None:
    gpg_home: Path | None = options.gpg_home
    if gpg_home is not None and options.gpg_key is None and not gpg_home.is_dir():
        raise ClmsError("VENDOR_HOME", path=options.home, detail=f"there is no GPG home {gpg_home}")
    return gpg_home


def _end_own_agent(home: Path, gpg_home: Path) -> None:
    """End gpg's agent of the vendor folder's own GPG home; somebody else's agent is left alone."""
    if gpg_home == home / "gnupg":
        keys.end_agent(gpg_home)


def _print(result: dict[str, Any]) -> None:
    releases = result.pop("releases", None)
    if releases is not None:
        columns = ("version", "sequence", "channel", "date", "critical")
        for row in [dict(zip(columns, columns, strict=True)), *releases]:
            print("  ".join(f"{row[column]!s:<20}" for column in columns).rstrip())
    for name, value in result.items():
        if isinstance(value, dict):
            print(f"{name}:", *(f"  {key}: {inner}" for key, inner in value.items()), sep="\n")
        elif isinstance(value, list):
            print(f"{name}: {len(value)}", *(f"  {inner}" for inner in value), sep="\n")
        else:
            print(f"{name}: {value}")


def _parser() -> argparse.ArgumentParser:
    # abbreviations of options would become part of people's scripts
    parser = argparse.ArgumentParser(prog="clms-release", description=__doc__, allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, command: Callable[[argparse.Namespace], dict[str, Any]], text: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        sub.add_argument("--home", type=_absolute, required=True, metavar="DIR", help="the vendor folder")
        sub.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
        sub.set_defaults(command=command)
        return sub

    init = add("init", _init, "Make a vendor folder: keys, an empty signed repository, and what schools pin.")
    init.add_argument("--gpg-home", type=_absolute, metavar="DIR", help="GPG home (default: gnupg in the folder)")
    init.add_argument("--gpg-key", metavar="FINGERPRINT", help="an existing key there, instead of a new one")
    init.add_argument("--name", default=settings.VENDOR_NAME, help="name in a new key")

    staged = add("build", _build, "Stage a release: inspect its images and make its package.")
    staged.add_argument("--definition", type=_absolute, required=True, metavar="FILE", help="release definition, JSON")
    staged.add_argument("--source", type=_absolute, metavar="DIR", help="folder to take into the package as source/")
    staged.add_argument("--changelog", type=_absolute, metavar="FILE", help="text in place of the definition's")

    signed = add("sign", _sign, "Push a staged release's images, and sign it.")
    signed.add_argument("version", metavar="VERSION")
    signed.add_argument("--registry", required=True, metavar="HOST:PORT")
    signed.add_argument(
        "--registry-credentials",
        type=_absolute,
        required=True,
        metavar="FILE",
        help='file of mode 0600 with {"username": …, "password": …}',
    )
    signed.add_argument("--registry-ca", type=_absolute, metavar="FILE", help="the only CA trusted for the registry")

    published = add("publish", _publish, "Copy the signed repository to the folder that the release server serves.")
    published.add_argument("--to", type=_absolute, required=True, metavar="DIR")

    refreshed = add("refresh", _refresh, "Give the metadata that says 'this is the newest' new expiry dates.")
    refreshed.add_argument("--all", action="store_true", help="root and targets too; needs the GPG key and root keys")
    _add_root_key(refreshed)

    bundled = add(
        "bundle", _bundle, "Write one signed ZIP with a release and its images, for schools without a network."
    )
    bundled.add_argument("version", metavar="VERSION")
    bundled.add_argument("--to", type=_absolute, required=True, metavar="DIR")
    bundled.add_argument("--architecture", default="amd64", help="of the images (default: %(default)s)")

    rotated = add("rotate-keys", _rotate_keys, "Go over to another key, or finish that after an interruption.")
    rotated.add_argument("--gpg-home", type=_absolute, metavar="DIR", help="GPG home of the other key")
    rotated.add_argument("--gpg-key", metavar="FINGERPRINT", help="an existing key there, instead of a new one")
    rotated.add_argument("--lost", action="store_true", help="the GPG key until now cannot sign any more")
    kind = rotated.add_mutually_exclusive_group()
    kind.add_argument("--online", action="store_true", help="only the key that signs snapshot and timestamp")
    kind.add_argument(
        "--new-root-key",
        type=_absolute,
        metavar="FILE",
        help="only a root key: make another one in FILE, in place of the one that no --root-key names",
    )
    _add_root_key(rotated)
    rotated.set_defaults(usage=rotated.error)

    disabled = add("disable", _disable, "Withdraw a release: schools do not see it any more.")
    disabled.add_argument("version", metavar="VERSION")

    add("list", _list, "List the signed releases and when the metadata expires.")
    return parser


def _add_root_key(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--root-key",
        type=_absolute,
        action="append",
        metavar="FILE",
        help="a key that signs the root; to be given for two of them (default: those in root-keys in the folder)",
    )


def _absolute(text: str) -> Path:
    return Path(text).absolute()


if __name__ == "__main__":
    sys.exit(main())
