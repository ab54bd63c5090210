"""Text search and counts of many runs from indexes alone

``searched_text`` has the text of each run that a search looks at; triggers keep it. On SQLite, ``searched_trigram`` is
an index of its sequences of three characters (FTS5); on PostgreSQL, an index of pg_trgm is, if the extension may be
created. Both only narrow a search down: without them it reads ``searched_text``.
"""

import sqlite3

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
FILTERED = ("status", "family", "size", "dataset")
THERE = sa.text("deleted_at IS NULL")
# Control character 31 separates the parts, so that no word is found across two of them.
TEXT = (
    "{0}.id || char(31) || replace({0}.family || ' ' || {0}.size || ' ' || {0}.dataset, char(31), ' ') || char(31)"
    " || replace({0}.name, char(31), ' ') || char(31) || replace({0}.notes, char(31), ' ')"
)
SQLITE = (
    "CREATE TRIGGER searched_text_of_new AFTER INSERT ON run BEGIN"
    f" INSERT INTO searched_text (number, text) VALUES (new.number, {TEXT.format('new')}); END",
    "CREATE TRIGGER searched_text_of_changed AFTER UPDATE OF name, notes, family, size, dataset ON run BEGIN"
    f" UPDATE searched_text SET text = {TEXT.format('new')}"
    f" WHERE number = new.number AND text != {TEXT.format('new')}; END",
    "CREATE TRIGGER searched_text_of_removed AFTER DELETE ON run BEGIN"
    " DELETE FROM searched_text WHERE number = old.number; END",
)
TRIGRAM = (
    "CREATE VIRTUAL TABLE searched_trigram USING fts5(text, content='searched_text', content_rowid='number',"
    " tokenize='trigram', detail='none', columnsize=0)",
    "INSERT INTO searched_trigram (searched_trigram) VALUES ('rebuild')",
    "CREATE TRIGGER searched_trigram_of_new AFTER INSERT ON searched_text BEGIN"
    " INSERT INTO searched_trigram (rowid, text) VALUES (new.number, new.text); END",
    "CREATE TRIGGER searched_trigram_of_changed AFTER UPDATE ON searched_text BEGIN"
    " INSERT INTO searched_trigram (searched_trigram, rowid, text) VALUES ('delete', old.number, old.text);"
    " INSERT INTO searched_trigram (rowid, text) VALUES (new.number, new.text); END",
    "CREATE TRIGGER searched_trigram_of_removed AFTER DELETE ON searched_text BEGIN"
    " INSERT INTO searched_trigram (searched_trigram, rowid, text) VALUES ('delete', old.number, old.text); END",
)
POSTGRESQL = (
    f"""
    CREATE FUNCTION keep_searched_text() RETURNS trigger LANGUAGE plpgsql AS $$
      BEGIN
        IF TG_OP = 'DELETE' THEN
          DELETE FROM searched_text WHERE number = old.number;
        ELSIF TG_OP = 'INSERT' THEN
          INSERT INTO searched_text (number, text) VALUES (new.number, {TEXT.format("new").replace("char(", "chr(")});
        ELSE
          UPDATE searched_text SET text = {TEXT.format("new").replace("char(", "chr(")} WHERE number = new.number;
        END IF;
        RETURN NULL;
      END
    $$
    """,
    "CREATE TRIGGER keep_searched_text AFTER INSERT OR DELETE OR UPDATE OF name, notes, family, size, dataset ON run"
    " FOR EACH ROW EXECUTE FUNCTION keep_searched_text()",
)

FTS5 = sa.text("SELECT sqlite_compileoption_used('ENABLE_FTS5')")
TRIGRAM_SINCE = (3, 34)
PG_TRGM = sa.text(
    "SELECT EXISTS (SELECT 1 FROM pg_extension WHERE extname = 'pg_trgm') OR EXISTS ("
    "SELECT 1 FROM pg_available_extension_versions WHERE name = 'pg_trgm' AND trusted"
    " AND has_database_privilege(current_database(), 'CREATE'))"
)


def upgrade() -> None:
    connection = op.get_bind()
    sqlite = connection.dialect.name == "sqlite"
    op.drop_index("ix_run_status", "run")
    for column in FILTERED:
        others = (other for other in FILTERED if other != column)
        op.drop_index(f"ix_run_listed_{column}", "run")
        op.create_index(f"ix_run_listed_{column}", "run", [column, "number", *others])
    op.create_index("ix_run_number_of_id", "run", ["id", "number"])
    op.drop_index("ix_run_tag_tag", "run_tag")
    op.create_index("ix_run_tag_tag", "run_tag", ["tag", "run"])
    op.create_index("ix_metric_series_number", "metric_series", ["run_number", "name", "best"])
    op.create_table(
        "searched_text",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=False),
        sa.Column("text", sa.Text(), nullable=False),
    )
    text = TEXT.format("run") if sqlite else TEXT.format("run").replace("char(", "chr(")
    op.execute(f"INSERT INTO searched_text (number, text) SELECT number, {text} FROM run")
    for statement in SQLITE if sqlite else POSTGRESQL:
        connection.exec_driver_sql(statement)
    if sqlite and sqlite3.sqlite_version_info >= TRIGRAM_SINCE and connection.execute(FTS5).scalar():
        for statement in TRIGRAM:
            connection.exec_driver_sql(statement)
    if not sqlite and connection.execute(PG_TRGM).scalar():
        connection.exec_driver_sql("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        connection.exec_driver_sql(
            "CREATE INDEX ix_searched_text_trigram ON searched_text USING gin (text gin_trgm_ops)"
        )


def downgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        for name in ("new", "changed", "removed"):
            op.execute(f"DROP TRIGGER searched_text_of_{name}")
        op.execute("DROP TABLE IF EXISTS searched_trigram")
    else:
        op.execute("DROP TRIGGER keep_searched_text ON run")
        op.execute("DROP FUNCTION keep_searched_text()")
    op.drop_table("searched_text")
    op.drop_index("ix_metric_series_number", "metric_series")
    op.drop_index("ix_run_tag_tag", "run_tag")
    op.create_index("ix_run_tag_tag", "run_tag", ["tag"])
    op.drop_index("ix_run_number_of_id", "run")
    for column in FILTERED:
        others = (other for other in FILTERED if other != column)
        op.drop_index(f"ix_run_listed_{column}", "run")
        op.create_index(
            f"ix_run_listed_{column}", "run", [column, "number", *others], sqlite_where=THERE, postgresql_where=THERE
        )
    op.create_index("ix_run_status", "run", ["status"])
