"""Act 3: one region sees a drift, a round teaches the fleet, and another region knows it before the drift arrives there.

In order: region B's own control is trained (a trial round with B alone, which publishes nothing); the drift comes to region A only; A's
audit samples raise the alarm; its cases make a round by need; the release reaches every device; then the drift reaches B.

What is claimed is measured on the INT8 files devices run, on pictures nobody ever streamed (A) or that were streamed undrifted (B). The
control has learnt from B's own ordinary cases and from none of A's: what B gains beyond it came from A, and no picture moved.
"""

from __future__ import annotations

import json
import time

from provisioning.testbed import labels, learning, ledger, offline, released, weather
from provisioning.testbed.figures import FederationFigures
from provisioning.testbed.footage import Footage
from provisioning.testbed.learned import Question
from provisioning.testbed.plan import REFERENCE_SAMPLES
from provisioning.testbed.processes import run_command
from provisioning.testbed.report import fill
from provisioning.testbed.rollouts import promote_when_asked
from provisioning.testbed.rounds import newest_round, open_round, release_round
from provisioning.testbed.stage import Stage
from provisioning.testbed.swaps import swap

NUMBER, TITLE = 3, "Federation matters"
CLAIM = "Drift reaches region A only; its cases teach a round; when the drift reaches region B, B's devices know it. No picture moved."
REFERENCE_S, ALARM_S, CASES_S = 120.0, 120.0, 90.0
LABELS_PER_DEVICE = 30


def play(stage: Stage, footage: Footage) -> FederationFigures:
    """Train B's control, drift at A, alarm, round, release, drift at B; then measure."""
    a, b = stage.fleet.plan.region_names[:2]
    before = max(stage.committed(device) for device in stage.devices)
    drifts = stage.beside(weather.draw, footage.everything(), str(footage.root / "drift"), footage.drift, what="drawing the drift")
    _label(stage, footage, (a, b), since=0.0)
    stage.screen.say(f"a trial round with {b} alone, which publishes nothing: what {b} could learn without {a}")
    control = stage.fleet.start_round(regions=(b,), is_trial=True)
    alarm_s = _drift_at(stage, footage, a, drifts)
    _label(stage, footage, (a,), since=time.time() - alarm_s)
    open_round(stage, control)
    number = _round_by_need(stage, a, after=control)
    after = swap(stage, after=before, act=promote_when_asked)
    _arrive(stage, footage, b, drifts)
    stage.pause(stage.fleet.plan.steady_s / 2)
    question = _question(footage, drifts, stage.fleet.plan.edge_names(b), before=before, after=after, control=control)
    footage.remember_question(question)
    learned = stage.beside(learning.answer, question, what="the measurement of what was learnt")
    return FederationFigures(
        learned=learned,
        round=number,
        alarm_s=alarm_s,
        delta_bytes=released.delta_bytes(footage.root / "cloud", after, before),
        full_bytes=released.size(footage.root / "cloud", after),
    )


def _drift_at(stage: Stage, footage: Footage, region: str, drifts: dict[str, str]) -> float:
    """Let the drift come to a region that knows what is usual; return the seconds until its audit samples raised the alarm."""
    stage.until(lambda: stage.region(region).audited > REFERENCE_SAMPLES, REFERENCE_S, f"{region} to learn what is usual")
    began = time.monotonic()
    _arrive(stage, footage, region, drifts)
    stage.until(lambda: stage.region(region).alarm, ALARM_S, f"the drift alarm of {region}")
    alarm_s, seen = time.monotonic() - began, stage.region(region)
    stage.mark(f"alarm of {region}")
    stage.screen.say(f"alarm of {region} after {alarm_s:.0f} s: student and expert disagree on {seen.disagreement:.0%} of audit samples")
    return alarm_s


def _arrive(stage: Stage, footage: Footage, region: str, drifts: dict[str, str]) -> None:
    """Replace the pictures of a region's streams in one step each."""
    stage.screen.say(f"drift at {region}: an ageing lamp, a soft lens, blotches, a noisy sensor; nowhere else is new")
    for name in footage.names(stage.fleet.plan.edge_names(region)):
        footage.replace(name, drifts[name])
    stage.mark(f"drift at {region}")


def _round_by_need(stage: Stage, region: str, *, after: int) -> int:
    """Wait for the round the cloud begins because a region is in need, watch it to its end, and return its number."""
    stage.screen.say(f"the cloud asks only who is in need: {region}")
    stage.until(lambda: newest_round(stage) > after, CASES_S, f"the round that {region} needs")
    number = release_round(stage, newest_round(stage))
    stage.report.rounds += 1
    stage.mark("release")
    return number


def _label(stage: Stage, footage: Footage, regions: tuple[str, ...], *, since: float) -> None:
    """Let the generator speak in the place of two people, on audit samples of these regions."""
    truth = {name: offline.truth(path).labels for name, path in footage.clean.items()}
    for region in regions:
        rows = []
        for device in stage.fleet.plan.edge_names(region):
            events = ledger.parse_events(stage.fleet.events(device).read_bytes())
            rows += labels.wanted(device, events, truth, since=since, most=LABELS_PER_DEVICE)
        path = footage.root / f"labels-{region}.json"
        path.write_text(json.dumps(rows), encoding="utf-8")
        said = json.loads(run_command(["region", "label", "--from", str(path), "--config", str(stage.fleet.config(region)), "--json"]))
        stage.screen.say(f"{region}: {said['cases_human']} cases frozen; labels are the generator's, in the place of two people")
    fill(stage.report, {"labels_by": "the generator, in the place of people"})


def _question(footage: Footage, drifts: dict[str, str], devices: list[str], *, before: int, after: int, control: int) -> Question:
    cloud, own = footage.root / "cloud", footage.names(devices)
    held_out = {path.stem: str(path) for path in footage.held_out}
    return Question(
        before=released.student(cloud, before),
        after=released.student(cloud, after),
        control=released.candidate(cloud, control),
        expert=released.expert(footage.models),
        clean=(*held_out.values(), *(str(footage.clean[name]) for name in own)),
        held_out=tuple(held_out.values()),
        held_out_drifted=tuple(drifts[name] for name in held_out),
        b_drifted=tuple(drifts[name] for name in own),
    )
