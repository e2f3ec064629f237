"""The seed set and the replay release are made by the worker when models come without pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cloud.config import FoundrySection, IdentitySection, PeopleSection, RegionsSection, RepositorySection, Settings
from cloud.federation import seedset
from cloud.foundry import export
from cloud.publish import Repository
from shared.errors import InputError
from shared.learning import architectures
from shared.release.desired import Desired


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        fleet="demo", state=tmp_path, identity=IdentitySection(folder=tmp_path), regions=RegionsSection(port=0),
        people=PeopleSection(port=0), repository=RepositorySection(keys=tmp_path / "keys"), foundry=FoundrySection(),
    )  # fmt: skip


def test_the_line_is_drawn_answered_published_and_named_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seedset, "SEED_UNITS", 3)
    expert = settings.models / "expert" / "000001.onnx"
    expert.parent.mkdir(parents=True)
    expert.write_bytes(export.to_onnx(architectures.expert(7, side=96), side=96))
    (settings.models / "data").write_text("line")
    repository = Repository.create(settings.repository_folder, settings.repository.keys)
    repository.set_desired(Desired(version=1, fleet="demo", models={}))
    for _ in range(2):
        seedset.prepare(settings, repository)
    desired = repository.desired("demo")
    assert desired is not None
    assert (desired.version, desired.models["replay"].release) == (2, 1)
    assert seedset.may_turn(settings)
    with np.load(settings.models / "replay.npz", allow_pickle=False) as replay:
        assert replay["frames"].shape[1:] == (96, 96, 3)
        assert replay["logits"].shape == (len(replay["labels"]), 7)
    assert list(repository.releases("replay")) == [1]


def test_a_data_set_that_is_missing_is_named(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not known which data"):
        seedset.name_of(settings)
    with pytest.raises(InputError):
        seedset.draw(str(tmp_path / "nowhere"), tmp_path / "seed.npz")
    assert not (tmp_path / "seed.npz").exists()
