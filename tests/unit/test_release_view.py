"""`terrace cloud release show` and `diff` over a real repository."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cloud import releaseview
from cloud.publish import Repository
from cloud.release_cli import app
from tests.unit import releases


@pytest.fixture
def config(tmp_path: Path) -> Path:
    repository = Repository.create(tmp_path / "state" / "repository", tmp_path / "keys")
    releases.add(repository, tmp_path, releases.model(1), 1)
    releases.add(repository, tmp_path, releases.model(1, moved=0.01), 2, bases=(1,))
    text = '[identity]\nfolder = "id"\n[repository]\nkeys = "keys"\n[regions]\nport = 1\n[people]\nport = 2\n'
    path = tmp_path / "cloud.toml"
    path.write_text(f'fleet = "acme"\nstate = "state"\n{text}')
    return path


def said(*words: str) -> str:
    found = CliRunner().invoke(app, list(words))
    assert found.exit_code == 0, found.output
    return found.output


def test_a_release_is_shown_without_what_nobody_reads(config: Path) -> None:
    told = json.loads(said("show", "2", "--config", str(config), "--json"))
    assert (told["signed_by"], told["release"], told["labels"]) == ("manual", 2, ["good", "open", "short"])
    assert not set(told) & set(releaseview.LARGE)
    lines = said("show", "2", "--config", str(config))
    assert "student 2, signed by the role manual" in lines
    assert "good, open, short" in lines


def test_two_releases_are_told_apart_by_what_differs_and_what_the_way_costs(config: Path) -> None:
    told = json.loads(said("diff", "1", "2", "--config", str(config), "--json"))
    assert told["changed"]["release"] == [1, 2]
    assert "labels" not in told["changed"]
    assert 0 < told["delta_bytes"] < told["full_bytes"]
    assert "by delta" in said("diff", "1", "2", "--config", str(config))
    assert "no delta between them" in said("diff", "2", "1", "--config", str(config))


def test_a_release_that_is_none_is_named(config: Path) -> None:
    found = CliRunner().invoke(app, ["show", "9", "--config", str(config)])
    assert "there is no release 9 of student" in str(found.exception)


def test_what_only_one_has_stands_beside_nothing() -> None:
    assert releaseview.changed({"a": {"b": 1}}, {"c": 2.0}) == {"a.b": (1, None), "c": (None, 2.0)}
    assert [releaseview.words(value) for value in (0.123456789, None, [1, 2], list(range(9)), [{"x": 1}])] == [
        "0.123457", "none", "1, 2", "0, 1, 2, 3, 4, 5, 6, 7, … (9 in all)", "1 points",
    ]  # fmt: skip
