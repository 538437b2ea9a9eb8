# SPDX-License-Identifier: GPL-3.0-or-later
"""Run by Alembic with the connection that :meth:`webui.vendor.database.Database.migrate` opened."""

from alembic import context

from webui.vendor.models import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,  # SQLite cannot alter a column
)
with context.begin_transaction():
    context.run_migrations()
