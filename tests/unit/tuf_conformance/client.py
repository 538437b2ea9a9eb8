# SPDX-License-Identifier: GPL-3.0-or-later
"""The school's client behind the command line that the public suite ``tuf-conformance`` asks for (its CLIENT-CLI.md).

``client.py --metadata-dir DIR [--metadata-url URL …] init ROOT | refresh | download``; the exit code is 0 or 1.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import requests
from tuf.api.exceptions import DownloadError, DownloadHTTPError

from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.fetcher import Fetcher
from ansible_collections.clms.update.plugins.module_utils.trust import TrustStore

URL = "https://repository.invalid"
"""What the store is told; the suite's server speaks no TLS, which the store insists on."""

_SECONDS = 10


class PlainFetcher(Fetcher):
    """Fetches from the suite's own server."""

    def __init__(self, metadata_url: str, targets_url: str) -> None:
        self._folders = {f"{URL}/metadata/": metadata_url, f"{URL}/targets/": targets_url}

    def _fetch(self, url: str) -> Iterator[bytes]:
        """:raises DownloadError: as the school's own fetcher does."""
        folder = next(folder for folder in self._folders if url.startswith(folder))
        address = self._folders[folder] + url.removeprefix(folder).lstrip("/")
        try:
            response = requests.get(address, timeout=_SECONDS)
        except requests.RequestException as error:
            raise DownloadError(str(error)) from None
        if response.status_code != 200:
            raise DownloadHTTPError(f"it answered {response.status_code}", response.status_code)
        yield response.content


class Client:
    """A school's trust store in the folders that the suite looks into: ``metadata/`` and ``targets/`` of one folder."""

    def __init__(self, folder: Path, fetcher: Fetcher) -> None:
        self._pinned_root = folder / "pinned_root.json"
        self._store = TrustStore(state=folder, pinned_root=self._pinned_root, url=URL, fetcher=fetcher)

    def pin(self, root: Path) -> None:
        """What installing a school does."""
        shutil.copyfile(root, self._pinned_root)

    def refresh(self) -> None:
        """:raises ClmsError: as :meth:`TrustStore.refresh`."""
        self._store.refresh()

    def download(self, *paths: str) -> None:
        """:raises ClmsError: as :meth:`TrustStore.release`."""
        self._store.refresh()
        for path in paths:
            self._store._kept(self._store._target(path))


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metadata-dir", type=Path, required=True)
    parser.add_argument("--metadata-url", default="")
    parser.add_argument("--target-name", action="append", default=[])
    parser.add_argument("--target-dir")
    parser.add_argument("--target-base-url", default="")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    options = parser.parse_args()
    client = Client(options.metadata_dir.parent, PlainFetcher(options.metadata_url, options.target_base_url))
    try:
        if options.command == "init":
            client.pin(options.root)
        elif options.command == "refresh":
            client.refresh()
        else:
            client.download(*options.target_name)
    except ClmsError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
