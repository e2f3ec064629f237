"""The parts of the link's benchmarks that decide: the account, the search for marks, the ratios; and the disk and the clock they bend."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.errors import DependencyError
from shared.wire.messages import encode
from tests.bench import links
from tests.bench.__main__ import names, typed
from tests.bench.links import comparing
from tests.bench.links.ledger import parse_journal, settle
from tests.bench.links.marks import Marked
from tests.bench.links.surroundings import DAY_S, SmallDisk, SteppedClock
from tests.bench.links.tap import Tap
from tests.bench.result import Result, table

ACCEPTED = {("a", 1): "u1", ("a", 2): "u2", ("b", 1): "u3", ("b", 2): "u4", ("c", 1): "u5"}


def test_every_accepted_case_is_accounted_for() -> None:
    account = settle(
        ACCEPTED, stored=[(("a", 1), "u1"), (("c", 1), "u5")], waiting=[("a", 2)], destroyed=[("b", 1)], replaced=[("b", 2), ("a", 1)]
    )
    assert (account.lost, account.double_effects, account.went_with_a_spool, account.went_with_a_vault) == (0, 0, 1, 1)


def test_a_case_that_is_nowhere_is_lost() -> None:
    account = settle(ACCEPTED, stored=[(("a", 1), "u1")], waiting=[("a", 2)], destroyed=[("b", 1)], replaced=[("b", 2)])
    assert (account.lost, account.missing) == (1, (("c", 1),))


@pytest.mark.parametrize("again", [(("a", 1), "u1"), (("z", 9), "u1")], ids=["same key", "another key"])
def test_a_unit_stored_twice_is_a_double_effect(again: tuple[tuple[str, int], str]) -> None:
    account = settle({("a", 1): "u1"}, stored=[(("a", 1), "u1"), again], waiting=(), destroyed=(), replaced=())
    assert account.double_effects == 1


def test_a_torn_line_of_a_journal_is_left_out() -> None:
    assert parse_journal("aa 1 unit-1\naa 2 unit-2\naa 3 un") == {("aa", 1): "unit-1", ("aa", 2): "unit-2"}


def test_marks_are_found_encoded_decoded_and_by_name(tmp_path: Path) -> None:
    marked = Marked(5)
    case = marked.case("edge-1", 3, "token")
    assert marked.found(encode(case)) > 0
    assert marked.found(case.picture.data) > 0
    assert marked.found(case.unit.encode()) > 0
    assert marked.found(os.urandom(1 << 16)) == 0
    path = tmp_path / "file"
    path.write_bytes(bytes(100) + case.picture.data)
    tap = Tap(marked)
    tap.file("files", path)
    assert tap.seen.plaintext_bytes > 0


def test_marks_are_found_in_the_memory_of_a_process() -> None:
    if os.geteuid() != 0:
        pytest.skip("another process's memory is read by root only")
    marked = Marked(6)
    hold = "import sys; data = sys.stdin.buffer.read(); print('held', flush=True); import time; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=-1, stdout=-1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(encode(marked.case("edge-1", 0, "token")))
        process.stdin.close()
        assert process.stdout.readline() == b"held\n"
        tap = Tap(marked)
        tap.memory(process.pid)
        process.kill()
    assert tap.seen.plaintext_bytes > 0


def test_a_stepped_clock_moves_the_wall_and_not_the_monotonic_clock(tmp_path: Path) -> None:
    clock = SteppedClock(tmp_path)
    try:
        clock.start()
    except DependencyError as error:
        pytest.skip(str(error))
    say = "import time, sys\nfor _ in sys.stdin: print(time.time(), time.monotonic(), flush=True)"
    with subprocess.Popen([sys.executable, "-c", say], stdin=-1, stdout=-1, env=clock.environment(), text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for seconds in (0, DAY_S, -DAY_S, 0):
            clock.step(seconds)
            process.stdin.write("\n")
            wall, monotonic = map(float, process.stdout.readline().split())
            assert abs(wall - time.time() - seconds) < 5
            assert abs(monotonic - time.monotonic()) < 5
        process.stdin.close()


def test_a_small_disk_fills_and_empties(tmp_path: Path) -> None:
    disk = SmallDisk(tmp_path / "disk", 1)
    try:
        disk.start()
    except (DependencyError, OSError) as error:
        pytest.skip(str(error))
    try:
        disk.fill()
        with pytest.raises(OSError, match="No space"):
            (disk.folder / "more").write_bytes(bytes(8192))
        disk.free()
        (disk.folder / "more").write_bytes(bytes(8192))
    finally:
        disk.stop()


def test_ratios_compare_neighbours_in_time() -> None:
    found = {"ours": {"latency_ms": [10.0, 30.0, 22.0]}, "grpc": {"latency_ms": [10.0, 20.0, 20.0]}}
    assert comparing.ratio(found, "latency_ms", "grpc") == pytest.approx(1.1)
    assert [comparing.turned(("a", "b", "c"), by)[0] for by in range(4)] == ["a", "b", "c", "a"]


def test_names_with_a_dash_are_modules_with_an_underscore() -> None:
    assert {"link", "link-faults"} <= set(names())
    assert typed("link_faults") == "link-faults"


@pytest.mark.parametrize("path", sorted(Path(links.__file__).parent.glob("*.py")), ids=lambda path: path.stem)
def test_every_part_fits_the_code_it_measures(path: Path) -> None:
    """Types are not checked in tests: a name that has moved would be found by the next long run only."""
    importlib.import_module(f"{links.__name__}.{path.stem}".removesuffix(".__init__"))


def test_rows_of_other_columns_begin_another_block() -> None:
    printed = table(Result(name="x", figures={}, rows=[{"way": "a", "ms": 1.0}, {"way": "b"}, {"edges": 10.0, "cpu": 2.0}]))
    assert [line.split() for line in printed.splitlines()[1:]] == [["way", "ms"], ["a", "1"], ["b"], ["edges", "cpu"], ["10", "2"]]
