"""What PostgreSQL needs to answer the same queries as SQLite: integers of 64 bits, and functions of the same name

Nothing changes in SQLite, which has both.
"""

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

INTEGERS = sa.text(
    "SELECT table_name, column_name, pg_get_serial_sequence(quote_ident(table_name), column_name) AS sequence"
    " FROM information_schema.columns WHERE table_schema = current_schema() AND data_type = 'integer'"
    " ORDER BY table_name, column_name"
)
# A value as SQLite gives it: text without its quotes, 1 and 0 for true and false, JSON for lists and objects.
FUNCTIONS = (
    r"""
    CREATE FUNCTION json_plain(found json) RETURNS text LANGUAGE sql IMMUTABLE AS $$
      SELECT CASE json_typeof(found) WHEN 'boolean' THEN CASE found::text WHEN 'true' THEN '1' ELSE '0' END
        WHEN 'null' THEN NULL ELSE found #>> '{}' END
    $$
    """,
    # PostgreSQL cannot extract a text with NUL.
    r"""
    CREATE FUNCTION json_at(document text, path text) RETURNS json LANGUAGE sql IMMUTABLE AS $$
      SELECT replace(nullif(document, ''), '\u0000', '\ufffd')::json #> string_to_array(substr(path, 3), '.')
    $$
    """,
    """
    CREATE FUNCTION json_extract(document text, path text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
      SELECT json_plain(json_at(document, path))
    $$
    """,
    """
    CREATE FUNCTION json_number(document text, path text) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
      SELECT CASE WHEN json_typeof(found) IN ('number', 'boolean') THEN json_plain(found)::double precision END
      FROM (SELECT json_at(document, path) AS found) AS looked_up
    $$
    """,
    """
    CREATE FUNCTION json_each(document text, path text) RETURNS TABLE(key text, value text) LANGUAGE sql IMMUTABLE AS $$
      WITH looked_up AS (SELECT json_at(document, path) AS found)
      SELECT entry.key, json_plain(entry.value)
      FROM looked_up, json_each(CASE WHEN json_typeof(found) = 'object' THEN found END) AS entry
      UNION ALL SELECT CAST(entry.place - 1 AS text), json_plain(entry.value)
      FROM looked_up, json_array_elements(CASE WHEN json_typeof(found) = 'array' THEN found END)
        WITH ORDINALITY AS entry(value, place)
    $$
    """,
    """
    CREATE FUNCTION json_each(document text) RETURNS TABLE(key text, value text) LANGUAGE sql IMMUTABLE AS $$
      SELECT entry.key, entry.value FROM json_each(document, '$') AS entry
    $$
    """,
    """
    CREATE FUNCTION json_list(items text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$
      SELECT array_to_json(items)::text
    $$
    """,
    """
    CREATE AGGREGATE json_group_array(text)
      (SFUNC = array_append, STYPE = text[], INITCOND = '{}', FINALFUNC = json_list)
    """,
    """
    CREATE FUNCTION glob(pattern text, value text) RETURNS boolean LANGUAGE sql IMMUTABLE AS $$
      SELECT value LIKE replace(replace(replace(translate(
        replace(replace(replace(replace(replace(replace(pattern, '\\', '\\\\'), '%', '\\%'), '_', '\\_'),
          '[*]', chr(1)), '[?]', chr(2)), '[[]', chr(3)),
        '*?', '%_'), chr(1), '*'), chr(2), '?'), chr(3), '[')
    $$
    """,
)
NAMES = (
    "FUNCTION glob(text, text)",
    "AGGREGATE json_group_array(text)",
    "FUNCTION json_list(text[])",
    "FUNCTION json_each(text)",
    "FUNCTION json_each(text, text)",
    "FUNCTION json_number(text, text)",
    "FUNCTION json_extract(text, text)",
    "FUNCTION json_at(text, text)",
    "FUNCTION json_plain(json)",
)


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        return
    for row in connection.execute(INTEGERS).all():
        op.execute(f'ALTER TABLE "{row.table_name}" ALTER COLUMN "{row.column_name}" TYPE bigint')
        if row.sequence:
            op.execute(f"ALTER SEQUENCE {row.sequence} AS bigint")
    for definition in FUNCTIONS:
        # The driver must not read % as the mark of a parameter.
        connection.exec_driver_sql(definition.replace("%", "%%"))


def downgrade() -> None:
    if op.get_bind().dialect.name != "sqlite":
        for name in NAMES:
            op.execute(f"DROP {name}")
