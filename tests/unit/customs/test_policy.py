"""The declarant's policy: the closest office and statutory unit win, and a policy with a hole stops the start."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from services.customs.ceb import codes
from services.customs.policy import NoOffice, load
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
    for code in policy.amendments.correctable | policy.amendments.too_soon | policy.amendments.there_already:
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
    ],
)
def test_a_policy_by_which_no_message_could_be_lodged_is_refused(line: str, instead: str, named: str, tmp_path: Path) -> None:
    """The schema has room for 100 documents: every larger message would come back whole, as a CEB900."""
    text = files("services.customs").joinpath("policy.toml").read_text(encoding="utf-8")
    assert line in text
    path = tmp_path / "policy.toml"
    path.write_text(text.replace(line, instead, 1), encoding="utf-8")
    with pytest.raises(Misconfigured, match=named):
        load(path)
