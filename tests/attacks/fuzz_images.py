# SPDX-License-Identifier: GPL-3.0-or-later
"""Archives of images that nobody would write, and what another program finds in those that are taken."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

from hypothesis import strategies as st

from ansible_collections.clms.update.plugins.module_utils.adapters.image_archive import _pass_on
from ansible_collections.clms.update.plugins.module_utils.adapters.pipes import ArchiveError
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.plain_tar import END

from .fuzz_inputs import FLIPS, of_json, spoilt

CONFIG = b'{"architecture": "amd64"}'


def good_archive() -> bytes:
    """What ``docker save`` writes of a small image, with the lists of older and of newer engines."""
    config = hashlib.sha256(CONFIG).hexdigest()
    inner = json.dumps({"config": {"digest": f"sha256:{config}"}, "layers": []}).encode()
    digest = hashlib.sha256(inner).hexdigest()
    lists = {
        "manifest.json": [{"Config": f"{config}.json", "RepoTags": None, "Layers": ["a1/layer.tar"]}],
        "index.json": {"manifests": [{"digest": f"sha256:{digest}", "annotations": {}}]},
    }
    members = {f"{config}.json": CONFIG, "a1/layer.tar": b"layer", f"blobs/sha256/{digest}": inner}
    members |= {name: json.dumps(listed).encode() for name, listed in lists.items()}
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=tarfile.USTAR_FORMAT) as file:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            file.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def of_archive(good: bytes) -> st.SearchStrategy[bytes]:
    """Archives near a good one: bytes are changed, and the sums of headers are right again, or the lists are others."""
    at = good.index(b'[{"Config"')
    base = json.loads(good[at : good.index(b"\0", at)])
    blocks = [good[at : at + 512] for at in range(0, len(good.rstrip(b"\0")) + 512, 512)]

    def headers(changes: list[tuple[int, int, bytes]]) -> bytes:
        made = list(blocks)
        for number, where, some in changes:
            header = bytearray(made[number % len(made)])
            header[where : where + len(some)] = some
            if header[257:262] == b"ustar":
                header[148:156] = b" " * 8
                header[148:156] = b"%06o\0 " % sum(header)
            made[number % len(made)] = bytes(header[:512])
        return b"".join(made) + END

    def lists(data: bytes) -> bytes:
        entry = tarfile.TarInfo("manifest.json")
        entry.size = len(data)
        rest = good[: at - 512]
        return rest + entry.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % 512) + END

    somewhere = st.sampled_from((0, 99, 100, 124, 135, 156, 157, 257, 263, 345, 500))
    changes = st.tuples(st.integers(0, 50), somewhere, st.binary(min_size=1, max_size=12))
    flips = st.lists(FLIPS, min_size=1, max_size=4).map(lambda found: spoilt(good, found))
    return st.one_of(st.builds(headers, st.lists(changes, max_size=3)), st.builds(lists, of_json(base)), flips)


def archive(data: bytes) -> None:
    """An archive of an image; what is taken has the same meaning for another program that reads such archives."""
    given = io.BytesIO()
    try:
        found, _ = _pass_on(io.BytesIO(data), given, 10**6).image()
    except (ArchiveError, ValueError) as error:
        str(ClmsError("BUNDLE_REFUSED", path="x", detail=error)).encode()
        return
    assert data.startswith(given.getvalue()), "something else was given to the engine"
    with tarfile.open(fileobj=io.BytesIO(given.getvalue() + END)) as file:
        members = [(entry.name, file.extractfile(entry)) for entry in file if entry.isfile()]
        contents = {name: content.read() for name, content in members if content is not None}
    assert len(contents) == len(members), "a member is there twice"
    (image,) = json.loads(contents["manifest.json"])
    fields = {key.casefold(): value for key, value in image.items()}
    assert hashlib.sha256(contents[fields["config"]]).hexdigest() == found.removeprefix("sha256:")
    assert not fields.get("repotags"), "it gives the image a name"
