"""The audit log: what was written cannot be changed, dropped, slipped in or cut off without being seen."""

from __future__ import annotations

import json
import sqlite3
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from shared.audit import AuditLog
from shared.audit_cli import app
from shared.auditchain import START, Head, link, verify
from shared.errors import InputError, ProtocolError, StorageError


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    log = AuditLog(tmp_path / "audit.db", now=lambda: 5.0)
    for number in range(1, 6):
        log.append("anna", "round.requested", f"round {number}", {"publish": True})
    return log


def edit(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as file:
        file.execute(statement)
    file.close()


def test_a_whole_log_verifies_and_is_read_newest_first(log: AuditLog, tmp_path: Path) -> None:
    count, head = log.verify()
    assert (count, head) == (5, log.head().hash)
    assert [entry.subject for entry in log.entries(2)] == ["round 5", "round 4"]
    assert [entry.number for entry in log.entries(2, before=3)] == [2, 1]
    assert stat.S_IMODE((tmp_path / "audit.db").stat().st_mode) == 0o600
    assert AuditLog(tmp_path / "none.db").verify() == (0, START)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE entry SET who = 'eve' WHERE number = 3", "entry 3"),
        ("UPDATE entry SET detail = '{\"publish\":false}' WHERE number = 2", "entry 2"),
        ("UPDATE entry SET detail = 'x' WHERE number = 2", "entry 2"),
        ("UPDATE entry SET at = 6.0 WHERE number = 1", "entry 1"),
        ("DELETE FROM entry WHERE number = 4", "entry 4 is missing"),
        ("DELETE FROM entry WHERE number = 5", "cut off"),
        ("INSERT INTO entry VALUES (6, 5.0, 'eve', 'a', 'b', '{}', 'ff')", "entry 6"),
        ("DELETE FROM head", "cut off or added"),
    ],
)
def test_every_change_is_named(log: AuditLog, tmp_path: Path, statement: str, words: str) -> None:
    edit(tmp_path / "audit.db", statement)
    with pytest.raises(ProtocolError, match=words):
        log.verify()


def test_a_rewritten_end_is_seen_from_a_head_noted_elsewhere(log: AuditLog, tmp_path: Path) -> None:
    noted = log.head()
    log.append("bob", "session.opened", "bob")
    assert log.verify(noted)[0] == 6
    rewritten = AuditLog(tmp_path / "other.db", now=lambda: 5.0)
    for number in range(1, 8):
        rewritten.append("anna", "round.requested", f"another round {number}")
    rewritten.verify()
    with pytest.raises(ProtocolError, match="entry 5 is not the one"):
        rewritten.verify(noted)
    with pytest.raises(ProtocolError, match="entry 9"):
        log.verify(Head(count=9, hash=noted.hash))


def test_writers_at_once_make_one_chain(tmp_path: Path) -> None:
    def write(who: int) -> None:
        log = AuditLog(tmp_path / "audit.db")
        for number in range(5):
            log.append(f"writer {who}", "a", str(number))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert AuditLog(tmp_path / "audit.db").verify()[0] == 20


def test_details_are_bounded_and_texts_cut(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.db")
    with pytest.raises(ProtocolError, match="2048"):
        log.append("anna", "a", "b", {"x": "y" * 3000})
    assert len(log.append("w" * 200, "a" * 200, "s" * 500).subject) == 256
    assert log.verify()[0] == 1


def test_the_command_says_unanchored_and_names_the_bad_entry(log: AuditLog, tmp_path: Path) -> None:
    path, run = str(tmp_path / "audit.db"), CliRunner()
    said = run.invoke(app, ["verify", path])
    assert said.exit_code == 0
    assert said.output.startswith("5 entries, whole, unanchored. Head: 5:")
    head = said.output.split()[-1]
    assert json.loads(run.invoke(app, ["verify", path, "--anchor", head, "--json"]).output)["anchored"] is True
    edit(tmp_path / "audit.db", "UPDATE entry SET who = 'eve' WHERE number = 3")
    broken = run.invoke(app, ["verify", path]).exception
    assert isinstance(broken, ProtocolError)
    assert broken.exit_code == 18
    assert isinstance(run.invoke(app, ["verify", str(tmp_path / "nothing")]).exception, InputError)
    assert isinstance(run.invoke(app, ["verify", path, "--anchor", "x"]).exception, InputError)
    (tmp_path / "text").write_text("text " * 1000)
    assert isinstance(run.invoke(app, ["verify", str(tmp_path / "text")]).exception, StorageError)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


acts_of_people = st.tuples(texts, texts, texts, st.dictionaries(texts, st.integers() | texts, max_size=3))


@given(st.lists(acts_of_people, min_size=1, max_size=6), st.data())
def test_no_two_histories_have_the_same_head(acts: list[tuple[str, str, str, dict[str, object]]], data: st.DataObject) -> None:
    def chain(items: list[tuple[str, str, str, dict[str, object]]]) -> list[object]:
        found, last = [], START
        for number, (who, action, subject, detail) in enumerate(items, 1):
            found.append(link(last, number, 1.0, who, action, subject, detail))
            last = found[-1].hash
        return found

    whole = chain(acts)
    head = verify(whole)  # type: ignore[arg-type]
    index = data.draw(st.integers(0, len(acts) - 1))
    other = [*acts]
    other[index] = (other[index][0] + "x", *other[index][1:])
    assert verify(chain(other)).hash != head.hash  # type: ignore[arg-type]
    with pytest.raises(ProtocolError):
        verify([*whole[:index], *whole[index + 1 :], whole[index]] if len(whole) > index + 1 else [*whole, whole[0]])  # type: ignore[list-item]
