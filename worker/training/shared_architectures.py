"""The user's own architectures on a machine that has no folder of its own with them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import models
from app.contract.command_key import KeyFileError, architecture_key, key_path, read_key
from app.contract.shared_files import KEY_NAME, SharedFolder
from worker.data.shared_files import NotFetched, Source, fetch_folder
from worker.job import Job
from worker.reporting.error_text import reason
from worker.reporting.progress import ProgressReporter


def with_architectures(job: Job, source: Source, reporter: ProgressReporter) -> Job:
    """Return the job with a folder of architectures, if its network is in none of the worker's own.

    A worker with RUNYARD_MODELS_PATH uses that. Raises UnknownArchitecture.
    """
    shared, family = job.architectures, job.config.family
    if shared is None or job.settings.models_path is not None or family in models.families():
        return job
    try:
        _check(shared, job.settings.data_dir)
        folder = job.settings.data_dir.absolute() / "architectures" / shared.digest[:16]
        if not folder.exists():
            reporter.begin(f"fetching the architectures {shared.digest[:12]} from the artifact store")
            fetch_folder(source, shared, folder, reporter)
    except (NotFetched, KeyFileError) as error:
        raise models.UnknownArchitecture(f"{family} is not on this machine: {error}") from error
    except OSError as error:
        raise models.UnknownArchitecture(
            f"could not write the architectures to {job.settings.data_dir} ({reason(error)})"
        ) from error
    return replace(job, settings=job.settings.model_copy(update={"models_path": folder}))


def _check(shared: SharedFolder, data_dir: Path) -> None:
    """Raise NotFetched unless the server signed this: a worker executes what is in it."""
    joined = data_dir.absolute() / KEY_NAME
    if joined.exists():
        key = read_key(joined, KEY_NAME)
    elif key_path(data_dir).exists():
        key = architecture_key(read_key(key_path(data_dir)))
    else:
        raise NotFetched(
            "this worker has no key to tell who wrote an architecture; start it with `runyard join`, or copy the folder"
            " of architectures to it and set RUNYARD_MODELS_PATH"
        )
    if not shared.is_signed(key):
        raise NotFetched("the server's architectures are not signed with the key that this worker has; join it again")
