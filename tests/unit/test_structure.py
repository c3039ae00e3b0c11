"""Structure and wording of the product, checked; each rule has a text beside it that breaks it.

`structure.toml` has what is left of a rule by area: a number may only become smaller.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests import structure
from tests.structure import Fault

Rule = Callable[[str, str], list[Fault]]

RULES: dict[str, Rule] = {
    "long_file": structure.long_file,
    "long_functions": structure.long_functions,
    "complex_functions": structure.complex_functions,
    "banned_words": structure.banned_words,
    "participle_module": structure.participle_module,
    "environment_reads": structure.environment_reads,
}
LIMITS = tomllib.loads(Path(__file__).with_name("structure.toml").read_text(encoding="utf-8"))
SETTINGS = frozenset(LIMITS["settings"])
TABLES = frozenset(LIMITS["tables"])
PURE_FOLDERS = frozenset(LIMITS["pure"])
SAME_NAMES = (
    "app.py",
    "deps.py",
    "handlers.py",
    "metrics.py",
    "invariants.py",
    "store.py",
    "schema.sql",
    "domain",
)

BROKEN = {
    "long_file": "x = 1\n" * 301,
    "long_functions": "def f():\n" + "    x = 1\n" * 40,
    "complex_functions": "def f(a):\n    return [x for x in a if x and x and x and x and x and x and x and x and x]\n",
    "banned_words": "def f(found):\n    return found\n",
    "participle_module": "",
    "environment_reads": "import os\n\nHOME = os.environ['HOME']\n",
}
AT = {"participle_module": "services/orders/reading.py"}


def sources() -> Iterator[tuple[str, str]]:
    for path in structure.modules().values():
        yield str(path.relative_to(structure.ROOT)), path.read_text(encoding="utf-8")


def area_of(file: str) -> str:
    first, second = file.split("/")[:2]
    return f"{first}/{second}" if first == "services" and second != "schema.py" else first


def left_out(rule: str, file: str) -> bool:
    return (rule == "long_file" and file in TABLES) or (
        rule == "environment_reads" and file in SETTINGS
    )


@pytest.mark.parametrize("rule", RULES)
def test_the_product_keeps_the_rule(rule: str) -> None:
    faults = [
        fault
        for file, text in sources()
        if not left_out(rule, file)
        for fault in RULES[rule](file, text)
    ]
    allowed = LIMITS["left"].get(rule, {})
    counts = Counter(area_of(fault.file) for fault in faults)
    over = [
        str(fault)
        for fault in faults
        if counts[area_of(fault.file)] > allowed.get(area_of(fault.file), 0)
    ]
    assert not over, "\n".join(over)
    spare = {area: number for area, number in allowed.items() if counts[area] < number}
    assert not spare, (
        f"lower the numbers of {rule} in structure.toml: { ({area: counts[area] for area in spare}) }"
    )


@pytest.mark.parametrize("rule", RULES)
def test_the_rule_can_fail(rule: str) -> None:
    assert RULES[rule](AT.get(rule, "services/orders/orders.py"), BROKEN[rule])
    assert not RULES[rule]("services/orders/orders.py", "def f(order):\n    return order\n")


def is_pure(file: str) -> bool:
    return any(file == entry or file.startswith(entry + "/") for entry in PURE_FOLDERS)


def test_rule_modules_do_no_input_or_output() -> None:
    pure = [(file, text) for file, text in sources() if is_pure(file)]
    assert len(pure) > 60
    faults = [str(fault) for file, text in pure for fault in structure.impure(file, text)]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "text",
    [
        "import asyncpg\n",
        "def f():\n    from asyncio import sleep\n",
        "async def f():\n    return 1\n",
        "from datetime import datetime\n\n\ndef f():\n    return datetime.now()\n",
        "from shared.clock import utc_now\n\n\ndef f():\n    return utc_now()\n",
        "import random\n",
    ],
)
def test_an_impure_rule_module_is_named(text: str) -> None:
    assert structure.impure("services/orders/domain/order.py", text)


def test_no_module_imports_itself_by_way_of_others() -> None:
    texts = {name: path.read_text(encoding="utf-8") for name, path in structure.modules().items()}
    assert not structure.circles(structure.imports(texts))


def test_a_circle_is_named_also_inside_functions_and_for_type_checkers() -> None:
    texts = {
        "a": "def f():\n    import b\n",
        "b": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from c import x\n",
        "c": "import a\n",
        "d": "import a\n",
    }
    assert structure.circles(structure.imports(texts)) == [["a", "b", "c"]]


@pytest.mark.parametrize("service", ["orders", "payments", "tax", "customs"])
def test_every_service_has_the_same_names(service: str) -> None:
    folder = structure.ROOT / "services" / service
    assert [name for name in SAME_NAMES if not (folder / name).exists()] == []


def test_the_last_commits_have_short_subjects() -> None:
    assert structure.long_subjects(structure.subjects(20)) == []


def test_a_long_subject_is_named() -> None:
    assert structure.long_subjects("orders: read plain text\nno area\norders: " + "x" * 70) == [
        "no area",
        "orders: " + "x" * 70,
    ]
