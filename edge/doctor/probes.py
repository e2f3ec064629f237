"""The doctor's probes: one try each, with a deadline; what happened comes back as a plain value, nothing is judged here.

Verification leaves time out (`X509_V_FLAG_NO_CHECK_TIME`): a chain is believed or not, and how old it is, is judged afterwards by a
clock that can be trusted. That makes the relay's Date readable on a machine whose own clock is wrong. Nothing secret is sent meanwhile.

A TLS 1.3 client is done before the server has looked at its certificate. So `shake` says one byte pair that no broker takes before a
CONNECT and waits for the end: an alert is a refusal of the certificate, a plain end its acceptance. No MQTT session is opened, and a
running agent of the same identity keeps its own.
"""

from __future__ import annotations

import errno
import socket
import ssl
import threading
from email.utils import parsedate_to_datetime

from edge.doctor import certificates
from edge.doctor.observations import Address, Certificate, Dialled, Failure, Relayed, Resolved, Shaken
from shared.clock import Clock, monotonic
from shared.errors import TerraceError
from shared.identity.store import Identity
from shared.identity.tls import client_context
from shared.link import dial as dialling
from shared.link.https import HttpsClient, Response
from shared.link.proxy import ProxyRule

LARGEST_KEY_BYTES = 1 << 16
NO_CHECK_TIME = 0x200000
"""OpenSSL's X509_V_FLAG_NO_CHECK_TIME, which Python does not name."""
HOST_MISMATCHES = {62, 64}
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""
PINGREQ = b"\xc0\x00"
_ALERT_WAIT_S = 0.3
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}


def resolve(address: Address, *, deadline_s: float) -> Resolved:
    """Look a name up, the proxy's where there is one; a name server that takes longer than the deadline does not answer."""
    found: list[str] = []
    failed: list[OSError] = []

    def look() -> None:
        try:
            answers = socket.getaddrinfo(address.first.host, address.first.port, type=socket.SOCK_STREAM)
            found.extend(dict.fromkeys(str(answer[4][0]) for answer in answers))
        except (OSError, UnicodeError) as error:
            failed.append(error if isinstance(error, OSError) else OSError(str(error)))

    began = monotonic()
    thread = threading.Thread(target=look, name="resolve", daemon=True)
    thread.start()
    thread.join(deadline_s)
    took = monotonic() - began
    if found:
        return Resolved(address=address, found=tuple(found), took_s=took)
    if not failed:
        return Resolved(address=address, failure=Failure.NO_NAME_SERVER, words=f"no answer within {deadline_s:.0f} s", took_s=took)
    is_away = isinstance(failed[0], socket.gaierror) and failed[0].errno == socket.EAI_AGAIN
    failure = Failure.NO_NAME_SERVER if is_away else Failure.NO_SUCH_NAME
    return Resolved(address=address, failure=failure, words=failed[0].strerror or str(failed[0]), took_s=took)


def dial(address: Address, rule: ProxyRule, *, deadline_s: float) -> Dialled:
    """Open a TCP connection, through the proxy where the rule says so, and close it."""
    began = monotonic()
    try:
        dialling.dial(address.host, address.port, rule, timeout_s=deadline_s).close()
    except TerraceError as error:
        words, took = error.message.rstrip("."), monotonic() - began
        return Dialled(address=address, failure=Failure.PROXY, words=words, remedy=error.remedy, took_s=took)
    except OSError as error:
        return Dialled(address=address, failure=failure_of(error), words=error.strerror or "", took_s=monotonic() - began)
    return Dialled(address=address, took_s=monotonic() - began)


def shake(address: Address, identity: Identity, rule: ProxyRule, *, deadline_s: float) -> Shaken:
    """Shake hands as this device, and see whether the other side takes its certificate.

    Raises:
        IdentityError: the identity's files cannot be used for TLS.
    """
    context = timeless(identity)
    try:
        with (
            dialling.dial(address.host, address.port, rule, timeout_s=deadline_s) as raw,
            context.wrap_socket(raw, server_hostname=address.host) as connection,
        ):
            peer = certificates.read(connection.getpeercert(binary_form=True))
            version = connection.version() or ""
            alert = _verdict(connection, deadline_s)
    except ssl.SSLCertVerificationError as error:
        failure = Failure.OTHER_NAME if error.verify_code in HOST_MISMATCHES else Failure.UNTRUSTED
        return Shaken(address=address, failure=failure, words=error.verify_message, peer=_look(address, rule, deadline_s))
    except TerraceError as error:
        return Shaken(address=address, failure=Failure.CLOSED, words=error.message.rstrip("."))  # the proxy, which let us through before
    except OSError as error:
        return Shaken(address=address, failure=failure_of(error), words=str(error.args[-1]) if error.args else "")
    failure = Failure.NONE if alert is None else Failure.WE_ARE_REFUSED
    return Shaken(address=address, failure=failure, alert=alert or "", version=version, peer=peer, chain_verified=True)


def ask_relay(url: str, identity: Identity, address: Address, rule: ProxyRule, *, wall: Clock, deadline_s: float) -> Relayed:
    """Ask the relay for the region's key, and read its clock off the answer."""
    before = wall()
    client = HttpsClient(timeless(identity), url, proxy=rule)
    try:
        answer = client.get("/v1/key", timeout_s=deadline_s, limit_bytes=LARGEST_KEY_BYTES)
    except TerraceError as error:
        return Relayed(address=address, words=error.message.rstrip("."))
    finally:
        client.close()
    asked_at = (before + wall()) / 2
    said = "" if answer.status == 200 else answer.body[:200].decode(errors="replace").strip()
    key = answer.body if answer.status == 200 else b""
    return Relayed(address=address, status=answer.status, words=said, date=_date(answer), asked_at=asked_at, key=key)


def timeless(identity: Identity) -> ssl.SSLContext:
    """Return the context of a device that verifies everything about its region but the time.

    Raises:
        IdentityError: the identity's files cannot be used for TLS.
    """
    context = client_context(identity, server_tier="region")
    context.verify_flags |= ssl.VerifyFlags(NO_CHECK_TIME)
    return context


def failure_of(error: OSError) -> Failure:
    """Return which kind of failure an exception of a connection is."""
    if isinstance(error, TimeoutError):
        return Failure.SILENT
    if isinstance(error, ConnectionRefusedError):
        return Failure.REFUSED
    if isinstance(error, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError):
        return Failure.CLOSED
    if isinstance(error, ssl.SSLError):
        return _of_tls(error.reason or "")
    return Failure.NO_ROUTE if error.errno in _NO_ROUTE else Failure.OTHER


def _of_tls(reason: str) -> Failure:
    if reason in {"WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG", "HTTP_REQUEST"}:
        return Failure.NOT_TLS
    if reason in {"TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "SSLV3_ALERT_HANDSHAKE_FAILURE"}:
        return Failure.OLD_TLS
    return Failure.WE_ARE_REFUSED if "ALERT" in reason else Failure.OTHER


def _verdict(connection: ssl.SSLSocket, deadline_s: float) -> str | None:
    """Return why the other side refuses our certificate: OpenSSL's name of its alert, empty without one; None when it takes it."""
    try:
        connection.settimeout(_ALERT_WAIT_S)
        try:
            connection.recv(1)
        except TimeoutError:
            connection.settimeout(deadline_s)
            connection.sendall(PINGREQ)
            connection.recv(1)
    except ssl.SSLEOFError:
        return None
    except ssl.SSLError as error:
        return (error.reason or "") if "ALERT" in (error.reason or "") else None
    except TimeoutError:
        return None  # it neither refuses nor speaks MQTT: the next checks find out
    except OSError:
        return ""  # reset: what a server does that closes while we were writing; it had refused us
    return None


def _look(address: Address, rule: ProxyRule, deadline_s: float) -> Certificate | None:
    """Read the certificate of who cannot be verified; ours is not shown to it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            dialling.dial(address.host, address.port, rule, timeout_s=deadline_s) as raw,
            context.wrap_socket(raw, server_hostname=address.host) as connection,
        ):
            return certificates.read(connection.getpeercert(binary_form=True))
    except (OSError, TerraceError):
        return None


def _date(answer: Response) -> float | None:
    try:
        return parsedate_to_datetime(answer.headers["date"]).timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
