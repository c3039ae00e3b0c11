"""The commands; every error ends as one sentence on stderr and an exit status."""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from functools import cache
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup

from services.cli import backup, probe, publish, samples, watch
from services.cli.bench import app as bench
from services.cli.connect import Exit, Unreachable, UsageError, did_you_mean, print_err
from services.cli.demo import app as demo
from services.cli.dlq import app as dlq
from services.cli.doctor import app as doctor
from services.cli.order import app as order
from services.cli.stack import app as stack
from services.cli.stack import restart, setup
from services.cli.verify import app as verify

GROUPS: Final = {
    "tax": ("services.cli.tax.app", "What an order owes, worked out from a file."),
    "payments": ("services.cli.payments.app", "Money: cases that only a person can settle."),
    "aside": ("services.cli.aside", "Items that failed alone: list, retry, drop."),
    "access": (
        "services.cli.access.app",
        "Users and rights on the broker: who may read and write what.",
    ),
    "customs": (
        "services.cli.customs.app",
        "Customs documents and messages from files; consolidation.",
    ),
}
"""Groups whose modules are imported with their first command: module and help."""


CUT_OFF: Final = 128 + signal.SIGPIPE
"""The exit status of a program whose reader went away."""


def report(error: Exception) -> Exit | None:
    """Print what to do about a foreseen error, and return its status; None for an unforeseen."""
    if isinstance(error, UsageError | Unreachable):
        print_err(str(error))
        return Exit.WRONG if isinstance(error, UsageError) else Exit.UNREACHABLE
    from shared.errors import Misconfigured, Unavailable

    if isinstance(error, Misconfigured):
        print_err(str(error))
        return Exit.WRONG
    if isinstance(error, Unavailable | ConnectionError):
        print_err(str(error) or "start the stack with `crossborder up`: it does not answer")
        return Exit.UNREACHABLE
    return _report_database(error)


def _report_database(error: Exception) -> Exit | None:
    import asyncpg

    if isinstance(error, asyncpg.UndefinedTableError | asyncpg.InvalidSchemaNameError):
        print_err(f"run `crossborder migrate`: the database lacks a table ({error})")
        return Exit.UNREACHABLE
    if isinstance(
        error, asyncpg.PostgresConnectionError | asyncpg.InterfaceError | asyncpg.AdminShutdownError
    ):
        print_err(
            "start the stack with `crossborder up`: the database went away "
            f"({type(error).__name__})"
        )
        return Exit.UNREACHABLE
    return None


def is_cut_off() -> bool:
    """Return whether nobody reads stdout any more, as behind `| head`; if so, drop the rest."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if not poll.poll(0):
        return False
    # The interpreter flushes once more at its end, and would report an error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


_UNKNOWN_COMMAND: Final = re.compile(r"No such command '(?P<name>[^']*)'")


def report_usage(error: Any) -> Exit | None:
    """Print a parser's error on one line; None for help that is printed without a command."""
    if type(error).__name__ == "NoArgsIsHelpError" or error.ctx is None:
        return None
    text, context = error.format_message(), error.ctx
    if unknown := _UNKNOWN_COMMAND.match(text):
        name = unknown["name"]
        near = did_you_mean(name, context.command.list_commands(context))
        print_err(f"unknown command {name!r}; {near}`{context.command_path} --help` lists all")
    else:
        print_err(f"{text.rstrip('.')}; `{context.command_path} --help` shows the usage")
    return Exit.WRONG


class CommandRoot(TyperGroup):
    """The root group: translates errors, and lists groups without importing their modules."""

    def invoke(self, ctx: Any) -> Any:
        try:
            try:
                return super().invoke(ctx)
            finally:
                sys.stdout.flush()
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            if isinstance(error, BrokenPipeError) and is_cut_off():
                raise typer.Exit(CUT_OFF) from None
            status = report_usage(error) if hasattr(error, "format_message") else report(error)
            if status is None:
                raise
            raise typer.Exit(int(status)) from None

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return LazyGroup(cmd_name) if cmd_name in GROUPS else super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        return [*super().list_commands(ctx), *GROUPS]


class LazyGroup(TyperGroup):
    """A group whose module is imported with its first command, so that others start fast."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, help=GROUPS[name][1], no_args_is_help=True)

    def _group(self) -> TyperGroup:
        name = str(self.name)
        return _group_of(GROUPS[name][0], name)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return self._group().get_command(ctx, cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        return self._group().list_commands(ctx)


@cache
def _group_of(module: str, name: str) -> TyperGroup:
    try:
        group = getattr(import_module(module), name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"install crossborder again: `{name}` is not part of it ({error.name} is missing)"
        ) from None
    return typer.main.get_group(group)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"crossborder {version('crossborder')}")
        raise typer.Exit


app = typer.Typer(
    cls=CommandRoot,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Cross-border orders from payment capture to customs release, over Kafka topics.",
)


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="print the version and end"
    ),
) -> None:
    """Cross-border orders from payment capture to customs release, over Kafka topics."""


stack.register(app)
restart.register(app)
backup.register(app)
setup.register(app)
publish.register(app)
samples.register(app)
probe.register(app)
app.add_typer(order.order, name="order")
app.add_typer(dlq.dlq, name="dlq")
watch.register(app)
verify.register(app)
bench.register(app)
doctor.register(app)
demo.register(app)
