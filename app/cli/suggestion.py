"""What to type instead of a word that other programs use for a command."""

from __future__ import annotations

from typing import Any, Final

from typer.core import TyperGroup

SUGGESTIONS: Final = {
    **dict.fromkeys(("runs", "list", "ps", "history"), "ls"),
    **dict.fromkeys(("run", "train", "submit", "new"), "launch"),
    **dict.fromkeys(("start", "serve", "ui", "dashboard"), "up"),
    **dict.fromkeys(("stop", "kill", "abort"), "cancel"),
    **dict.fromkeys(("delete", "remove", "del"), "rm"),
    **dict.fromkeys(("status", "info", "describe", "inspect"), "show"),
    **dict.fromkeys(("tail", "follow", "attach"), "watch"),
    **dict.fromkeys(("test", "eval", "score"), "evaluate"),
    **dict.fromkeys(("zoo", "families", "networks"), "architectures"),
    **dict.fromkeys(("clean", "gc", "cleanup"), "prune"),
    "diff": "compare",
    "download": "files",
    "restart": "retry",
    "continue": "resume",
    "models": "alias ls",
    "programs": "program ls",
    "sweeps": "sweep ls",
    "tokens": "token ls",
    "tune": "sweep create",
    "users": "user ls",
}
"""The command for each word that is none."""


class Group(TyperGroup):
    """A group of commands that suggests one by its meaning; similar spellings are the base class's part."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Return the name of the command, the command and its arguments. Raises UsageError with a suggestion."""
        if args[0] in SUGGESTIONS and self.get_command(ctx, args[0]) is None:
            ctx.fail(f"No such command '{args[0]}'. Did you mean '{SUGGESTIONS[args[0]]}'?")
        return super().resolve_command(ctx, args)
