"""Alembic's entry: migrates the connection that `pipeline.migrate` hands over."""

from alembic import context

from pipeline import schema

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=schema.metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    # the transaction around it is begun and committed by pipeline.migrate
    transactional_ddl=False,
)
context.run_migrations()
