# SPDX-License-Identifier: GPL-3.0-or-later
"""What is shown of a program's last words: why it ended, and nothing that may be somebody's name."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.clms.update.plugins.module_utils.adapters.probe import Place, wait_healthy
from ansible_collections.clms.update.plugins.module_utils.errors import ClmsError
from ansible_collections.clms.update.plugins.module_utils.masking import last_words
from ansible_collections.clms.update.plugins.module_utils.release import Health


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        pytest.param("", "", id="nothing"),
        pytest.param(" \n\t\n", "", id="blank"),
        pytest.param("Error: P3018", "Error: P3018", id="nothing is quoted"),
        pytest.param("1\n\n2\n 3 \n4\n", "2 3 4", id="the last three lines"),
        pytest.param("1\r\n2\r\n3\r\n4\r\n", "2 3 4", id="lines that end as on Windows"),
        pytest.param("x" * 501, "x" * 500, id="500 characters"),
        pytest.param("a" + "x" * 500 + "\nb", "x" * 498 + " b", id="the last 500 characters"),
        pytest.param(f"entry '{'Anna ' * 200}' is too long", "entry '…' is too long", id="a value that is very long"),
    ],
)
def test_how_much_is_shown(said: str, shown: str) -> None:
    assert last_words(said) == shown


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        pytest.param("Duplicate entry 'Anna' for key 'name'", "Duplicate entry '…' for key 'name'", id="entry"),
        pytest.param("Duplicate entry '' for key 'name'", "Duplicate entry '…' for key 'name'", id="empty"),
        pytest.param(
            "Duplicate entry 'BAD-DATA' for key 'accession_no'",
            "Duplicate entry '…' for key 'accession_no'",
            id="a value that ends like a word for values",
        ),
        pytest.param(
            "Duplicate entry 'the key' for key 'name'", "Duplicate entry '…' for key 'name'", id="a word for names"
        ),
        pytest.param("Duplicate entry 'Anna-7' for key 'books.i'", "Duplicate entry '…' for key 'books.i'", id="two"),
        pytest.param(
            "Incorrect integer value: 'abc' for column 'age' at row 1",
            "Incorrect integer value: '…' for column 'age' at row 1",
            id="value",
        ),
        pytest.param(
            "Incorrect date value: 'x'y' for column `clms`.`books`.`year` at row 1",
            "Incorrect date value: '…' for column `clms`.`books`.`year` at row 1",
            id="MySQL 8",
        ),
        pytest.param("INCORRECT VALUE 'Anna' FOR COLUMN 'a'", "INCORRECT VALUE '…' FOR COLUMN 'a'", id="capitals"),
        pytest.param("he wrote 'Anna' and \"Muster\"", "he wrote '…' and '…'", id="free text"),
        pytest.param('the student "Anna Muster" has loans', "the student '…' has loans", id="double quotes"),
        pytest.param('{"name": "Anna", "age":"7"}', "{'…': '…', '…':'…'}", id="JSON"),
        pytest.param("Student(name='Anna', form=\"7b\")", "Student(name='…', form='…')", id="an object"),
        pytest.param("said \"it's Anna's\" twice", "said '…' twice", id="apostrophes in double quotes"),
        pytest.param("said 'a \"b\" Anna' twice", "said '…' twice", id="double quotes in single ones"),
        # apostrophes
        pytest.param("can't convert 'Anna Muster' to int", "can't convert '…' to int", id="in the sentence"),
        pytest.param(
            "can\u2019t convert 'Anna Muster' to int", "can\u2019t convert '…' to int", id="a typographic one"
        ),
        pytest.param("student's name 'Anna'", "student's name '…'", id="genitive"),
        pytest.param("the students' name 'Anna'", "the students' name '…'", id="genitive of many"),
        pytest.param("name 'O'Brien' is too long", "name '…' is too long", id="in the value"),
        pytest.param("Duplicate entry 'O'Brien' for key 'name'", "Duplicate entry '…' for key 'name'", id="and a key"),
        pytest.param("Truncated incorrect DOUBLE value: 'O'Brien'", "Truncated incorrect DOUBLE value: '…'", id="last"),
        pytest.param("it didn't take 'O'Brien' or 'D'Arcy'", "it didn't take '…' or '…'", id="in several"),
        pytest.param("name 'Süßkind-Ö'Dour' it isn't", "name '…' it isn't", id="beside a letter with dots"),
        # lines
        pytest.param("name 'Anna\nMuster' is too long", "name '…' is too long", id="a value of two lines"),
        pytest.param("name 'Anna\n\n\n\nMuster' is bad\n1\n2", "name '…' is bad 1 2", id="a value of many lines"),
        pytest.param(
            "text 'begin\n1 Anna\n2 Berta\n3 Cem' is bad", "text '…' is bad", id="a value that began long before"
        ),
        pytest.param(
            "1\nDuplicate entry 'A' for key 'k'\nname 'B'",
            "1 Duplicate entry '…' for key 'k' name '…'",
            id="in each line",
        ),
    ],
)
def test_values_are_left_out(said: str, shown: str) -> None:
    assert last_words(said) == shown


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("Duplicate column name 'isbn'", id="column name"),
        pytest.param("Duplicate key name 'i'", id="key name"),
        pytest.param("Table 'clms.books' already exists", id="table"),
        pytest.param("Key 'name' is there", id="key"),
        pytest.param("INDEX  \"i\", constraint 'c'", id="index and constraint"),
        pytest.param("the field 'f' of database 'd'", id="field and database"),
        pytest.param('the table name  "t" is taken', id="table name in double quotes"),
        pytest.param("Data too long for column 'title' at row 1", id="no value"),
        pytest.param("column `isbn` of `clms`.`books`", id="backticks"),
    ],
)
def test_names_in_the_schema_are_shown(said: str) -> None:
    assert last_words(said) == said


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        pytest.param("Unknown column 'isbn' in 'Anna'", "Unknown column 'isbn' in '…'", id="column and value"),
        pytest.param("a turntable 'Anna'", "a turntable '…'", id="a word that ends like one of these"),
        pytest.param("the tables 'Anna'", "the tables '…'", id="a word that begins like one of these"),
        pytest.param("column: 'Anna'", "column: '…'", id="not right before it"),
        pytest.param("the name 'Anna'", "the name '…'", id="a name of something else"),
    ],
)
def test_only_what_is_said_to_be_a_name_in_the_schema_is_shown(said: str, shown: str) -> None:
    assert last_words(said) == shown


@pytest.mark.parametrize(
    "said",
    [
        pytest.param("Duplicate entry 'Anna 'Mausi' Muster' for key 'name'", id="a nickname in quotes"),
        pytest.param("Duplicate entry 'Hans' Muster' for key 'name'", id="a genitive"),
        pytest.param("can't decode b'Anna Muster'", id="bytes"),
    ],
)
def test_no_part_of_a_value_is_shown(said: str) -> None:
    assert "Muster" not in last_words(said)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        pytest.param(
            """(4025, 'CONSTRAINT `accession_no_free` failed for `clms`.`books`')""",
            "(4025) CONSTRAINT `accession_no_free` failed for `clms`.`books`",
            id="without quotes inside",
        ),
        pytest.param(
            """(1062, "Duplicate entry 'O'Brien' for key 'name'")""",
            "(1062) Duplicate entry '…' for key 'name'",
            id="with quotes inside",
        ),
        pytest.param(
            """(1062, 'Duplicate entry \\'Anna "Mausi" Muster\\' for key \\'name\\'')""",
            "(1062) Duplicate entry '…' for key 'name'",
            id="with both inside",
        ),
    ],
)
def test_what_a_driver_hands_on_is_no_value(said: str, shown: str) -> None:
    assert last_words(said) == shown


def test_a_service_that_ends_at_once_says_nothing_of_people(engine: Any) -> None:
    engine.add("linden-backend-r2", running=False, labels={})
    engine.outputs["linden-backend-r2"] = (
        "1\n2\n3\nstarting\nname 'O'Brien' is too long\nDuplicate column name 'isbn'\n"
    )
    with pytest.raises(ClmsError) as caught:
        wait_healthy(engine, Place("linden-r2", {"backend": "linden-backend-r2"}), "backend", Health("/", 3001, 60))
    assert caught.value.code == "HEALTH_FAILED"
    said = "starting name '…' is too long Duplicate column name 'isbn'"
    assert caught.value.values == {"detail": f"the container of 'backend' ended with code 0 and said: {said}"}


def test_a_service_that_ends_in_silence(engine: Any) -> None:
    with pytest.raises(ClmsError) as caught:
        wait_healthy(engine, Place("linden-r2", {"backend": "linden-backend-r2"}), "backend", Health("/", 3001, 60))
    assert caught.value.values == {"detail": "the container of 'backend' ended with code ?"}
