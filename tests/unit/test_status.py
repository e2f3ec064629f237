"""The status socket answers whoever may ask, wherever the state folder lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.errors import LinkError
from shared.status import StatusServer, read_status


@pytest.mark.parametrize("folders", [1, 12], ids=["short path", "path longer than the kernel takes"])
def test_a_status_is_served_and_the_socket_removed(tmp_path: Path, folders: int) -> None:
    folder = tmp_path.joinpath(*["a-long-name"] * folders)
    folder.mkdir(parents=True)
    server = StatusServer(folder / "status.sock", lambda: {"frames": 3})
    server.start()
    assert read_status(folder / "status.sock") == {"frames": 3}
    assert (folder / "status.sock").stat().st_mode & 0o777 == 0o600
    server.stop()
    assert not (folder / "status.sock").exists()


def test_nobody_listening_is_said_plainly(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="no daemon answers"):
        read_status(tmp_path / "status.sock")
