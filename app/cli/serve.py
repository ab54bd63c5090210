"""`runyard up`, and its components as separate commands: server, recorder, worker."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.settings import read_settings
from app.contract.settings import Settings

if TYPE_CHECKING:
    from app.web.dependencies import Parts

Host = Annotated[
    str | None,
    typer.Option(help="Address to listen on; beyond loopback, everyone has to sign in. \\[env var: RUNYARD_HOST]"),
]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0 picks a free one. \\[env var: RUNYARD_PORT]")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder for everything that Runyard writes. \\[env var: RUNYARD_DATA_DIR]")
]
Slots = Annotated[int | None, typer.Option(help="Number of runs to train at the same time. \\[env var: RUNYARD_SLOTS]")]


def _check_host(settings: Settings) -> None:
    from app.web.security import BindError, check_bind

    try:
        check_bind(settings.host)
    except BindError as error:
        print(f"runyard: {error}", file=sys.stderr)
        raise typer.Exit(2) from error


def check_data_folder(settings: Settings) -> None:
    """Exit with a sentence unless the data folder can be written to."""
    from app.contract.process import leave_forbidden_folder
    from app.services import data_folder
    from app.services.data_folder import StartError

    try:
        data_folder.check_data_folder(settings.data_dir.absolute())
    except StartError as error:
        print(f"runyard: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    leave_forbidden_folder()


def _check_database(settings: Settings) -> None:
    """Exit with a sentence if the database of the settings cannot be used; one in a new data folder can."""
    from app.services.data_folder import StartError, check_not_moved
    from app.store.database import check_database
    from app.store.database_copy import MigrationError
    from app.store.postgresql import DatabaseUnusable

    try:
        if settings.database_url is None:
            check_not_moved(settings.data_dir.absolute())
            if not (settings.data_dir / "runyard.db").exists():
                return
        check_database(settings.database)
    except (DatabaseUnusable, MigrationError, StartError) as error:
        print(f"runyard: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


def _check_provider(settings: Settings) -> None:
    """Exit with a sentence if people shall sign in at a provider, and the library for it is missing."""
    if not settings.oidc_issuer:
        return
    from app.services.openid_provider import MISSING, is_installed

    if not is_installed():
        print(f"runyard: {MISSING}", file=sys.stderr)
        raise typer.Exit(1)


def _check_port(settings: Settings) -> None:
    from app.services.data_folder import StartError
    from app.services.embedded import free_port

    try:
        free_port(settings.host, settings.port)
    except StartError as error:
        print(f"runyard: {error}", file=sys.stderr)
        raise typer.Exit(1) from error


def _check_redis(settings: Settings) -> None:
    """Exit with a sentence if Redis cannot be used; one that does not respond yet is awaited."""
    from redis import Redis
    from redis.exceptions import RedisError

    from app.contract.start_faults import redis_refusal, redis_silent
    from app.services.data_folder import StartError
    from app.services.embedded import check_redis

    client = Redis.from_url(settings.redis, socket_timeout=10, socket_connect_timeout=2)
    try:
        client.ping()
        check_redis(client)
    except StartError as error:
        print(f"runyard: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    except (RedisError, OSError) as error:
        if refusal := redis_refusal(error, settings):
            print(f"runyard: {refusal}", file=sys.stderr)
            raise typer.Exit(1) from error
        print(f"runyard: {redis_silent(settings)}; waiting", file=sys.stderr)
    finally:
        client.close()


def up(host: Host = None, port: Port = None, data_dir: DataDir = None, slots: Slots = None) -> None:
    """Start Redis, the server, the recorder and a worker on this machine. Press Ctrl-C to stop them."""
    from app.services.data_folder import StartError
    from app.services.embedded import LocalStack

    settings = read_settings(host=host, port=port, data_dir=data_dir, slots=slots)
    _check_host(settings)
    check_data_folder(settings)
    _check_database(settings)
    _check_provider(settings)
    try:
        status = LocalStack(settings).up()
    except StartError as error:
        print(f"runyard: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    raise typer.Exit(status)


def server(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Serve the pages and the API."""
    import gc

    from app.contract.process import PARENT_PIPE, end_with_parent, imports_without_gc, log_to_stderr

    settings = read_settings(host=host, port=port, data_dir=data_dir)
    _check_host(settings)
    check_data_folder(settings)
    _check_database(settings)
    _check_provider(settings)
    _check_port(settings)
    _check_redis(settings)
    with imports_without_gc():
        import uvicorn

        from app.main import create_app
        from app.store.database_copy import MigrationError

    log_to_stderr(settings.log_format)
    # `runyard up` prints the link itself: the log file of its server is no place for it.
    alone = PARENT_PIPE not in os.environ
    end_with_parent()
    try:
        app = create_app(settings)
    except MigrationError as error:
        print(f"runyard: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    if alone:
        _print_welcome(app.state.parts)
    # Objects created so far are permanent. A garbage collection over them would delay a request by 0.1 s.
    gc.freeze()
    uvicorn.run(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        # Whose headers count is a setting of Runyard's own.
        proxy_headers=False,
        timeout_graceful_shutdown=1,
    )


def _print_welcome(parts: Parts) -> None:
    """Print the one-time link if everyone has to sign in, and nobody can."""
    from app.actions.people import create_welcome_code
    from app.services.welcome import welcome_line

    if parts.credentials.always and (code := create_welcome_code(parts)) is not None:
        print(welcome_line(parts.settings, parts.settings.port, f"/welcome?code={code}"), file=sys.stderr, flush=True)


def recorder(data_dir: DataDir = None) -> None:
    """Write workers' reports to the database."""
    import signal
    from threading import Thread

    from app.contract.process import end_with_parent, imports_without_gc, log_to_stderr
    from app.contract.stop_signal import stop_on

    settings = read_settings(data_dir=data_dir)
    _check_redis(settings)
    check_data_folder(settings)
    _check_database(settings)
    with imports_without_gc():
        from redis import Redis

        from app.contract.datasets import DATASETS
        from app.services.notifier import Notifier
        from app.services.recorder import Recorder
        from app.services.sharing import Sharing
        from app.services.sweep_driver import Driver
        from app.store.database import migrate, open_database
        from app.store.database_copy import MigrationError

    log_to_stderr(settings.log_format)
    end_with_parent()
    stop = stop_on(signal.SIGTERM, signal.SIGINT)
    redis = Redis.from_url(settings.redis, socket_timeout=10, socket_connect_timeout=2)
    DATASETS.open(settings.datasets)
    engine = open_database(settings.database)
    try:
        migrate(engine)
    except MigrationError as error:
        print(f"runyard: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    # In a separate thread, so that a slow webhook does not delay points.
    notifier = Notifier(engine, redis, private=settings.webhook_private)
    Thread(target=notifier.run, args=(stop,), name="notifier", daemon=True).start()
    # In a separate thread, so that a slow search algorithm does not delay points.
    Thread(target=Driver(settings, engine, redis).run, args=(stop,), name="sweeps", daemon=True).start()
    # In a separate thread, so that a large dataset does not delay points.
    recording = Recorder(settings, engine, redis)
    sharing = Sharing(settings, recording.architectures)
    Thread(target=sharing.run, args=(stop,), name="sharing", daemon=True).start()
    recording.run(stop)


def worker(slots: Slots = None, data_dir: DataDir = None) -> None:
    """Train runs on this machine."""
    check_data_folder(read_settings(slots=slots, data_dir=data_dir))
    # A fresh interpreter keeps the command line's modules out of the trainers' fork server.
    os.execv(sys.executable, [sys.executable, "-m", "worker"])
