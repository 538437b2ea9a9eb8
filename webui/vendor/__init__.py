# SPDX-License-Identifier: GPL-3.0-or-later
"""The release server: published releases for schools, and what schools report of their runs."""

from .app import create_app

__all__ = ["create_app"]
