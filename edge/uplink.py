"""The device's link to its region, and while that is away to another: spool -> route -> lanes, and the regions' words back.

`offer` makes a case durable on the caller's thread and returns; everything else happens on the uplink's own thread, whose loop
reads: take what came, choose the region, keep the epochs, send, delete what is confirmed, wait. What is decided is the route's and
the conversations'; here they meet the spool, the clock and the brokers. Nothing a region or a broker does stops the device.
"""

from __future__ import annotations

import os
import threading
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from edge.dictionaries import DictionaryFetcher
from edge.lane import Heard, Lane, RegionAddress, UplinkSettings
from edge.owners import OwnersFile
from edge.reports import Reports
from shared import clock, log
from shared.errors import StorageError
from shared.identity.store import Identity
from shared.link.dictionaries import DictionaryFolder
from shared.link.retention import Waiting
from shared.link.route import Route
from shared.link.spool import NewCase, Spool
from shared.wire.messages import Answer, Command, Telemetry, UpdateReport, encode

__all__ = ["RegionAddress", "Uplink", "UplinkSettings"]

STEP_FAILED, REGION_CHANGED, NOT_KEPT = "uplink_step_failed", "active_region_changed", "owners_not_kept"
REPORT_EVERY_S = 30.0
_LONGEST_PAUSE_S, _SHORTEST_PAUSE_S, _FAILURE_PAUSE_S = 1.0, 0.001, 1.0


class Uplink:
    """The link of one device.

    Args:
        settings: the broker, the cipher suite, and the regions to fail over to.
        identity: the device's.
        spool: its spool; started before and stopped after the uplink.
        state: the state folder.
        telemetry: builds what the device says of itself; the uplink fills in what it knows better (floor, spool, cases sent).
        on_answer: called with every answer to a case of this process, on the uplink's thread.
        on_command: called with every command of the region, on the uplink's thread; returns whether it was understood.
        on_refresh: called when the region announces that releases may have changed (unsigned: act on it rarely).
        fetch_key: fetches the signed key announcement from the relay; None relies on MQTT alone.
        fetch_keys: the same for the regions to fail over to.
        fetch_dictionaries: fetch a dictionary from a region's relay by its digest in hex; without one none is fetched from there.
    """

    def __init__(
        self,
        *,
        settings: UplinkSettings,
        identity: Identity,
        spool: Spool,
        state: Path,
        telemetry: Callable[[], Telemetry],
        on_answer: Callable[[Answer], object],
        on_command: Callable[[Command], bool] | None = None,
        on_refresh: Callable[[], object] | None = None,
        fetch_key: Callable[[], bytes] | None = None,
        fetch_keys: Mapping[str, Callable[[], bytes]] | None = None,
        fetch_dictionaries: Mapping[str, Callable[[str], bytes]] | None = None,
    ) -> None:
        self._spool = spool
        self._telemetry = telemetry
        self._on_answer = on_answer
        self._on_command = on_command
        self._on_refresh = on_refresh
        self._log = log.get("uplink")
        self._wake = threading.Event()
        home = RegionAddress(region=identity.peer.region, host=settings.host, port=settings.port)
        relays = {**(fetch_keys or {}), home.region: fetch_key}
        self._dictionaries = DictionaryFolder(state / "dictionaries")
        fetchers = fetch_dictionaries or {}
        self._lanes = {
            address.region: Lane(
                address,
                settings=settings,
                identity=identity,
                state=state,
                wake=self._wake.set,
                fetch_key=relays.get(address.region),
                dictionaries=DictionaryFetcher(self._dictionaries, fetchers.get(address.region)),
            )
            for address in (home, *settings.fail_over)
        }
        conversations = {region: lane.conversation for region, lane in self._lanes.items()}
        self._route = Route(home=home.region, conversations=conversations, silence_s=settings.fail_over_after_s)
        self._home = home.region
        self._owners = OwnersFile(state / "owners.json")
        self._reports = Reports(state / "reports.bin")
        self._reported_at = float("-inf")
        self._provisional_audit_key = os.urandom(32)
        self._confirmed: set[int] = set()
        self._offered: deque[tuple[Sequence[Waiting], Sequence[int]]] = deque()
        self._dropped: Counter[str] = Counter()
        self._has_started = False
        self._began = clock.monotonic()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="uplink", daemon=True)

    def start(self) -> None:
        """Take up what the spool holds and begin to connect; a region that is away is no error.

        Raises:
            IdentityError: the identity's files cannot be used for TLS.
            StorageError: the state folder cannot be read.
        """
        for lane in self._lanes.values():
            lane.begin(self._spool.spool_id)
        self._route.begin(self._spool.waiting(), self._owners.read(), spool_id=self._spool.spool_id, now=clock.monotonic())
        self._reports.start()
        self._dictionaries.refresh()
        self._lanes[self._home].open()
        self._has_started = True
        self._thread.start()

    def stop(self) -> None:
        """End; what is not confirmed stays in the spool."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        for lane in self._lanes.values():
            lane.close(wait=True)
        if self._has_started and len(self._lanes) > 1:
            try:
                self._owners.keep(self._route.final(clock.wall()))
            except StorageError as error:
                self._log.warning(NOT_KEPT, error=error.message)  # the next start takes the record of the last change

    def offer(self, payload: bytes, is_audit: bool, value: float) -> int | None:
        """Make one case durable and send it when its turn comes; see `offer_many`."""
        return self.offer_many([NewCase(payload=payload, is_audit=is_audit, value=value)])[0]

    def offer_many(self, cases: Sequence[NewCase]) -> tuple[int | None, ...]:
        """Make a group of cases durable in one transaction; for any thread but the inference thread, since it waits for the disk.

        Returns:
            Each case's sequence, None for one that had to give way itself.

        Raises:
            StorageError: the spool is not open. A disk that is full or fails is none: the cases wait in memory and are sent from there.
        """
        appended = self._spool.append_many(cases)
        items = [
            Waiting(sequence=sequence, size=len(case.payload), is_audit=case.is_audit, value=case.value)
            for sequence, case in zip(appended.sequences, cases, strict=True)
            if sequence is not None
        ]
        self._offered.append((items, appended.evicted))
        self._wake.set()
        return appended.sequences

    def report(self, report: UpdateReport) -> None:
        """Tell the region of an update's end; it is kept and said again until a newer one takes its place."""
        self._reports.put(report)
        self._reported_at = float("-inf")
        self._wake.set()

    def audit_key(self) -> bytes:
        """Return the key of the audit choice: the current epoch's, or a provisional one before the first epoch."""
        return self._route.conversation.audit_key or self._provisional_audit_key

    @property
    def rate_bytes_per_s(self) -> float:
        """What the link to the active region has lately carried, 0.0 while that is unknown."""
        return self._lanes[self._route.active].session.estimate.rate_bytes_per_s

    def status(self) -> dict[str, Any]:
        """Return the figures of the active region's link, and the counts of all; `bytes_sent` counts MQTT payload bytes of all kinds."""
        now = clock.monotonic()
        lanes, counts = tuple(self._lanes.values()), [each.session.counts for each in self._lanes.values()]
        dropped = sum((each.dropped + each.conversation.ignored for each in lanes), self._dropped)
        return {
            **self._lanes[self._route.active].status(now),
            "up_s": round(now - self._began, 1),
            "route": self._route.state.value,
            "switches": self._route.switches,
            "held": self._route.held(),
            "bytes_sent": sum(each.bytes_sent for each in lanes),
            "cases_sent": sum(each.cases_sent for each in counts),
            "receipts": sum(each.receipts for each in counts),
            "answers": sum(each.answers for each in counts),
            "answers_late": sum(each.answers_late for each in counts),
            "answers_absent": sum(each.answers_absent for each in counts),
            "timeouts": sum(each.timeouts for each in counts),
            "expired": {"control": sum(each.control_expired for each in counts)},
            "in_flight": sum(each.session.in_flight for each in lanes),
            "dropped": dict(dropped),
        }

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                now = clock.monotonic()
                self._take_offered()
                self._take_words(now)
                self._choose_region(now)
                self._send(now)
                self._delete_confirmed()
                self._wake.wait(self._pause(now))
                self._wake.clear()
            except Exception as error:  # noqa: BLE001 - the link must outlive a failing disk and our own defects; both are logged
                self._log.exception(STEP_FAILED, error=str(error))
                self._stopping.wait(_FAILURE_PAUSE_S)

    def _pause(self, now: float) -> float:
        """Return how long nothing can be done unless something comes: messages, cases and room all wake the loop."""
        due = [at for lane in self._lanes.values() if (at := lane.wake_at(now)) is not None]
        return min(_LONGEST_PAUSE_S, max(_SHORTEST_PAUSE_S, min(due) - clock.monotonic())) if due else _LONGEST_PAUSE_S

    def _take_offered(self) -> None:
        while self._offered:
            items, evicted = self._offered.popleft()
            self._route.offered(items, evicted=evicted)

    def _take_words(self, now: float) -> None:
        for region, lane in self._lanes.items():
            for heard in lane.take(now):
                if heard.is_authentic:
                    self._route.heard(region, now)
                self._act_on(heard)

    def _act_on(self, heard: Heard) -> None:
        self._confirmed.update(heard.stored)
        if not heard.is_authentic:
            if self._on_refresh is not None:
                self._on_refresh()
        elif isinstance(heard.word, Answer):
            self._on_answer(heard.word)
        elif heard.word is not None and not (self._on_command and self._on_command(heard.word)):
            self._dropped["command"] += 1  # of a later version of the region

    def _choose_region(self, now: float) -> None:
        try:
            if self._route.step(now, clock.wall(), self._owners.keep):
                self._log.info(REGION_CHANGED, region=self._route.active, held=self._route.held())
        except StorageError as error:
            self._dropped["region not changed"] += 1  # the owners cannot be kept: everything stays where it is
            self._log.warning(NOT_KEPT, error=error.message)
        wanted = self._route.wanted()
        for region, lane in self._lanes.items():
            if region in wanted:
                lane.open()
            else:
                lane.close()

    def _send(self, now: float) -> None:
        home = self._lanes[self._home]
        if now - self._reported_at >= REPORT_EVERY_S and home.is_connected:
            self._reported_at = now
            for report in self._reports.all():
                home.conversation.control(encode(report), until=now + REPORT_EVERY_S)  # then it is said again
        for lane in self._lanes.values():
            lane.keep_epoch(now)
            lane.send(now, read=self._spool.read, telemetry=self._full_telemetry)

    def _full_telemetry(self) -> bytes:
        cases, size = self._spool.occupancy()
        telemetry = msgspec.structs.replace(
            self._telemetry(),
            floor=self._spool.floor(),
            spool_cases=cases,
            spool_bytes=size,
            evicted=self._spool.evicted(),
            cases_sent=sum(lane.session.counts.cases_sent for lane in self._lanes.values()),
            spool_in_memory=bool(self._spool.state().alarm),
        )
        return encode(telemetry)

    def _delete_confirmed(self) -> None:
        if not self._confirmed:
            return
        try:
            self._spool.remove(self._confirmed)
            self._confirmed.clear()
        except StorageError as error:
            self._log.warning(STEP_FAILED, error=error.message)  # they stay confirmed and are deleted at the next step
