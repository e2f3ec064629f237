"""Everything a region may say to the cloud, and what the cloud asks of it: two closed unions, JSON, unknown fields refused.

No field of any of these can hold a picture: there are numbers, short names and digests. Beside them only the bundle of an
update's arrays travels upwards (see wire.bundle), with exactly the model's names and shapes. Strings are cut off at
`LONGEST_NAME`, lists are bounded, so a field cannot be misused as a container.

Example:
    >>> decode_report(encode_report(TaskFailed(task="t", reason="no cases"))).reason
    'no cases'
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec

from shared.errors import ProtocolError

LONGEST_NAME = 256
MOST_DEVICES = 10_000
LARGEST_REPORT_BYTES = 4 << 20

Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Digest: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Counts: TypeAlias = Annotated[tuple[Count, ...], msgspec.Meta(max_length=4096)]


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of what a region says."""


class DeviceSummary(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One device as its region sees it. Times in Unix seconds, counts since the device's process started."""

    name: Name
    seen_at: float
    release: Count = 0
    update_state: Name = ""
    update_reason: Name = ""
    frames: Count = 0
    kept: Count = 0
    deferred: Count = 0
    audited: Count = 0
    dropped: Count = 0
    committed: Counts = ()
    """Releases the device has committed, in order."""


class FleetReport(Report, frozen=True, kw_only=True, tag="fleet"):
    """What a region says of itself every few seconds. Counts are those of its vault."""

    at: float
    cases_stored: Count
    cases_answered: Count
    cases_train: Count
    cases_evaluation: Count
    expert_release: Count = 0
    devices: Annotated[tuple[DeviceSummary, ...], msgspec.Meta(max_length=MOST_DEVICES)] = ()


class TrainReply(Report, frozen=True, kw_only=True, tag="trained"):
    """A training task is done; the update lies under `blob` (uploaded before this is posted)."""

    task: Name
    blob: Digest
    size: Count


class SliceCounts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one model did on the held-out cases, against the expert's answers.

    Per class (the expert's): `cases`, `right`. Per score bin (see `EvaluationReply.edges`, one more bin than edges):
    `bin_cases`, `bin_wrong`, one case per unit. Per unit, in one common order of both models: `unit_cases`, `unit_right`; units have
    no names.
    """

    cases: Counts
    right: Counts
    bin_cases: Counts
    bin_wrong: Counts
    unit_cases: Counts
    unit_right: Counts


class EvaluationReply(Report, frozen=True, kw_only=True, tag="evaluated"):
    """An evaluation task is done: counts for candidate and current student on the same held-out audit cases."""

    task: Name
    edges: Annotated[tuple[float, ...], msgspec.Meta(max_length=256)]
    candidate: SliceCounts
    current: SliceCounts


class TaskFailed(Report, frozen=True, kw_only=True, tag="failed"):
    """A task could not be done here, and why."""

    task: Name
    reason: Annotated[str, msgspec.Meta(max_length=1024)]


UpReport: TypeAlias = FleetReport | TrainReply | EvaluationReply | TaskFailed
"""The closed union: what a region may post."""


class Task(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of what the cloud asks: `task` names it, the answer is wanted before `deadline` (Unix seconds)."""

    task: str
    round: int
    deadline: float


class TrainTask(Task, frozen=True, kw_only=True, tag="train"):
    """Train from the weights in the bundle `blob` (a Flower message) and answer with an update."""

    blob: Digest
    size: Count

    def blobs(self) -> tuple[tuple[str, int], ...]:
        """Return name and size of every file the task needs."""
        return ((self.blob, self.size),)


class Blob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file the cloud holds for a task: its SHA-256 and its size in bytes."""

    name: Digest
    size: Count


class EvaluateTask(Task, frozen=True, kw_only=True, tag="evaluate"):
    """Compare a candidate with the current student on held-out audit cases; model and card of both are blobs.

    `edges` cut the deferral score into bins, one more than there are edges; ascending.
    """

    candidate: Blob
    candidate_card: Blob
    current: Blob
    current_card: Blob
    edges: tuple[float, ...]

    def blobs(self) -> tuple[tuple[str, int], ...]:
        """Return name and size of every file the task needs."""
        return tuple((blob.name, blob.size) for blob in (self.candidate, self.candidate_card, self.current, self.current_card))


AnyTask: TypeAlias = TrainTask | EvaluateTask


class Inbox(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer to a long poll: the tasks that wait for this region."""

    tasks: tuple[AnyTask, ...] = ()


_reports: msgspec.json.Decoder[UpReport] = msgspec.json.Decoder(UpReport)
_inboxes = msgspec.json.Decoder(Inbox)
_tasks: msgspec.json.Decoder[AnyTask] = msgspec.json.Decoder(AnyTask)


def encode_report(report: msgspec.Struct) -> bytes:
    """Return a report, task or inbox as JSON."""
    return msgspec.json.encode(report)


def decode_report(data: bytes) -> UpReport:
    """Parse what a region posted.

    Raises:
        ProtocolError: too long, of no known kind, or with a field that does not belong there.
    """
    if len(data) > LARGEST_REPORT_BYTES:
        raise ProtocolError(f"a report of {len(data)} bytes is longer than {LARGEST_REPORT_BYTES}.")
    try:
        return _reports.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"this is no report a region may send: {error}.") from None


def decode_inbox(data: bytes) -> Inbox:
    """Parse the answer to a long poll.

    Raises:
        ProtocolError: it is no inbox.
    """
    try:
        return _inboxes.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"the cloud's inbox cannot be read: {error}.") from None


def decode_task(data: bytes) -> AnyTask:
    """Parse one task.

    Raises:
        ProtocolError: it is no task.
    """
    try:
        return _tasks.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"this is no task: {error}.") from None
