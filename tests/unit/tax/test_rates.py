"""The European Central Bank's files: which day a month has the rates of, what is written, and what is no such file."""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from services.cli.app import app
from services.tax.landed.files import load_rates
from services.tax.rulebook.ecb import Missing, Month, day_for, next_periods, rates_day
from services.tax.rulebook.ecb_files import NotRates, read_quotes
from services.tax.rulebook.files import RULES, load
from services.tax.rulebook.rate_files import import_rates

WIDE = "Date,USD,JPY,CYP,CNY,RON,\n"
DECEMBER = "2026-11-18,1.16,170.1,N/A,7.25,5.1,\n"
LONG = (
    "KEY,FREQ,CURRENCY,CURRENCY_DENOM,EXR_TYPE,EXR_SUFFIX,TIME_PERIOD,OBS_VALUE,OBS_STATUS\n"
    "EXR.D.CNY.EUR.SP00.A,D,CNY,EUR,SP00,A,2026-11-18,7.25,A\n"
    "EXR.D.USD.EUR.SP00.A,D,USD,EUR,SP00,A,2026-11-18,1.16,A\n"
    "EXR.M.USD.EUR.SP00.A,M,USD,EUR,SP00,A,2026-11,9.99,A\n"
    "EXR.D.USD.EUR.SP00.A,D,USD,EUR,SP00,A,2026-11-19,NaN,M\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copied = tmp_path / "rules"
    shutil.copytree(RULES, copied)
    return copied


def run(file: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["tax", "rates", "import", str(file), *arguments])


def bank(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "eurofxref-hist.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("month", "day"),
    [
        (Month(2026, 12), date(2026, 11, 18)), (Month(2026, 11), date(2026, 10, 21)), (Month(2027, 1), date(2026, 12, 16)),
        (Month(2015, 1), date(2014, 12, 17)), (Month(2024, 3), date(2024, 2, 21)), (Month(2025, 2), date(2025, 1, 15)),
    ],
)  # fmt: skip
def test_a_month_has_the_rates_of_the_third_wednesday_before(month: Month, day: date) -> None:
    assert rates_day(month) == day
    assert day.weekday() == 2
    assert 15 <= day.day <= 21


def test_every_period_of_the_table_says_the_day_that_the_rule_asks_for() -> None:
    """So that what `import` writes is what stands there already."""
    for period in load_rates().period:
        month = Month.of(period.valid_from)
        assert (period.valid_from, period.valid_to) == (month.first, month.last)
        if not period.carried_over:
            said = date.fromisoformat(period.source.split("reference rates of ")[1][:10])
            assert timedelta(0) <= said - rates_day(month) <= timedelta(days=3)


def test_the_table_has_a_rate_for_each_currency_of_the_union_and_for_december() -> None:
    exchange = load().exchange
    for currency in ("USD", "EUR", "RON", "PLN", "CZK", "HUF", "SEK", "DKK"):
        assert (
            exchange.rate(currency, date(2026, 12, 31)).rule == f"rates-cny/{currency}/2026-12-01"
        )
    (last,) = [period for period in load_rates().period if period.valid_from == date(2026, 12, 1)]
    assert last.carried_over
    assert last.confidence == "unverified"


@pytest.mark.parametrize(
    "text",
    [
        WIDE + DECEMBER,
        LONG,
        "Date, USD, CNY, \n18 November 2026, 1.16, 7.25, \n",
        "\ufeff" + WIDE + DECEMBER,
    ],
)
def test_a_file_of_the_bank_puts_its_rates_in_place_of_what_was_carried_over(
    tmp_path: Path, folder: Path, text: str
) -> None:
    before = load(folder)
    result = run(bank(tmp_path, text), "--rules", str(folder), "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert (told["replaces"], [p["of"] for p in told["periods"]]) == ("2026-12-01", ["2026-11-18"])
    after = load(folder)
    assert after.edition != before.edition
    rate = after.exchange.rates
    assert rate is not None
    last = max(rate.period, key=lambda period: period.valid_from)
    assert (last.valid_from, last.valid_to, last.carried_over) == (
        date(2026, 12, 1),
        date(2026, 12, 31),
        False,
    )
    assert (last.per_100["USD"], last.per_100["EUR"]) == (Decimal("625.0000"), Decimal("725.0000"))
    assert last.per_100["BHD"] == Decimal("1662.2340")
    assert last.source.startswith("ECB euro reference rates of 2026-11-18, crossed over the euro")
    assert len(rate.period) == len(before.exchange.rates.period)  # type: ignore[union-attr]


def test_as_many_months_are_written_as_the_file_has_and_again_is_nothing(
    tmp_path: Path, folder: Path
) -> None:
    days = [date(2026, 11, 1) + timedelta(days=n) for n in range(60)]
    rows = [f"{day},1.16,170.1,N/A,7.25,5.1," for day in reversed(days) if day.weekday() < 5]
    file = bank(tmp_path, WIDE + "\n".join(rows) + "\n")
    assert run(file, "--rules", str(folder), "--dry-run").stdout.count("[[period]]") == 2
    assert run(file, "--rules", str(folder)).exit_code == 0
    assert load(folder).exchange.rate("USD", date(2027, 1, 31)).rule == "rates-cny/USD/2027-01-01"
    again = run(file, "--rules", str(folder))
    assert again.exit_code == 1
    assert "2027-02 has the rates of 2027-01-20" in again.stderr


def test_a_holiday_takes_the_next_day_with_rates_but_a_file_of_single_days_does_not() -> None:
    month = Month(2026, 12)
    one = {"USD": Decimal(1), "CNY": Decimal(7)}
    assert day_for(month, {date(2026, 11, 17): one, date(2026, 11, 19): one}) == date(2026, 11, 19)
    for days in (
        [date(2026, 11, 19)],
        [date(2026, 11, 17)],
        [date(2026, 11, 2), date(2026, 11, 30)],
    ):
        with pytest.raises(Missing, match="2026-11-18, the third Wednesday"):
            day_for(month, dict.fromkeys(days, one))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected a file of the European Central Bank"),
        ("a,b\n1,2\n", "expected a file of the European Central Bank"),
        (WIDE, "found no rate"),
        (WIDE + "2026-11-18,1.16,170.1,N/A,,5.1,\n", "CNY of 2026-11-18: found nothing"),
        (
            WIDE + "2026-11-18,1e3,170.1,N/A,7.25,5.1,\n",
            "line 2: USD: found '1e3', expected a number above zero",
        ),
        (WIDE + "2026-11-18,１.16,170.1,N/A,7.25,5.1,\n", "line 2: USD: found '１.16'"),
        (WIDE + "2026-11-18,-1.16,170.1,N/A,7.25,5.1,\n", "line 2: USD"),
        (WIDE + "2026-11-18,0,170.1,N/A,7.25,5.1,\n", "line 2: USD"),
        (
            WIDE + "0001-01-01,1.16,170.1,N/A,7.25,5.1,\n",
            "line 2: Date: found '0001-01-01', expected a day from 1999-01-01",
        ),
        (WIDE + "9999-12-31,1.16,170.1,N/A,7.25,5.1,\n", "line 2: Date: found '9999-12-31'"),
        (WIDE + "２０２６-11-18,1.16,170.1,N/A,7.25,5.1,\n", "line 2: Date"),
        (WIDE + "18.11.2026,1.16,170.1,N/A,7.25,5.1,\n", "line 2: Date: found '18.11.2026'"),
        (
            WIDE + DECEMBER + "2026-11-18,1.17,170.1,N/A,7.25,5.1,\n",
            "line 3: USD of 2026-11-18: found 1.17, expected 1.16",
        ),
        (WIDE + "2026-11-18,1.16,170.1,N/A,7.25,5.1,,8\n", "line 2: found 8 columns"),
        (WIDE + "2026-11-18,1.16,170.1,N/A,7.2", "line 2: found 5 columns, expected 7"),
        (WIDE + "2026-11-18,1.1", "line 2: found 2 columns, expected 7"),
        ("Date,USD,USD,CNY,\n2026-11-18,1.16,1.16,7.25,\n", "line 1: found the column USD twice"),
        (LONG.replace("OBS_VALUE", "VALUE"), "found no column OBS_VALUE"),
        (LONG + "EXR.D.USD.EUR.SP00.A,D,USD\n", "line 6: found 3 columns, expected 9"),
    ],
)
def test_what_is_no_file_of_the_bank_is_refused_by_line_and_nothing_is_written(
    tmp_path: Path, folder: Path, text: str, says: str
) -> None:
    before = (folder / "rates-cny.toml").read_text(encoding="utf-8")
    result = run(bank(tmp_path, text), "--rules", str(folder))
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert "Traceback" not in result.output
    assert (folder / "rates-cny.toml").read_text(encoding="utf-8") == before


def test_a_zip_bytes_that_are_no_text_and_a_missing_file_are_named(
    tmp_path: Path, folder: Path
) -> None:
    path = tmp_path / "bank.csv"
    for raw, says in ((b"PK\x03\x04", "unpack it first"), (b"\xff\xfe", "no UTF-8 text")):
        path.write_bytes(raw)
        result = run(path, "--rules", str(folder))
        assert (result.exit_code, says in result.stderr) == (2, True)
    assert run(tmp_path / "none.csv", "--rules", str(folder)).exit_code == 2


def test_rates_that_jump_are_named_for_a_person_to_look_at(tmp_path: Path, folder: Path) -> None:
    upside_down = WIDE + "2026-11-18,0.86,170.1,N/A,7.25,5.1,\n"
    result = run(bank(tmp_path, upside_down), "--rules", str(folder), "--dry-run")
    assert result.exit_code == 0
    assert "look at USD, " in result.stderr
    assert (
        "look at"
        not in run(bank(tmp_path, WIDE + DECEMBER), "--rules", str(folder), "--dry-run").stderr
    )


def test_a_disk_that_is_full_leaves_the_table_and_nothing_beside_it(
    tmp_path: Path, folder: Path
) -> None:
    """No file may be longer than 4 blocks here, so that the write ends in the middle, as on a full disk."""
    before = (folder / "rates-cny.toml").read_bytes()
    names = sorted(path.name for path in folder.iterdir())
    asked = [
        sys.executable,
        "-m",
        "services",
        "tax",
        "rates",
        "import",
        str(bank(tmp_path, WIDE + DECEMBER)),
        "--rules",
        str(folder),
    ]
    limited = ["sh", "-c", 'ulimit -f 4; exec "$@"', "sh", *asked]
    result = subprocess.run(limited, capture_output=True, text=True, check=False)
    assert result.returncode == 2, result.stderr
    assert "rates-cny.toml: cannot be written" in result.stderr
    assert (folder / "rates-cny.toml").read_bytes() == before
    assert sorted(path.name for path in folder.iterdir()) == names


def test_what_a_killed_import_left_is_no_rule_file_and_no_hindrance(
    tmp_path: Path, folder: Path
) -> None:
    before = load(folder).edition
    for name in (".rates-cny.toml.x1.new", "rates-cny.toml.new"):
        (folder / name).write_text("[[peri", encoding="utf-8")
    assert load(folder).edition == before
    assert run(bank(tmp_path, WIDE + DECEMBER), "--rules", str(folder)).exit_code == 0


def test_the_table_stays_as_readable_as_it_was_and_a_link_stays_a_link(
    tmp_path: Path, folder: Path
) -> None:
    """Who imports may be another user than who runs the services."""
    real = tmp_path / "elsewhere.toml"
    table = folder / "rates-cny.toml"
    table.rename(real)
    table.symlink_to(real)
    real.chmod(0o640)
    assert run(bank(tmp_path, WIDE + DECEMBER), "--rules", str(folder)).exit_code == 0
    assert table.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert "2026-11-18" in real.read_text(encoding="utf-8")


def test_a_currency_that_the_bank_left_out_is_said_and_comes_back(
    tmp_path: Path, folder: Path
) -> None:
    without = WIDE + "2026-11-18,1.16,170.1,N/A,7.25,N/A,\n"
    result = run(bank(tmp_path, without), "--rules", str(folder), "--json")
    assert result.exit_code == 0
    assert "RON" in json.loads(result.stdout)["periods"][0]["lacking"]
    assert (
        "RON, SEK: no rate of 2026-11-18 in the file: orders in it are refused in 2026-12"
        in result.stderr
    )
    assert (
        run(
            bank(tmp_path, WIDE + "2026-12-16,1.16,170.1,N/A,7.25,5.1,\n"), "--rules", str(folder)
        ).exit_code
        == 0
    )
    assert load(folder).exchange.rate("RON", date(2027, 1, 1)).rule == "rates-cny/RON/2027-01-01"


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            "2026-11-18,7.25,170.1,N/A,1.16,5.1,\n",
            "USD of 2026-11-18: found 100 of it worth 16.0000 CNY, ",
        ),
        (
            "2026-11-18,1.16,1.701,N/A,7.25,5.1,\n",
            "JPY of 2026-11-18: found 100 of it worth 426.2199 CNY, ",
        ),
        (
            "2026-11-18,0.000000001,170.1,N/A,7.25,5.1,\n",
            "USD of 2026-11-18: found 100 of it worth 725000000000.0000 CNY, ",
        ),
        ("2026-11-18,999999999,170.1,N/A,7.25,5.1,\n", "expected from 0.0001 to 1000000"),
    ],
)
def test_rates_that_no_month_could_bring_are_refused_and_not_taken(
    tmp_path: Path, folder: Path, row: str, says: str
) -> None:
    """Columns in each other's place, a point at another place."""
    before = (folder / "rates-cny.toml").read_bytes()
    result = run(bank(tmp_path, WIDE + row), "--rules", str(folder))
    assert (result.exit_code, result.stdout) == (2, "")
    assert says in result.stderr
    assert (folder / "rates-cny.toml").read_bytes() == before


def test_days_that_are_yet_to_come_are_said(tmp_path: Path, folder: Path) -> None:
    row = "2098-11-19,1.16,170.1,N/A,7.25,5.1,\n"
    result = run(bank(tmp_path, WIDE + row), "--rules", str(folder))
    assert (result.exit_code, "eurofxref-hist.csv has every day" in result.stderr) == (1, True)
    found = import_rates(folder, WIDE + DECEMBER)
    assert found.future_days(date(2026, 11, 17)) == [date(2026, 11, 18)]
    assert found.future_days(date(2026, 11, 18)) == []


def test_a_comment_after_the_last_period_and_line_ends_of_windows_do_not_matter(
    tmp_path: Path, folder: Path
) -> None:
    path = folder / "rates-cny.toml"
    text = (
        path.read_text(encoding="utf-8")
        + "\n# [[period]] of customs' own table: carried_over = true\n"
    )
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    assert run(bank(tmp_path, WIDE + DECEMBER), "--rules", str(folder)).exit_code == 0
    assert load(folder).exchange.rate("USD", date(2026, 12, 1)).rule == "rates-cny/USD/2026-12-01"


def test_the_csv_may_come_by_stdin(tmp_path: Path, folder: Path) -> None:
    result = CliRunner().invoke(
        app, ["tax", "rates", "import", "-", "--rules", str(folder)], input=WIDE + DECEMBER
    )
    assert result.exit_code == 0, result.output


def test_only_the_last_period_may_be_carried_over(folder: Path) -> None:
    path = folder / "rates-cny.toml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("[[period]]\n", "[[period]]\ncarried_over = true\n", 1), encoding="utf-8"
    )
    with pytest.raises(Exception, match="only the last period may be carried over"):
        load(folder)


def test_a_table_without_a_last_day_is_not_grown() -> None:
    rates = load_rates()
    open_ended = [rates.period[0].model_copy(update={"valid_to": None})]
    with pytest.raises(Missing, match="without a last day"):
        next_periods(open_ended, read_quotes(WIDE + DECEMBER))
    assert read_quotes(WIDE + DECEMBER)[date(2026, 11, 18)] == {
        "USD": Decimal("1.16"), "JPY": Decimal("170.1"), "CNY": Decimal("7.25"), "RON": Decimal("5.1"),
    }  # fmt: skip
    with pytest.raises(NotRates):
        read_quotes("Date\n")
