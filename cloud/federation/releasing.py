"""The steps from aggregated weights to a rollout: distil, quantise, evaluate, gate, publish, rollout.

Each step leaves its files in the round's folder and their hashes in its row, and comes to the same when it is begun twice: files are
written whole, a release number is taken when the candidate is made and used once, a published release is published again as nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from cloud import rollout
from cloud.config import Settings
from cloud.evidence import Evidence, encode_evidence
from cloud.federation.foundry import Candidate, Current, Foundry
from cloud.federation.participants import RECENT_S
from cloud.federation.rounds import Result, Results
from cloud.federation.tallies import contradiction
from cloud.federation.training import pack, unpack
from cloud.fleet import Fleet
from cloud.mailbox import Mailbox
from cloud.publish import Repository
from cloud.records import Release, Round
from cloud.registry import Registry
from cloud.rollouts import Rollouts
from shared import durable, log
from shared.clock import Clock
from shared.errors import FederationError, StorageError
from shared.release.card import decode_card, encode_card, sha256, target_path
from shared.vision.tasks.task import CLASSIFICATION
from shared.wire.reports import Blob, EvaluateTask, EvaluationReply

STUDENT = "student"
UNTAUGHT = "Bring a better one yourself: terrace cloud release add."
POLL_S = 0.25
COUNTS_REFUSED = "region_counts_refused"
Pause = Callable[[float], bool]


class Releasing:
    """Makes a release of aggregated weights.

    Args:
        settings: cloud.toml.
        registry: where releases and step results are kept.
        fleet: which regions are asked to evaluate.
        mailbox: how candidates travel.
        repository: the TUF repository.
        foundry: distils, quantises, gates.
        rollouts: bring a published release to the devices.
        clock: wall time.
        pause: waits for so many seconds; False when the process is to stop.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        registry: Registry,
        fleet: Fleet,
        mailbox: Mailbox,
        repository: Repository,
        foundry: Foundry,
        rollouts: Rollouts,
        clock: Clock = time.time,
        pause: Pause,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._fleet = fleet
        self._mailbox = mailbox
        self._repository = repository
        self._foundry = foundry
        self._rollouts = rollouts
        self._clock = clock
        self._pause = pause

    def desired_student(self) -> int:
        """Return the newest student that is meant for every device; one that is still on trial teaches nothing.

        Raises:
            FederationError: there is none.
        """
        desired = self._repository.desired(self._settings.fleet)
        if desired is None or STUDENT not in desired.models:
            raise FederationError("the fleet has no student yet.", "Import the first one: terrace cloud init --models DIR.")
        return rollout.proven(desired.models[STUDENT])[0]

    def current(self, release: int) -> Current:
        """Return a student with its files.

        Raises:
            FederationError: it is not published, or no round can be made with it.
        """
        role = self._repository.releases(STUDENT).get(release)
        if role is None:
            raise FederationError(f"student {release} is not published.", "Import it: terrace cloud init --models DIR.")
        onnx = self._settings.models / STUDENT / f"{release:06d}.onnx"
        if not onnx.exists():
            durable.write(onnx, self._repository.content(target_path(STUDENT, role, release, "onnx")))
        card = decode_card(self._repository.content(target_path(STUDENT, role, release, "card.json")))
        if card.task != CLASSIFICATION:
            raise FederationError(f"student {release} is for {card.task}: rounds can teach classifiers only.", UNTAUGHT)
        if not self.weights(release).exists():
            raise FederationError(f"the weights of student {release} are not here: no round can start from it.", UNTAUGHT)
        return Current(release=release, role=role, onnx=onnx, card=card, arrays=unpack(self.weights(release)))

    def teachable_student(self) -> int:
        """Return the release the fleet is meant to run, where a round can be made with it.

        Raises:
            FederationError: none can, and why.
        """
        release = self.desired_student()
        self.current(release)
        return release

    def can_teach(self) -> bool:
        """Whether a round can be made with the student the fleet is meant to run."""
        try:
            self.teachable_student()
        except FederationError:
            return False
        return True

    def weights(self, release: int) -> Path:
        """Return where the fp32 weights of a student lie."""
        return self._settings.models / STUDENT / f"{release:06d}.npz"

    def folder(self, current: Round) -> Path:
        """Return the round's folder."""
        return self._settings.state / "rounds" / f"{current.number:06d}"

    def distil(self, current: Round, results: Results) -> Result:
        """Teach on the seed set and write the student's weights."""
        base = self.current(int(results["aggregate"]["base"]))
        aggregated = unpack(self.folder(current) / "aggregate.npz")
        arrays, figures = self._foundry.distil(aggregated, base, seed=self._settings.rounds.seed + current.number)
        data = pack(arrays)
        durable.write(self.folder(current) / "student.npz", data, mode=0o600)
        return {"sha256": sha256(data), "figures": figures}

    def quantise(self, current: Round, results: Results) -> Result:
        """Make the candidate and take its release number."""
        base = self.current(int(results["aggregate"]["base"]))
        release = max(self._repository.releases(STUDENT)) + 1
        candidate = self._foundry.quantise(
            unpack(self.folder(current) / "student.npz"),
            base,
            release=release,
            round_number=current.number,
            data=results["aggregate"]["sha256"],
            folder=self.folder(current),
        )
        durable.write(self._card(current), encode_card(candidate.card))
        return {"release": release, "onnx": str(candidate.onnx), "sha256": candidate.card.onnx_sha256, "edges": list(candidate.edges)}

    def evaluate(self, current: Round, results: Results) -> Result:
        """Ask every region that is here to count; those that do not answer by the deadline are named in the result."""
        step = self._registry.begin_step(current.number, "evaluate", now=self._clock())
        plan = dict(step.result)
        if not plan:
            here = [region.name for region in self._fleet.regions() if self._clock() - region.seen_at <= RECENT_S]
            plan = {"asked": here, "deadline": self._clock() + self._settings.rounds.deadline_s}
            self._registry.note_step(current.number, "evaluate", plan)
        self._post(current, results, plan)
        while not all(reply is not None for reply in self._mailbox.replies(current.number, "evaluate").values()):
            if self._clock() > plan["deadline"]:
                self._mailbox.withdraw(current.number, "evaluate")
                break
            if not self._pause(POLL_S):
                raise InterruptedError("the worker is to stop")
        replies = self._mailbox.replies(current.number, "evaluate")
        counted = {name: sum(reply.candidate.cases) for name, reply in replies.items() if isinstance(reply, EvaluationReply)}
        silent = {name: getattr(reply, "reason", "no answer") for name, reply in replies.items() if name not in counted}
        figures = {name: _right(reply) for name, reply in replies.items() if isinstance(reply, EvaluationReply)}
        return {**plan, "cases": counted, "figures": figures, "silent": silent}

    def _post(self, current: Round, results: Results, plan: dict[str, Any]) -> None:
        base = self.current(int(results["aggregate"]["base"]))
        candidate = self._candidate(current, results)
        blobs = [self._blob(data) for data in _files(candidate.onnx, encode_card(candidate.card), base.onnx, encode_card(base.card))]
        for region in plan["asked"]:
            task = EvaluateTask(
                task=f"{current.number:06d}-evaluate-{region}",
                round=current.number,
                deadline=plan["deadline"],
                candidate=blobs[0],
                candidate_card=blobs[1],
                current=blobs[2],
                current_card=blobs[3],
                edges=candidate.edges,
            )
            self._mailbox.post(region, task)

    def gate(self, current: Round, results: Results) -> Result:
        """Judge; what the gates refuse is never published."""
        base = self.current(int(results["aggregate"]["base"]))
        candidate = self._candidate(current, results)
        verdict = self._foundry.gate(candidate, base, self._believed(current, candidate))
        durable.write(self._release_card(current), encode_card(verdict.card))
        failed = [f"{check.name} is {check.value:.4f}, the limit is {check.limit:.4f}" for check in verdict.checks if not check.passed]
        refused = "" if verdict.passed else f"the gates refused: {'; '.join(failed) or 'nothing was checked'}."
        return {"checks": msgspec.to_builtins(verdict.checks), "notes": list(verdict.notes), "refused": refused}

    def _believed(self, current: Round, candidate: Candidate) -> list[EvaluationReply]:
        believed = []
        for region, reply in self._mailbox.replies(current.number, "evaluate").items():
            if isinstance(reply, EvaluationReply):
                wrong = contradiction(reply, classes=len(candidate.card.labels), edges=candidate.edges)
                believed += [] if wrong else [reply]
                if wrong:
                    log.get("rounds").warning(COUNTS_REFUSED, region=region, reason=wrong)
        return believed

    def publish(self, current: Round, results: Results) -> Result:
        """Add the release to the repository with its deltas, record its lineage, keep its weights for the next round."""
        release, card = int(results["quantise"]["release"]), _read(self._release_card(current))
        candidate = self._candidate(current, results)
        checks = msgspec.convert(results["gate"]["checks"], tuple[Any, ...])
        evidence = msgspec.convert(
            {"model": STUDENT, "release": release, "onnx_sha256": candidate.card.onnx_sha256, "passed": True, "checks": checks}, Evidence
        )
        bases = sorted(number for number in self._repository.releases(STUDENT) if number < release)[-self._settings.rollout.delta_bases :]
        published = self._repository.add_release(STUDENT, "auto", release, candidate.onnx, card, bases, gates=encode_evidence(evidence))
        durable.write(self.weights(release), (self.folder(current) / "student.npz").read_bytes(), mode=0o600)
        lineage = {"contributions": results["aggregate"]["contributions"], "distil": results["distil"]["figures"], "gate": results["gate"]}
        self._registry.add_release(
            Release(
                model=STUDENT,
                release=release,
                role="auto",
                parent=int(results["aggregate"]["base"]),
                round=current.number,
                lineage=lineage,
                created_at=self._clock(),
            )
        )
        self._fleet.learned(results["train"]["cases"])
        deltas = {str(base): size for base, size in published.delta_bytes.items()}
        return {"release": release, "full_bytes": published.full_bytes, "delta_bytes": deltas}

    def rollout(self, current: Round, results: Results) -> Result:
        """Hand the release over to a rollout, or leave that to an operator."""
        release = int(results["publish"]["release"])
        if not self._settings.rollout.automatic:
            return {"waits": f"an operator rolls it out: terrace cloud rollout start {release}"}
        origin = f"round {current.number}"
        begun = self._rollouts.begin(release, who=origin, origin=origin, reason=f"student {release} has passed the gates of {origin}")
        return {"rollout": begun.id, "release": release}

    def close(self, current: Round) -> None:
        """Delete what only the round needed: updates, candidate blobs, and the weights before they were a release."""
        self._mailbox.forget(current.number)
        for name in ("aggregate.npz", "student.npz"):
            (self.folder(current) / name).unlink(missing_ok=True)

    def _candidate(self, current: Round, results: Results) -> Candidate:
        made = results["quantise"]
        onnx = Path(made["onnx"])
        card = decode_card(self._card(current).read_bytes())
        if sha256(_read(onnx)) != made["sha256"]:
            raise StorageError(f"the candidate {onnx} is not the one that was made.", "Start a new round.")
        return Candidate(onnx=onnx, card=card, edges=tuple(made["edges"]))

    def _card(self, current: Round) -> Path:
        return self.folder(current) / "candidate.card.json"

    def _release_card(self, current: Round) -> Path:
        return self.folder(current) / "release.card.json"

    def _blob(self, data: bytes) -> Blob:
        return Blob(name=self._mailbox.blobs.put(data), size=len(data))


def _right(reply: EvaluationReply) -> dict[str, int]:
    return {"candidate": sum(reply.candidate.right), "current": sum(reply.current.right)}


def _files(onnx: Path, card: bytes, current: Path, current_card: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    return _read(onnx), card, _read(current), current_card


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error}.", "Start a new round.") from error
