"""Accounts and sessions: one-time invitations, guessing that gets slower, sessions that end, the last admin."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.accounts import Account, AccountStore
from shared.doors import COOKIE, Doors
from shared.errors import AccessError, StorageError
from shared.passwords import Cost, checked_name, wait_s
from shared.roles import Role
from shared.sessions import IDLE_S, LIFETIME_S, MOST_PER_ACCOUNT, SessionStore

CHEAP = Cost(n=16, r=1, p=1)
PASSWORD = "three blue herons"


class Time:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def accounts(tmp_path: Path, time: Time) -> AccountStore:
    return AccountStore(tmp_path / "people.db", now=time, cost=CHEAP)


@pytest.fixture
def sessions(tmp_path: Path, time: Time) -> SessionStore:
    return SessionStore(tmp_path / "people.db", now=time)


def made(accounts: AccountStore, name: str = "anna", role: Role = Role.ADMIN) -> Account:
    return accounts.redeem(accounts.invite(role, name), name, PASSWORD)


def test_an_invitation_is_good_once_and_for_its_time(accounts: AccountStore, time: Time) -> None:
    code = accounts.invite(Role.REVIEWER, "for bob", 60)
    assert [(item.label, item.role) for item in accounts.invitations()] == [("for bob", Role.REVIEWER)]
    with pytest.raises(AccessError, match="10 to 256"):
        accounts.redeem(code, "bob", "short")
    assert accounts.redeem(code, "bob", PASSWORD).role is Role.REVIEWER
    with pytest.raises(AccessError, match="not valid"):
        accounts.redeem(code, "eve", PASSWORD)
    late = accounts.invite(Role.VIEWER, "late", 60)
    time.now += 61
    with pytest.raises(AccessError, match="not valid"):
        accounts.redeem(late, "late", PASSWORD)
    assert [account.name for account in accounts.accounts()] == ["bob"]


def test_a_code_that_two_redeem_at_once_makes_one_account(accounts: AccountStore) -> None:
    code = accounts.invite(Role.ADMIN, "race")

    def redeem(name: str) -> bool:
        try:
            accounts.redeem(code, name, PASSWORD)
        except AccessError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(redeem, ["a", "b", "c", "d"])) == 1
    assert len(accounts.accounts()) == 1


def test_a_taken_name_does_not_spend_the_code(accounts: AccountStore) -> None:
    made(accounts)
    code = accounts.invite(Role.VIEWER, "second")
    with pytest.raises(AccessError, match="taken"):
        accounts.redeem(code, "anna", PASSWORD)
    assert accounts.redeem(code, "anna2", PASSWORD).name == "anna2"


def test_a_new_invitation_ends_the_one_of_the_same_label(accounts: AccountStore) -> None:
    first, second = accounts.invite(Role.ADMIN, "first admin"), accounts.invite(Role.ADMIN, "first admin")
    with pytest.raises(AccessError):
        accounts.redeem(first, "anna", PASSWORD)
    assert accounts.redeem(second, "anna", PASSWORD)
    assert accounts.withdraw("first admin") == 0


def test_wrong_passwords_and_unknown_names_get_the_same_words(accounts: AccountStore) -> None:
    made(accounts)
    said = []
    for name, password in (("anna", "wrong password"), ("nobody", PASSWORD)):
        with pytest.raises(AccessError) as caught:
            accounts.check(name, password)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert accounts.check("anna", PASSWORD).name == "anna"


def test_guessing_gets_slower_and_nobody_is_locked_out_for_good(accounts: AccountStore, time: Time) -> None:
    made(accounts)
    for _ in range(5):
        with pytest.raises(AccessError):
            accounts.check("anna", "wrong password")
    with pytest.raises(AccessError, match="too many"):
        accounts.check("anna", PASSWORD)  # right, but too soon
    time.now += wait_s(5) + 0.1
    assert accounts.check("anna", PASSWORD).name == "anna"
    assert accounts.check("anna", PASSWORD).name == "anna"  # the count began anew
    assert wait_s(10_000) == 300


def test_the_file_is_private_and_holds_no_secret(accounts: AccountStore, sessions: SessionStore, tmp_path: Path) -> None:
    code = accounts.invite(Role.VIEWER, "bob")
    session = sessions.open(made(accounts))
    data = (tmp_path / "people.db").read_bytes()
    assert stat.S_IMODE((tmp_path / "people.db").stat().st_mode) == 0o600
    for secret in (code, PASSWORD, session.token.removeprefix("terrace_")):
        assert secret.encode() not in data


def test_a_session_ends_by_itself(accounts: AccountStore, sessions: SessionStore, time: Time) -> None:
    token = sessions.open(made(accounts)).token
    for _ in range(3):
        time.now += IDLE_S - 1
        assert sessions.check(token).grant.label == "anna"
    time.now += IDLE_S - 1
    sessions.check(token, touch=False)
    time.now += 2
    with pytest.raises(AccessError, match="signed out"):
        sessions.check(token)
    token, opened = sessions.open(accounts.check("anna", PASSWORD)).token, time.now
    while time.now < opened + LIFETIME_S - 1000:
        sessions.check(token)
        time.now += 1000
    time.now = opened + LIFETIME_S
    with pytest.raises(AccessError):
        sessions.check(token)


def test_a_changed_role_counts_at_once_and_a_removed_account_is_out(accounts: AccountStore, sessions: SessionStore) -> None:
    made(accounts)
    bob = made(accounts, "bob", Role.VIEWER)
    token = sessions.open(bob).token
    accounts.set_role("bob", Role.OPERATOR)
    assert sessions.check(token).grant.role is Role.OPERATOR
    accounts.remove("bob")
    with pytest.raises(AccessError):
        sessions.check(token)


def test_the_last_admin_stays(accounts: AccountStore) -> None:
    made(accounts)
    for act in (lambda: accounts.remove("anna"), lambda: accounts.set_role("anna", Role.VIEWER)):
        with pytest.raises(AccessError, match="last admin"):
            act()
    made(accounts, "bob")
    accounts.set_role("anna", Role.VIEWER)
    assert [account.role.name for account in accounts.accounts()] == ["VIEWER", "ADMIN"]
    with pytest.raises(AccessError, match="no account"):
        accounts.remove("carl")


def test_a_new_password_ends_every_session(accounts: AccountStore, sessions: SessionStore) -> None:
    tokens = [sessions.open(made(accounts)).token, sessions.open(accounts.check("anna", PASSWORD)).token]
    with pytest.raises(AccessError):
        accounts.change_password("anna", "wrong password", "four red herons here")
    accounts.change_password("anna", PASSWORD, "four red herons here")
    for token in tokens:
        with pytest.raises(AccessError):
            sessions.check(token)
    assert accounts.check("anna", "four red herons here")


def test_sessions_of_one_account_are_bounded(accounts: AccountStore, sessions: SessionStore, time: Time) -> None:
    account = made(accounts)
    tokens = []
    for _ in range(MOST_PER_ACCOUNT + 2):
        time.now += 1
        tokens.append(sessions.open(account).token)
    with pytest.raises(AccessError):
        sessions.check(tokens[0])
    assert sessions.check(tokens[-1])
    assert sessions.close_all("anna") == MOST_PER_ACCOUNT


def test_the_doors_ask_browsers_for_more_than_a_cookie(accounts: AccountStore, sessions: SessionStore) -> None:
    session = sessions.open(made(accounts))
    doors = Doors(None, sessions)
    cookie = {"cookie": f"a=b; {COOKIE}={session.token}", "host": "cloud:1"}
    assert doors.grant(cookie, "GET").label == "anna"
    with pytest.raises(AccessError, match="own token"):
        doors.grant(cookie, "POST")
    with pytest.raises(AccessError, match="own token"):
        doors.grant({**cookie, "x-csrf-token": "wrong"}, "DELETE")
    assert doors.grant({**cookie, "x-csrf-token": session.csrf, "origin": "https://cloud:1"}, "POST")
    for foreign in ({"origin": "https://evil:1"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}):
        with pytest.raises(AccessError, match="another site"):
            doors.grant({**cookie, **foreign, "x-csrf-token": session.csrf}, "POST")
    for nobody in ({}, {"cookie": "x"}, {"cookie": f"{COOKIE}="}, {"authorization": "Bearer terrace_x", **cookie}):
        with pytest.raises(AccessError):
            doors.grant(nobody, "GET")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "people.db").write_bytes(b"no database" * 1000)
    with pytest.raises(StorageError, match=r"people\.db"):
        AccountStore(tmp_path / "people.db", cost=CHEAP).accounts()


def test_the_default_cost_is_what_is_asked_for_today(tmp_path: Path) -> None:
    accounts = AccountStore(tmp_path / "people.db")
    made(accounts)
    assert accounts.check("anna", PASSWORD)
    assert Cost().n * Cost().r * Cost().p >= 2**15 * 8 * 3


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_names_are_what_may_stand_in_a_log(name: str) -> None:
    try:
        assert checked_name(name) == name
    except AccessError:
        return
    assert name.isascii()
    assert name.isprintable()
    assert name == name.lower().strip()
    assert 1 <= len(name) <= 32
