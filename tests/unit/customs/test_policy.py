"""The declarant's policy: the closest office and statutory unit win, and a policy with a hole stops the start."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from services.customs.ceb import codes
from services.customs.policy import NoOffice
from services.customs.policy_file import load
from shared.errors import Misconfigured


def test_the_named_country_wins_over_any() -> None:
    policy = load()
    assert policy.office("export", "9610", "RU").country == "RU"
    assert policy.office("export", "9710", "DE").country == "*"
    assert policy.office("import", "1210", "US").mode == "1210"
    with pytest.raises(NoOffice, match="import 9710 US"):
        policy.office("import", "9710", "US")


def test_the_longest_tariff_prefix_wins() -> None:
    policy = load()
    assert policy.statutory_units("0809290000") == ("kg", None)
    assert policy.statutory_units("3304990039") == ("kg", "item")


def test_every_code_the_policy_names_is_in_the_authoritys_lists() -> None:
    policy = load()
    for code in (
        policy.amendments.correctable | policy.amendments.too_soon | policy.amendments.there_already
    ):
        assert codes.error(code) is not None or codes.status(code).meaning_class == "technical"
    for first, second in policy.statutory.values():
        assert codes.unit_code(first)
        assert second is None or codes.unit_code(second)
    for office in policy.offices:
        assert office.country == "*" or codes.country_code(office.country)
    assert 1 <= policy.batching.lists_max <= 100


def test_a_policy_with_a_hole_names_it(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('version = "1"')
    with pytest.raises(Misconfigured, match="lacks declarant"):
        load(path)
    path = tmp_path / "nonsense.toml"
    path.write_text("= = =")
    with pytest.raises(Misconfigured, match="cannot be read"):
        load(path)


@pytest.mark.parametrize(
    ("line", "instead", "named"),
    [
        ("lists_max = 100", "lists_max = 101", "batching.lists_max: found 101, expected 1 to 100"),
        ("lists_max = 100", "lists_max = 0", "batching.lists_max: found 0"),
        ("lines_max = 800", "lines_max = 0", "lines_max 0"),
        ("age_s = 1.0", "age_s = 0.0", "age_s 0"),
        ("patience_s = 86400.0", "patience_s = inf", "patience_s inf"),
        ("too_soon_wait_s = 5.0", "too_soon_wait_s = -1.0", "too_soon_wait_s -1"),
        ("wait_max_s = 7200.0", "wait_max_s = nan", "wait_max_s nan"),
        ("age_s = 1.0", "age_s = inf", "age_s inf"),
        ("bytes_max = 1048576", "bytes_max = 1048577", "batching.bytes_max: found 1048577"),
        ("bytes_max = 1048576", "bytes_max = 1000", "batching.bytes_max: found 1000"),
        (
            '"DXPENT0000530815"',
            f'"DXPENT{"0" * 25}"',
            "declarant.dxp_id: .* dxpId has 31 characters, the message takes 1 to 30",
        ),
        (
            'code = "1105910159"',
            "code = 1105910159",
            "declarant.code: found int, expected a text in quotes",
        ),
        (
            'code = "1105910159"',
            'code = ""',
            "declarant.code: found '': agentCode has 0 characters",
        ),
        (
            'name = "Crossborder Declaration Services"',
            f'name = "{"报关" * 51}"',
            "declarant.name: .* agentName has 102",
        ),
        (
            'name = "Crossborder Declaration Services"',
            'name = "a\\u0001b"',
            "declarant.name: .* XML cannot carry",
        ),
        (
            'guarantor_code = "1105910159"',
            f'guarantor_code = "{"1" * 31}"',
            "declarant.guarantor_code: .* assureCode has 31",
        ),
        (
            'broker_code = "1105910159"',
            f'broker_code = "{"1" * 19}"',
            "summary.broker_code: .* declAgentCode",
        ),
        (
            'summary_flag = "2"',
            'summary_flag = "3"',
            "summary.summary_flag: found '3', expected one of 1, 2",
        ),
        ('item_name_flag = "0"', 'item_name_flag = ""', "summary.item_name_flag: found ''"),
        ('statistics_flag = "B"', 'statistics_flag = "C"', "export.statistics_flag: found 'C'"),
        ('wrap_type = "2"', 'wrap_type = "22"', "export.wrap_type: .* wrapType has 2"),
        ('9710 = "9661"', '9710 = "966"', "returns.export_trade_mode.9710: .* tradeMode has 3"),
        ('9710 = "9661"', "", "returns.export_trade_mode: found none for 9710"),
        ('unit = "kg"', 'unit = "stone"', "statutory_units of '': unit: .* 'stone' has no code"),
        (
            'ledger_no = "T3105W000001"',
            f'ledger_no = "{"T" * 31}"',
            "bonded.ledger_no: .* emsNo has 31",
        ),
        ('area_name = "Crossborder Bonded Warehouse"', 'area_name = ""', "bonded.area_name"),
        (
            'customs_code = "2244"',
            'customs_code = "224"',
            "offices, number 1: customs_code: .* customsCode has 3",
        ),
        ('port_code = "2233"', "port_code = 2233", "offices, number 1: port_code: found int"),
        ('traf_mode = "5"', 'traf_mode = ""', "offices, number 1: traf_mode"),
        ('country = "*"', 'country = "ZZ"', "offices, number 1: country: .* 'ZZ' has no code"),
        (
            'direction = "import"\nmode',
            'direction = "inward"\nmode',
            "offices, number 1: direction: found 'inward'",
        ),
        (
            'voyage_no = "SCHEDULED"',
            f'voyage_no = "{"S" * 33}"',
            "offices, number 1: voyage_no: .* voyageNo has 33",
        ),
    ],
)
def test_a_policy_by_which_no_message_could_be_lodged_is_refused(
    line: str, instead: str, named: str, tmp_path: Path
) -> None:
    """The schema has room for 100 documents: every larger message would come back whole, as a CEB900."""
    text = files("services.customs").joinpath("policy.toml").read_text(encoding="utf-8")
    assert line in text
    path = tmp_path / "policy.toml"
    path.write_text(text.replace(line, instead, 1), encoding="utf-8")
    with pytest.raises(Misconfigured, match=named):
        load(path)
