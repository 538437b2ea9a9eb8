# SPDX-License-Identifier: GPL-3.0-or-later
"""One file for each change of the schema."""
