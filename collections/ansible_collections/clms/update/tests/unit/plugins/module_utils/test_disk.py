# SPDX-License-Identifier: GPL-3.0-or-later
from __future__ import annotations

import pytest

from ansible_collections.clms.update.plugins.module_utils.disk import Mount, Need, check_space, human
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError

GB = 10**9
ROOT = Mount(1, "/", 10 * GB)
DATA = Mount(2, "/srv", 2 * GB)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (1_500_000, "2 MB"),
        (738_000_000, "738 MB"),
        (1_440_000_000, "1.4 GB"),
        (999_900_000_000, "999.9 GB"),
        (2_500_000_000_000, "2.5 TB"),
        (5_000_000_000_000_000, "5000.0 TB"),
        (-2_000_000, "-2 MB"),
    ],
)
def test_sizes_as_people_read_them(size: int, text: str) -> None:
    assert human(size) == text


@pytest.mark.parametrize(
    ("needs", "lines"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param(
            [Need("images", GB, ROOT)],
            ["on /: images 1.0 GB + reserve 500 MB = 1.5 GB needed, 10.0 GB free"],
            id="one",
        ),
        pytest.param(
            [Need("images", GB, ROOT), Need("backup", GB, DATA), Need("slot", 3 * GB, ROOT)],
            [
                "on /: images 1.0 GB + slot 3.0 GB + reserve 500 MB = 4.5 GB needed, 10.0 GB free",
                "on /srv: backup 1.0 GB + reserve 500 MB = 1.5 GB needed, 2.0 GB free",
            ],
            id="two-mounts-each-with-its-reserve",
        ),
        pytest.param(
            [Need("backup", GB, Mount(1, "/backups", 10 * GB)), Need("slot", GB, ROOT)],
            ["on /: backup 1.0 GB + slot 1.0 GB + reserve 500 MB = 2.5 GB needed, 10.0 GB free"],
            id="two-folders-of-one-file-system",
        ),
        pytest.param(
            [Need("slot", 10 * GB - 500_000_000, ROOT)],
            ["on /: slot 9.5 GB + reserve 500 MB = 10.0 GB needed, 10.0 GB free"],
            id="to-the-last-byte",
        ),
    ],
)
def test_the_arithmetic(needs: list[Need], lines: list[str]) -> None:
    assert check_space(needs, reserve=500_000_000) == lines


@pytest.mark.parametrize(
    ("needs", "reserve", "detail"),
    [
        pytest.param([Need("slot", 10 * GB, ROOT)], 1, "0 bytes + reserve|1 bytes missing", id="one-byte"),
        pytest.param(
            [Need("slot", 8 * GB, ROOT), Need("backup", 3 * GB, ROOT)], 0, r"1\.0 GB missing", id="only-together"
        ),
        pytest.param([Need("slot", GB, ROOT), Need("backup", 3 * GB, DATA)], 0, r"on /srv: .*missing", id="second"),
        pytest.param(
            [Need("slot", 12 * GB, ROOT), Need("backup", 3 * GB, DATA)],
            0,
            r"on /: .*2\.0 GB missing; on /srv: .*1\.0 GB missing",
            id="both-are-named",
        ),
    ],
)
def test_too_small(needs: list[Need], reserve: int, detail: str) -> None:
    with pytest.raises(ClmsError, match=detail) as caught:
        check_space(needs, reserve=reserve)
    assert caught.value.code == "DISK_TOO_SMALL"


def test_a_mount_that_is_large_enough_is_not_complained_about() -> None:
    with pytest.raises(ClmsError) as caught:
        check_space([Need("slot", GB, ROOT), Need("backup", 3 * GB, DATA)], reserve=0)
    assert "on /:" not in caught.value.happened
