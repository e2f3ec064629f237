"""The ledger's lines: what each act claimed and the files said, with the command that counts it again. Pure.

A command that is of one device or region names the first; the others' differ by their file in `$T/config`. Lines fit 76 columns.
"""

from __future__ import annotations

from provisioning.testbed.cases import Verdict
from provisioning.testbed.figures import Entry
from provisioning.testbed.report import StoryReport

DEVICE, REGION = "--config $T/config/edge-1.region-1.edge.toml", "--config $T/config/region-1.region.toml"
CLOUD = "--config $T/config/cloud.cloud.toml"


def entries(report: StoryReport, cases: Verdict, *, frames: int, doubled: int, pictures: int) -> tuple[Entry, ...]:
    """Return the ledger; an act that was not played has no line.

    Args:
        report: what the acts have filled in.
        cases: of all devices, from spools and vaults.
        frames: answered, from the event files.
        doubled: cases that lie twice in a vault.
        pictures: found in what left the regions.
    """
    found = [Entry(what=f"{frames:,} frames answered", command="terrace demo --recount $T --act 5")]
    if report.deferred_share is not None and report.frames:
        sent = f"{report.deferred_share + report.audit_share:.1%} of frames sent, {report.uplink_bytes_per_frame:,.0f} bytes per frame"
        found.append(Entry(what=f"{sent}; won {report.edge_accuracy_gain_points:+.1f} points", command="terrace demo --recount $T --act 1"))
    spools = f"{cases.spooled:,} cases spooled: {cases.received:,} received, {cases.waiting} waiting, {cases.evicted} evicted"
    found.append(Entry(what=f"{spools}; lost {cases.lost}", command=f"terrace edge spool {DEVICE}"))
    vaults = f"{cases.stored:,} cases stored in the regions' vaults; doubled {doubled}"
    found.append(Entry(what=vaults, command=f"terrace region vault {REGION}"))
    if report.kills is not None:
        found.append(Entry(what=f"{report.kills} kills survived", command='grep -E "daemon_started|child_started" $T/logs/*.log'))
    if report.drift_recovered_share is not None:
        won = f"{report.drift_recovered_share:.0%} of {report.drift_drop_points:.1f} points won back"
        won += f"; region B {report.transfer_to_b_points:+.1f}"
        found.append(Entry(what=won, command="terrace demo --recount $T --act 3"))
    if report.bad_release_exposed_share is not None:
        reached = f"bad release on {report.bad_release_exposed_share:.0%} of the devices, off after {report.bad_release_taken_back_s:.0f} s"
        found.append(Entry(what=reached, command=f"terrace cloud rollout list {CLOUD}"))
    found.append(Entry(what=f"{pictures} pictures left a region", command=f"terrace region egress {REGION}"))
    return tuple(found)
