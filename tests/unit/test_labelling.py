"""Stories of labels in a real vault file: what is frozen is never trained on, lasts longest, and can be erased."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from region import schema
from region.cli import app
from region.config import IdentitySettings, RegionSettings
from region.federation.tasks import Tasks
from region.labelling import Labels, Wanted
from region.labels import Opinion, State
from region.recount import recount
from region.vault import Incoming, Outcome, Vault
from shared.audit import AuditLog
from shared.errors import AccessError, InputError
from shared.release.card import Card, InputSpec, Lineage, SelfTest, encode_card, sha256
from shared.vision.picture import encode as encode_picture
from shared.wire.messages import Case, Picture, Prediction, encode
from shared.wire.reports import Blob, EvaluateTask
from tests.unit.models import linear

SPOOL, DEVICE = bytes(range(16)), "edge-1.region-1"
THREE = (0.2, 0.3, 0.5)


def incoming(frame: int, *, unit: str = "", is_audit: bool = False, received_at: float = 100.0) -> Incoming:
    picture = Picture(codec="png", width=8, height=8, data=frame.to_bytes(4, "big") * 50)
    case = Case(
        stream="line", frame=frame, unit=unit or f"u{frame}", captured_at=1.0, reason="margin", is_audit=is_audit, score=0.5, threshold=1.0,
        release=1, prediction=Prediction(index=0, probabilities=THREE), picture=picture,
    )  # fmt: skip
    return Incoming(device=DEVICE, spool=SPOOL, sequence=frame + 1, payload=encode(case), case=case, received_at=received_at)


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    vault = Vault(tmp_path / "state" / "vault.db")
    vault.start()
    stored = vault.store([incoming(frame, is_audit=frame % 2 == 0) for frame in range(40)])
    vault.store_answers([(case.id, Prediction(index=2, probabilities=THREE)) for case in stored], release=1, now=2.0)
    yield vault
    vault.stop()


def test_a_case_without_score_or_threshold_is_kept_like_any_other(vault: Vault) -> None:
    item = incoming(500, is_audit=True)
    case = msgspec.structs.replace(item.case, score=float("nan"), threshold=float("nan"))
    stored = vault.store([msgspec.structs.replace(item, case=case, payload=encode(case))])
    assert stored[0].outcome is Outcome.NEW
    assert vault.database.rows("SELECT score, threshold FROM facts WHERE frame = 500") == [(None, None)]


def said(person: str, label: int) -> Opinion:
    return Opinion(person=person, label=label, at=3.0)


def a_case(vault: Vault, part: str) -> int:
    return int(vault.database.rows("SELECT min(id) FROM cases WHERE part = ?", (part,))[0][0])


@pytest.mark.parametrize(("part", "at_the_gate"), [("train", 0), ("evaluation", 1), ("unused", 1)])
def test_a_frozen_case_is_never_trained_on_and_counts_where_its_unit_is_held_out(vault: Vault, part: str, at_the_gate: int) -> None:
    labels, case = Labels(vault.database), a_case(vault, part)
    assert labels.say(case, said("ann", 1)).state is State.WAITING
    assert case in {one.id for one in vault.cases(split=part)}  # one word changes nothing
    assert labels.say(case, said("bob", 1)).state is State.FROZEN
    assert case not in {one.id for one in vault.cases(split="train")}
    assert labels.counts() == {"human": 1, "gate": at_the_gate, "generated": 0, "open": 0, "disputed": 0}
    assert [(one.id, *rest) for one, *rest in vault.human_cases(limit=9)] == [(case, 1, "person")] * at_the_gate
    if part == "evaluation":
        assert case in {one.id for one in vault.cases(split="evaluation")}  # the audit sample stays unbiased
    with pytest.raises(AccessError, match="frozen"):
        labels.say(case, said("ann", 2))


def test_words_are_kept_with_who_said_them(vault: Vault) -> None:
    labels, case = Labels(vault.database), a_case(vault, "train")
    labels.say(case, said("ann", 1))
    labels.say(case, said("bob", 2))
    labels.say(case, said("ANN", 0))
    assert {(one.person, one.label) for one in labels.of([case])[case]} == {("ANN", 0), ("bob", 2)}
    assert labels.counts()["disputed"] == 1
    for wrong in (3, -1):
        with pytest.raises(InputError, match="no class"):
            labels.say(case, said("cid", wrong))
    with pytest.raises(InputError, match="no such case"):
        labels.say(10_000, said("cid", 1))


def test_frozen_cases_leave_last_and_by_an_age_of_their_own(vault: Vault) -> None:
    labels, case = Labels(vault.database), a_case(vault, "evaluation")
    for person in ("ann", "bob"):
        labels.say(case, said(person, 1))
    assert vault.retain(capacity_bytes=1 << 40, max_age_s=10.0, human_max_age_s=1e6, now=200.0) == 39
    assert vault.retain(capacity_bytes=1 << 40, max_age_s=10.0, human_max_age_s=1e6, now=201.0) == 0
    vault.store([incoming(frame, received_at=300.0) for frame in range(100, 110)])
    vault.retain(capacity_bytes=600, max_age_s=1e9, human_max_age_s=1e9, now=300.0)
    assert vault.database.rows("SELECT min(id) FROM cases")[0][0] == case
    vault.retain(capacity_bytes=1 << 40, max_age_s=1e9, human_max_age_s=50.0, now=300.0)
    assert labels.counts()["human"] == 0
    assert vault.database.rows("SELECT count(*) FROM labels")[0][0] == 0


def test_an_erased_case_leaves_its_token_and_does_not_come_back(vault: Vault) -> None:
    labels, case = Labels(vault.database), a_case(vault, "train")
    labels.say(case, said("ann", 1))
    token, frame = labels.token(case), int(vault.database.rows("SELECT frame FROM facts WHERE id = ?", (case,))[0][0])
    assert labels.erase(case, "ann", now=5.0) == token
    assert vault.named(bytes(16)) is None
    held = "SELECT id FROM cases UNION SELECT id FROM facts UNION SELECT id FROM labels UNION SELECT id FROM frozen"
    assert case not in {row[0] for row in vault.database.rows(held)}
    assert vault.database.rows("SELECT token, person FROM erased") == [(token, "ann")]
    again = vault.store([incoming(frame, is_audit=frame % 2 == 0)])
    assert again[0].outcome is Outcome.DUPLICATE
    assert (recount(vault.database.path).cases_stored, recount(vault.database.path).cases_held) == (40, 39)
    with pytest.raises(InputError, match="no such case"):
        labels.erase(case, "ann", now=6.0)


def test_a_vault_of_before_gets_its_facts_when_it_is_opened(tmp_path: Path, vault: Vault) -> None:
    path = vault.database.path
    vault.stop()
    with sqlite3.connect(path) as old:
        for table in ("facts", "labels", "frozen", "erased"):
            old.execute(f"DROP TABLE {table}")
        old.execute("DROP TRIGGER case_gone")
        old.execute("UPDATE meta SET value = CAST('1' AS BLOB) WHERE name = 'version'")
    old.close()
    again = Vault(path)
    again.start()
    rows = again.database.rows("SELECT stream, frame, student, expert, classes FROM facts ORDER BY frame")
    again.stop()
    assert rows == [("line", frame, 0, 2, 3) for frame in range(40)]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "region.toml"
    path.write_text(
        'name = "region-1"\nfleet = "acme"\nstate = "state"\n[identity]\nfolder = "identity"\nworkers = "workers"\n', encoding="utf-8"
    )
    return path


def test_labels_come_from_a_file_while_the_region_runs(tmp_path: Path, vault: Vault, config: Path) -> None:
    wanted = [Wanted(device=DEVICE, stream="line", frame=frame, label=1, person=who) for frame in range(40) for who in ("g-1", "g-2")]
    wanted.append(Wanted(device=DEVICE, stream="other", frame=1, label=1, person="g-1"))
    file = tmp_path / "labels.json"
    file.write_bytes(msgspec.json.encode(wanted))
    run = CliRunner().invoke(app, ["label", "--config", str(config), "--from", str(file), "--json"])
    found = json.loads(run.output)
    held_out = vault.database.rows("SELECT count(*) FROM cases WHERE part != 'train'")[0][0]
    assert found["labelled"] == found["frozen"] == found["cases_human"] == held_out > 0
    assert (found["training"], found["unknown"], found["source"]) == (40 - held_out, 1, "generator")
    assert Labels(vault.database).counts() == {"human": held_out, "gate": held_out, "generated": held_out, "open": 0, "disputed": 0}
    again = json.loads(CliRunner().invoke(app, ["label", "--config", str(config), "--from", "-", "--json"], input=file.read_text()).output)
    assert (again["labelled"], again["refused"]) == (0, held_out)


def test_one_case_is_labelled_and_erased_by_name(vault: Vault, config: Path) -> None:
    frame = vault.database.rows("SELECT frame FROM facts JOIN cases USING (id) WHERE part = ?", (schema.TRAIN,))[0][0]
    name = f"{DEVICE}/line/{frame}"
    run = CliRunner().invoke(app, ["label", "-c", str(config), "--case", name, "--label", "2", "--person", "g", "--training-too", "--json"])
    assert json.loads(run.output)["labelled"] == 1
    erased = json.loads(CliRunner().invoke(app, ["erase", "-c", str(config), "--case", name, "--person", "ann", "--json"]).output)
    assert erased["erased"] == 1
    entries = AuditLog(config.parent / "state" / "audit.db").entries()
    assert [entry.action for entry in entries] == ["case.erased", "cases.labelled"]
    assert "generator" in entries[1].subject
    for wrong in (["--case", "nothing"], ["--case", name, "--label", "scratch"]):
        run = CliRunner().invoke(app, ["label", "-c", str(config), *wrong, "--person", "g"])
        assert isinstance(run.exception, InputError)


def test_candidate_and_current_are_counted_on_the_human_cases_too(tmp_path: Path, vault: Vault) -> None:
    grey = np.full((8, 8, 3), 128, np.uint8)
    items = [incoming(frame, unit=f"h{frame}", is_audit=True) for frame in range(200, 260)]
    cases = [msgspec.structs.replace(item.case, picture=encode_picture(grey)) for item in items]
    stored = vault.store([msgspec.structs.replace(one, case=case, payload=encode(case)) for one, case in zip(items, cases, strict=True)])
    vault.store_answers([(one.id, Prediction(index=2, probabilities=THREE)) for one in stored], release=1, now=4.0)
    labels = Labels(vault.database)
    for one in stored:
        for person in ("ann", "bob"):
            labels.say(one.id, said(person, 1))  # people contradict the expert, which says 2
    blobs = {}
    for name, wanted in (("candidate", 1), ("current", 2)):
        data = linear(np.zeros((3, 3)), bias=np.eye(3)[wanted] * 9)
        card = Card(
            model="student", release=1, labels=("a", "b", "c"), input=InputSpec(width=8, height=8),
            self_test=SelfTest(shape=(0, 8, 8, 3), inputs="", logits=(), tolerance=0.1),
            lineage=Lineage(parent=0, round=0, recipe="", data="", code="", created_at=0.0), onnx_sha256=sha256(data),
        )  # fmt: skip
        for suffix, body in (("", data), ("_card", encode_card(card))):
            (tmp_path / sha256(body)).write_bytes(body)
            blobs[name + suffix] = Blob(name=sha256(body), size=len(body))
    settings = RegionSettings(
        name="region-1", fleet="acme", state=tmp_path, identity=IdentitySettings(folder=tmp_path / "i", workers=tmp_path / "w")
    )
    task = EvaluateTask(task="t", round=1, deadline=9e9, edges=(0.5,), **blobs)
    reply = Tasks(settings, vault, pause=lambda _: True).evaluate(task, tmp_path)
    gate = labels.counts()["gate"]
    assert 10 < gate < 60
    assert reply.human_candidate is not None
    assert reply.human_current is not None
    assert (reply.human_candidate.cases, reply.human_candidate.right) == ((0, gate, 0), (0, gate, 0))
    assert (sum(reply.human_current.right), reply.human_generated) == (0, 0)
    assert sum(reply.current.right) == sum(reply.current.cases)  # against the expert, the current student is right
