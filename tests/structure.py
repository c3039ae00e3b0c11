"""The rules of structure and wording that `make check` enforces, each as a function from source text to faults."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PRODUCT: Final = ("services", "shared", "sandbox", "deploy")

LINES_OF_A_FILE: Final = 300
LINES_OF_A_FUNCTION: Final = 40
COMPLEXITY: Final = 10
SUBJECT: Final = 72

BANNED: Final = frozenset(
    {"found", "told", "said", "heard", "came", "kept", "asked", "Found", "Told", "Said", "Heard"}
)
"""Words that say that something happened and not what it is: name the thing instead (`row`, `reply`, `stored`)."""

GERUNDS: Final = frozenset({"decoding", "grouping", "sealing", "lodging", "string"})
"""Module names in -ing that are nouns of the field."""
PARTICIPLES: Final = frozenset({"found", "told", "kept", "said"})
NOUNS_IN_ED: Final = frozenset({"embedded"})

ENVIRONMENT: Final = frozenset({"environ", "getenv", "putenv"})
EFFECTS: Final = frozenset(
    {
        "asyncio",
        "asyncpg",
        "aiokafka",
        "httpx",
        "aiohttp",
        "faust",
        "random",
        "secrets",
        "socket",
        "subprocess",
        "sqlite3",
    }
)
"""Libraries that a rule module does not import: input, output, chance and waiting."""
CLOCKS: Final = frozenset(
    {
        ("datetime", "now"),
        ("datetime", "today"),
        ("date", "today"),
        ("time", "time"),
        ("time", "monotonic"),
    }
)


@dataclass(frozen=True, slots=True)
class Fault:
    """A broken rule: where, and what stands there."""

    file: str
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.text}"


def modules(folders: Iterable[str] = PRODUCT) -> dict[str, Path]:
    """Return every module of these folders by its dotted name."""
    paths = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return {_dotted(path.relative_to(ROOT)): path for path in paths}


def _dotted(path: Path) -> str:
    name = ".".join(path.with_suffix("").parts)
    return name.removesuffix(".__init__")


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Return every function of a tree, methods and inner functions too."""
    return (
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )


def long_file(file: str, source: str) -> list[Fault]:
    """Return a fault for a file of more than 300 lines."""
    lines = source.count("\n")
    return (
        [Fault(file, lines, f"{lines} lines, at most {LINES_OF_A_FILE}")]
        if lines > LINES_OF_A_FILE
        else []
    )


def long_functions(file: str, source: str) -> list[Fault]:
    """Return the functions of more than 40 lines."""
    return [
        Fault(file, node.lineno, f"{node.name} has {length} lines, at most {LINES_OF_A_FUNCTION}")
        for node in functions(ast.parse(source))
        if (length := (node.end_lineno or node.lineno) - node.lineno + 1) > LINES_OF_A_FUNCTION
    ]


def complex_functions(file: str, source: str) -> list[Fault]:
    """Return the functions of a cyclomatic complexity above 10; each comprehension counts as a loop."""
    return [
        Fault(file, node.lineno, f"{node.name} has complexity {found}, at most {COMPLEXITY}")
        for node in functions(ast.parse(source))
        if (found := complexity(node)) > COMPLEXITY
    ]


def complexity(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return 1 and the number of branches, loops, comprehensions and boolean operators of a function's own code."""
    total, pending = 1, list(ast.iter_child_nodes(function))
    while pending:
        node = pending.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        total += _branches(node)
        pending += ast.iter_child_nodes(node)
    return total


def _branches(node: ast.AST) -> int:
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    branching = (
        ast.If,
        ast.For,
        ast.AsyncFor,
        ast.While,
        ast.ExceptHandler,
        ast.IfExp,
        ast.match_case,
    )
    return int(isinstance(node, branching))


def banned_words(file: str, source: str) -> list[Fault]:
    """Return the identifiers that are banned words; texts, comments and the keys of documents are free."""
    return [
        Fault(file, line, f"name the thing, not that it was {name}")
        for line, name in sorted(_bound_names(ast.parse(source)))
        if name in BANNED
    ]


def _bound_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.ImportFrom | ast.Import):
            yield from ((node.lineno, alias.asname) for alias in node.names if alias.asname)


def participle_module(file: str, _source: str) -> list[Fault]:
    """Return a fault for a module that is named by a participle."""
    name = Path(file).stem
    last = name.rsplit("_", 1)[-1]
    is_gerund = last.endswith("ing") and last not in GERUNDS
    is_past = name in PARTICIPLES or (name.endswith("ed") and name not in NOUNS_IN_ED)
    return (
        [Fault(file, 1, f"{name} is no noun: name what the module holds")]
        if is_gerund or is_past
        else []
    )


def environment_reads(file: str, source: str) -> list[Fault]:
    """Return where the process's environment is read; only settings may."""
    return [
        Fault(file, node.lineno, f"os.{node.attr}: read the environment in settings only")
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute)
        and node.attr in ENVIRONMENT
        and _is_name(node.value, "os")
    ]


def impure(file: str, source: str) -> list[Fault]:
    """Return what a rule module may not do: import a driver, wait, or read the clock."""
    faults = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Await | ast.AsyncFunctionDef | ast.AsyncWith | ast.AsyncFor):
            faults.append(Fault(file, node.lineno, "waits"))
        elif isinstance(node, ast.Attribute) and (clock := _clock(node)) is not None:
            faults.append(Fault(file, node.lineno, f"reads the clock: {clock}"))
        elif isinstance(node, ast.Name) and node.id == "utc_now":
            faults.append(Fault(file, node.lineno, "reads the clock: utc_now"))
        faults += [
            Fault(file, line, f"imports {name}")
            for line, name in _imported(node)
            if name.split(".")[0] in EFFECTS
        ]
    return faults


def _clock(node: ast.Attribute) -> str | None:
    if not isinstance(node.value, ast.Name):
        return None
    return f"{node.value.id}.{node.attr}" if (node.value.id, node.attr) in CLOCKS else None


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _imported(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.Import):
        yield from ((node.lineno, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield node.lineno, node.module
        yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def imports(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Return which of these modules each imports, inside functions and for type checkers too."""
    return {
        name: {
            other
            for node in ast.walk(ast.parse(text))
            for _, other in _imported(node)
            if other in sources and other != name
        }
        for name, text in sources.items()
    }


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, by Tarjan's algorithm."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(name: str) -> None:
        order[name] = low[name] = len(order)
        stack.append(name)
        for other in graph.get(name, ()):
            if other not in order:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], order[other])
        if low[name] == order[name]:
            group = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            if len(group) > 1:
                groups.append(sorted(group))

    for name in graph:
        if name not in order:
            visit(name)
    return groups


def long_subjects(log: str) -> list[str]:
    """Return the commit subjects that are too long or lack their area; merges are free."""
    pattern = re.compile(r"(?:[a-z0-9_, ]+: \S|Merge )")
    return [line for line in log.splitlines() if len(line) > SUBJECT or not pattern.match(line)]


def subjects(count: int) -> str:
    """Return the subjects of the last commits, one a line; empty where there is no repository."""
    done = subprocess.run(
        ["git", "log", f"-{count}", "--format=%s"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout if done.returncode == 0 else ""
