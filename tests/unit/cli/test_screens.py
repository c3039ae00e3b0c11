"""Help and output: stored screens, unbroken sentences, suggestions, and what each command says to type next."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from deploy.samples import KINDS, SAMPLES
from services.cli.app import app
from services.cli.stack.readiness import WAIT_REPORT_S, WaitReport
from services.cli.verify import report
from services.cli.verify.app import invariants
from services.cli.verify.findings import Finding
from services.schema import SERVICES
from tests.unit.cli import screen_pages
from tests.unit.cli.screen_pages import SCREENS, WIDTHS


def ask(*words: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, list(words), prog_name="crossborder")
    return done.exit_code, done.stdout, done.stderr


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", SCREENS)
def test_the_screen_is_as_stored(name: str, width: int) -> None:
    stored = screen_pages.path_of(name, width).read_text(encoding="utf-8")
    assert screen_pages.screen(name, width) == stored, (
        "if this is as it should be: `python -m tests.unit.cli.screen_pages`"
    )


def commands(command: Any, path: tuple[str, ...], ctx: Any) -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "list_commands"):
        yield " ".join(path), command
        return
    for name in command.list_commands(ctx):
        yield from commands(command.get_command(ctx, name), (*path, name), ctx)


def test_no_sentence_of_the_help_is_broken_in_mid_line() -> None:
    root = typer.main.get_command(app)
    context = root.make_context("crossborder", ["up"], resilient_parsing=True)
    checked = [pair for pair in commands(root, (), context) if not pair[0].startswith("tax ")]
    for path, command in checked:
        for line in inspect.cleandoc(command.callback.__doc__ or "").splitlines():
            assert not line or line.endswith((".", ":")), f"{path}: {line}"


def test_the_version_is_that_of_the_package() -> None:
    status, out, _ = ask("--version")
    assert (status, out.split()[0]) == (0, "crossborder")
    assert out.split()[1][0].isdecimal()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["verfy"], "unknown command 'verfy'; did you mean 'verify'? `crossborder --help` lists all"),
        (["tax", "asess"], "unknown command 'asess'; did you mean 'assess'? `crossborder tax --help` lists all"),
        (["dlq", "lst"], "unknown command 'lst'; did you mean 'list'? `crossborder dlq --help` lists all"),
        (["xyzzy"], "unknown command 'xyzzy'; `crossborder --help` lists all"),
        (["publish", "--sample", "chery"], "unknown sample 'chery'; did you mean 'cherries'? `crossborder samples` lists all"),
        (["publish", "--sample", "xyzzy"], "unknown sample 'xyzzy'; `crossborder samples` lists all"),
        (["order", "show"], "Missing argument 'NO_OR_ID'; `crossborder order show --help` shows the usage"),
    ],
)  # fmt: skip
def test_a_wrong_word_is_named_with_the_nearest_in_one_line(words: list[str], text: str) -> None:
    assert ask(*words) == (2, "", f"{text}\n")


def test_samples_lists_every_sample_and_kind() -> None:
    status, out, err = ask("samples")
    assert status == 0
    assert {line.split()[0] for line in out.splitlines()[1:]} == {*SAMPLES, *KINDS}
    assert err.startswith("next: `crossborder publish --sample")


def test_the_shell_completes_commands() -> None:
    assert "--install-completion" in ask("--help")[1]


def test_every_invariant_belongs_to_a_group_that_a_reader_knows() -> None:
    known = {*SERVICES, report.WORK, report.BETWEEN_SERVICES, report.TOPICS, report.OUTSIDE}
    groups = report.groups_of([Finding(i.name, i.says) for i in invariants()])
    assert set(groups) <= known


def test_what_is_waited_for_is_named_at_once_and_then_once_a_second_while_it_shrinks() -> None:
    lines: list[str] = []
    waits = WaitReport(lines.append)
    waits.update(["customs", "tax"], 10.0)
    waits.update(["tax"], 10.1)
    waits.update(["tax"], 10.0 + WAIT_REPORT_S)
    waits.update(["tax"], 30.0)
    waits.update([], 31.0)
    assert lines == ["waiting for customs, tax …", "waiting for tax …"]
