"""Rule files: the released ones load and cover what they must; bad ones are refused naming file, line and reason."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pytest

from services.tax.rule_check import faults_of_others
from services.tax.rulebook.effective_regime import EffectiveRegime
from services.tax.rulebook.files import RULES as FOLDER
from services.tax.rulebook.files import load, read, validate
from services.tax.rulebook.sources import rows
from services.tax.rulebook.toml_files import RuleError
from tests.unit.tax.orders import RULES

HEADINGS = [
    *(
        "0802",
        "080929",
        "0813",
        "1806",
        "190110",
        "210690",
        "220421",
        "3303",
        "330499",
        "3305",
        "3306",
        "3307",
        "3401",
        "3924",
    ),
    *(
        "4202",
        "6109",
        "6110",
        "6203",
        "6204",
        "6402",
        "6403",
        "6404",
        "8509",
        "8510",
        "8517",
        "9004",
        "9101",
        "9102",
        "9503",
    ),
    "9619",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copied = tmp_path / "rules"
    shutil.copytree(FOLDER, copied)
    return copied


def edit(folder: Path, name: str, old: str, new: str) -> None:
    path = folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")


def in_force(day: date) -> EffectiveRegime:
    found = RULES.on("import", "9610", day)
    assert found is not None
    return found


@pytest.mark.parametrize("hs", HEADINGS)
def test_heading_has_a_rate_today_and_a_source(hs: str) -> None:
    goods = in_force(date(2026, 11, 23)).find(hs.ljust(10, "0"))
    assert goods is not None
    assert goods.reduced is not None
    assert goods.hs.startswith(hs)
    assert all(name in RULES.sources for name in goods.reduced.rules)


def test_the_longest_prefix_counts() -> None:
    today = in_force(date(2026, 11, 23))
    goods = [
        today.find(code)
        for code in ("1901101090", "1901109000", "1901100000", "9102910000", "9102990000")
    ]
    assert [g.hs for g in goods if g is not None] == [
        "19011010",
        "19011090",
        "190110",
        "910291",
        "910299",
    ]


def test_regimes_begin_and_end_on_their_days() -> None:
    regimes = [
        RULES.on("import", "9610", day)
        for day in (date(2016, 4, 8), date(2018, 12, 31), date(2019, 1, 1))
    ]
    assert [found.regime.id for found in regimes if found] == [
        "cbec-retail-2016",
        "cbec-retail-2016",
        "cbec-retail-2019",
    ]
    before = RULES.on("import", "9610", date(2016, 4, 7))
    assert before is not None
    assert before.regime.id == "parcel-tax-2012"
    assert RULES.on("import", "9610", date(2012, 4, 14)) is None


STANDARD = 'class = "standard"\nrate = "0.13"\nvalid_from = 2019-04-01'


@pytest.mark.parametrize(
    ("name", "old", "new", "reason"),
    [
        ("tariff-cn.toml", STANDARD, STANDARD.replace("04-01", "03-15"), "overlaps"),
        ("tariff-cn.toml", STANDARD, STANDARD.replace("04-01", "05-01"), "gap"),
        ("tariff-cn.toml", STANDARD, STANDARD.replace("0.13", "-0.13"), "greater than or equal to 0"),
        ("tariff-cn.toml", STANDARD, STANDARD.replace('"0.13"', "0.13"), "decimal string"),
        ("tariff-cn.toml", STANDARD, STANDARD + "\nvalid_until = 2030-01-01", "Extra inputs"),
        ("tariff-cn.toml", STANDARD, STANDARD + "\nvalid_to = 2019-03-01", "is before valid_from"),
        ("tariff-cn.toml", STANDARD, STANDARD + "\nvalid_to = 2029-01-01", "days without a rate of the vat class 'standard'"),
        ("tariff-cn.toml", 'hs = "080929"', 'hs = "0809x9"', "String should match"),
        ("tariff-cn.toml", 'hs = "080929"', 'hs = "9809"', "String should match"),
        ("tariff-cn.toml", 'hs = "080929"', 'hs = "0802"', "overlaps"),
        ("tariff-cn.toml", 'vat = "agricultural"', 'vat = "reduced"', "vat class 'reduced', which is not there"),
        ("tariff-cn.toml", 'consumption = "wine"', 'consumption = "beer"', "consumption class 'beer', which is not there"),
        ("tariff-cn.toml", 'per_unit = "10000"', 'per_unit = "10000"\nper_content = { ml = "10" }', "not both"),
        ("tariff-cn.toml", "[[vat]]", "[[vat]", "not TOML"),
        ("cbec-retail-2019.toml", "valid_from = 2019-01-01", "valid_from = 2018-12-31", "overlaps"),
        ("cbec-retail-2019.toml", "valid_from = 2019-01-01", "valid_from = 2019-01-02", "gap"),
        ("cbec-retail-2019.toml", 'vat_share = "0.70"', 'vat_share = "70"', "less than or equal to 1"),
        ("cbec-retail-2019.toml", 'several = "refuse"', 'several = "perhaps"', "single.several"),
        ("cbec-retail-2019.toml", 'kind = "retail-import"', 'kind = "barter"', "kind"),
        ("cbec-retail-2019.toml", 'id = "cbec-retail-2019"', 'id = "cbec-retail-2016"', "is that of"),
        ("cbec-retail-2016.toml", "[within]", "[without]", "within: Field required"),
        ("cbec-retail-2019.toml", 'otherwise = "cn-general-trade"', 'otherwise = "sea"', "'sea' of general trade, which is not there"),
        ("cbec-retail-2019.toml", '"positive-list-cn"', '"white-list"', "'white-list', which is not there"),
        ("tariff-cn.toml", 'hs = "3401"', 'hs = "3499"', "hs 3499 is unknown: chapter 34 has 7 headings"),
        ("tariff-cn.toml", 'kind = "tariff"', 'kind = "exempt"', "Field required"),
        ("tariff-cn.toml", '\nsource = "MOF, STA and GACC 2019 No. 39; 13 % on htshub 3304990029"', "", "source: Field required"),
        ("positive-list-cn.toml", 'hs = "9503"', 'hs = "7701"', "hs 7701 is unknown"),
        ("positive-list-cn.toml", 'hs = "9503"', 'hs = "9102"', "overlaps"),
        ("positive-list-cn.toml", 'kg_a_year = "2"', 'kg_a_year = "-2"', "greater than 0"),
        ("parcel-articles-2012.toml", 'class = "food-and-other"', 'class = "food"', "'food', which parcel-tax-2012 has no rate of"),
        ("parcel-articles-2012.toml", 'dear_class = "dear-watches-and-golf"\n', "", "dear_from and dear_class go together"),
        ("parcel-tax-2018.toml", "valid_from = 2018-11-01", "valid_from = 2018-10-01", "overlaps"),
        ("parcel-tax-2019.toml", "valid_from = 2019-04-09", "valid_from = 2019-04-10", "gap"),
        ("parcel-tax-2018.toml", "valid_to = 2019-04-08", "valid_to = 2018-04-08", "is before valid_from"),
        ("parcel-tax-2018.toml", 'articles = "parcel-articles-2016"', 'articles = "articles"', "'articles', which is not there"),
        ("parcel-tax-2018.toml", 'class = "two"', 'class = "one"', "'one' overlaps"),
        ("parcel-tax-2018.toml", 'sent_from = ["HK", "MO", "TW"]\n', "", "one limit, and only one"),
        ("parcel-tax-2018.toml", 'rate = "0.25"', 'rate = "-0.25"', "greater than or equal to 0"),
        ("cn-general-trade.toml", 'tax_at_most = "50.00"', 'tax_at_most = "50.005"', "decimal places"),
        ("tariff-cn.toml", STANDARD, STANDARD.replace("0.13", "13"), "less than or equal to 1, found '13'"),
        ("tariff-cn.toml", STANDARD, STANDARD.replace("0.13", "9"), "less than or equal to 1"),
        ("tariff-cn.toml", STANDARD, STANDARD.replace("2019-04-01", "20190401"), "write a day like 2026-11-23"),
        ("tariff-cn.toml", STANDARD, STANDARD.replace("2019-04-01", "86400"), "write a day like 2026-11-23"),
        ("tariff-cn.toml", STANDARD, STANDARD.replace("2019-04-01", "2019-04-01T00:00:00"), "without a time"),
        ("tariff-cn.toml", STANDARD, STANDARD.replace("2019-04-01", "true"), "write a day like 2026-11-23"),
        ("parcel-tax-2018.toml", 'rate = "0.25"', 'rate = "2.5"', "less than or equal to 1"),
        ("parcel-tax-2018.toml", "version = 1", 'version = "1"', "should be a valid integer"),
        ("positive-list-cn.toml", "listed = true", 'listed = "yes"', "should be a valid boolean"),
        ("rates-cny.toml", "carried_over = true", "carried_over = 1", "should be a valid boolean"),
        ("rates-cny.toml", 'USD = "619.7220"', 'USD = "0"', "greater than 0"),
        ("rates-cny.toml", 'USD = "619.7220"', 'USD = "６19.7220"', "digits and a point only"),
        ("rates-cny.toml", 'USD = "619.7220"', 'USD = "1e-999999999"', "digits and a point only"),
        ("tariff-cn.toml", 'hs = "3401"', 'hs = "３401"', "should match pattern"),
        ("rates-cny.toml", 'USD = "619.7220"', 'USX = "619.7220"', "'USX' is unknown"),
        ("rates-cny.toml", "valid_from = 2015-02-01", "valid_from = 2015-01-31", "overlaps"),
        ("rates-cny.toml", "valid_from = 2015-02-01", "valid_from = 2015-02-02", "gap"),
    ],
)  # fmt: skip
def test_a_bad_file_is_refused_by_name_and_reason(
    folder: Path, name: str, old: str, new: str, reason: str
) -> None:
    edit(folder, name, old, new)
    with pytest.raises(RuleError) as refused:
        load(folder)
    assert reason in str(refused.value)
    assert refused.value.path.name == name
    assert str(refused.value).startswith(f"{name}:{refused.value.line}: ")


@pytest.mark.parametrize(
    ("name", "old", "new", "line", "reason"),
    [
        ("cbec-retail-2016.toml", "valid_to = 2018-12-31", "valid_to = 2015-12-31", "valid_to = 2015-12-31", "before valid_from"),
        ("cbec-retail-2019.toml", 'vat_share = "0.70"', 'vat_share = "70"', 'vat_share = "70"', "less than or equal to 1, found '70'"),
        ("cbec-retail-2019.toml", 'vat_share = "0.70"', "", "[within]", "within.vat_share: Field required"),
        ("cbec-retail-2019.toml", '\nsource = "财关税[2018]49号 art. 1-2; reported by ecns.cn, 30 Nov 2018"', "", 'id = "cbec-retail-2019"',
         "source: Field required"),
        ("parcel-tax-2018.toml", 'rate = "0.25"', 'rate = "-0.25"', "[[rate]]", "than or equal to 0, found '-0.25'"),
        ("parcel-tax-2018.toml", 'kind = "parcel-tax"', 'kind = "toll"', 'kind = "toll"', "found 'toll'"),
        ("rates-cny.toml", 'USD = "619.7220"', "USD = 619.7220", "[[period]]", "period[0].per_100.USD: write numbers as decimal strings"),
    ],
)  # fmt: skip
def test_the_line_is_that_of_the_key_or_of_what_lacks_it(
    folder: Path, name: str, old: str, new: str, line: str, reason: str
) -> None:
    edit(folder, name, old, new)
    with pytest.raises(RuleError) as refused:
        load(folder)
    assert reason in str(refused.value)
    text = (folder / name).read_text(encoding="utf-8").splitlines()
    assert refused.value.line is not None
    assert text[refused.value.line - 1] == line


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (STANDARD, STANDARD.replace("0.13", "-0.13")),
        (STANDARD, STANDARD.replace("04-01", "05-01")),
        ('hs = "3401"', 'hs = "34"'),
    ],
)
def test_the_line_of_the_bad_row_is_named(folder: Path, old: str, new: str) -> None:
    edit(folder, "tariff-cn.toml", old, new)
    text = (folder / "tariff-cn.toml").read_text(encoding="utf-8")
    row = text[: text.index(new)].count("\n")
    with pytest.raises(RuleError) as refused:
        load(folder)
    assert refused.value.line == row
    assert text.splitlines()[row - 1].startswith("[[")


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("written", "says"),
    [
        (b"", "kind"), (b"# nothing\n", "kind"), (b'{"a": 1}', "not TOML"), (b"\x00" * 100, "not TOML"), (b'kind = ["x"]\n', "kind"),
        (b'id = "caf\xe9"\n', "byte 9 is not UTF-8 text"), ("kind = 1".encode("utf-16"), "UTF-16 text, write it as UTF-8"),
        (None, "cannot be read"),
    ],
    ids=["empty", "comment", "json", "nul", "kind-list", "latin-1", "utf-16", "folder"],
)  # fmt: skip
def test_a_file_that_says_nothing_sound_is_refused_by_name(
    tmp_path: Path, path: Path, written: bytes | None, says: str
) -> None:
    bad = tmp_path / path.name
    if written is None:
        bad.mkdir()
    else:
        bad.write_bytes(written)
    faults = [*read(tmp_path).faults, *faults_of_others(tmp_path)]
    told = next(str(fault) for fault in faults if fault.path == bad)
    assert told.startswith(path.name)
    assert says in told
    assert str(tmp_path) not in told


def test_a_byte_order_mark_and_line_ends_of_windows_say_nothing(folder: Path) -> None:
    before = load(folder).edition
    for path in folder.glob("*.toml"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load(folder).edition == before
    assert faults_of_others(folder) == []


def test_a_set_with_a_bad_file_is_refused_whole_and_every_fault_is_told(folder: Path) -> None:
    edit(folder, "tariff-cn.toml", STANDARD, STANDARD.replace("0.13", "-0.13"))
    edit(folder, "parcel-tax-2018.toml", 'rate = "0.25"', 'rate = "much"')
    rules, faults = validate(folder)
    assert rules is None
    assert [(fault.path.name, fault.line is not None) for fault in faults] == [
        ("parcel-tax-2018.toml", True),
        ("tariff-cn.toml", True),
    ]


def test_an_edition_is_of_what_the_files_say_and_not_of_how_they_are_written(folder: Path) -> None:
    same = load(folder).edition
    assert same == RULES.edition
    edit(folder, "tariff-cn.toml", "# Headings.", "# Headings by prefix.")
    (folder / "tariff-cn.toml").rename(folder / "customs-tariff.toml")
    assert load(folder).edition == same
    edit(folder, "customs-tariff.toml", STANDARD, STANDARD.replace("0.13", "0.14"))
    assert load(folder).edition != same


def test_no_rule_is_without_source_and_every_name_is_one_rule() -> None:
    named = [name for name, _ in rows(RULES.rule_set)]
    assert len(named) == len(set(named))
    assert all(row.source.strip() for _, row in rows(RULES.rule_set))


def test_there_must_be_one_tariff(folder: Path) -> None:
    (folder / "tariff-cn.toml").rename(folder / "tariff-cn.bak")
    with pytest.raises(RuleError, match="one tariff"):
        load(folder)
