"""Runs the migrations on the connection that `database.upgrade` has begun a transaction on."""

from alembic import context

from foreshock.monitor.store.database import VERSION_TABLE
from foreshock.monitor.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()
