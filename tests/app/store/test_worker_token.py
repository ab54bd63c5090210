from __future__ import annotations

from sqlalchemy import Engine

from app.store.database import reading, writing
from app.store.worker_token import delete_token, find_token, insert_token, list_tokens, use_token


def test_a_token_is_used_up_by_as_many_machines_as_it_is_for(engine: Engine) -> None:
    with writing(engine) as connection:
        secret = insert_token(connection, "w1", "ada", 100.0, 200.0, 2)
        assert use_token(connection, "other", "host", 101.0) is None
        used = [use_token(connection, secret, f"host{number}", 110.0 + number) for number in range(4)]
        assert [None if each is None else each.uses_left for each in used] == [1, 0, None, None]
        found = find_token(connection, secret)
        assert found is not None
        assert (found.last_host, found.used_at, found.is_valid(111.0)) == ("host1", 111.0, False)


def test_a_token_for_any_number_of_machines_ends_with_its_time(engine: Engine) -> None:
    with writing(engine) as connection:
        secret = insert_token(connection, "w1", "ada", 100.0, 200.0, None)
        assert all(use_token(connection, secret, "host", now) for now in (101.0, 199.0))
        assert use_token(connection, secret, "host", 200.0) is None
        assert delete_token(connection, "w1")
        assert not delete_token(connection, "w1")
        assert find_token(connection, secret) is None


def test_the_secret_is_not_stored_and_old_tokens_are_forgotten(engine: Engine) -> None:
    with writing(engine) as connection:
        secret = insert_token(connection, "w1", "ada", 100.0, 200.0, 1)
        insert_token(connection, "w2", "ada", 150.0, 1e6, 1)
    with reading(engine) as connection:
        rows = connection.exec_driver_sql("SELECT * FROM worker_token").all()
        assert secret not in str(rows)
        assert [each.id for each in list_tokens(connection)] == ["w2", "w1"]
    with writing(engine) as connection:
        insert_token(connection, "w3", "ada", 200.0 + 8 * 86_400.0, 1e6, 1)
        assert [each.id for each in list_tokens(connection)] == ["w3", "w2"]
