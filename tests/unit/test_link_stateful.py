"""Whatever happens between a device and its regions: no case is lost, none has two effects, and with good links everything arrives.

Real conversations, route, reception and intake; a model for the vault. What may happen: messages lost, repeated, reordered, late; links
cut; device and regions killed; disks that take nothing; keys rotated; hours and days without anybody.
"""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from shared.wire.envelope import parse_header
from shared.wire.messages import CASES, UpdateReport, encode
from tests.examples import examples
from tests.link_world import World

REGIONS = st.sampled_from(["north", "south"])
RARELY = st.sampled_from([False, False, False, True])
MOST_ON_THE_WAY = 300
REPORT = encode(UpdateReport(at=1.0, model="student", release=2, from_release=1, state="committed", reason=""))


class LinkMachine(RuleBasedStateMachine):
    """One device of the north, which may fail over to the south."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World("north", "south")

    @initialize(seed=st.integers(0, 2**32))
    def begin(self, seed: int) -> None:
        self.world = World("north", "south", seed=seed)
        self.world.run(3)

    @rule(size=st.sampled_from([10, 3_000, 20_000, 70_000]), count=st.integers(1, 5))
    def offer(self, size: int, count: int) -> None:
        for _ in range(count):
            self.world.offer(size)

    @rule(most=st.integers(1, 20))
    def send(self, most: int) -> None:
        self.world.step(most=most)

    @rule()
    def control(self) -> None:
        """A control message goes out behind one chunk at most."""
        self.world.conversations["north"].control(REPORT, until=self.world.now + 600)
        if "north" not in self.world.connected or not self.world.conversations["north"].is_open:
            return
        already = len(self.world.up["north"])
        self.world.step(most=4)
        kinds = [parse_header(payload).kind for topic, payload in self.world.up["north"][already:] if not topic.endswith("/open")]
        assert not kinds or sum(kind in CASES for kind in kinds[:2]) <= 1, f"control waits behind {kinds}"

    @rule(
        region=REGIONS,
        share=st.floats(0, 1),
        is_up=st.booleans(),
        fate=st.sampled_from(["deliver", "deliver", "deliver", "repeat", "lose"]),
    )
    def message(self, region: str, share: float, is_up: bool, fate: str) -> None:
        """Some message on its way is delivered out of turn, delivered twice or lost, also on a link that has been cut since."""
        queue = self.world.up[region] if is_up else self.world.regions[region].down
        if not queue:
            return
        index = int(share * (len(queue) - 1))
        if fate == "lose":
            queue.pop(index)
        elif is_up:
            self.world.deliver_up(region, index, keep=fate == "repeat")
        else:
            self.world.deliver_down(region, index, keep=fate == "repeat")

    @rule(region=REGIONS)
    def flush(self, region: str) -> None:
        """Everything on its way to a region arrives; what the region says is still on its way back."""
        while self.world.up[region]:
            self.world.deliver_up(region)

    @rule(region=REGIONS)
    def receipts_lost(self, region: str) -> None:
        """What is sent arrives and is stored, and nothing of that comes back."""
        self.world.step()
        while self.world.up[region]:
            self.world.deliver_up(region)
        self.world.regions[region].down.clear()

    @rule(region=REGIONS)
    def outage(self, region: str) -> None:
        """A region is away for longer than a device waits for it."""
        self.world.cut.add(region)
        self.world.run(40, step_s=1.0)

    @rule(region=REGIONS)
    def forget_queue(self, region: str) -> None:
        """A broker is killed: it keeps nothing."""
        self.world.up[region].clear()
        self.world.regions[region].down.clear()

    @rule(region=REGIONS)
    def cut(self, region: str) -> None:
        self.world.cut.add(region)

    @rule(region=REGIONS)
    def mend(self, region: str) -> None:
        self.world.cut.discard(region)

    @rule(seconds=st.sampled_from([1.0, 7.0, 40.0]))
    def run(self, seconds: float) -> None:
        self.world.run(seconds, step_s=1.0)

    @rule(hours=st.sampled_from([1, 30, 200]))
    def sleep(self, hours: int) -> None:
        """Nobody does anything for a while; keys grow old and are replaced."""
        self.world.now += hours * 3600
        for region in self.world.regions.values():
            region.refresh(self.world.wall)

    @rule(region=REGIONS)
    def rotate(self, region: str) -> None:
        self.world.regions[region].refresh(self.world.wall, rotate=True)

    @rule(cleanly=st.booleans())
    def kill_device(self, cleanly: bool) -> None:
        self.world.crash_device(cleanly=cleanly)

    @rule(region=REGIONS)
    def kill_region(self, region: str) -> None:
        self.world.regions[region].crash(self.world.wall)

    @rule(region=REGIONS, is_failing=RARELY)
    def vault_disk(self, region: str, is_failing: bool) -> None:
        self.world.regions[region].vault.is_failing = is_failing

    @rule(is_failing=RARELY)
    def device_disk(self, is_failing: bool) -> None:
        self.world.disk_fails = is_failing

    @invariant()
    def no_case_has_two_effects(self) -> None:
        assert all(count <= 1 for count in self.world.effects.values()), self.world.effects

    @invariant()
    def no_case_is_lost(self) -> None:
        stored = {sequence for region in self.world.regions.values() for _, sequence in region.vault.ever}
        lost = [number for number in self.world.offered if number not in self.world.spool and number not in stored]
        assert not lost

    @invariant()
    def queues_are_bounded(self) -> None:
        for queue in (*self.world.up.values(), *(region.down for region in self.world.regions.values())):
            del queue[:-MOST_ON_THE_WAY]

    def teardown(self) -> None:
        """With good links everything arrives soon, and what was not given away has had its effect, once."""
        took = self.world.settle(within_s=400, step_s=1.0)
        assert took < 400
        self.no_case_is_lost()
        self.no_case_has_two_effects()
        for number in self.world.offered:
            if number not in self.world.given_away:
                assert self.world.effects[self.world.spool_id, number] == 1, f"case {number} had no effect"


LinkMachine.TestCase.settings = settings(
    max_examples=examples(60), stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestWhateverHappens = LinkMachine.TestCase
