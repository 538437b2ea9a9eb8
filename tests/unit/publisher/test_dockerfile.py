# SPDX-License-Identifier: GPL-3.0-or-later
"""What a Dockerfile that schools build may say."""

from __future__ import annotations

import pytest

from publisher.dockerfile import DockerfileError, check_dockerfile

BASES = {"BASE_IMAGE", "TOOLS"}


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY . /app\n", id="one-base"),
        pytest.param("ARG BASE_IMAGE=x:1\nFROM $BASE_IMAGE\n", id="without-braces"),
        pytest.param("from ${TOOLS} as Build\nrun make\nFROM ${BASE_IMAGE}\nCOPY --from=build /x /x\n", id="stages"),
        pytest.param("FROM ${TOOLS}\nFROM ${BASE_IMAGE}\nCOPY --from=0 /x /x\n", id="stage-by-number"),
        pytest.param("FROM ${TOOLS} AS a\nFROM a AS b\nFROM b\n", id="stage-on-stage"),
        pytest.param("FROM scratch\nCOPY . /\n", id="scratch"),
        pytest.param("# a comment\n\nFROM scratch\nRUN echo \\\n ADD # no instruction\n", id="continued"),
    ],
)
def test_allowed(text: str) -> None:
    check_dockerfile(text.encode(), BASES)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("", "no FROM", id="empty"),
        pytest.param("RUN true\n", "no FROM", id="no-from"),
        pytest.param("FROM debian:12\n", "'FROM debian:12'", id="an-image-of-the-internet"),
        pytest.param("FROM ${OTHER}\n", "'FROM ${OTHER}'", id="another-argument"),
        pytest.param("FROM ${BASE_IMAGE:-debian}\n", "does not describe", id="default"),
        pytest.param("FROM x/${BASE_IMAGE}\n", "does not describe", id="part-of-a-name"),
        pytest.param("FROM later\nFROM scratch AS later\n", "'FROM later'", id="a-later-stage"),
        pytest.param("FROM --platform=linux/arm64 ${BASE_IMAGE}\n", "line 1", id="platform"),
        pytest.param("FROM\n", "line 1", id="from-nothing"),
        pytest.param("FROM scratch\nADD https://x.test/y /\n", "line 2: ADD", id="add"),
        pytest.param("FROM scratch\nAD\\\nD https://x.test/y /\n", "is not allowed", id="add-in-two-lines"),
        pytest.param("FROM scratch\nadd x /\n", "line 2: ADD", id="add-in-lower-case"),
        pytest.param("FROM scratch\nCOPY --from=debian:12 /bin/sh /\n", "'debian:12'", id="copy-from-an-image"),
        pytest.param("FROM scratch\nCOPY --chown=1 --from=1 /bin/sh /\n", "'1'", id="copy-from-a-later-stage"),
        pytest.param("FROM scratch\nCOPY --from=$X /bin/sh /\n", "'$X'", id="copy-from-an-argument"),
        pytest.param("FROM scratch\nRUN --mount=type=cache,target=/x make\n", "option", id="run-with-a-mount"),
        pytest.param("# syntax=docker/dockerfile:1\nFROM scratch\n", "directive", id="syntax"),
        pytest.param("  #SYNTAX = x\nFROM scratch\n", "directive", id="syntax-spelt-otherwise"),
        pytest.param("# escape=`\nFROM scratch\n", "directive", id="escape"),
        pytest.param("FROM scratch\nONBUILD ADD https://x.test/y /\n", "ONBUILD", id="onbuild"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        check_dockerfile(text.encode(), BASES)
    assert words in str(caught.value)


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(DockerfileError):
        check_dockerfile(b"\xff\xfeF\x00R\x00O\x00M\x00", BASES)
