"""The history of the tables, as Alembic revisions. store/migrate.py runs them."""
