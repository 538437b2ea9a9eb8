# SPDX-License-Identifier: GPL-3.0-or-later
"""A Dockerfile that schools build: whether all that goes into the image is signed."""

from __future__ import annotations

import io
import re
from collections.abc import Collection

from dockerfile_parse import DockerfileParser

_ARGUMENT = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_FROM = re.compile(r"(?P<image>\S+)(?:\s+as\s+(?P<stage>\S+))?", re.IGNORECASE)
_ALLOWED = {
    *("ARG", "CMD", "COMMENT", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "SHELL"),
    *("STOPSIGNAL", "USER", "VOLUME", "WORKDIR"),
}
"""all but ADD, which can fetch from the network, and ONBUILD, which does it later"""
_COPY_FROM = re.compile(r"--from=(\S+)")


class DockerfileError(ValueError):
    """A Dockerfile would take something that nobody has signed; the text says what."""


def check_dockerfile(data: bytes, bases: Collection[str]) -> None:
    """Whatever a school's engine would fetch by itself while it builds is refused, and so is what only works with it.

    Schools build without a network, with the engine's own builder, on images that the release describes by digest.

    :param bases: the build arguments that stand for base images
    :raises DockerfileError: at the first line that does not hold to that
    """
    if directive := re.match(rb"\s*#\s*(syntax|check|escape)\s*=", data, re.IGNORECASE):
        raise DockerfileError(
            f"it begins with the directive {directive[1].decode()!r}; schools use the engine's own way"
        )
    stages: set[str] = set()
    count = 0
    for line in DockerfileParser(fileobj=io.StringIO(data.decode("utf-8", "replace"))).structure:
        instruction, value = line["instruction"].upper(), line["value"].strip()
        where = f"line {line['startline'] + 1}"
        if instruction not in _ALLOWED:
            raise DockerfileError(f"{where}: {instruction} is not allowed; to copy files use COPY")
        if instruction == "FROM":
            found = _FROM.fullmatch(value)
            if not found:
                raise DockerfileError(f"{where}: 'FROM {value}' has options or is not complete")
            _check_base(found["image"], bases, stages)
            stages |= {str(count), *([found["stage"].lower()] if found["stage"] else [])}
            count += 1
        elif instruction == "COPY":
            for source in _COPY_FROM.findall(value):
                if source.lower() not in stages:
                    raise DockerfileError(f"it copies from {source!r}, which is no stage of its own")
        elif instruction == "RUN" and value.startswith("--"):
            raise DockerfileError(f"{where}: RUN has an option, which the engine's builder has not")
    if not stages:
        raise DockerfileError("it has no FROM")


def _check_base(image: str, bases: Collection[str], stages: Collection[str]) -> None:
    argument = _ARGUMENT.fullmatch(image)
    name = (argument[1] or argument[2]) if argument else None
    if name not in bases and image != "scratch" and image.lower() not in stages:
        raise DockerfileError(
            f"'FROM {image}' names an image that the release does not describe; write FROM ${{BASE_IMAGE}} "
            "and say which image that is in 'bases'"
        )
