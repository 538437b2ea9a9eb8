# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.bench.take_bundle BUNDLE FOLDER KEY``: take a bundle in and load its image, as a school does.

A process of its own, so that its memory can be told; prints one JSON object with ``seconds`` and ``memory_mb``.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

from securesystemslib.signer import Key, Signature

from ansible_collections.clms.update.plugins.module_utils.adapters.bundle_file import Bundle, taken_in
from ansible_collections.clms.update.plugins.module_utils.adapters.images import load
from ansible_collections.clms.update.plugins.module_utils.bundle import Seal


def main(source: Path, folder: Path, key_file: Path) -> None:
    """Do it, and say how long it took until all of it was on the disk."""
    described = json.loads(key_file.read_text())
    key = Key.from_dict(described.pop("keyid"), described)

    def vouched(statement: bytes, seal: Seal) -> None:
        key.verify_signature(Signature.from_dict(dict(seal.signature)), statement)

    began = time.monotonic()
    with taken_in(source, folder, vouched, lambda _: None) as copy, Bundle(copy) as bundle:
        path = folder / bundle.contents.name
        (member,) = [name for name in bundle.names() if name.startswith("images/")]
    load(path, member.removeprefix("images/").removesuffix(".tar.zst").replace("-", ":"), 1 << 40)
    os.sync()
    seconds = time.monotonic() - began
    # of this process, and of the largest one that it has started
    kilobytes = sum(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    print(json.dumps({"seconds": seconds, "memory_mb": kilobytes / 1000}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
