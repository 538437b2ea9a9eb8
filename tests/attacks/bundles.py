# SPDX-License-Identifier: GPL-3.0-or-later
"""The vendor's files: malicious ZIPs, signed all the same, spoilt copies, and files that change while they are read."""

from __future__ import annotations

import io
import os
import shutil
import stat
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from ansible_collections.clms.update.plugins.module_utils.adapters import images
from ansible_collections.clms.update.plugins.module_utils.pull_watch import most_bytes

from .bench import Bench
from .cases import HELD, REFUSED, Case, Result
from .desk import Desk, flip, shorten
from .special import VERSION, Special
from .zips import (
    MOVED,
    PASSWD,
    Change,
    appended,
    bomb,
    bomb_inside,
    changed,
    extra,
    large_header,
    large_list,
    list_behind_a_link,
    member,
    missing,
    mode_of,
    name_in_list,
    no_seal,
    online_key,
    other_case,
    other_letter,
    other_path,
    overlapping,
    packed_image,
    prepended,
    replaced_image,
    resigned,
    second_end,
    second_list,
    stranger,
    swapped_images,
    twice,
    wrong_hash,
)

MOST_TOLD = 50
"""refusals of one look that are told one by one"""
_QUICK = ("..; listed", "link", "duplicate", "case collision", "overlap", "extra member", "sealed by the online key",
          "second end record", "tampered archive")  # fmt: skip
"""enough of them for `make test`; unit tests have them all"""


def spoilt(spoil: Callable[[Desk, Path], None], says: str, bench: Bench, _: Result) -> str:
    """The school is given such a file."""
    path = copy_of(bench)
    spoil(bench.special.desk, path)
    bench.refused("BUNDLE_REFUSED", "import", str(path), says=says)
    assert bundles_of(bench) == []
    assert not Path(PASSWD).exists()
    return REFUSED


def on_a_drive(name: bytes, spoil: Callable[[Desk, Path], None], bench: Bench, _: Result) -> str:
    """The school finds such a file on a drive; that is told once, and hinders nobody."""
    bench.check_works()
    path = copy_of(bench)
    spoil(bench.special.desk, path)
    events = _refused_files(bench)
    drive = bench.school.folder / "updates" / os.fsdecode(name)
    path.rename(drive)
    with bench.unchanged():
        bench.check_works()
    assert bundles_of(bench) == []
    assert _refused_files(bench) == events + 1, "the refusal is not in the journal"
    with bench.unchanged():
        bench.check_works()
    assert _refused_files(bench) == events + 1, "it was looked at twice"
    with bench.school.journal() as journal:
        told = next(event["message"] for event in journal.events(limit=50) if event["type"] == "FILE_REFUSED")
    assert "\x1b" not in told, "a name orders the terminal about"
    return REFUSED


def many_on_a_drive(bench: Bench, _: Result) -> str:
    """A drive with 1,100 files that are no bundles, and a good one; each is looked at once, and few are told of."""
    bench.check_works()
    folder, events = bench.school.folder / "updates", _refused_files(bench)
    for number in range(1100):
        (folder / f"{number:04}.zip").write_bytes(b"no bundle")
    copy_of(bench).rename(folder / "0500-good.zip")
    bench.check_works()
    assert len(bundles_of(bench)) == 1, "the good one was not found"
    told = _refused_files(bench) - events
    assert told == MOST_TOLD + 1, f"{told} events"
    with bench.school.journal() as journal:
        assert any("1050 more files were refused" in event["message"] for event in journal.events(limit=10))
    began = time.monotonic()
    bench.check_works()
    assert _refused_files(bench) == events + told, "they were looked at twice"
    return f"{told} events, and none at the second look, which took {time.monotonic() - began:.1f} s"


def _refused_files(bench: Bench) -> int:
    with bench.school.journal() as journal:
        return [event["type"] for event in journal.events(limit=10_000)].count("FILE_REFUSED")


def copy_of(bench: Bench) -> Path:
    """A copy of a good bundle."""
    path = bench.folder / "clms.zip"
    path.unlink(missing_ok=True)
    shutil.copy(bench.special.bundle, path)
    return path


def bundles_of(bench: Bench) -> list[str]:
    """What was taken in."""
    folder = bench.school.home / "bundles"
    return sorted(path.name for path in folder.iterdir() if path.name != "looked-at.json") if folder.is_dir() else []


# images in them


def loaded(bench: Bench) -> None:
    """The counterpart: the engine takes the images from the file as the vendor has made it."""
    special, good = bench.special, copy_of(bench)
    special.forget()
    for service in special.release["services"]:
        image = special.image(service)
        images.load(good, image["config"], most_bytes(image["size"]))
        assert special.has_images(service), service
    special.forget()


def wrong_image(change: Change, code: str, says: str, bench: Bench, _: Result) -> str:
    """A good seal, a good table of contents, and another image; an update finds that out."""
    loaded(bench)
    path = copy_of(bench)
    resigned(bench.special.desk, path, change)
    assert bench.school.clms_update("import", str(path), "--json").code == 0
    assert len(bundles_of(bench)) == 1
    bench.refused(code, "update", "--version", VERSION, says=says, moves="signed")
    assert bench.engine.image(MOVED) is None, "an archive has given a name"
    bench.special.forget()
    return REFUSED


def decayed(bench: Bench, _: Result) -> str:
    """A bit of the school's own copy turns over after it was taken in."""
    assert bench.school.clms_update("import", str(copy_of(bench)), "--json").code == 0
    (name,) = bundles_of(bench)
    flip(bench.school.home / "bundles" / name)
    codes = ("IMAGE_MISMATCH", "BUNDLE_REFUSED", "RELEASE_UNKNOWN")
    bench.refused(codes, "update", "--version", VERSION, moves="signed")
    bench.special.forget()
    return REFUSED


# files that change


def no_file(kind: str, bench: Bench, _: Result) -> str:
    """What is named is no regular file; nothing may wait for it."""
    good, path = copy_of(bench), bench.folder / f"{kind}.zip"
    path.unlink(missing_ok=True)
    if kind == "symlink":
        path.symlink_to(good)
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    began = time.monotonic()
    bench.refused(("BUNDLE_REFUSED", "BUNDLE_MISSING"), "import", str(path))
    assert time.monotonic() - began < 20
    assert bundles_of(bench) == []
    return REFUSED


def link_on_a_drive(bench: Bench, _: Result) -> str:
    """A drive holds a link to a file of the server; it is passed over."""
    bench.check_works()
    link = bench.school.folder / "updates/link.zip"
    link.symlink_to(bench.school.folder / "etc/secrets/backend.env")
    with bench.unchanged():
        bench.check_works()
    assert bundles_of(bench) == []
    return HELD


def swapped_meanwhile(bench: Bench, _: Result) -> str:
    """While the file is read, somebody writes another one over it, again and again."""
    good = copy_of(bench).read_bytes()
    evil = io.BytesIO(good)
    with zipfile.ZipFile(evil, "a") as archive:
        archive.writestr(*member("metadata/9.root.json"))
    contents = [good, evil.getvalue(), bytes(len(good))]
    path, over = bench.folder / "swapped.zip", threading.Event()
    path.write_bytes(good)

    def swap() -> None:
        number = 0
        while not over.is_set():
            number += 1
            with path.open("r+b") as file:  # in place: who has it open sees the change
                file.write(contents[number % 3])
                file.truncate()

    thread = threading.Thread(target=swap)
    thread.start()
    outcomes = []
    try:
        for _try in range(12):
            done = bench.school.clms_update("import", str(path), "--json")
            assert "Traceback" not in done.errors, done.errors
            outcomes.append(done.code)
            if done.code:
                assert done.json()["error"]["code"] == "BUNDLE_REFUSED", done.output
                assert bundles_of(bench) == [], "it was refused, and is there"
            for name in bundles_of(bench):
                taken = bench.school.home / "bundles" / name
                assert taken.read_bytes() == good, "something else than the good file was taken in"
                taken.unlink()
    finally:
        over.set()
        thread.join()
    assert set(outcomes) <= {0, 2}, outcomes
    assert 2 in outcomes, "it was never swapped at the wrong time"
    path.write_bytes(good)  # the counterpart: nobody writes any more
    done = bench.school.clms_update("import", str(path), "--json")
    assert done.code == 0, done.output
    (name,) = bundles_of(bench)
    assert (bench.school.home / "bundles" / name).read_bytes() == good
    return f"{outcomes.count(2)} of {len(outcomes)} refused, the others whole"


def swapped_after(bench: Bench, result: Result) -> str:
    """The file is replaced after it was taken in; what is installed is what was verified."""
    version = bench.next_version()
    path = bench.folder / "after.zip"
    desk = bench.desk()
    bench.stand.command(
        "clms-release", "bundle", version, "--home", desk.vendor.home, "--to", desk.folder / "b", "--json"
    )
    shutil.copy(desk.folder / f"b/clms-{version}-amd64.zip", path)
    assert bench.school.clms_update("import", str(path), "--json").code == 0
    path.write_bytes(b"something else")
    bench.updates_to(version, result)
    with bench.school.journal() as journal:
        bundle = journal.run(bench.school.last_run()["id"]).result("release")["bundle"]
    assert bundle is not None, "the release did not come from the bundle"
    return f"{version}, from the verified copy"


def nothing_but_the_file(bench: Bench, result: Result) -> str:
    """Neither the release server nor the registry can be reached, and the engine has none of the images."""
    base, (running,) = bench.next_version(), bench.school.versions()
    special = Special(bench, base=base, version="8.0.1-special")
    assert bench.school.clms_update("import", str(special.bundle), "--json").code == 0
    trust = {**bench.school.description()["clms_trust"], "url": "https://127.0.0.1:1"}
    assert not special.has_images()
    with bench.school.described(clms_trust=trust, clms_registry="127.0.0.1:1"):
        bench.updates_to(special.version, result)
    with bench.school.journal() as journal:
        run = journal.run(bench.school.last_run()["id"])
        images, bundle = run.result("image_pull"), run.result("release")["bundle"]
    loaded = {name: special.image(name)["config"] for name in special.release["services"]}
    assert (images["pulled"], images["loaded"]) == ([], loaded), images
    assert bundle is not None, "the release did not come from the file"
    done = bench.school.clms_update("rollback", "--confirm", running, "--json")
    assert done.code == 0, done.output
    return f"{special.version}, loaded from the file"


def counterpart(bench: Bench, _: Result) -> str:
    """A file as the vendor makes it."""
    done = bench.school.clms_update("import", str(copy_of(bench)), "--json")
    assert done.code == 0, done.output
    assert len(bundles_of(bench)) == 1
    assert bench.school.clms_update("list", "--json").json()["releases"][-1]["version"] == VERSION
    return HELD


def cases() -> Iterator[Case]:
    """All of them."""
    yield Case("ZIP: the counterpart", counterpart.__doc__ or "", counterpart)
    link, device, pipe = stat.S_IFLNK | 0o777, stat.S_IFCHR | 0o666, stat.S_IFIFO | 0o666
    climbing = f"..{PASSWD}"
    for name, injected, spoil, says in (
        ("..", "A member whose name leads out of the folder.", changed(extra(climbing, listed=False)), ""),
        ("..; listed", "The same, named by the table of contents.", changed(extra(climbing, listed=True)), ""),
        (".. in the middle", "A name that leads out later.", changed(extra("targets/../../x", listed=True)), ""),
        ("absolute path", "A member with an absolute name.", changed(extra(PASSWD, listed=True)), ""),
        ("backslash", "A name for other systems.", changed(extra("targets\\..\\x", listed=True)), ""),
        ("link", "A member that is a link.", changed(mode_of(link)), "no file"),
        ("link to a folder outside", "A link, and a file below it.",
         changed(extra("targets/out", listed=True, mode=link, data=b"/etc")), "no file"),
        ("device", "A member that is a device.", changed(mode_of(device)), "no file"),
        ("pipe", "A member that is a pipe.", changed(mode_of(pipe)), "no file"),
        ("duplicate", twice.__doc__, twice, "twice"),
        ("case collision", other_case.__doc__, changed(other_case), "same name on some disks"),
        ("letter collision", other_letter.__doc__, changed(other_letter), "same name on some disks"),
        ("bomb", bomb.__doc__, changed(bomb), "packed"),
        ("overlap", overlapping.__doc__, overlapping, "overlaps"),
        ("extra member", "A member that the table of contents does not name.",
         changed(extra("targets/x.json", listed=False)), "does not hold what"),
        ("missing member", missing.__doc__, changed(missing), "does not hold what"),
        ("wrong hash", wrong_hash.__doc__, changed(wrong_hash), ""),
        ("sealed by a stranger", stranger.__doc__, stranger, "does not count here"),
        ("sealed by the online key", online_key.__doc__, online_key, "does not count here"),
        ("no seal", no_seal.__doc__, no_seal, ""),
        ("second end record", second_end.__doc__, second_end, "damaged"),
        ("something before", prepended.__doc__, prepended, "not what was signed"),
        ("something behind", appended.__doc__, appended, ""),
        ("tampered archive", "One bit of an image in it turned over.", lambda desk, path: flip(path), "not what was"),
        ("cut off", "The end is missing.", lambda desk, path: shorten(path, 1000), ""),
    ):  # fmt: skip
        yield Case(f"ZIP: {name}", injected or "", partial(spoilt, spoil, says), slow=name not in _QUICK)
    for name, file, spoil in (
        ("a malicious ZIP", b"found.zip", changed(extra(climbing, listed=True))),
        ("sealed by a stranger", b"found.zip", stranger),
        ("a name that is no Unicode", b"\xff\xfe.zip", stranger),
        ("a name with orders for a terminal", b"\x1b[2J;rm.zip", stranger),
    ):
        act = partial(on_a_drive, file, spoil)
        yield Case(f"ZIP on a drive: {name}", on_a_drive.__doc__ or "", act, slow=file == b"found.zip")
    yield Case("ZIP on a drive: 1,100 bad ones", many_on_a_drive.__doc__ or "", many_on_a_drive, slow=True)
    for name, injected, change, code, says in (
        ("swapped images", swapped_images.__doc__, swapped_images, "IMAGE_MISMATCH", "in its place"),
        ("no image at all", "A text in place of an image.", replaced_image(b"no archive"), "BUNDLE_REFUSED",
         "cannot be loaded"),
        ("a name", name_in_list.__doc__, packed_image(name_in_list), "BUNDLE_REFUSED", "gives its image the name"),
        ("two lists", second_list.__doc__, packed_image(second_list), "BUNDLE_REFUSED", "twice"),
        ("another path", other_path.__doc__, packed_image(other_path), "BUNDLE_REFUSED", "in no image"),
        ("a large list", large_list.__doc__, packed_image(large_list), "BUNDLE_REFUSED", "too large"),
        ("a link as list", list_behind_a_link.__doc__, packed_image(list_behind_a_link), "BUNDLE_REFUSED",
         "in no image"),
        ("a large header", large_header.__doc__, packed_image(large_header), "BUNDLE_REFUSED", "in no image"),
        ("bomb in an image", bomb_inside.__doc__, bomb_inside, "IMAGE_TOO_LARGE", "larger than"),
    ):  # fmt: skip
        act = partial(wrong_image, change, code, says)
        yield Case(f"tampered archive: {name}", injected or "", act, slow=True)
    yield Case("tampered archive: on the school's disk", decayed.__doc__ or "", decayed, slow=True)
    for kind in ("symlink", "pipe", "device"):
        yield Case(f"file swapped: {kind}", no_file.__doc__ or "", partial(no_file, kind))
    yield Case("file swapped: link on a drive", link_on_a_drive.__doc__ or "", link_on_a_drive)
    yield Case("file swapped: while it is read", swapped_meanwhile.__doc__ or "", swapped_meanwhile, slow=True)
    yield Case("file swapped: after it was taken in", swapped_after.__doc__ or "", swapped_after, slow=True, last=True)
    yield Case(
        "ZIP: the counterpart, installed",
        nothing_but_the_file.__doc__ or "",
        nothing_but_the_file,
        slow=True,
        last=True,
    )
