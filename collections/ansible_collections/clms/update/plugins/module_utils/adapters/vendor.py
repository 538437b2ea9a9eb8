# SPDX-License-Identifier: GPL-3.0-or-later
"""The vendor as this school sees it: release server and registry."""

from __future__ import annotations

from pathlib import Path

from ..errors import ClmsError
from ..fetcher import HttpsFetcher
from ..gpg import verify_package
from ..https import HttpsClient
from ..registry import ATTEMPTS, Registry
from ..release import Release
from ..school import School
from ..trust import ReleaseEntry, TrustStore


def store_of(school: School) -> TrustStore:
    """The school's trusted metadata; asks nobody yet.

    :raises ClmsError: CA_FILE or SERVER_ADDRESS
    """
    trust = school.trust
    client = HttpsClient(ca_file=Path(trust.ca_file) if trust.ca_file else None, pins=trust.pins)
    return TrustStore(
        state=school.home / "trust",
        pinned_root=Path(trust.root_file),
        url=trust.url,
        fetcher=HttpsFetcher(client),
    )


def newest(entries: list[ReleaseEntry], channel: str) -> ReleaseEntry | None:
    """The release of a channel with the highest sequence, or None."""
    return max((e for e in entries if e.channel == channel), key=lambda entry: entry.sequence, default=None)


def fetch_package(store: TrustStore, release: Release, folder: Path) -> tuple[Path, str]:
    """Fetch the release's package and verify both of its signatures, by keys that the newest trusted root names.

    :param store: of the release server, or of a bundle
    :returns: the package and the primary fingerprint of the key that signed it
    :raises ClmsError: PACKAGE_CORRUPT, PACKAGE_SIGNATURE, or a TRUST_, RELEASE_ or SERVER_ code
    """
    package = store.package(release, folder)
    signature = package.with_name(package.name + ".sig")
    refusal = ClmsError("PACKAGE_SIGNATURE", version=release.version, detail="the root of trust names no GPG key")
    for name, key in store.public_keys().items():  # each alone in gpg's ring
        try:
            signer = verify_package(
                version=release.version, package=package, signature=signature, key=key, fingerprints={name}
            )
        except ClmsError as error:
            refusal = error
        else:
            return package, signer
    raise refusal


def registry_of(school: School, *, attempts: int = ATTEMPTS) -> Registry:
    """The school's image registry; asks nobody yet.

    :param attempts: how often a request is sent; where people wait, once
    :raises ClmsError: CA_FILE, SECRET_FILE or SERVER_ADDRESS
    """
    return Registry(
        school.registry,
        http=HttpsClient(ca_file=Path(school.registry_ca_file) if school.registry_ca_file else None),
        credentials=Path(school.registry_credentials_file) if school.registry_credentials_file else None,
        attempts=attempts,
    )
