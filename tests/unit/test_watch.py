"""Rules, alerts, boards and routes: each says what it must, names what exists, and fires when it should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from deploy.grafana.__main__ import FOLDER, text
from deploy.grafana.boards import BOARDS
from deploy.grafana.panel import DATASOURCE, OWN, WIDTH, Board, as_json
from sandbox import metrics as sandbox
from shared import metrics
from tests.watch import (
    CONTRACT,
    ROOT,
    RULES,
    board_queries,
    in_promql,
    names_in,
    queries,
    rules,
    runbook_queries,
)

CASES = sorted((ROOT / "tests/prometheus").glob("*.test.yml"))
ALERTS = [rule for rule in rules() if "alert" in rule]
NAMES = {rule["alert"] for rule in ALERTS}
OURS = "crossborder[_:]"
FOREIGN = {"instance", "job", "program", "le", "slo", "alertname", "alertstate", "severity", "burn"}


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on the PATH (Debian: prometheus, prometheus-alertmanager)")
    return found


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- rules


def declared() -> dict[str, frozenset[str]]:
    """Every series that is declared or recorded, with its labels."""
    found: dict[str, frozenset[str]] = {}

    def of(module: ModuleType) -> Iterator[MetricWrapperBase]:
        return (m for m in vars(module).values() if isinstance(m, MetricWrapperBase))

    for metric in (*of(metrics), *of(sandbox)):
        name, labels = metric._name, frozenset(metric._labelnames)
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}.get(
            str(metric._type), ("",)
        )
        found |= {f"{name}{suffix}": labels for suffix in suffixes}
    return found | {rule["record"]: frozenset() for rule in rules() if "record" in rule}


SERIES = declared()


@pytest.mark.parametrize("name", CONTRACT)
def test_a_series_that_others_script_against_keeps_its_name_and_labels(name: str) -> None:
    assert SERIES[name] == CONTRACT[name]


@pytest.mark.parametrize("query", sorted({*queries(), *board_queries()}))
def test_a_query_names_series_and_labels_that_exist(query: str) -> None:
    found = names_in(query)
    assert {name for name in found if re.match(OURS, name)} <= SERIES.keys()
    for name, braces in re.findall(r"\b(crossborder_\w+)\{([^}]*)\}", query):
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", braces))
        assert labels <= SERIES[name] | FOREIGN, name
    known = frozenset().union(*(SERIES[name] for name in found if name in SERIES)) | FOREIGN
    if not any(":" in name for name in found):
        grouped = {
            label
            for by in re.findall(r"\bby \(([^)]*)\)", query)
            for label in re.findall(r"\w+", by)
        }
        assert grouped <= known


def test_every_recorded_series_is_used() -> None:
    used = {name for query in (*queries(), *board_queries()) for name in names_in(query)}
    assert {rule["record"] for rule in rules() if "record" in rule} <= used


def test_promtool_takes_the_rules_and_every_query_of_the_boards(tmp_path: Path) -> None:
    promtool = tool("promtool")
    run(promtool, "check", "rules", *map(str, RULES))
    records = [
        {"record": f"query:{n}", "expr": in_promql(query)}
        for n, query in enumerate(board_queries())
    ]
    file = tmp_path / "boards.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "boards", "rules": records}]}))
    assert f"{len(records)} rules found" in run(promtool, "check", "rules", str(file))


def test_prometheus_reads_its_configuration() -> None:
    run(tool("promtool"), "check", "config", "--syntax-only", "deploy/prometheus/prometheus.yml")
    read = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
    assert {Path(file).name for file in read["rule_files"]} == {file.name for file in RULES}


# --- alerts


@pytest.mark.parametrize(
    "rule", ALERTS, ids=lambda rule: f"{rule['alert']} {rule['labels'].get('burn', '')}".strip()
)
def test_an_alert_says_what_is_the_matter_and_where_to_look(rule: dict[str, Any]) -> None:
    assert rule["alert"].startswith("Crossborder")
    assert rule["labels"]["severity"] in {"critical", "warning", "none"}
    said = rule["annotations"]
    assert said.keys() == {"summary", "description", "runbook_url", "dashboard_url"}
    assert len(said["summary"]) < 100
    assert said["runbook_url"].endswith(f"/runbooks/{rule['alert']}.md")
    board = re.fullmatch(
        r"http://127\.0\.0\.1:3000/d/([a-z-]+)(\?var-service=\{\{ \$labels\.(program|service) \}\})?",
        said["dashboard_url"],
    )
    assert board is not None
    assert board[1] in {b.uid for b in BOARDS}
    assert (board[2] is not None) == any(b.variables for b in BOARDS if b.uid == board[1])


@cache
def document(path: str) -> Any:
    """What a YAML file of the project says; read once, so not to be changed."""
    return yaml.safe_load((ROOT / path).read_text())


@cache
def cases() -> dict[tuple[str, str], dict[str, list[dict[str, Any]]]]:
    """By alert and burn rate: its cases by kind."""
    found: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    for file in CASES:
        for test in document(str(file))["tests"]:
            if named := re.fullmatch(
                r"(Crossborder\w+)(?: (\w+))?: (fires|quiet|edge)", test["name"]
            ):
                found.setdefault((named[1], named[2] or ""), {})[named[3]] = test[
                    "promql_expr_test"
                ]
    return found


@pytest.mark.parametrize(
    "rule", ALERTS, ids=lambda rule: f"{rule['alert']} {rule['labels'].get('burn', '')}".strip()
)
def test_every_alert_is_tried_firing_quiet_and_at_the_edge(rule: dict[str, Any]) -> None:
    burn = rule["labels"].get("burn", "")
    tried = cases()[rule["alert"], burn]
    for asked in (ask for asks in tried.values() for ask in asks):
        assert f'alertname="{rule["alert"]}", alertstate="firing"' in asked["expr"]
        assert f'burn="{burn}"' in asked["expr"] or not burn
    assert all(ask.get("exp_samples") for ask in tried["fires"])
    if rule["labels"]["severity"] == "none":
        assert tried.keys() == {"fires"}, "it always fires"
        return
    assert not any(ask.get("exp_samples") for ask in tried["quiet"])
    assert {bool(ask.get("exp_samples")) for ask in tried["edge"]} == {True, False}, (
        "the edge has two sides"
    )


def with_their_own_rules(file: Path, folder: Path) -> Iterator[str]:
    """The cases of a file by the alerts they ask for, each with these alerts alone; one without alerts as it is.

    Promtool evaluates every rule of a file at every step of every case, and no alert reads another.
    """
    by_alerts: dict[frozenset[str], list[Any]] = {}
    for test in document(str(file))["tests"]:
        asked = {
            name
            for ask in test["promql_expr_test"]
            for name in re.findall(r"Crossborder\w+", ask["expr"])
        }
        by_alerts.setdefault(frozenset(asked & NAMES), []).append(test)
    if by_alerts.keys() == {frozenset()}:
        yield str(file)
        return
    for number, (alerts, tests) in enumerate(by_alerts.items()):
        assert alerts, f"{file.name}: {tests[0]['name']} asks for no alert"
        own, these = folder / f"rules-{number}.yml", folder / f"cases-{number}.yml"
        kept = [rule for rule in ALERTS if rule["alert"] in alerts]
        own.write_text(yaml.safe_dump({"groups": [{"name": "own", "rules": kept}]}))
        these.write_text(
            yaml.safe_dump({**document(str(file)), "rule_files": [str(own)], "tests": tests})
        )
        yield str(these)


@pytest.mark.parametrize("file", CASES, ids=lambda file: file.name)
def test_alerts_fire_when_they_should(file: Path, tmp_path: Path) -> None:
    assert not any("ALERTS" in rule["expr"] for rule in ALERTS), (
        "an alert that reads another needs its rule beside it"
    )
    run(tool("promtool"), "test", "rules", *with_their_own_rules(file, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("file", CASES, ids=lambda file: file.name)
def test_no_rule_fails_on_what_makes_another_alert_fire(file: Path, tmp_path: Path) -> None:
    """All rules at every 24th step: what they say is asked above, here only that each can be evaluated."""
    found, true = document(str(file)), [{"labels": "{}", "value": 1}]
    step = found["evaluation_interval"]
    tests = [
        {
            **test,
            "promql_expr_test": [
                {"expr": "vector(1)", "eval_time": ask["eval_time"], "exp_samples": true}
                for ask in test["promql_expr_test"]
            ],
        }
        for test in found["tests"]
    ]
    every = tmp_path / "every.yml"
    every.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(rule) for rule in RULES],
                "evaluation_interval": f"{24 * int(step[:-1])}{step[-1]}",
                "tests": tests,
            }
        )
    )
    run(tool("promtool"), "test", "rules", str(every))


# --- routes


ROUTES = yaml.safe_load((ROOT / "deploy/alertmanager/alertmanager.yml").read_text())


def test_alertmanager_takes_its_configuration() -> None:
    run(tool("amtool"), "check-config", "deploy/alertmanager/alertmanager.yml")


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "page"), ("warning", "ticket"), ("none", "heartbeat")]
)
def test_an_alert_goes_where_its_severity_says(severity: str, receiver: str) -> None:
    alert = next(rule["alert"] for rule in ALERTS if rule["labels"]["severity"] == severity)
    labels = (f"alertname={alert}", f"severity={severity}")
    found = run(
        tool("amtool"),
        "config",
        "routes",
        "test",
        "--config.file",
        "deploy/alertmanager/alertmanager.yml",
        *labels,
    )
    assert found.strip() == receiver
    named = {
        name
        for route in ROUTES["route"]["routes"]
        for name in re.findall(r"Crossborder\w+", str(route["matchers"]))
    }
    assert named == {"CrossborderWatchdog"}, "all others are routed by severity alone"


def test_what_is_inhibited_exists_and_never_by_itself() -> None:
    for rule in ROUTES["inhibit_rules"]:
        source, target = (" ".join(rule[f"{side}_matchers"]) for side in ("source", "target"))
        sources, targets = (set(re.findall(r"Crossborder\w+", side)) for side in (source, target))
        assert sources | targets <= NAMES
        assert not sources & targets
        labels = (
            frozenset().union(
                *(SERIES[name] for r in ALERTS for name in names_in(r["expr"]) if name in SERIES)
            )
            | FOREIGN
        )
        assert set(rule.get("equal", [])) <= labels


def test_a_dead_broker_or_database_explains_whatever_stands_still() -> None:
    still = {
        "CrossborderNoProgress",
        "CrossborderPartitionStuck",
        "CrossborderPartitionsUnread",
        "CrossborderOutboxStuck",
        "CrossborderSyntheticOrderFails",
    }
    for cause in ("CrossborderKafkaDown", "CrossborderPostgresDown"):
        (rule,) = (r for r in ROUTES["inhibit_rules"] if cause in r["source_matchers"][0])
        assert still <= set(re.findall(r"Crossborder\w+", rule["target_matchers"][0]))
        assert "InvariantBroken" not in rule["target_matchers"][0], (
            "nothing explains a broken invariant"
        )


# --- boards


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_a_board_is_what_its_code_makes(board: Board) -> None:
    assert (FOLDER / f"{board.uid}.json").read_text() == text(board), (
        "run `python -m deploy.grafana`"
    )


def test_there_is_no_board_without_code() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == {board.uid for board in BOARDS}
    assert len({board.title for board in BOARDS}) == len(BOARDS)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_every_panel_has_a_unit_and_a_description_and_nobody_may_change_it(board: Board) -> None:
    made = json.loads(text(board))
    assert made["editable"] is False
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
    for panel in made["panels"]:
        if panel["type"] == "row":
            continue
        unit = panel["fieldConfig"]["defaults"]["unit"]
        assert unit in OWN or re.fullmatch(r"suffix: \S.*", unit)
        assert len(panel["description"]) > 20
        assert panel["description"].endswith(".")
        assert panel["targets"]
        assert all(
            target["datasource"] == DATASOURCE and target["legendFormat"]
            for target in panel["targets"]
        )


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.uid)
def test_no_panel_lies_over_another(board: Board) -> None:
    taken: set[tuple[int, int]] = set()
    for panel in as_json(board)["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= WIDTH
        assert not cells & taken
        taken |= cells


def test_boards_are_provisioned_from_where_they_are_and_by_the_source_they_name() -> None:
    (source,) = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/datasources/prometheus.yml").read_text()
    )["datasources"]
    assert {"type": source["type"], "uid": source["uid"]} == DATASOURCE
    assert source["editable"] is False
    (provider,) = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/dashboards/crossborder.yml").read_text()
    )["providers"]
    assert provider["allowUiUpdates"] is False
    mounts = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]["grafana"][
        "volumes"
    ]
    assert f"./deploy/grafana/dashboards:{provider['options']['path']}:ro" in mounts


# --- runbooks

RUNBOOKS = ROOT / "docs/runbooks"


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    assert {file.stem for file in RUNBOOKS.glob("*.md")} == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_runbook_says_what_to_see_to_ask_to_do_and_how_to_know_that_it_is_over(name: str) -> None:
    page = (RUNBOOKS / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    parts = dict(
        zip(
            re.findall(r"^## (.+)$", page, re.MULTILINE),
            re.split(r"^## .+$", page, flags=re.MULTILINE)[1:],
            strict=True,
        )
    )
    assert list(parts) == ["Symptom", "Metric", "Action", "Verification"]
    assert all(len(part.strip()) > 10 for part in parts.values())
    assert re.search(r"^1\. ", parts["Action"], re.MULTILINE)
    asked = {name for query in runbook_queries(page) for name in names_in(query)}
    fires_on = {
        series for rule in ALERTS if rule["alert"] == name for series in names_in(rule["expr"])
    }
    behind = {
        series
        for rule in rules()
        if rule.get("record") in fires_on
        for series in names_in(rule["expr"])
    }
    assert asked & (fires_on | behind) or not fires_on, (
        "none of its queries is about what the alert fires on"
    )
    named = set(re.findall(r"\bcrossborder_\w+", page))
    assert named <= SERIES.keys()


def test_promtool_takes_every_query_of_the_runbooks(tmp_path: Path) -> None:
    found = [query for file in RUNBOOKS.glob("*.md") for query in runbook_queries(file.read_text())]
    file = tmp_path / "runbooks.yml"
    records = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(found)]
    file.write_text(yaml.safe_dump({"groups": [{"name": "runbooks", "rules": records}]}))
    run(tool("promtool"), "check", "rules", str(file))


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_service_that_a_runbook_starts_or_stops_is_one_of_compose(name: str) -> None:
    there = document("docker-compose.yml")["services"].keys()
    for words in re.findall(
        r"`docker compose (?:restart|stop|ps|logs|up)([^`]*)`",
        (RUNBOOKS / f"{name}.md").read_text(),
    ):
        named = [
            w.split("=")[0] for w in words.split() if not w.startswith("-") and not w.isdigit()
        ]
        assert set(named) <= there
