# SPDX-License-Identifier: GPL-3.0-or-later
"""Three schools in one inventory: one cannot be updated, and the other two do not notice."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.e2e.observe import School
from tests.stand.stand import Stand

NAMES = ("alder", "birch", "cedar")


@pytest.fixture(scope="module")
def schools(school_named: Callable[[str], School]) -> dict[str, School]:
    schools = {name: school_named(name) for name in NAMES}
    for name, school in schools.items():
        # the release cannot cope with books of such numbers
        school.query("DELETE FROM books WHERE accession_no = 'BAD-DATA'")
        if name == "birch":
            school.query("INSERT INTO books (accession_no, title) VALUES ('BAD-DATA', 'A book with a damaged label')")
    return schools


def test_one_of_three_fails(schools: dict[str, School], stand: Stand) -> None:
    birch = schools["birch"]
    (version,) = birch.versions()
    before, rows = birch.picture(), birch.rows()
    seeded = {name: school.seeded() for name, school in schools.items()}

    done = stand.playbook("update", "-e", "clms_version=1.0.9-baddata", inventory="three", check=False)

    assert done.code == 2, done.output
    recap = dict(re.findall(r"^(\w+) +: (.*)$", done.output.split("PLAY RECAP")[1], re.MULTILINE))
    assert recap.keys() == set(NAMES)
    assert {name: "failed=0" not in line for name, line in recap.items()} == {
        "alder": False,
        "birch": True,
        "cedar": False,
    }
    assert "REHEARSAL_MIGRATION" in done.output

    for name in ("alder", "cedar"):
        schools[name].assert_serves("1.0.9-baddata")
        assert schools[name].last_run()["outcome"] == "COMPLETED"
    birch.assert_serves(version)
    assert birch.last_run()["outcome"] == "ABORTED"
    assert birch.picture().serving == before.serving
    assert birch.rows() == rows
    assert {name: school.seeded() for name, school in schools.items()} == seeded


def test_report_of_all_three(schools: dict[str, School], stand: Stand) -> None:
    done = stand.playbook("report", inventory="three")
    for school in schools.values():
        (version,) = school.versions()
        assert f"{school.name.capitalize()} School runs {version}" in done.output
