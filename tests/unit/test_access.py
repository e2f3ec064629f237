"""Tokens: who gets in as what, for how long, and what a thief of the file learns."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.access import Grant, Role, TokenStore
from shared.errors import AccessError, StorageError


class Time:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def store(tmp_path: Path, time: Time) -> TokenStore:
    return TokenStore(tmp_path / "tokens.db", now=time)


def test_a_token_gives_its_role_until_it_expires(store: TokenStore, time: Time) -> None:
    token = store.create(Role.OPERATOR, "anna", 60)
    assert store.check(token) == Grant(role=Role.OPERATOR, label="anna")
    time.now += 59
    assert store.check(token).label == "anna"
    time.now += 2
    with pytest.raises(AccessError, match="not valid"):
        store.check(token)
    store.create(Role.VIEWER, "bob", 60)
    assert [record.label for record in store.tokens()] == ["bob"]


def test_roles_build_on_one_another() -> None:
    grant = Grant(role=Role.REVIEWER, label="anna")
    for enough in (Role.VIEWER, Role.REVIEWER):
        grant.require(enough)
    for more in (Role.OPERATOR, Role.ADMIN):
        with pytest.raises(AccessError, match="anna is reviewer") as caught:
            grant.require(more)
        assert caught.value.exit_code == 20
    assert Role.named("admin") is Role.ADMIN
    with pytest.raises(AccessError, match="viewer, reviewer, operator, admin"):
        Role.named("root")


def test_revoking_takes_effect_at_once_and_only_where_meant(store: TokenStore) -> None:
    first, second, other = (store.create(Role.VIEWER, label, 60) for label in ("anna", "anna", "bob"))
    assert store.revoke("anna") == 2
    assert store.revoke("anna") == 0
    for token in (first, second):
        with pytest.raises(AccessError):
            store.check(token)
    assert store.check(other).label == "bob"


def test_the_file_is_private_and_holds_no_token(store: TokenStore, tmp_path: Path) -> None:
    token = store.create(Role.ADMIN, "anna", 60)
    path = tmp_path / "tokens.db"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert token.removeprefix("terrace_").encode() not in path.read_bytes()
    assert "hash" not in store.tokens()[0].__struct_fields__


@given(st.one_of(st.text(max_size=80), st.from_regex(r"terrace_[A-Za-z0-9_-]{0,60}", fullmatch=True)))
def test_whatever_is_no_token_is_refused_in_the_same_words(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    store = TokenStore(tmp_path_factory.getbasetemp() / "tokens.db")
    with pytest.raises(AccessError, match=r"^the token is not valid\. It may have expired; ask for a new one\.$"):
        store.check(text)


def test_a_changed_token_is_refused(store: TokenStore) -> None:
    token = store.create(Role.VIEWER, "anna", 60)
    for changed in (token[:-1], token + "A", token.swapcase(), "x" + token, token.removeprefix("terrace_"), token + "="):
        with pytest.raises(AccessError):
            store.check(changed)


@pytest.mark.parametrize(
    ("label", "lifetime_s"), [("", 60), ("a\nb", 60), ("a" * 65, 60), ("a", 0), ("a", -1), ("a", 401 * 86_400), ("a", float("nan"))]
)
def test_labels_and_lifetimes_that_make_no_sense(store: TokenStore, label: str, lifetime_s: float) -> None:
    with pytest.raises(AccessError):
        store.create(Role.VIEWER, label, lifetime_s)


def test_daemon_and_command_line_at_the_same_time(tmp_path: Path) -> None:
    def work(number: int) -> str:
        store = TokenStore(tmp_path / "tokens.db")
        return store.check(store.create(Role.VIEWER, f"user {number}", 60)).label

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(work, range(12))) == sorted(f"user {number}" for number in range(12))
    assert len(TokenStore(tmp_path / "tokens.db").tokens()) == 12


def test_a_damaged_or_unreachable_store_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "junk.db").write_bytes(b"junk" * 1000)
    for path in (tmp_path / "junk.db", tmp_path / "missing" / "tokens.db"):
        with pytest.raises(StorageError, match="token store"):
            TokenStore(path).create(Role.VIEWER, "anna", 60)
