"""docs/configuration.md: every setting, from the classes that read them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from pydantic.fields import FieldInfo

from deploy.embedded.ports import PORTS, port_setting
from deploy.prober import ProbeSettings
from sandbox.settings import SandboxSettings
from services.customs.app import CustomsSettings
from services.orders.streams import SalesSettings
from services.payments.app import PaymentsSettings
from services.schema import RolePasswords, UserPasswords
from services.tax.app import TaxSettings
from shared.settings import Settings

HEAD: Final = """# Configuration

Written by `python -m deploy.docs` from the settings classes. A process reads its settings once,
at its start: each from its environment variable, or from a file of that name in lower case in
`/run/secrets`. Wrong or missing settings end the process with one sentence each (exit 2, without
a restart by the supervisor). Without `CROSSBORDER_KAFKA` and `CROSSBORDER_POSTGRES`, a process
uses the embedded stack that runs in `CROSSBORDER_HOME`, by its `stack.json`.

Policy is data and no setting: rates and limits in [services/tax/rules/](../services/tax/rules),
the declarant in [services/customs/policy.toml](../services/customs/policy.toml), codes of the
authority in [services/customs/ceb/codes.toml](../services/customs/ceb/codes.toml), the handling
of tax bills in [services/tax/bills/bills.toml](../services/tax/bills/bills.toml), the deposit at
customs in
[services/payments/customs_debt/deposit.toml](../services/payments/customs_debt/deposit.toml).
"""
CLASSES: Final[tuple[tuple[str, type[Settings]], ...]] = (
    ("Payments besides", PaymentsSettings),
    ("Tax besides", TaxSettings),
    ("Customs besides", CustomsSettings),
    ("The streams worker besides", SalesSettings),
    ("The sandbox besides", SandboxSettings),
    ("The prober besides", ProbeSettings),
    ("`crossborder migrate` besides", RolePasswords),
    ("`crossborder access apply` besides", UserPasswords),
)
ELSEWHERE: Final = (
    (
        "CROSSBORDER_BANK_URL",
        "also read by `crossborder verify`, which compares the bank's statement with the books",
    ),
    (
        "CROSSBORDER_CEB_XSD",
        "folder of the authority's schemas, for `crossborder customs validate`",
    ),
    ("CROSSBORDER_KAFKA_LIBS", "folder of Kafka's jars; by default `.crossborder/kafka-libs`"),
    (
        "CROSSBORDER_FAIL_AT",
        (
            "a step of `shared/failpoints.py` (with `:N` its N-th time) at which the process "
            "dies; for tests"
        ),
    ),
    ("CROSSBORDER_TEST_KAFKA", "a broker that runs already, for `make test`"),
    (
        "CROSSBORDER_TEST_POSTGRES",
        "a superuser's DSN of a server that runs already, for `make test`",
    ),
    ("JAVA_HOME", "the Java that runs the embedded Kafka, before the one on the PATH"),
)
"""Variables that are read without a settings class."""


def page() -> str:
    common = Settings.model_fields
    lines = [HEAD, *_table("Every process", common.items())]
    for title, kind in CLASSES:
        own = [
            (name, field)
            for name, field in kind.model_fields.items()
            if name not in common or _differs(field, common[name])
        ]
        lines += _table(title, own)
    lines += [
        "## Ports of the embedded stack",
        "",
        "0 takes any free one.",
        "",
        "| variable | default |",
        "|---|---|",
    ]
    lines += [f"| `{port_setting(name)}` | {port} |" for name, port in PORTS.items()]
    lines += ["", "## Read elsewhere", "", "| variable | says |", "|---|---|"]
    lines += [f"| `{name}` | {says} |" for name, says in ELSEWHERE]
    return "\n".join([*lines, ""])


def _differs(field: FieldInfo, common: FieldInfo) -> bool:
    return bool(field.default != common.default)


def _table(title: str, fields: Iterable[tuple[str, FieldInfo]]) -> list[str]:
    rows = [
        f"| `CROSSBORDER_{name.upper()}` | {_default(field.default)} | {field.description} |"
        for name, field in fields
    ]
    return [f"## {title}", "", "| variable | default | says |", "|---|---|---|", *rows, ""]


def _default(value: Any) -> str:
    if value in (None, ""):
        return "–"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"
