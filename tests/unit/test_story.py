"""What the story prints and writes: lines for 80 columns, keys of the report, a page without anything from outside."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from provisioning.testbed import commands, labels, page, plots, timeline
from provisioning.testbed.cases import Verdict
from provisioning.testbed.entries import entries
from provisioning.testbed.figures import BadReleaseFigures, CascadeFigures, FederationFigures, Figures, LedgerFigures, NeverLostFigures
from provisioning.testbed.fleet import Fleet
from provisioning.testbed.intervals import Estimate
from provisioning.testbed.learned import Learned
from provisioning.testbed.ledger import Event
from provisioning.testbed.plan import SHORT_STORY, STORY
from provisioning.testbed.report import StoryReport, fill, story_summary
from provisioning.testbed.screen import Screen
from provisioning.testbed.stage import Stage
from provisioning.testbed.story import ACTS

GOOD = Estimate(value=0.97, low=0.96, high=0.98, frames=1000, units=90)
POOR = Estimate(value=0.6, low=0.55, high=0.65, frames=1000, units=90)
LEARNED = Learned(
    before_clean=GOOD, before_drifted=POOR, after_drifted=GOOD, expert_clean=GOOD, expert_drifted=GOOD, b_before=POOR,
    b_control=POOR, b_after=GOOD, transfer=Estimate(value=0.37, low=0.3, high=0.4), forgotten=Estimate(value=0.01, low=0.0, high=0.02),
)  # fmt: skip
TOLD: dict[int, Figures] = {
    1: CascadeFigures(
        edge=GOOD, system=GOOD, gain=Estimate(value=0.016, low=0.009, high=0.022), expert=GOOD, deferred=0.147, audited=0.05,
        sent_bytes=143, same_codec_bytes=503, h264_bytes=2824, latency_ms_p50=17, latency_ms_p99=89,
    ),
    2: NeverLostFigures(
        answered_in_cut=12_210, cut_s=12, spool_before=0, spool_peak=41, drained_s=2.0, kills=2, spooled=11_116, lost=0, doubled=0
    ),
    3: FederationFigures(learned=LEARNED, round=2, alarm_s=20, delta_bytes=41_717, full_bytes=133_384),
    4: BadReleaseFigures(exposed=1, devices=4, running_s=30, taken_back_s=4, worse=POOR, reason="it agrees less often than before"),
    5: LedgerFigures(frames=123_904, spooled=9786, stored=9786, waiting=0, evicted=0, lost=0, doubled=0, answered=9786, pictures=0),
}  # fmt: skip


@pytest.mark.parametrize("act", [act.NUMBER for act in ACTS])
def test_lines_fit_80_columns_and_keys_are_of_the_report(act: int) -> None:
    report = StoryReport()
    fill(report, TOLD[act].keys())
    for line in TOLD[act].lines():
        assert len(line) <= 76, line
    for command in commands.of(act, STORY):
        assert len(command) <= 76, command


def test_the_ledger_has_a_command_for_every_line() -> None:
    report = StoryReport()
    for act in range(1, 5):
        fill(report, TOLD[act].keys())
    whole = Verdict(spooled=119_786, received=119_780, waiting=6, stored=119_780)
    found = entries(report, whole, frames=123_904, doubled=0, pictures=0)
    assert len(found) == 8
    assert all(len(entry.what) <= 74 and len(entry.command) <= 76 for entry in found), found
    assert len(entries(StoryReport(), whole, frames=1, doubled=0, pictures=0)) == 4


def test_every_target_of_the_story_is_a_key() -> None:
    report = StoryReport()
    for figures in TOLD.values():
        fill(report, figures.keys())
    found = msgspec.to_builtins(report)
    assert {name: round(found[name], 3) for name in ("drift_drop_points", "drift_recovered_share", "transfer_to_b_low")} == {
        "drift_drop_points": 37.0,
        "drift_recovered_share": 1.0,
        "transfer_to_b_low": 30.0,
    }
    wanted = {
        "edge_accuracy_gain_points", "edge_accuracy_gain_low", "drift_drop_points", "drift_recovered_share", "transfer_to_b_points",
        "transfer_to_b_low", "clean_forgetting_points", "cases_lost", "cases_doubled", "kills", "bad_release_exposed_share",
        "bad_release_taken_back_s", "release_share_of_full", "pictures_left_region",
    }  # fmt: skip
    assert wanted <= {name for name, value in found.items() if value is not None}


def test_a_story_of_one_act_says_nothing_of_the_others() -> None:
    report = StoryReport()
    fill(report, TOLD[2].keys())
    said = " ".join(story_summary(report, data="line"))
    assert "2 kills" in said
    assert "cascade" not in said
    assert msgspec.to_builtins(report)["transfer_to_b_points"] is None


def test_every_act_is_drawn_from_what_was_seen(tmp_path: Path) -> None:
    device = timeline.Device(frames=10, inferred=10, release=1, connected=True)
    regions = {"region-1": timeline.Region()}
    moments = [timeline.Moment(at=float(at), devices={"edge-1.region-1": device}, regions=regions) for at in range(20)]
    marks = [timeline.Mark(at=5.0, what="link cut"), timeline.Mark(at=9.0, what="device killed")]
    drawn = plots.draw(TOLD, plots.Scene(moments, marks, {"region-1": ["edge-1.region-1"]}), tmp_path)
    assert sorted(drawn) == [1, 2, 3, 4, 5]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in drawn.values())


def test_the_page_asks_for_nothing_from_outside_and_escapes() -> None:
    chapter = page.Chapter(
        number=1, title="Cascade", claim="a < b", lines=["<script>alert(1)</script>"], commands=["terrace demo"], picture="act-1.png"
    )
    made = page.page([chapter], summary=["one"], figures={"kills": None, "frames": 3})
    assert "<script" not in made
    assert re.findall(r"(?:src|href)='([^']*)'", made) == ["act-1.png"]


def test_two_persons_label_audit_samples_with_the_truth() -> None:
    events = [
        Event(stream="a", sequence=7, time=2.0, state="final", index=0, action="audit"),
        Event(stream="a", sequence=8, time=2.0, state="final", index=0, action="defer"),
        Event(stream="a", sequence=9, time=0.5, state="final", index=0, action="audit"),
    ]
    rows = labels.wanted("edge-1.region-1", events, {"a": [4, 5, 6]}, since=1.0, most=5)
    assert [(row["frame"], row["label"], row["person"]) for row in rows] == [(7, 5, "generator-1"), (7, 5, "generator-2")]


def test_frames_answered_go_on_counting_over_a_restart() -> None:
    counts = (10, 20, 3, 8)
    moments = [timeline.Moment(at=float(at), devices={"d": timeline.Device(inferred=count)}) for at, count in enumerate(counts)]
    assert [count for _, count in timeline.answered(moments, ["d"])] == [0, 10, 13, 18]


def test_a_daemon_that_did_not_answer_at_the_last_look_has_not_gone_back_to_nothing(tmp_path: Path) -> None:
    plan = msgspec.structs.replace(SHORT_STORY, regions=1, edges=1)
    stage = Stage(Fleet(tmp_path, plan, tmp_path, {}), Screen(plain=True), began=0.0, report=StoryReport())
    assert stage.device("edge-1.region-1").inferred == 0
    seen = timeline.Moment(
        at=1.0, devices={"edge-1.region-1": timeline.Device(inferred=89)}, regions={"region-1": timeline.Region(stored=7)}
    )
    stage.moments += [seen, timeline.Moment(at=2.0)]
    assert (stage.device("edge-1.region-1").inferred, stage.region("region-1").stored) == (89, 7)


def test_the_short_story_is_the_story_at_a_quicker_pace() -> None:
    assert SHORT_STORY.devices == STORY.devices
    assert SHORT_STORY.steady_s < STORY.steady_s
