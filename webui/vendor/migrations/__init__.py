# SPDX-License-Identifier: GPL-3.0-or-later
"""How the schema of the release server came to be; Alembic runs what is in here."""
