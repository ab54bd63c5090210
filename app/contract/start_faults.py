"""What keeps a process from starting, in one sentence with what to do; docs/troubleshooting.md lists the sentences."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from typing import Final

from app.contract.disk_space import is_disk_full
from app.contract.settings import Settings

OLDEST_REDIS: Final = "6.0"
_PASSWORD = re.compile(r"//[^@/]*@")
_NOT_OPENED: Final = (8, 14, 23)
"""SQLite's codes for a file that may not be written, cannot be opened, or is locked away from this user."""
_DAMAGED: Final = (11, 26)
_UNREADABLE: Final = 10
_MEMORY_WORDS: Final = (
    "cannot allocate memory",
    "failed to map segment",
    "not enough memory",
    "can't start new thread",
)


def redis_name(settings: Settings) -> str:
    """The address of Redis without its password."""
    return _PASSWORD.sub("//…@", settings.redis)


def redis_refusal(error: BaseException, settings: Settings) -> str:
    """Why Redis refuses this process, although it responds: a wrong password, or too old for it; "" if it may later."""
    if any(kind.__name__ == "AuthenticationError" for kind in type(error).__mro__) or "NOAUTH" in str(error):
        return f"Redis at {redis_name(settings)} refuses the user or password in RUNYARD_REDIS_URL; correct it"
    if "unknown command" in str(error):
        # Older ones do not know the first command of each connection.
        return f"Redis at {redis_name(settings)} is too old; install Redis {OLDEST_REDIS} or newer"
    return ""


def redis_silent(settings: Settings) -> str:
    """What to do if Redis does not respond."""
    start = "start `runyard up` first" if settings.redis_url is None else "start it, or correct RUNYARD_REDIS_URL"
    return f"Redis at {redis_name(settings)} does not respond; {start}"


def explain(error: BaseException, settings: Settings) -> str | None:
    """A sentence for an error that ended a process at its start; None if it is a fault of Runyard's own."""
    if is_disk_full(error):
        return f"the disk of {settings.data_dir.absolute()} is full; free some space and start again"
    for each in _chain(error):
        said = _memory(each) or _module(each) or _redis(each, settings) or _database(each, settings) or _file(each)
        if said:
            return said
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    following: BaseException | None = error
    while following is not None:
        yield following
        original = getattr(following, "orig", None)
        following = original if isinstance(original, BaseException) else following.__cause__ or following.__context__


def _memory(error: BaseException) -> str | None:
    words = str(error).lower()
    if not isinstance(error, MemoryError) and not (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        if not isinstance(error, OSError | ImportError | RuntimeError):
            return None
        if not any(word in words for word in _MEMORY_WORDS):
            return None
    return "there is not enough memory to start; end other programs, or raise this process's limit"


def _module(error: BaseException) -> str | None:
    if not isinstance(error, ModuleNotFoundError) or not error.name:
        return None
    return f"the Python package {error.name.partition('.')[0]} is missing; install Runyard again (`runyard doctor`)"


def _redis(error: BaseException, settings: Settings) -> str | None:
    if type(error).__module__.partition(".")[0] != "redis":
        return None
    if refusal := redis_refusal(error, settings):
        return refusal
    if type(error).__name__ in ("ConnectionError", "TimeoutError", "BusyLoadingError"):
        return redis_silent(settings)
    return f"Redis at {redis_name(settings)} cannot be used: {str(error).rstrip('.')}; correct RUNYARD_REDIS_URL"


def _database(error: BaseException, settings: Settings) -> str | None:
    if type(error).__module__.partition(".")[0] == "psycopg" and type(error).__name__ == "OperationalError":
        reason = " ".join(str(error).split()).rstrip(".")
        return f"lost the connection to the database of RUNYARD_DATABASE_URL: {reason}; start again when it responds"
    code = getattr(error, "sqlite_errorcode", None)
    if code is None:
        return None
    path = settings.database.removeprefix("sqlite:///")
    match code & 0xFF:
        case kind if kind in _DAMAGED:
            return f"the database {path} is damaged; restore a backup into another folder (`runyard restore`)"
        case kind if kind in _NOT_OPENED:
            return f"cannot write to the database {path}; make it and its folder writable for this user"
        case kind if kind == _UNREADABLE:
            return f"the disk could not read or write the database {path}; check the disk, or restore a backup"
    return None


def _file(error: BaseException) -> str | None:
    if not isinstance(error, OSError) or error.errno is None:
        return None
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many files are open; raise the limit with `ulimit -n`"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EIO):
        where = error.filename if isinstance(error.filename, str) else "a file"
        return f"cannot use {where}: {(error.strerror or '').lower()}; correct its permissions, or choose another path"
    return None
