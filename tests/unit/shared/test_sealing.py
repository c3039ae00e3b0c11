"""Sealed particulars open only for their own order and field, and never after the key is gone."""

import stat
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from shared.errors import Misconfigured
from shared.sealing import MASTER_KEYS, Sealing, Unsealable, bound, ensure_master_keys, seal, unseal


@pytest.fixture
def sealing(tmp_path: Path) -> Sealing:
    ensure_master_keys(tmp_path)
    return Sealing.from_dir(tmp_path)


def test_a_sealed_field_opens_nowhere_but_in_its_own_field_of_its_own_order() -> None:
    key, order_id = AESGCM(AESGCM.generate_key(256)), uuid4()
    sealed = seal(key, b"particulars", bound(order_id, "buyer"))
    assert unseal(key, sealed, bound(order_id, "buyer")) == b"particulars"
    for elsewhere in (bound(order_id, "payer"), bound(uuid4(), "buyer")):
        with pytest.raises(ValueError, match="belongs to another order or field"):
            unseal(key, sealed, elsewhere)
    with pytest.raises(ValueError, match="altered"):
        unseal(key, sealed[:-1] + bytes([sealed[-1] ^ 1]), bound(order_id, "buyer"))


def test_one_document_has_one_reference_whatever_its_case_and_another_has_another(
    sealing: Sealing,
) -> None:
    ref = sealing.person_ref("1", "11010519491231002X")
    assert isinstance(ref, UUID)
    assert ref == sealing.person_ref("1", " 11010519491231002x ")
    assert ref != sealing.person_ref("1", "440524188001010014")


def test_digests_compare_normalised_text_and_differ_between_installations(
    sealing: Sealing, tmp_path: Path
) -> None:
    assert sealing.digest("Zhang  San") == sealing.digest(" zhang san ")
    assert sealing.digest("Zhang San") != sealing.digest("Li Si")
    spellings = ("Zhang San", "zhang san", "Zhang  San", "Zhang\x1fSan", "\uff3ahang San")
    assert len({sealing.digest(text) for text in spellings}) == 1
    assert len({sealing.digest_exact(text) for text in spellings}) == len(spellings)
    other = tmp_path / "other"
    ensure_master_keys(other)
    assert Sealing.from_dir(other).digest("Zhang San") != sealing.digest("Zhang San")


def test_missing_keys_are_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"crossborder keys.*wrapping\.key"):
        Sealing.from_dir(tmp_path)


def test_key_files_are_made_once_and_readable_by_their_owner_only(tmp_path: Path) -> None:
    assert set(ensure_master_keys(tmp_path)) == set(MASTER_KEYS)
    assert ensure_master_keys(tmp_path) == []
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()} == {0o600}


class Vault:
    """A connection to the table of persons' keys."""

    def __init__(self) -> None:
        self.rows: dict[UUID, bytes] = {}
        self.reads = 0

    async def execute(self, _sql: str, persons: list[UUID], wrapped: list[bytes]) -> None:
        self.rows |= {p: w for p, w in zip(persons, wrapped, strict=True) if p not in self.rows}

    async def fetch(self, _sql: str, persons: list[UUID]) -> list[dict[str, object]]:
        self.reads += 1
        return [{"person_ref": p, "wrapped_key": self.rows[p]} for p in persons if p in self.rows]


async def test_a_key_deleted_from_the_vault_is_used_by_no_process_a_minute_later(
    tmp_path: Path,
) -> None:
    ensure_master_keys(tmp_path)
    seconds = [1000.0]
    sealing = Sealing(
        {n: (tmp_path / f"{n}.key").read_bytes() for n in MASTER_KEYS}, clock=lambda: seconds[0]
    )
    vault, erased, other = Vault(), uuid4(), uuid4()
    await sealing.keys_of(vault, [erased, other], make=True)
    assert (await sealing.keys_of(vault, [erased, other])).keys() == {erased, other}
    seconds[0] += 30
    await sealing.keys_of(vault, [uuid4(), erased])  # used again: that must not make it young
    del vault.rows[erased]
    seconds[0] += 30
    assert (await sealing.keys_of(vault, [erased, other])).keys() == {other}
    seconds[0] += 1
    assert (await sealing.keys_of(vault, [erased, other])).keys() == {other}


async def test_a_key_is_read_once_however_often_it_is_used_while_it_is_young(
    tmp_path: Path,
) -> None:
    ensure_master_keys(tmp_path)
    seconds = [0.0]
    sealing = Sealing(
        {n: (tmp_path / f"{n}.key").read_bytes() for n in MASTER_KEYS}, clock=lambda: seconds[0]
    )
    vault, person = Vault(), uuid4()
    await sealing.keys_of(vault, [person], make=True)
    before = vault.reads
    for _ in range(44):
        seconds[0] += 1
        await sealing.keys_of(vault, [person])
    assert vault.reads == before + 1


async def test_a_person_who_was_erased_and_came_again_is_read_with_the_new_key_at_once(
    tmp_path: Path,
) -> None:
    ensure_master_keys(tmp_path)
    sealing = Sealing(
        {n: (tmp_path / f"{n}.key").read_bytes() for n in MASTER_KEYS}, clock=lambda: 0.0
    )
    vault, person, before, after = (
        Vault(),
        uuid4(),
        bound(uuid4(), "buyer"),
        bound(uuid4(), "buyer"),
    )
    old = seal((await sealing.keys_of(vault, [person], make=True))[person], b"particulars", before)
    assert (await sealing.keys_for(vault, [(person, old, before)])).keys() == {person}
    del vault.rows[person]
    new = seal(
        (await Sealing.from_dir(tmp_path).keys_of(vault, [person], make=True))[person],
        b"particulars",
        after,
    )
    keys = await sealing.keys_for(vault, [(person, old, before), (person, new, after)])
    assert unseal(keys[person], new, after) == b"particulars"
    with pytest.raises(Unsealable):
        unseal(keys[person], old, before)


@pytest.mark.parametrize("value", [b"", b"short", b"x" * 11, b"x" * 12, b"x" * 40])
def test_what_was_never_sealed_is_refused_by_one_error(value: bytes) -> None:
    with pytest.raises(Unsealable):
        unseal(AESGCM(AESGCM.generate_key(256)), value, b"")
