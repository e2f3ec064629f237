"""Flower's FedAvg over our Grid and the real mailbox: two regions in threads, real torch weights."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Message, MetricRecord, RecordDict
from torch import nn

from cloud import mailbox as boxes
from cloud.blobs import Blobs
from cloud.database import Database
from cloud.federation import flower
from cloud.federation.aggregation import StreamingFedAvg
from cloud.federation.grid import MailboxGrid
from cloud.mailbox import Mailbox
from shared.errors import FederationError, ProtocolError
from shared.wire import bundle
from shared.wire.reports import TaskFailed, TrainReply, TrainTask
from tests.waiting import until

Arrays = flower.Arrays
LIMIT = 1 << 20


def arrays(seed: int) -> Arrays:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    model(torch.randn(5, 3, 3, 3))
    return {name: value.numpy().copy() for name, value in model.state_dict().items()}


@pytest.fixture
def mailbox(tmp_path: Path) -> Iterator[Mailbox]:
    database, blobs = Database(tmp_path / "registry.db", [boxes.SCHEMA]), Blobs(tmp_path / "blobs")
    database.start()
    blobs.start()
    yield Mailbox(database, blobs)
    database.stop()


def grid(mailbox: Mailbox, *, quorum: int = 2, deadline_s: float = 20.0, number: int = 1) -> MailboxGrid:
    now = time.time()
    return MailboxGrid(
        mailbox, round_number=number, nodes={1: "region-1", 2: "region-2"}, begun_at=1000.0, deadline=now + deadline_s,
        quorum=quorum, limit_bytes=LIMIT, clock=time.time, pause=lambda s: not threading.Event().wait(min(s, 0.01)),
    )  # fmt: skip


def strategy(model: Arrays, quorum: int = 2) -> StreamingFedAvg:
    return StreamingFedAvg(model, names={1: "region-1", 2: "region-2"}, quorum=quorum, minimum_cases=10, minimum_steps=2)


def update_of(task: TrainTask, mailbox: Mailbox, change: Callable[[Arrays], Arrays], examples: int = 100, node: int = 0) -> bytes:
    """Do what a region does: read Flower's message, change the weights, reply in Flower's bytes."""
    asked = flower.decode(mailbox.blobs.read(task.blob), limit_bytes=LIMIT)
    given = {name: value.numpy() for name, value in asked.content.array_records["arrays"].items()}
    content = RecordDict({"arrays": flower.record_of(change(given)), "metrics": MetricRecord({"num-examples": examples, "steps": 20})})
    reply = Message(content, reply_to=asked)
    if node:
        reply.metadata.__dict__["_src_node_id"] = node
    return flower.encode(reply)


def deliver(mailbox: Mailbox, region: str, data: bytes) -> str:
    """Upload an update in two pieces and post its reply, as the API process does for a region."""
    name = bundle.sha256(data)
    half = len(data) // 2
    mailbox.blobs.append(region, name, start=0, total=len(data), data=data[:half])
    mailbox.blobs.append(region, name, start=half, total=len(data), data=data[half:])
    (task,) = mailbox.waiting(region, now=time.time())
    assert mailbox.answer(region, TrainReply(task=task.task, blob=name, size=len(data)), now=time.time())
    return name


def region(mailbox: Mailbox, name: str, change: Callable[[Arrays], Arrays], **options: int) -> threading.Thread:
    def act() -> None:
        until(lambda: mailbox.waiting(name, now=time.time()), f"a task for {name}", within_s=20)
        task = mailbox.waiting(name, now=time.time())[0]
        assert isinstance(task, TrainTask)
        deliver(mailbox, name, update_of(task, mailbox, change, **options))

    thread = threading.Thread(target=act)
    thread.start()
    return thread


def shifted(by: float) -> Callable[[Arrays], Arrays]:
    return lambda given: {n: (v + np.float32(by) if v.dtype == np.float32 else v) for n, v in given.items()}


def run(
    mailbox: Mailbox, changes: list[Callable[[Arrays], Arrays]], examples: list[int], order: list[int]
) -> tuple[Arrays, StreamingFedAvg]:
    model = arrays(0)
    chosen = strategy(model)
    threads = [region(mailbox, f"region-{i + 1}", changes[i], examples=examples[i]) for i in order]
    result = chosen.start(grid=grid(mailbox), initial_arrays=flower.record_of(model), num_rounds=1, train_config=ConfigRecord({"seed": 1}))
    for thread in threads:
        thread.join()
    assert result.arrays is not None
    return {name: value.numpy() for name, value in result.arrays.items()}, chosen


def test_two_regions_give_the_weighted_mean(mailbox: Mailbox) -> None:
    model = arrays(0)
    found, chosen = run(mailbox, [shifted(1.0), shifted(4.0)], [100, 50], [0, 1])
    np.testing.assert_allclose(found["0.weight"], model["0.weight"] + 2.0, rtol=1e-6)
    np.testing.assert_allclose(found["1.running_mean"], model["1.running_mean"] + 2.0, rtol=1e-5)
    # the variance of the mixture holds the spread between the regions: (1/3)(2/3)(4-1)^2 = 2
    np.testing.assert_allclose(found["1.running_var"], model["1.running_var"] + 2.0 + 2.0, rtol=1e-5)
    assert found["1.num_batches_tracked"] == model["1.num_batches_tracked"]
    assert [round(item.weight, 6) for item in chosen.contributions] == [0.666667, 0.333333]


def test_the_order_of_arrival_does_not_change_a_bit(tmp_path: Path) -> None:
    def once(folder: Path, order: list[int]) -> Arrays:
        database, blobs = Database(folder / "r.db", [boxes.SCHEMA]), Blobs(folder / "blobs")
        database.start()
        blobs.start()
        found, _ = run(Mailbox(database, blobs), [shifted(0.1), shifted(0.7)], [100, 37], order)
        database.stop()
        return found

    first, second = once(tmp_path / "a", [0, 1]), once(tmp_path / "b", [1, 0])
    assert all(first[name].tobytes() == second[name].tobytes() for name in first)


def test_a_region_lying_about_its_node_is_taken_for_itself(mailbox: Mailbox) -> None:
    model = arrays(0)
    asked = grid(mailbox)
    chosen = strategy(model)
    asked.push_messages(chosen.configure_train(1, flower.record_of(model), ConfigRecord({}), asked))
    for index, name in enumerate(["region-1", "region-2"]):
        (task,) = mailbox.waiting(name, now=time.time())
        deliver(mailbox, name, update_of(task, mailbox, shifted(index), node=2))  # type: ignore[arg-type]
    nodes = [message.metadata.src_node_id for message in asked.replies()]
    assert nodes == [1, 2]


def test_another_regions_task_cannot_be_answered(mailbox: Mailbox) -> None:
    asked = grid(mailbox)
    asked.push_messages(strategy(arrays(0)).configure_train(1, flower.record_of(arrays(0)), ConfigRecord({}), asked))
    (task,) = mailbox.waiting("region-2", now=time.time())
    with pytest.raises(ProtocolError, match="region-1 has no task"):
        mailbox.answer("region-1", TaskFailed(task=task.task, reason="x"), now=time.time())


def test_a_second_different_reply_is_refused_and_a_retry_is_not_counted(mailbox: Mailbox) -> None:
    asked = grid(mailbox)
    asked.push_messages(strategy(arrays(0)).configure_train(1, flower.record_of(arrays(0)), ConfigRecord({}), asked))
    (task,) = mailbox.waiting("region-1", now=time.time())
    assert isinstance(task, TrainTask)
    data = update_of(task, mailbox, shifted(1))
    name = deliver(mailbox, "region-1", data)
    assert not mailbox.answer("region-1", TrainReply(task=task.task, blob=name, size=len(data)), now=time.time())
    other = update_of(task, mailbox, shifted(2))
    mailbox.blobs.append("region-1", (second := bundle.sha256(other)), start=0, total=len(other), data=other)
    with pytest.raises(ProtocolError, match="already answered"):
        mailbox.answer("region-1", TrainReply(task=task.task, blob=second, size=len(other)), now=time.time())
    (task2,) = mailbox.waiting("region-2", now=time.time())
    with pytest.raises(ProtocolError, match="another region's"):
        mailbox.answer("region-2", TrainReply(task=task2.task, blob=name, size=len(data)), now=time.time())


def _with(name: str, value: np.ndarray) -> Callable[[Arrays], Arrays]:  # type: ignore[type-arg]
    return lambda given: {**given, name: value}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_with("3.bias", np.array([np.nan, 0], np.float32)), "not finite"),
        (_with("3.bias", np.zeros(3, np.float32)), "shape"),
        (_with("3.bias", np.zeros(2, np.float64)), "type"),
        (_with("extra", np.zeros(2, np.float32)), "names differ"),
        (_with("1.running_var", np.full(4, -1, np.float32)), "negative"),
        (_with("3.bias", np.zeros(1 << 19, np.float32)), "larger"),
    ],
)
def test_an_update_that_does_not_fit_misses_the_quorum_loudly(mailbox: Mailbox, change: Callable[[Arrays], Arrays], reason: str) -> None:
    with pytest.raises(FederationError, match=reason):
        run(mailbox, [shifted(1.0), change], [100, 100], [0, 1])


def test_too_few_replies_at_the_deadline_fail_the_round(mailbox: Mailbox) -> None:
    model = arrays(0)
    region(mailbox, "region-1", shifted(1.0)).join(0)
    with pytest.raises(FederationError, match=r"1 updates, its quorum is 2 \(region-2: no answer\)"):
        strategy(model).start(grid=grid(mailbox, deadline_s=1.0), initial_arrays=flower.record_of(model), num_rounds=1)
    assert mailbox.waiting("region-2", now=0.0) == ()


def test_one_missing_region_above_the_quorum_is_left_out(mailbox: Mailbox) -> None:
    model = arrays(0)
    thread = region(mailbox, "region-2", shifted(3.0))
    result = strategy(model, quorum=1).start(
        grid=grid(mailbox, quorum=1, deadline_s=1.0), initial_arrays=flower.record_of(model), num_rounds=1
    )
    thread.join()
    assert result.arrays is not None
    np.testing.assert_allclose(result.arrays["3.bias"].numpy(), model["3.bias"] + 3, rtol=1e-6)


def test_blobs_are_unreadable_on_disk_and_gone_after_the_round(mailbox: Mailbox, tmp_path: Path) -> None:
    asked = grid(mailbox)
    asked.push_messages(strategy(arrays(0)).configure_train(1, flower.record_of(arrays(0)), ConfigRecord({}), asked))
    (task,) = mailbox.waiting("region-1", now=time.time())
    assert isinstance(task, TrainTask)
    deliver(mailbox, "region-1", update_of(task, mailbox, shifted(1)))
    files = [path for path in (tmp_path / "blobs").iterdir() if path.is_file() and path.name != "blobs.key"]
    assert len(files) == 3
    assert not any(b"numpy" in path.read_bytes() or b"ArrayRecord" in path.read_bytes() for path in files)
    mailbox.forget(1)
    assert [path.name for path in (tmp_path / "blobs").iterdir() if path.is_file()] == ["blobs.key"]


def test_a_bundle_that_swells_is_refused() -> None:
    big = {"a": np.zeros(1 << 18, np.float32)}
    message = Message(RecordDict({"arrays": flower.record_of(big)}), 1, "train")
    with pytest.raises(ProtocolError, match="larger"):
        flower.decode(flower.encode(message), limit_bytes=1000)


def test_an_upload_with_other_bytes_than_its_name_is_removed(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path / "blobs")
    blobs.start()
    with pytest.raises(ProtocolError, match="other bytes"):
        blobs.append("region-1", "0" * 64, start=0, total=3, data=b"abc")
    assert blobs.offset("region-1", "0" * 64) == 0
    name = blobs.put(b"x" * 100)
    assert b"".join(blobs.stream(name, start=37)) == b"x" * 63
