"""The pages say what is: generated ones are current, links lead somewhere, commands exist with their options."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from deploy.docs import rooms
from deploy.docs.__main__ import current, with_part
from deploy.docs.picture import picture
from services.cli import samples
from services.cli.app import app
from services.cli.demo.app import ORDERS_MIN
from services.orders.intake.decoding import read_submission
from services.orders.intake.submission import Submitted
from services.orders.intake.validation import validate
from tests import commit_subject, structure
from tests.readme import ROOT, Block, blocks, long_sentences, sentences
from tests.unit.test_structure import SAME_NAMES

DOCS = (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md")))
README_MAX_BYTES = 8192
BOX_MAX = 5
"""Commands in one of the README's boxes."""
GENERATED = {"states.md", "events.md", "metrics.md", "configuration.md", "sandbox.md"}
PATH = re.compile(
    r"(?<![\w/.$-])((?:services|shared|sandbox|deploy|tests|docs)/[\w./-]*\w)(?![\w*<…-])"
)
"""A path of this repository in a piece of code; patterns with `*` or `<…>` are none."""
LINK = re.compile(r"\]\(([^)\s]+)\)")
VARIABLE = re.compile(r"CROSSBORDER_[A-Z_]+[A-Z]")
PLAIN = [page for page in DOCS if page.name not in GENERATED]
"""Pages written by hand whose sentences are counted."""
NEEDS = {
    "nothing",
    "nothing running",
    "nothing running, and a minute",
    "a stack of its own",
    "stack",
}


@pytest.mark.parametrize(("name", "text"), current().items(), ids=current())
def test_a_generated_page_is_current(name: str, text: str) -> None:
    assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, "run `python -m deploy.docs`"


def test_a_part_is_replaced_between_its_markers_only() -> None:
    page = "before\n<!-- x: written by `python -m deploy.docs` -->\nold\n<!-- end of x -->\nafter\n"
    replaced = with_part(page, "x", "new\n")
    assert replaced.startswith("before\n")
    assert replaced.endswith("new\n\n<!-- end of x -->\nafter\n")
    assert "old" not in replaced
    with pytest.raises(ValueError, match="lacks"):
        with_part("no markers", "x", "new")


def test_the_packages_are_drawn_from_the_imports() -> None:
    texts = {"services.cli.a": "from deploy.embedded import lock", "deploy.embedded.lock": ""}
    assert rooms.imports_of(texts)["services.cli.a"] == {"deploy.embedded.lock"}
    drawn = rooms.part()
    assert "n_services_cli --> n_deploy_embedded" in drawn
    assert "n_services_cli --> n_deploy_samples" in drawn
    assert "n_sandbox --> " not in drawn


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = [
        link
        for link in LINK.findall(page.read_text(encoding="utf-8"))
        if not leads_somewhere(page, link)
    ]
    assert not broken


def leads_somewhere(page: Path, link: str) -> bool:
    file, _, anchor = link.partition("#")
    if "://" in file:
        return True
    to = (page.parent / file).resolve() if file else page
    return to.exists() and (not anchor or anchor in anchors(to))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as they are made of the words."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def paths_of(page: Path) -> Iterator[str]:
    """Yield the paths of this repository that a page names in code, those of its commands too."""
    text = page.read_text(encoding="utf-8")
    for code in re.findall(r"`([^`\n]+)`", text):
        yield from PATH.findall(code)


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    assert not [path for path in paths_of(page) if not (ROOT / path).exists()]


def places() -> dict[str, list[tuple[str, str]]]:
    """Return CONTRIBUTING's questions, each with the files and the names it points to."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (Where .+\?) \| (.+) \|$", text, re.MULTILINE)
    return {question: re.findall(r"\]\(([^)#]+)\) `(\w+)`", answer) for question, answer in rows}


def test_the_seven_questions_are_answered() -> None:
    assert len(places()) == 7
    assert all(places().values())


@pytest.mark.parametrize(
    ("file", "name"), sorted({place for answer in places().values() for place in answer})
)
def test_the_place_of_an_answer_exists(file: str, name: str) -> None:
    path = ROOT / file
    assert path.is_file(), f"CONTRIBUTING names {file}, which is not there"
    assert name in definitions(path), f"{file} has no {name}: name the new place in CONTRIBUTING"


def definitions(path: Path) -> set[str]:
    """Return the functions, classes and constants that a module defines at its top."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return names


def test_every_block_of_commands_says_what_it_needs() -> None:
    assert {block.needs for block in blocks()} == NEEDS


def readme() -> str:
    return (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_readme_is_short() -> None:
    assert len(readme().encode()) <= README_MAX_BYTES
    assert [len(block.commands) <= BOX_MAX for block in blocks("README.md")] == [True] * 4


def test_the_readme_names_the_commands_of_a_change() -> None:
    printed = [command for block in blocks("README.md") for command in block.commands]
    assert {"make demo", "make test"} <= set(printed)
    assert "`make quick`" in readme()
    assert "`make check`" in readme()


@pytest.mark.parametrize("page", PLAIN, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_sentence_is_long(page: Path) -> None:
    assert not long_sentences(page.read_text(encoding="utf-8"))


def test_a_long_sentence_is_named() -> None:
    text = "# A head\n\nShort one. " + "word " * 26 + "end.\n\n| a | " + "cell " * 26 + "|\n"
    assert len(long_sentences(text)) == 2
    assert list(sentences("- one. Two\n- [three](x.md) `a b`\n")) == ["one.", "Two", "three code"]


def test_the_readme_says_where_things_are() -> None:
    rows = re.findall(r"^\| \[(\w+)/\]\([^)]*\) \| (.+) \|$", readme(), re.MULTILINE)
    packages = {name.split(".")[0] for name in structure.modules()}
    assert packages | {"docs", "tests"} == {folder for folder, _ in rows}
    services = re.findall(r"`(\w+)`", dict(rows)["services"])
    folders = {path.parent.name for path in (ROOT / "services").glob("*/__init__.py")}
    assert set(services) - {"crossborder"} == folders


def test_the_readme_says_which_names_every_service_has() -> None:
    (sentence,) = (line for line in readme().splitlines() if line.startswith("Each of the four"))
    assert re.findall(r"`([\w.]+)/?`", sentence) == list(SAME_NAMES)


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\[[^\]]*\]\(([^)#]+)\)", index))
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages <= named
    assert {"runbooks", "decisions", "../README.md", "../CONTRIBUTING.md"} <= named


def test_the_hooks_are_local_and_run_the_tools_of_the_environment() -> None:
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert repo["repo"] == "local"
    assert [hook["id"] for hook in repo["hooks"]] == [
        "ruff-check",
        "ruff-format",
        "mypy",
        "commit-subject",
    ]
    assert all(hook["entry"].startswith(".venv/bin/") for hook in repo["hooks"])
    assert all(hook["language"] == "system" for hook in repo["hooks"])


@pytest.mark.parametrize(
    ("subject", "status"),
    [("docs: shorten the README", 0), ("no area", 1), ("docs: " + "x" * 67, 1), ("", 1)],
)
def test_the_subject_of_a_commit_is_checked(tmp_path: Path, subject: str, status: int) -> None:
    message = tmp_path / "message"
    message.write_text(f"{subject}\n\nwhy\n", encoding="utf-8")
    assert commit_subject.main(str(message)) == status


def commands() -> Iterator[str]:
    for block in blocks():
        yield from block.commands
    for page in DOCS:
        yield from re.findall(r"`(crossborder [a-z][^`]*)`", page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("line", sorted({c for c in commands() if c.startswith("crossborder ")}))
def test_every_command_exists_with_these_options(line: str) -> None:
    words = shlex.split(line.partition(" …")[0])[1:]
    # Typer brings a click of its own along, so a group is known by what it can do.
    command: Any = typer.main.get_command(app)
    path = ["crossborder"]
    while words and hasattr(command, "get_command"):
        found = command.get_command(None, words[0])
        assert found is not None, f"{' '.join(path)} has no command {words[0]}"
        command = found
        path.append(words.pop(0))
    options = {name for parameter in command.params for name in parameter.opts}
    assert not [
        word for word in words if word.startswith("-") and word.partition("=")[0] not in options
    ]
    if line in {c for block in blocks() for c in block.commands}:
        command.make_context(path[-1], words)


@pytest.mark.parametrize(
    "line", sorted({c for block in blocks() for c in block.commands if c.startswith("make ")})
)
def test_every_target_exists(line: str) -> None:
    assert re.search(rf"^{line.split()[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_variable_that_is_read_is_in_the_configuration() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    read = {
        name
        for folder in ("services", "shared", "deploy")
        for path in (ROOT / folder).rglob("*.py")
        for name in re.findall(
            r"""environ(?:\.get\(|\[)["'](\w+)["']""", path.read_text(encoding="utf-8")
        )
    }
    assert read
    assert not {name for name in read if name not in page}


def test_every_variable_the_pages_name_is_known() -> None:
    known = set(VARIABLE.findall((ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")))
    named = {name for page in DOCS for name in VARIABLE.findall(page.read_text(encoding="utf-8"))}
    assert named - known <= {"CROSSBORDER_IMAGE"}


@pytest.mark.parametrize("name", ["observe.md", "operate.md"])
def test_every_metric_the_page_names_is_declared(name: str) -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    text = (ROOT / "docs" / name).read_text(encoding="utf-8")
    named = set(re.findall(r"`(crossborder_[a-z_]+)", text))
    assert named
    assert not {name for name in named if f"`{name}`" not in page}


def examples() -> list[dict[str, object]]:
    folder = ROOT / "docs" / "examples"
    lines = (folder / "orders.jsonl").read_text(encoding="utf-8").splitlines()
    return [
        json.loads((folder / "order.json").read_text(encoding="utf-8")),
        *map(json.loads, lines),
    ]


def test_the_examples_keep_every_rule_but_the_last_which_breaks_three() -> None:
    faults = []
    for document in examples():
        (read,) = read_submission(json.dumps(document).encode(), ())
        assert isinstance(read, Submitted)
        faults.append({fault.field for fault in validate(read, datetime(2026, 11, 24, tzinfo=UTC))})
    assert faults == [set(), set(), set(), {"buyer.id_number", "freight", "goods_value"}]


def test_a_command_and_the_status_it_ends_with_are_read_off_a_line() -> None:
    block = Block.of(
        "README.md",
        "stack",
        "crossborder verify     # every invariant; exit 1 if one is broken\ncrossborder dlq list   # exit 1: none\n",
    )
    assert block.commands == ("crossborder verify", "crossborder dlq list")
    assert block.statuses == (0, 1)


def test_the_picture_ends_before_the_tax_and_fetches_no_font() -> None:
    drawn = picture("\x1b[1mmoney\x1b[0m\n CNY  1\ntax\n posted  1\n")
    assert "money" in drawn
    assert "posted" not in drawn
    assert "font-face" not in drawn


def test_the_picture_shows_every_kind_of_order_that_the_demo_plays() -> None:
    drawn = (ROOT / "docs" / "demo.svg").read_text(encoding="utf-8")
    lines = [
        unescape(text).replace("\xa0", " ").strip()
        for text in re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    ]
    rows = [re.split(r"\s{2,}", line) for line in lines]
    shown = {tuple(row[:3]) for row in rows if len(row) == 4}
    casts = samples.of_demo(ORDERS_MIN, 1).casts
    expected = {cast.title: " or ".join(cast.expected) for cast in reversed(casts)}
    orders = Counter(cast.title for cast in casts)
    played = {(title, str(count), expected[title]) for title, count in orders.items()}
    assert shown == played, "run `python -m deploy.docs.picture`"
