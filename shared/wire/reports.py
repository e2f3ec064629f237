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
from shared.wire.audithead import SignedHead

LONGEST_NAME = 256
MOST_DEVICES = 10_000
MOST_AUDITED_RELEASES = 16
LARGEST_REPORT_BYTES = 8 << 20

Name: TypeAlias = Annotated[str, msgspec.Meta(max_length=LONGEST_NAME)]
Count: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]
Digest: TypeAlias = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Counts: TypeAlias = Annotated[tuple[Count, ...], msgspec.Meta(max_length=4096)]
Share: TypeAlias = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of what a region says."""


class ReleaseAudit(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one student release did on one device, from its answered audit samples, each counted once and durably in the region.

    `audited`: answered audit samples; `agreed`: those where student and expert say the same; `kept`: those whose score reached the
    threshold, so that without the draw the student alone would have answered; `kept_wrong`: kept, and the expert says otherwise.
    """

    release: Count
    audited: Count
    agreed: Count
    kept: Count
    kept_wrong: Count


class DeviceLive(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The live risk of the release in use as a device tells it itself (see deferral.live); shares from 0 to 1.

    `at`: when its region heard it, Unix seconds. `audited` answered audit samples of its stretch, `wrong` of them kept and contradicted,
    `owed` of these for want of budget, `missing` without an answer, `pending` still waited for. `low` and `high`: the interval, computed
    by the region from these counts. `threshold` None: no calibration; `epsilon` None: it does not follow; `budget_bytes_per_s` None: no
    budget. `budget_use`: the share of hard frames it lately let through, `held_back` the others. `audit_share` None: not told.
    """

    at: float
    audited: Count
    low: Share
    high: Share
    wrong: Count = 0
    owed: Count = 0
    missing: Count = 0
    pending: Count = 0
    threshold: float | None = None
    epsilon: float | None = None
    audit_share: Share | None = None
    budget_bytes_per_s: float | None = None
    budget_use: Share = 1.0
    held_back: Count = 0
    drift: Name = ""


class RegionLive(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The live risk of a region's devices together (see deferral.pooled), from those that told theirs lately.

    `devices` that told it, `untold` connected ones that did not (old agents, or nothing lately). Counts are sums of theirs, `low` and
    `high` the interval of the pooled share. `worst`: the device whose risk lies highest for sure, its interval holding for all devices
    together; "" where nothing was counted. Numbers of devices: `censored`, `alarms` (drift), `learning` (their reference), `following`
    (their threshold moves), `budgeted`. Over devices: lowest and highest `threshold` and `audit_share`, lowest `budget_use`.
    """

    devices: Count = 0
    untold: Count = 0
    audited: Count = 0
    wrong: Count = 0
    owed: Count = 0
    missing: Count = 0
    pending: Count = 0
    low: Share = 0.0
    high: Share = 1.0
    worst: Name = ""
    worst_risk: Share = 0.0
    worst_low: Share = 0.0
    worst_high: Share = 1.0
    censored: Count = 0
    alarms: Count = 0
    learning: Count = 0
    following: Count = 0
    threshold_low: float | None = None
    threshold_high: float | None = None
    audit_share_low: Share | None = None
    audit_share_high: Share | None = None
    budgeted: Count = 0
    budget_use_low: Share = 1.0
    held_back: Count = 0


class ReleasePair(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a device counted on audit samples it ran a release and the one before on, and on which only either agreed with the expert."""

    release: Count
    samples: Count
    lost: Count
    """Only the one before agreed."""
    won: Count
    """Only this one did."""


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
    audits: Annotated[tuple[ReleaseAudit, ...], msgspec.Meta(max_length=MOST_AUDITED_RELEASES)] = ()
    """By student release, the newest last; older ones are left out."""
    bytes_received: Count = 0
    """Payload bytes of all kinds the region got from it since the region's start."""
    latency_ms_p50: float = 0.0
    """Median of the device's own inference, milliseconds."""
    spool_cases: Count = 0
    evicted: Count = 0
    connected: bool = False
    """Whether it was heard within the last seconds."""
    update_release: Count = 0
    """The release its last word is about."""
    update_word: Name = ""
    """Its last word on a release: committed, fallen_back or refused."""
    audits_drawn: Count = 0
    """Frames its region knows to have been drawn for audit, of those it could judge."""
    audits_missing: Count = 0
    """Of these, those that never came."""
    audits_left_out: bool = False
    """Whether more are missing than dropped frames explain."""
    spool_in_memory: bool = False
    """Whether its new cases wait in memory only, since its disk cannot be written."""
    live: DeviceLive | None = None
    """Its live risk; None where it does not tell it."""
    compared: ReleasePair | None = None
    """How the newest release that it compared does beside the one before; None where it compared none."""


class DriftState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether the students of a region have come to disagree with its expert more than they did at first.

    `alarm` and `since` (Unix seconds, 0: never): in alarm since when. `audited`: answered audit samples judged. `disagreement` is
    the recent share of them where student and expert differ, `reference` what it is compared with. `evidence` is the test's, as a
    factor against "nothing has changed" (see deferral.drift). `cases_since`: training cases gathered since the alarm.
    """

    alarm: bool = False
    since: float = 0.0
    audited: Count = 0
    disagreement: Share = 0.0
    reference: Share = 0.0
    evidence: float = 0.0
    cases_since: Count = 0


class QuarantinedDevice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device its region keeps out for a while: since and until when (Unix seconds), and why."""

    name: Name
    at: float
    until: float
    reason: Name = ""


class FleetReport(Report, frozen=True, kw_only=True, tag="fleet"):
    """What a region says of itself every few seconds. Counts are those of its vault."""

    at: float
    cases_stored: Count
    cases_answered: Count
    cases_train: Count
    cases_evaluation: Count
    expert_release: Count = 0
    devices: Annotated[tuple[DeviceSummary, ...], msgspec.Meta(max_length=MOST_DEVICES)] = ()
    drift: DriftState = DriftState()
    people_url: Name = ""
    """The region's own page for people, "" when it has none."""
    cases_human: Count = 0
    """Cases frozen with a label that people agreed on."""
    answer_ms_p50: float = 0.0
    answer_ms_p99: float = 0.0
    """The expert's answer latency, received to answered, milliseconds."""
    cases_generated: Count = 0
    """Of `cases_human`, those a generator labelled in the place of people."""
    audit_head: SignedHead | None = None
    """Where the region's audit log ended lately, signed."""
    quarantined: Annotated[tuple[QuarantinedDevice, ...], msgspec.Meta(max_length=MOST_DEVICES)] = ()
    """Devices it keeps out for a while."""
    live: RegionLive | None = None
    """The live risk of its devices; None where the region does not tell it."""


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
    """An evaluation task is done: counts for candidate and current student on the same held-out audit cases.

    `human_candidate` and `human_current` are the same on the cases people labelled, against the people's labels; None without any.
    `human_generated` of these cases were labelled by a generator in the place of people.
    """

    task: Name
    edges: Annotated[tuple[float, ...], msgspec.Meta(max_length=256)]
    candidate: SliceCounts
    current: SliceCounts
    human_candidate: SliceCounts | None = None
    human_current: SliceCounts | None = None
    human_generated: Count = 0


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
