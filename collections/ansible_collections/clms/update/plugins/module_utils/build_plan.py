# SPDX-License-Identifier: GPL-3.0-or-later
"""What a service's image is built from at school: signed source, signed base images, and the school's own arguments."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping

from .errors import ClmsError
from .release import Release

LABEL = "clms.build"
"""label of an image that was built here; its value is :func:`identity`"""
NAMES = "clms-build/"
"""with which the names of such images begin in the engine"""

_PLACE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def arguments_of(release: Release, service: str, given: Mapping[str, str]) -> dict[str, str]:
    """The build arguments of a service, with the school's values in place of ``${name}``.

    :param given: the school's ``clms_build_arguments``
    :raises ClmsError: BUILD_ARGUMENT
    """

    def value(found: re.Match[str]) -> str:
        name = found.group(1)
        if name not in given:
            raise ClmsError("BUILD_ARGUMENT", version=release.version, service=service, argument=name)
        return given[name]

    return {name: _PLACE.sub(value, text) for name, text in release.builds[service].arguments.items()}


def identity(release: Release, service: str, arguments: Mapping[str, str], architecture: str) -> str:
    """SHA-256 (hex) over all that goes into an image: where it is the same, the image need not be built again."""
    made_of = {
        "package": release.package.sha256,
        "source": release.builds[service].source,
        "arguments": dict(arguments),
        "bases": {name: image.config for name, image in release.bases(service, architecture).items()},
    }
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def name_of(service: str, identity_: str) -> str:
    """What a built image is called in the engine."""
    return f"{NAMES}{service}:{identity_[:40]}"
