"""A fleet that begins with a user's own model: what `terrace model import` wrote is its first release, and no round is tried with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cloud import imports
from cloud.config import Settings
from cloud.configfile import read
from cloud.federation.__main__ import RoundWorker
from cloud.publish import Repository
from cloud.registry import Registry
from cloud.setup import initialise
from cloud.tables import open_registry
from shared.errors import TrustError
from tests.unit import seeing_models
from tests.unit.edge_parts import write_release


def cloud(folder: Path) -> Settings:
    config = folder / "cloud.toml"
    sections = "[regions]\nport = 1\n[people]\nport = 2\n[ops]\nport = 3\n[rounds]\nminimum_regions = 1\n"
    folders = f'[identity]\nfolder = "{folder / "identity"}"\n[repository]\nkeys = "{folder / "keys"}"\n'
    config.write_text(f'fleet = "acme"\nstate = "{folder / "state"}"\n{folders}{sections}')
    return read(config)


@pytest.mark.parametrize("has_expert", [True, False])
def test_an_imported_release_is_a_fleets_first(tmp_path: Path, *, has_expert: bool) -> None:
    release = seeing_models.write_detector(tmp_path / "release")
    settings = cloud(tmp_path)
    done = initialise(settings, seeing_models.with_expert(release) if has_expert else release)
    assert done.releases == ({"student": 3, "expert": 3} if has_expert else {"student": 3})
    repository = Repository(settings.repository_folder, settings.repository.keys)
    desired = repository.desired("acme")
    assert desired is not None
    assert set(desired.models) == set(done.releases)
    assert repository.content("models/student/manual/000003.onnx") == (release / "model.onnx").read_bytes()


@pytest.mark.parametrize(
    ("task", "word"), [("detection", "can teach classifiers only"), ("classification", "weights of student 3 are not here")]
)
def test_a_round_with_it_fails_at_once_and_says_why(tmp_path: Path, task: str, word: str) -> None:
    release = seeing_models.write_detector(tmp_path / "release") if task == "detection" else write_release(tmp_path / "release", release=3)
    settings = cloud(tmp_path)
    initialise(settings, release)
    database = open_registry(settings)
    database.start()
    try:
        registry = Registry(database)
        number = registry.request_round("a person", now=1.0).number
        pauses = iter([True, False])
        RoundWorker(settings, lambda _: next(pauses)).run()
        ended = registry.round(number)
    finally:
        database.stop()
    assert ended.state == "failed"
    assert word in ended.reason
    assert not (settings.models / "seed.npz").exists(), "no seed set is drawn for rounds that cannot be"


def test_the_card_of_another_file_is_refused(tmp_path: Path) -> None:
    release = seeing_models.write_detector(tmp_path / "release")
    (release / "model.onnx").write_bytes(seeing_models.segmenter())
    with pytest.raises(TrustError, match="is not the card of"):
        imports.find(release)
