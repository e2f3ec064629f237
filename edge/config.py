"""What can be set in edge.toml: one frozen struct per section, read once at the start; an unknown key stops it and is named.

Durations are seconds, sizes mebibytes, shares 0 to 1.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import msgspec

from shared.section import Section

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9-]{1,63}$")]
"""A name that fits a certificate: lower-case letters, digits and dashes, 1 to 63 of them."""
StreamName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]{1,63}$")]
Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Share = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0)]
Count = Annotated[int, msgspec.Meta(ge=1)]


class IdentitySettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`folder` holds the device's certificate, key and anchors, as `terrace provision pki device` wrote them."""

    folder: Path


class FailOverSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Another region that takes this device's cases while its own is silent; it must name this device's region in `fail_over_for`."""

    region: Name
    """The other region's name."""
    host: str
    """Address of its broker, as its certificate names it."""
    port: Port
    """Port of its broker."""
    relay_url: str
    """Its HTTPS listener, from which its key is fetched, and releases while the own region's cannot be reached."""


class LinkSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The region's broker (`host`, `port`), its relay for releases (`relay_url`) and the envelope's cipher suite (1, 2 or 3)."""

    host: str
    """Address of the region's broker, as its certificate names it."""
    port: Port
    """Port of the region's broker."""
    relay_url: str
    """The region's HTTPS listener, for instance `https://region.example:8443`."""
    suite: Literal[1, 2, 3] = 1
    """1 AES-256-GCM, 2 ChaCha20-Poly1305, 3 SM4-GCM."""
    padding: bool = False
    """Fill messages up to size classes (Padmé: at most 12 % more, at least 256 bytes), both ways, so that sizes say less."""
    proxy: str = ""
    """The site's HTTP proxy, `http://name:password@host:port`; empty: what HTTPS_PROXY and NO_PROXY say; `direct`: none."""
    fail_over: tuple[FailOverSettings, ...] = ()
    """Other regions, in the order of choice."""
    fail_over_after_s: Positive = 30.0
    """How long the region may be silent before another is sought."""


class SpoolSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`capacity_mb`: what waiting cases may take before the least valuable go; holes they leave may add a quarter on disk for a while."""

    capacity_mb: Count = 256


class PolicySettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a frame is sent.

    `audit_share` of all frames is sent at random; while the region has a drift alarm it may ask for more, up to
    `audit_share_on_alarm` (0 refuses); `threshold` overrides the card's; `answer_deadline_s` is when a deferred frame's
    event becomes final with the device's own prediction. With `live_threshold` the threshold follows the audit samples' answers,
    so that P(kept and student != expert) stays at `live_epsilon` (the card's epsilon when left out). With `inherit` a frame that would be
    sent and looks like one of its stream that was sent within the last minute takes that one's answer instead.
    """

    audit_share: Share = 0.02
    audit_share_on_alarm: Share = 0.25
    threshold: float | None = None
    answer_deadline_s: Positive = 5.0
    live_threshold: bool = False
    live_epsilon: Annotated[float, msgspec.Meta(gt=0.0, lt=1.0)] | None = None
    inherit: bool = False


class BudgetSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What hard cases and audit samples may cost, in bytes of cases before they are sealed.

    `bytes_per_s` or `bytes_per_day` holds hard cases back, the least valuable first (0: all of them; unlimited when both are left out; the
    first of the two counts). Audit samples are not held back, unless `audit_bytes_per_s` limits them: then the live risk is censored.
    """

    bytes_per_s: Annotated[float, msgspec.Meta(ge=0.0)] | None = None
    bytes_per_day: Annotated[float, msgspec.Meta(ge=0.0)] | None = None
    audit_bytes_per_s: Annotated[float, msgspec.Meta(ge=0.0)] | None = None


class PictureSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a case's picture is encoded.

    Without a `quality`, codec and quality follow the link along the table in the running model's card: its choice, the fewest bytes at
    which its expert still answers as well, and while the link is behind one at which it loses at most one frame in a hundred more.
    With one, `quality` (1 to 100; 100 is lossless for webp) and `codec` are taken as they stand.
    """

    codec: Literal["webp", "jpeg", "png"] = "webp"
    """Format of the picture."""
    quality: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None


class ModelSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What runs the model.

    `profile` names a hardware profile (`auto`: the generic one of this processor), looked for in the folder `profiles` first;
    `threads` overrides its threads; `path` is a folder with `model.onnx` and `card.json` to start with before any release has come.
    """

    profile: str = "auto"
    profiles: Path | None = None
    """A folder of profiles that is searched before the shipped ones."""
    threads: Count | None = None
    path: Path | None = None


class StreamSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One stream.

    `kind` is video (a file PyAV can read), replay (an `.npz` data set), folder (one sub-folder per class), rtsp (a network camera),
    camera (a V4L2 device) or gstreamer (a pipeline). `fps` is the pace (0: the source's own; a camera's further frames are left out);
    `loop` starts again at the end; `units_file` names the unit of each frame of a video (an `.npz` with `units`).
    """

    name: StreamName
    """Stands in events, cases and the status."""
    kind: Literal["video", "replay", "folder", "rtsp", "camera", "gstreamer"]
    path: Path | None = None
    """The video, the data set, the folder, or the camera's device such as `/dev/video0`."""
    fps: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 10.0
    loop: bool = True
    units_file: Path | None = None
    url: str = ""
    """Where a network camera is, `rtsp://host/path`, without name and password."""
    credentials: Path | None = None
    """A file with `name:password` for a network camera, readable by its owner alone."""
    pipeline: str = ""
    """A GStreamer pipeline as for `gst-launch-1.0`, without a sink, for CSI cameras and hardware decoders; needs the system's bindings."""
    area: tuple[Share, Share, Share, Share] | None = None
    """The part of a camera's or video's picture to look at: left, top, width, height as shares of the picture; all when left out."""
    motion_share: Share | None = None
    """Answer a frame only when more than this share of the picture has changed since the last answer (try 0.01); all when left out."""


class SelectedOutputSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which events an output is sent; an empty list means all of them."""

    name: Name
    """Stands in the status and in logs; no two outputs have the same."""
    states: tuple[Literal["provisional", "final"], ...] = ()
    """Only events in one of these states."""
    labels: tuple[str, ...] = ()
    """Only events that name one of these labels: as the frame's, an object's or an area's."""
    streams: tuple[StreamName, ...] = ()
    """Only events of these streams."""


class MqttOutputSettings(SelectedOutputSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A topic of the plant's own broker, at QoS 1: one JSON object per event. Nothing it does stops inference."""

    host: str
    """Address of the broker, with `tls` as its certificate names it."""
    port: Port
    """Port of the broker."""
    topic: str = "terrace/{device}/{stream}"
    """May name `{device}`, `{region}`, `{fleet}`, `{stream}`, `{state}`, `{label}` and `{source}`."""
    tls: bool = True
    """Speak TLS; without it whoever is on the network reads along."""
    ca: Path | None = None
    """Whom to believe (PEM); none: what the system believes."""
    certificate: Path | None = None
    """Our certificate for that broker, if it wants one (PEM)."""
    key: Path | None = None
    """The certificate's key (PEM)."""
    username: str = ""
    """Our name at that broker, if it wants one."""
    password_file: Path | None = None
    """A file with the password, closed to other users."""


class WebhookOutputSettings(SelectedOutputSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Batches of events by HTTPS POST, through the proxy that HTTPS_PROXY names, if any. Nothing it does stops inference."""

    url: str
    """Where they are posted, `https://…`; only host and port ever appear in the status and in logs."""
    secret_file: Path | None = None
    """A file with the secret that signs them (`whsec_` and Base64), closed to other users; none: they are not signed."""
    ca: Path | None = None
    """Whom to believe (PEM); none: what the system believes."""
    certificate: Path | None = None
    """Our certificate for that server, if it wants one (PEM)."""
    key: Path | None = None
    """The certificate's key (PEM)."""


class OutputSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where events go: always to a file, and to brokers and webhooks if need be, each with a queue of its own."""

    file: Path
    """Receives one JSON object per line and event."""
    rotate_mb: Count = 256
    """At this size (2^20 bytes) the file becomes `<file>.1`, that one `<file>.2`, and so on."""
    keep: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 3
    """How many rotated files are kept."""
    mqtt: tuple[MqttOutputSettings, ...] = ()
    """Topics of the plant's brokers."""
    webhook: tuple[WebhookOutputSettings, ...] = ()
    """Receivers by HTTPS."""


class UpdateSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How releases arrive.

    A new release is committed after `probation_frames`; for `watch_frames` more it is taken back by itself when it agrees less with the
    region's expert than the release before. Until then `audit_share` of all frames is drawn for audit, if that is more than the policy's:
    the evidence comes from there. The relay is asked at least every `interval_s`; `root` is the fleet's release
    root as it was when the device was provisioned (default: `releases.root.json` in the identity folder).
    """

    probation_frames: Count = 200
    watch_frames: Annotated[int, msgspec.Meta(ge=0)] = 2000
    audit_share: Share = 0.1
    interval_s: Positive = 300.0
    root: Path | None = None


class MetricsSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With a `port`, the device tells Prometheus its figures on 127.0.0.1 (`/metrics`); without one it has no listener at all."""

    port: Port | None = None


class GovernorSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Heat, memory and lag take frame rate and resolution down in steps, and calm brings them back (`edge/governor.py` has the rules).

    `mode`: `auto` governs where the machine tells of heat, throttling or a power mode; `on` by memory and lag alone too; `off` never.
    """

    mode: Literal["auto", "on", "off"] = "auto"


class EdgeSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """edge.toml."""

    name: Name
    """The device's name, as its certificate says it."""
    region: Name
    """The region it belongs to."""
    fleet: Name
    """The fleet's name."""
    state: Path
    """Folder of everything the device keeps; its path may be at most 88 bytes long."""
    identity: IdentitySettings
    link: LinkSettings
    streams: Annotated[tuple[StreamSettings, ...], msgspec.Meta(min_length=1)]
    outputs: OutputSettings
    spool: SpoolSettings = SpoolSettings()
    policy: PolicySettings = PolicySettings()
    picture: PictureSettings = PictureSettings()
    model: ModelSettings = ModelSettings()
    update: UpdateSettings = UpdateSettings()
    metrics: MetricsSettings = MetricsSettings()
    budget: BudgetSettings = BudgetSettings()
    governor: GovernorSettings = GovernorSettings()

    @property
    def spool_path(self) -> Path:
        """Where the spool's file is."""
        return self.state / "spool.db"

    @property
    def release_root(self) -> Path:
        """Where the release root is."""
        return self.update.root or self.identity.folder / "releases.root.json"

    @property
    def device(self) -> str:
        """The device's common name, `<name>.<region>`."""
        return f"{self.name}.{self.region}"
