# SPDX-License-Identifier: GPL-3.0-or-later
"""Constants of the release manager's tool, in one place."""

from __future__ import annotations

from datetime import timedelta

VENDOR_NAME = "CLMS vendor"

EXPIRES = {
    "root": timedelta(days=730),
    "targets": timedelta(days=365),
    "snapshot": timedelta(days=7),
    "timestamp": timedelta(days=7),
}
"""How long signed metadata counts. The last two bound how long somebody can hide a new release from a school."""

ROOT_KEYS, ROOT_THRESHOLD = 3, 2
"""How many keys a new vendor has for the root, and how many of them sign it: one may be lost, and one may be stolen."""

BUNDLE_LIFETIME = timedelta(days=180)
"""How long the metadata in a bundle counts, which may be carried to a school long after it was made."""

RELEASE_LIFETIME = timedelta(days=365)
"""How long a release may be installed when its definition names no ``expires``."""

MINIMUM_UPDATER = "0.1.0"
ESTIMATED_MINUTES = 10
CHANNEL = "stable"

REPOSITORY_PREFIX = "clms/"
"""Images are pushed as ``clms/<service>``, those that a service is built on as ``clms/<service>/<argument>``."""

BUILD_BYTES = 1_000_000_000
"""What building a service takes on a school's disk where its definition says nothing."""

ENGINE_TIMEOUT = 600
"""Seconds without a sign of life from the Docker engine."""

GPG_TIMEOUT = 300
"""Seconds for one call of gpg: a person may have to type a passphrase."""
