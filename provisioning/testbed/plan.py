"""What the demo runs: names, sizes and the configuration files of every daemon, as text. Pure.

The testbed's fleet is small, so some of cloud.toml's fleet defaults are replaced by values that a handful of devices can
reach; `SMALL_FLEET_NOTE` says so in the summary.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

FLEET = "demo"
SMALL_FLEET_NOTE = (
    "small-fleet values: 1 region is a quorum, rounds start at 16 cases, one device may give all of a round's data, "
    "devices look for releases every 2 s, a release is tried on 1 device and goes on (the story: asks) where nothing speaks against it"
)


NEEDED_CASES = 48
REFERENCE_SAMPLES, DRIFT_ALPHA = 70, 1e-3
"""A few minutes of four cameras: a fleet that runs for months learns its reference on more samples, and alarms falsely less often."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The size and pace of a demo. Durations in seconds.

    With `is_story`, streams are replayed from files that can be replaced, devices reach their region over a wire that can be cut, and
    `held_out` more streams are drawn that no device ever sees: what releases are measured on.
    """

    regions: int = 1
    edges: int = 2
    streams: int = 2
    frames_per_second: float = 15.0
    frames_per_stream: int = 360
    warm_s: float = 3.0
    steady_s: float = 24.0
    after_swap_s: float = 6.0
    training_steps: int = 120
    minimum_cases: int = 16
    probation_frames: int = 40
    audit_share: float = 0.05
    held_out: int = 0
    is_story: bool = False
    answer_deadline_s: float = 5.0
    expert_deadline_s: float = 2.0

    @property
    def region_names(self) -> list[str]:
        """Names of the regions, `region-1` upward."""
        return [f"region-{number}" for number in range(1, self.regions + 1)]

    def edge_names(self, region: str) -> list[str]:
        """Common names of a region's devices."""
        return [f"edge-{number}.{region}" for number in range(1, self.edges + 1)]

    @property
    def devices(self) -> list[str]:
        """Common names of all devices."""
        return [name for region in self.region_names for name in self.edge_names(region)]


SHORT = Plan(frames_per_stream=240, warm_s=1.5, steady_s=9.0, after_swap_s=2.0, training_steps=40, minimum_cases=8, probation_frames=20)
"""The plan of `--loop --short`: at most 90 seconds, for tests."""
STORY = Plan(regions=2, frames_per_second=8.0, frames_per_stream=240, warm_s=2.0, steady_s=30.0, audit_share=0.1, held_out=4, is_story=True)
"""The plan of the story: at most seven minutes on two cores."""
FEWEST_REGIONS = 2
SHORT_STORY = msgspec.structs.replace(
    STORY, frames_per_stream=168, held_out=2, warm_s=1.0, steady_s=14.0, after_swap_s=1.0, training_steps=80, probation_frames=20
)
"""The plan of `--short`: at most four minutes, for tests."""


CABLE = Plan(frames_per_second=8.0, warm_s=1.0, audit_share=0.1, is_story=True)
"""The plan of `--cut-link`: one region whose devices reach it over a wire that can be pulled."""
WATCH = Plan(edges=1, streams=1, frames_per_second=0.0, audit_share=0.1)
"""The plan of `--video`: one device with one stream at its own pace."""
DETECTION = Plan(
    streams=1,
    frames_per_second=1.0,
    frames_per_stream=45,
    steady_s=60.0,
    audit_share=0.1,
    probation_frames=10,
    answer_deadline_s=10.0,
    expert_deadline_s=8.0,
    is_story=True,
)
"""The plan of `--task detection`: a board a second on each of two devices; a detector takes a hundred times as long as a classifier."""


PORTS_PER_REGION = 7


class Ports(msgspec.Struct, frozen=True, kw_only=True):
    """Loopback ports: the cloud's (regions, people, ops), and by region those of its listeners and of the wire to it."""

    cloud: int
    people: int
    cloud_ops: int
    broker: Mapping[str, int]
    workers: Mapping[str, int]
    machines: Mapping[str, int]
    ops: Mapping[str, int]
    reviewers: Mapping[str, int]
    """The regions' own pages for people."""
    wire_broker: Mapping[str, int]
    wire_machines: Mapping[str, int]


def ports_needed(plan: Plan) -> int:
    """Return how many free ports the plan takes."""
    return 3 + PORTS_PER_REGION * plan.regions


def assign_ports(plan: Plan, free: Sequence[int]) -> Ports:
    """Give every listener one of the free ports."""
    starts = range(3, 3 + PORTS_PER_REGION * plan.regions, PORTS_PER_REGION)
    each = [free[start : start + PORTS_PER_REGION] for start in starts]
    broker, workers, machines, ops, reviewers, wire_broker, wire_machines = (
        dict(zip(plan.region_names, column, strict=True)) for column in zip(*each, strict=True)
    )
    return Ports(
        cloud=free[0],
        people=free[1],
        cloud_ops=free[2],
        broker=broker,
        workers=workers,
        machines=machines,
        ops=ops,
        reviewers=reviewers,
        wire_broker=wire_broker,
        wire_machines=wire_machines,
    )


def wire_pairs(ports: Ports, region: str) -> list[str]:
    """Return the command line of a region's wire: what it listens on and passes on to."""
    pairs = ((ports.wire_broker, ports.broker), (ports.wire_machines, ports.machines))
    return [f"{outer[region]}:{inner[region]}" for outer, inner in pairs]


def cloud_settings(plan: Plan, ports: Ports, root: Path) -> dict[str, Any]:
    """Return cloud.toml of the demo."""
    return {
        "fleet": FLEET,
        "state": str(root / "cloud"),
        "identity": {"folder": str(root / "identity" / "cloud")},
        "regions": {"host": "127.0.0.1", "port": ports.cloud},
        "people": {"host": "127.0.0.1", "port": ports.people},
        "ops": {"port": ports.cloud_ops},
        "repository": {"keys": str(root / "cloud-keys")},
        "rounds": {
            "minimum_regions": 1,
            "minimum_cases": plan.minimum_cases,
            "minimum_steps": 10,
            "device_share": 1.0,
            "deadline_s": 120.0,
            "steps": plan.training_steps,
            "batch": 32,
            "needed_cases": NEEDED_CASES,
        },
        "foundry": {"minimum_held_out": plan.minimum_cases},
        "rollout": {
            "minimum_devices": 1,
            "minimum_regions": 1,
            "ask_when_small": plan.is_story,
            "deadline_s": 30.0 if plan.is_story else 20.0,
            "excluded_loss": 0.3,
        },
    }


def region_settings(plan: Plan, ports: Ports, root: Path, region: str) -> dict[str, Any]:
    """Return region.toml of one region of the demo."""
    return {
        "name": region,
        "fleet": FLEET,
        "state": str(root / region),
        "identity": {"folder": str(root / "identity" / region), "workers": str(root / "identity" / f"{region}-workers")},
        "broker": {"host": "127.0.0.1", "port": ports.broker[region], "worker_port": ports.workers[region]},
        "machines": {"host": "127.0.0.1", "port": ports.machines[region]},
        "people": {"port": ports.reviewers[region]},
        "ops": {"port": ports.ops[region]},
        "cloud": {"url": f"https://127.0.0.1:{ports.cloud}", "egress_record": str(root / f"{region}-egress"), "poll_interval_s": 1.0},
        "expert": {"deadline_s": plan.expert_deadline_s},
        "training": {"minimum_cases": plan.minimum_cases},
        "drift": {"reference_samples": REFERENCE_SAMPLES, "alpha": DRIFT_ALPHA},
    }


def edge_settings(plan: Plan, ports: Ports, root: Path, device: str, streams: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return edge.toml of one device of the demo."""
    name, _, region = device.partition(".")
    broker, machines = (ports.wire_broker, ports.wire_machines) if plan.is_story else (ports.broker, ports.machines)
    return {
        "name": name,
        "region": region,
        "fleet": FLEET,
        "state": str(root / device),
        "identity": {"folder": str(root / "identity" / device)},
        "link": {
            "host": "127.0.0.1",
            "port": broker[region],
            "relay_url": f"https://127.0.0.1:{machines[region]}",
        },
        "policy": {"audit_share": plan.audit_share, "answer_deadline_s": plan.answer_deadline_s},
        "update": {"probation_frames": plan.probation_frames, "interval_s": 2.0},
        "outputs": {"file": str(root / device / "events.jsonl")},
        "streams": [dict(stream) for stream in streams],
    }


def to_toml(settings: Mapping[str, Any]) -> str:
    """Write nested settings as TOML; values are strings, numbers, booleans, lists of them, sections and lists of sections."""
    lines = [f"{key} = {_value(value)}" for key, value in settings.items() if not _is_section(value)]
    for key, value in settings.items():
        if isinstance(value, Mapping):
            lines += ["", f"[{key}]", *(f"{inner} = {_value(item)}" for inner, item in value.items())]
        elif _is_section(value):
            for table in value:
                lines += ["", f"[[{key}]]", *(f"{inner} = {_value(item)}" for inner, item in table.items())]
    return "\n".join(lines) + "\n"


def _is_section(value: object) -> bool:
    return isinstance(value, Mapping) or (isinstance(value, list) and bool(value) and isinstance(value[0], Mapping))


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
