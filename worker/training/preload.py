"""What the fork server imports before it forks the first trainer; each trainer then has it at once."""

from app.contract.process import imports_without_gc

with imports_without_gc():
    import worker.commands.process
    import worker.training.trainer  # noqa: F401
