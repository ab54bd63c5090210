"""What PostgreSQL still needs to answer the same queries as SQLite

Functions that change entries of the outermost object of a JSON, and keep the order and the wording of the others; paths
with quoted names, which may have periods; and numbers that begin a text. Nothing changes in SQLite.
"""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None

FUNCTIONS = (
    # As in the migration 0025, but for quoted names.
    r"""
    CREATE OR REPLACE FUNCTION json_at(document text, path text) RETURNS json LANGUAGE sql IMMUTABLE AS $$
      SELECT replace(nullif(document, ''), '\u0000', '\ufffd')::json #> CASE
        WHEN path LIKE '%"%' THEN (
          SELECT array_agg(coalesce(part[1], part[2]) ORDER BY place)
          FROM regexp_matches(substr(path, 2), '\.(?:"([^"]*)"|([^."]+))', 'g') WITH ORDINALITY AS parts(part, place)
        )
        ELSE string_to_array(substr(path, 3), '.') END
    $$
    """,
    # As CAST(... AS REAL) in SQLite: the number that a text begins with, or 0.
    r"""
    CREATE FUNCTION text_number(value text) RETURNS double precision LANGUAGE sql IMMUTABLE AS $$
      SELECT CASE WHEN value IS NULL THEN NULL WHEN number IS NULL THEN 0
        WHEN abs(number) > 1.7e308 THEN sign(number) * 'Infinity'::double precision
        WHEN abs(number) < 1e-300 THEN 0 ELSE number::double precision END
      FROM (
        SELECT substring(
          value FROM '^\s*([-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,4})?)')::numeric AS number
      ) AS found
    $$
    """,
    """
    CREATE FUNCTION json_remove(document text, VARIADIC paths text[]) RETURNS text LANGUAGE sql IMMUTABLE AS $$
      SELECT '{' || coalesce(
        string_agg(to_json(entry.key)::text || ':' || entry.value::text, ',' ORDER BY entry.place), '')
        || '}'
      FROM json_each(document::json) WITH ORDINALITY AS entry(key, value, place)
      WHERE '$.' || entry.key <> ALL (paths)
    $$
    """,
    """
    CREATE FUNCTION json_set(document text, path text, value text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
      SELECT '{' || string_agg(to_json(entry.key)::text || ':' || entry.value::text, ',' ORDER BY entry.place) || '}'
      FROM (
        SELECT old.key, old.place,
          CASE '$.' || old.key WHEN path THEN to_json(json_set.value) ELSE old.value END AS value
        FROM json_each(document::json) WITH ORDINALITY AS old(key, value, place)
        UNION ALL SELECT substr(path, 3), 9223372036854775807, to_json(json_set.value)
        WHERE NOT EXISTS (SELECT 1 FROM json_each(document::json) AS old WHERE '$.' || old.key = path)
      ) AS entry
    $$
    """,
)
NAMES = ("FUNCTION json_remove(text, text[])", "FUNCTION json_set(text, text, text)", "FUNCTION text_number(text)")


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        for definition in FUNCTIONS:
            # The driver must not read % as the mark of a parameter.
            connection.exec_driver_sql(definition.replace("%", "%%"))


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for name in NAMES:
            op.execute(f"DROP {name}")
