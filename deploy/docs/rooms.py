"""The packages in docs/architecture.md: boxes and arrows, from the imports of the code itself."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDERS: Final = ("services", "shared", "sandbox", "deploy")
SERVICES: Final = ("orders", "payments", "tax", "customs", "cli")
LAYERS: Final = frozenset({"app", "handlers", "store", "gateway"})
"""Plain modules that are boxes of their own, beside the packages."""

HEAD: Final = """\
An arrow points from a package to a package that it imports. Every package imports `shared`, and
`shared` imports none of them. The sandbox imports only `shared`. `services/cli` also imports
`deploy.embedded` (it starts and stops the embedded stack), `deploy.samples` (it publishes sample
orders), `deploy.prober` and `deploy.secrets`. `deploy.docs` and `deploy.load` are the only parts
of `deploy` that import services.
"""
DETAIL: Final = """\
The next pictures show the packages of each service, with `app`, `handlers`, `store` and
`gateway`. Other modules are left out, but a way through them is an arrow too. An arrow is left
out where a longer way says the same.
"""

Graph = Mapping[str, frozenset[str]]


def part() -> str:
    imports = imports_of(sources())
    lines = [HEAD, *_picture(_grouped(imports, _top)), DETAIL]
    for service in SERVICES:
        prefix = f"services.{service}."
        inside = {
            name: {other for other in others if other.startswith(prefix)}
            for name, others in imports.items()
            if name.startswith(prefix)
        }
        boxes = _boxes(service)
        graph = _reduced(_through(_grouped(inside, _room), boxes))
        lines += [f"### services/{service}", "", *_picture(graph)]
    return "\n".join(lines)


def sources() -> dict[str, str]:
    paths = (path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")))
    return {_dotted(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def _dotted(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imports_of(texts: Mapping[str, str]) -> dict[str, set[str]]:
    """Return which of these modules each imports, inside functions and for type checkers too."""
    return {
        name: {other for other in _imported(ast.parse(text)) if other in texts and other != name}
        for name, text in texts.items()
    }


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _top(module: str) -> str | None:
    """Return the box of a module in the first picture; None for `shared` and for package roots."""
    parts = module.split(".")
    if parts[0] in ("shared", "services", "deploy") and len(parts) < 2:
        return None
    if parts[0] == "shared" or parts[:2] == ["services", "__main__"]:
        return None
    return ".".join(parts[:2]) if parts[0] in ("services", "deploy") else parts[0]


def _room(module: str) -> str | None:
    return module.split(".")[2]


def _boxes(service: str) -> frozenset[str]:
    folder = ROOT / "services" / service
    packages = {path.parent.name for path in folder.glob("*/*.py")}
    modules = {path.stem for path in folder.glob("*.py")} & LAYERS
    return frozenset(packages | modules)


def _grouped(imports: Mapping[str, set[str]], box_of: Callable[[str], str | None]) -> Graph:
    graph: dict[str, set[str]] = {}
    for name, others in imports.items():
        box = box_of(name)
        if box is not None:
            arrows = {target for other in others if (target := box_of(other)) is not None}
            graph.setdefault(box, set()).update(arrows - {box})
    return {box: frozenset(targets) for box, targets in graph.items()}


def _through(graph: Graph, boxes: frozenset[str]) -> Graph:
    """Return the arrows between some boxes, with ways through the others as arrows."""

    def targets(name: str, seen: set[str]) -> Iterator[str]:
        for other in graph.get(name, frozenset()):
            if other in boxes:
                yield other
            elif other not in seen:
                seen.add(other)
                yield from targets(other, seen)

    return {box: frozenset(targets(box, set())) - {box} for box in sorted(boxes)}


def _reduced(graph: Graph) -> Graph:
    """Leave out an arrow where a longer way exists; arrows of circles stay."""
    reach = {box: _reachable(graph, box) for box in graph}

    def is_implied(box: str, target: str) -> bool:
        return any(
            between in reach[box]
            and target in reach[between]
            and box not in reach[between]
            and between not in reach[target]
            for between in graph
            if between not in (box, target)
        )

    return {
        box: frozenset(target for target in targets if not is_implied(box, target))
        for box, targets in graph.items()
    }


def _reachable(graph: Graph, start: str) -> frozenset[str]:
    reached: set[str] = set()
    pending = list(graph[start])
    while pending:
        box = pending.pop()
        if box not in reached:
            reached.add(box)
            pending += graph.get(box, frozenset())
    return frozenset(reached)


def _picture(graph: Graph) -> list[str]:
    """Return a mermaid flowchart; packages without an arrow are boxes too."""
    lines = ["```mermaid", "flowchart LR"]
    lines += [f'    {_node(box)}["{box}"]' for box in sorted(graph)]
    for box in sorted(graph):
        lines += [f"    {_node(box)} --> {_node(target)}" for target in sorted(graph[box])]
    return [*lines, "```", ""]


def _node(box: str) -> str:
    """Return an id that mermaid does not take for a keyword."""
    return "n_" + box.replace(".", "_")
