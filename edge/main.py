r"""The edge agent's composition root: the only file here that names concrete classes and says how they meet.

    streams -> newest frames -> pipeline -> settler -> event file, broker topics, webhooks
                                        \-> hand-over -> case writer -> spool -> uplink -> region -> settler
    relay -> updater -> model slot -> pipeline

What may come late comes late: without a model frames wait (and the status says so), without a region answers stay local, a stream
whose source fails is tried again. What is wrong in the configuration, the identity or on the disk stops the start.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge.auditshare import COMMAND, AuditShare
from edge.config import EdgeSettings, StreamSettings
from edge.counters import Served
from edge.events import Inferred
from edge.firstmodel import FirstModel
from edge.governing import Governor
from edge.handover import HandOver
from edge.inference import Inference, Neighbours
from edge.inheritance import Inheritance
from edge.liveaudits import LiveAudits
from edge.livekeeper import LiveKeeper
from edge.metricsport import MetricsPort
from edge.model import MakeEngine, ModelSlot, open_model
from edge.motion import MotionGate
from edge.newest import NewestFrames
from edge.numbers import FrameNumbers
from edge.outletparts import outlets
from edge.outputs import EventFile, FanOut
from edge.pipeline import Pipeline
from edge.preview.preview import Preview
from edge.report import Reporter
from edge.settling import Settler
from edge.shadow import Shadow
from edge.slots import Slots
from edge.sources.group import StreamGroup
from edge.sources.make import make_source
from edge.sources.stream import StreamThread, Wishes
from edge.sources.turns import Turns
from edge.spending import Spending
from edge.spooling import CaseWriter
from edge.swap import Service
from edge.throttle import Throttle
from edge.updater import Updater, UpdaterSettings
from edge.uplink import RegionAddress, Uplink, UplinkSettings
from edge.vitals import Vitals
from edge.waiting import Key
from shared import clock, config, lifecycle, log
from shared.deferral.audit import is_audit
from shared.errors import ConfigurationError, IdentityError, LinkError, StorageError
from shared.hwprofile import shelf
from shared.hwprofile.engine import engine_maker
from shared.identity.store import Identity
from shared.lifecycle import Part
from shared.link.https import HttpsClient
from shared.link.proxy import PROXY_VARIABLES, ProxyRule
from shared.link.spool import Spool
from shared.release.fetch import first_of, from_https
from shared.release.trust import TrustedClient, load_root
from shared.status import StatusServer
from shared.vision import crops
from shared.vision.boxes import Detections
from shared.vision.quality import LinkLoad
from shared.wire.dictionary import LARGEST_DICTIONARY_BYTES
from shared.wire.messages import Answer, Command

NAME = "edge"
LARGEST_KEY_BYTES = 1 << 16
NO_ROOT = "no_release_root"


def load_settings(path: Path) -> EdgeSettings:
    """Read edge.toml.

    Raises:
        ConfigurationError: it cannot be read, a key is wrong, or two streams have one name.
    """
    settings = config.load(path, EdgeSettings)
    regions = [settings.region, *(one.region for one in settings.link.fail_over)]
    if len(set(regions)) < len(regions):
        raise ConfigurationError("link.fail_over names a region twice, or the device's own.", "Name every other region once.")
    names = [stream.name for stream in settings.streams]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"two streams are called {twice[0]}.", "Give every stream a name of its own.")
    return settings


def load_identity(settings: EdgeSettings) -> Identity:
    """Read the device's identity and check that it is this device's.

    Raises:
        IdentityError: missing, damaged, or of another device.
    """
    identity = Identity.load(settings.identity.folder)
    if (identity.peer.tier, identity.peer.common_name, identity.peer.fleet) != ("edge", settings.device, settings.fleet):
        raise IdentityError(
            f"the identity in {settings.identity.folder} is of {identity.peer.common_name} ({identity.peer.tier}, {identity.peer.fleet}), "
            f"not of {settings.device} ({settings.fleet}).",
            "Correct name, region and fleet, or give the right folder.",
        )
    return identity


def proxy_rule(settings: EdgeSettings) -> ProxyRule:
    """Return how this device finds the site's HTTP proxy.

    Raises:
        ConfigurationError: the configured address cannot be used.
    """
    rule = ProxyRule(setting=settings.link.proxy, environment={name: os.environ[name] for name in PROXY_VARIABLES if name in os.environ})
    rule.for_host(settings.link.host)
    return rule


def relay_key(relay: HttpsClient) -> bytes:
    """Fetch the region's signed key announcement from its relay.

    Raises:
        LinkError: the relay cannot be reached or has none.
    """
    answer = relay.get("/v1/key", timeout_s=10, limit_bytes=LARGEST_KEY_BYTES)
    if answer.status != 200:
        raise LinkError(f"the relay answered {answer.status} to a request for its key.")
    return answer.body


def relay_dictionary(relay: HttpsClient, digest: str) -> bytes:
    """Fetch a dictionary from the region's relay by its SHA-256 in hex.

    Raises:
        LinkError: the relay cannot be reached or has none.
    """
    answer = relay.get(f"/v1/dictionaries/{digest}", timeout_s=10, limit_bytes=LARGEST_DICTIONARY_BYTES)
    if answer.status != 200:
        raise LinkError(f"the relay answered {answer.status} to a request for a dictionary.")
    return answer.body


def make_engine(settings: EdgeSettings) -> tuple[MakeEngine, int]:
    """Return what makes engines by the hardware profile, and the profile's largest batch.

    Raises:
        ConfigurationError: there is no such profile.
    """
    profile = shelf.find(settings.model.profile, settings.model.profiles)
    return engine_maker(profile, cache=settings.state / "engines", threads=settings.model.threads), profile.engine.batch


class Agent:
    """The parts of one device, made from its settings.

    Args:
        settings: edge.toml.
        identity: the device's.
    """

    def __init__(self, settings: EdgeSettings, identity: Identity) -> None:
        self._settings = settings
        self._make_engine, batch = make_engine(settings)
        self._proxy = proxy_rule(settings)
        self._relay = HttpsClient(identity, settings.link.relay_url, proxy=self._proxy)
        self._others = {one.region: HttpsClient(identity, one.relay_url, proxy=self._proxy) for one in settings.link.fail_over}
        self._spool = Spool(settings.spool_path, settings.state / "spool.key", settings.spool.capacity_mb << 20)
        self._frames, self._models = NewestFrames(), ModelSlot()
        self._events = EventFile(settings.outputs.file, rotate_bytes=settings.outputs.rotate_mb << 20, keep=settings.outputs.keep)
        self._outlets = outlets(settings, msgspec.structs.replace(self._proxy, setting=""))
        self._preview = Preview(settings.state, [stream.name for stream in settings.streams])
        self._audits = LiveAudits(epsilon=settings.policy.live_epsilon, follows=settings.policy.live_threshold)
        events = FanOut([self._events, *self._outlets, self._preview.window])
        self._settler = Settler(events, joined=self._joined, settled=self._audits.settled)
        self._inheritance = Inheritance(settings.policy, settled=self._settler.inherit)
        self._shadow, self._hand_over, self._spending = Shadow(), HandOver(), Spending(settings.budget)
        self._audit_share = AuditShare(own=settings.policy.audit_share, highest=settings.policy.audit_share_on_alarm)
        self._keeper = LiveKeeper(settings.state, audits=self._audits, spending=self._spending, spool_id=lambda: self._spool.spool_id)
        self._uplink = self._make_uplink(identity)
        self._writer = self._make_writer()
        self._inference = Inference(
            policy=settings.policy,
            neighbours=Neighbours(
                settle=self._settle,
                hand_over=self._hand_over.offer,
                audit_key=self._uplink.audit_key,
                dropped=self._frames.dropped_in_all,
                audit_share=self._audit_share_at,
                audits=self._audits,
                spending=self._spending,
                inheritance=self._inheritance,
            ),
            streams=[stream.name for stream in settings.streams],
            monotonic=clock.monotonic,
            wall=clock.wall,
        )
        self._pipeline = Pipeline(frames=self._frames, models=self._models, inference=self._inference, largest_batch=batch)
        self._throttle = Throttle(put=self._frames.put, skip=self._frames.skip, takes=self._models.input_size, wants=self._frames.allows)
        self._streams = self._make_streams()
        self._governor = Governor(mode=settings.governor.mode, vitals=Vitals(), throttle=self._throttle, counted=self._counted)
        self._reporter = Reporter(
            settings=settings,
            streams=self._streams,
            frames=self._frames,
            models=self._models,
            inference=self._inference,
            settler=self._settler,
            hand_over=self._hand_over,
            writer=self._writer,
            events=self._events,
            spool=self._spool,
            link=self._uplink,
            audits=self._audits,
            spending=self._spending,
            wall=clock.wall,
        )
        self._updater = self._make_updater()
        self._reporter.updater, self._reporter.governor = self._updater, self._governor
        self._reporter.preview, self._reporter.keeper = self._preview, self._keeper
        self._reporter.outlets = {outlet.name: outlet for outlet in self._outlets}

    def parts(self) -> Sequence[Part]:
        """Return what is started, in order; it is stopped in the opposite order."""
        return [
            self._events,
            *self._outlets,
            self._settler,
            self._spool,
            self._keeper,
            self._uplink,
            self._writer,
            *([self._updater] if self._updater else []),
            FirstModel(self._settings.model.path, self._models, self._make_engine),
            self._pipeline,
            self._preview,
            StatusServer(self._settings.state / "status.sock", self._reporter.status),
            *([MetricsPort(self._settings.metrics.port, self._reporter.status)] if self._settings.metrics.port else []),
            StreamGroup(self._streams),
            self._governor,
        ]

    def _make_writer(self) -> CaseWriter:
        return CaseWriter(
            frames=self._hand_over,
            pictures=self._settings.picture,
            card=lambda: model.card if (model := self._models.current()) else None,
            offer=self._uplink.offer_many,
            bind=self._bound,
            audited=self._sampled,
            spent=self._spending.spent,
            tend=self._spool.tend,
            load=lambda: LinkLoad(rate_bytes_per_s=self._uplink.rate_bytes_per_s, backlog_bytes=self._spool.occupancy()[1]),
        )

    def _make_uplink(self, identity: Identity) -> Uplink:
        settings, link = self._settings, self._settings.link
        return Uplink(
            settings=UplinkSettings(
                host=link.host,
                port=link.port,
                suite=link.suite,
                is_padded=link.padding,
                proxy=self._proxy,
                fail_over=tuple(RegionAddress(region=one.region, host=one.host, port=one.port) for one in link.fail_over),
                fail_over_after_s=link.fail_over_after_s,
            ),
            identity=identity,
            spool=self._spool,
            state=self._settings.state,
            telemetry=lambda: self._reporter.telemetry(),  # noqa: PLW0108 - the reporter is made later, from what is made here
            on_answer=self._answered,
            on_command=self._commanded,
            on_refresh=lambda: self._updater.refresh() if self._updater else None,
            fetch_key=lambda: relay_key(self._relay),
            fetch_keys={region: functools.partial(relay_key, relay) for region, relay in self._others.items()},
            fetch_dictionaries={
                region: functools.partial(relay_dictionary, relay)
                for region, relay in {**self._others, settings.region: self._relay}.items()
            },
        )

    def _make_updater(self) -> Updater | None:
        """Return the updater, None where the device was given no release root: then it keeps the model it has, and says so."""
        settings = self._settings
        try:
            root = load_root(settings.release_root)
        except IdentityError as error:
            self._reporter.why_no_updates = str(error)
            log.get(NAME).warning(NO_ROOT, reason=error.message)
            return None
        update, relays = settings.update, [one.get for one in (self._relay, *self._others.values())]
        return Updater(
            UpdaterSettings(
                device=settings.device,
                fleet=settings.fleet,
                interval_s=update.interval_s,
                probation_frames=update.probation_frames,
                watch_frames=update.watch_frames,
            ),
            trust=TrustedClient(settings.state / "trust", bootstrap_root=root, fetch=first_of(map(from_https, relays))),
            slots=Slots(settings.state / "slots"),
            models=self._models,
            load=lambda onnx, card: open_model(onnx, card, self._make_engine),
            service=self._service,
            shadow=self._shadow,
            report=self._uplink.report,
            downloads=settings.state / "downloads",
        )

    def _settle(self, inferred: Inferred, now: float) -> None:
        self._settler.settle(inferred, now)
        self._preview.window.see(inferred)

    def _answered(self, answer: Answer) -> None:
        self._settler.answer(answer)
        self._inheritance.answer(answer)
        self._shadow.answer(answer)
        self._audits.answer(answer)

    def _bound(self, sequence: int, key: Key) -> None:
        self._settler.bind(sequence, key)
        self._inheritance.spooled(sequence, key)

    def _sampled(self, sequence: int, inferred: Inferred) -> None:
        self._audits.spooled(sequence, inferred)
        self._shadow.spooled(sequence, inferred)
        self._inheritance.sampled(sequence, inferred)

    def _joined(self, stream: str, frame: int, said: Detections, part: crops.Part | None) -> None:
        self._inference.joined(stream, frame, said, part)

    def _audit_share_at(self, now: float) -> float:
        alarmed = self._settings.policy.audit_share_on_alarm if self._audits.alarm else 0.0
        return max(self._audit_share.at(now), alarmed, self._settings.update.audit_share if self._shadow.is_comparing else 0.0)

    def _commanded(self, command: Command) -> bool:
        return command.name == COMMAND and self._audit_share.ask(command.argument, now=clock.monotonic())

    def _service(self, release: int) -> Service:
        served = self._inference.served.get(release, Served())
        return Service(frames=served.frames, failures=served.failures, deferred=served.deferred)

    def _counted(self) -> tuple[int, int] | None:
        """Return frames delivered and frames replaced; what the governor itself left out is in neither."""
        if self._models.current() is None:
            return None
        skipped = self._frames.skipped_in_all()
        return sum(stream.state.delivered for stream in self._streams) - skipped, self._frames.dropped_in_all() - skipped

    def _make_streams(self) -> list[StreamThread]:
        numbers, turns = FrameNumbers(self._settings.state / "frames.json"), Turns(os.cpu_count() or 1)
        return [
            StreamThread(
                name=stream.name,
                source=make_source(stream, turns),
                wishes=Wishes(fps=stream.fps, loop=stream.loop),
                numbers=numbers,
                put=self._throttle.put,
                allow=self._throttle.allows,
                gate=self._make_gate(stream),
                size=self._models.scaled_size,
            )
            for stream in self._settings.streams
        ]

    def _make_gate(self, stream: StreamSettings) -> MotionGate | None:
        if stream.motion_share is None:
            return None
        return MotionGate(share=stream.motion_share, is_audit=functools.partial(self._is_audit, stream.name))

    def _is_audit(self, stream: str, number: int) -> bool:
        return is_audit(self._uplink.audit_key(), stream, number, self._inference.audit_share)


def run(path: Path) -> None:
    """Run the agent until it is told to stop.

    Raises:
        TerraceError: it cannot start; the message says what to do.
    """
    log.configure()
    settings = load_settings(path)
    identity = load_identity(settings)
    try:
        settings.state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        message = f"the state folder {settings.state} cannot be made: {error}."
        raise StorageError(message, "Set `state` to a folder you may write.") from error
    lifecycle.run(Agent(settings, identity).parts(), name=NAME)
