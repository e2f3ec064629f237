"""What every demo needs before anything runs: models, frames, certificates, configuration files and the first release."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import msgspec

from provisioning.drift import demo_strength
from provisioning.testbed import data as data_sets
from provisioning.testbed import plan as plans
from provisioning.testbed import seed
from provisioning.testbed.fleet import Fleet
from provisioning.testbed.footage import Footage
from provisioning.testbed.report import Report
from provisioning.testbed.screen import Screen
from provisioning.testbed.stage import Stage


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet that is ready to start, what it streams, and the folder of its models."""

    stage: Stage
    footage: Footage
    streams: data_sets.Streams
    models: Path


def prepare(root: Path, plan: plans.Plan, data: str, screen: Screen, *, began: float, report: Report) -> Prepared:
    """Prepare; nothing is running when this returns.

    Args:
        root: the state folder.
        plan: sizes and pace.
        data: line, deeppcb, fashion-mnist or a folder.
        screen: where it is told.
        began: monotonic seconds at which the demo's clocks started.
        report: what the stage will write to.
    """
    models = data_sets.models_for(data, screen.say)
    screen.step("Preparing frames, certificates and configuration")
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as beside:
        complete = beside.submit(seed.complete, models, data, root / "models")
        streams = data_sets.prepare(data, plan)
        shown = Footage(root, streams, models, drift=demo_strength(data))
        fleet = Fleet(root, plan, root / "models", shown.tables if plan.is_story else streams.tables)
        fleet.prepare()
        complete.result()
    fleet.initialise_cloud()
    report.devices = len(plan.devices)
    if plan.is_story:
        shown.lay_out()
    return Prepared(stage=Stage(fleet, screen, began=began, report=report), footage=shown, streams=streams, models=models)
