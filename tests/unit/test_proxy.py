"""Through a site's HTTP proxy: which one, what is said to it, what it may answer; MQTT and HTTPS in TLS end to end through a real one."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import EdgeSettings, LinkSettings
from edge.main import proxy_rule
from shared.errors import ConfigurationError, LinkError, ProtocolError, TerraceError
from shared.identity.tls import client_context
from shared.link.dial import dial
from shared.link.https import HttpsClient
from shared.link.mqtt import MqttClient
from shared.link.proxy import LARGEST_ANSWER_BYTES, NO_PROXY, PROXY_VARIABLES, Answer, Proxy, ProxyRule, is_spared, parse, request
from shared.wire import topics
from tests.brokers import Site, free_port
from tests.proxies import ConnectProxy
from tests.waiting import until

EDGE = "edge-1.region-1"
SQUID = Proxy(host="squid", port=3128)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.broker.start()
    yield site
    site.broker.stop()


def device(site: Site, proxy: str, **more: object) -> MqttClient:
    client = site.client(site.edge, lambda *_: None, proxy=ProxyRule(setting=proxy), longest_backoff_s=0.2, **more)
    client.start()
    return client


def refusal(proxy: ConnectProxy, **named: float) -> TerraceError:
    with pytest.raises(TerraceError) as caught:
        dial("region.example", 443, ProxyRule(setting=proxy.url), timeout_s=named.get("timeout_s", 5.0))
    return caught.value


def test_mqtt_goes_through_and_the_proxy_sees_nothing_of_it(site: Site) -> None:
    got: list[bytes] = []
    worker = site.client(site.worker, lambda _, payload: got.append(payload), as_worker=True)
    worker.subscribe(topics.worker_filters(range(64)))
    worker.start()
    pair = base64.b64encode(b"me@site:p:ss").decode()
    with ConnectProxy(credentials=pair) as proxy:
        edge = device(site, f"http://me%40site:p%3Ass@127.0.0.1:{proxy.port}")
        until(lambda: edge.is_connected and worker.is_connected, lambda: edge.last_error)
        until(lambda: edge.publish(topics.up(EDGE, "case"), b"a secret of the device" * 9) and got)
        edge.stop()
        assert proxy.asked[0].startswith(f"CONNECT 127.0.0.1:{site.settings.port} HTTP/1.1\r\n")
        assert b"secret" not in proxy.seen
        assert EDGE.encode() not in proxy.seen  # under TLS 1.3 not even the certificate's name
    worker.stop()


def test_a_proxy_that_breaks_tls_open_is_not_believed(site: Site, tmp_path: Path) -> None:
    """One that connects us to somebody else, who shows a certificate of another fleet."""
    other = Site(tmp_path)
    other.broker.start()
    with ConnectProxy() as proxy:
        edge = MqttClient(
            host="127.0.0.1", port=other.settings.port, context=client_context(site.edge, server_tier="region"), client_id=EDGE,
            on_message=lambda *_: None, proxy=ProxyRule(setting=proxy.url),
        )  # fmt: skip
        edge.start()
        until(lambda: "certificate verify failed" in edge.last_error)
        assert edge.connections == 0
        edge.stop()
    other.broker.stop()


def test_the_relay_s_client_goes_through_too(site: Site) -> None:
    """It reaches the broker's TLS listener, which speaks no HTTP; that it gets so far shows that TLS goes through."""
    with ConnectProxy() as proxy:
        client = HttpsClient(site.edge, f"https://127.0.0.1:{site.settings.port}", proxy=ProxyRule(setting=proxy.url))
        with pytest.raises(LinkError):
            client.get("/v1/key", timeout_s=2)
        assert len(proxy.asked) >= 1
        assert b"/v1/key" not in proxy.seen
        client.close()
    with ConnectProxy(credentials="x") as proxy:
        client = HttpsClient(site.edge, f"https://127.0.0.1:{site.settings.port}", proxy=ProxyRule(setting=proxy.url))
        with pytest.raises(LinkError, match="407"):
            client.get("/v1/key", timeout_s=2)
        client.close()


def test_a_device_comes_back_when_its_proxy_does(site: Site) -> None:
    with ConnectProxy() as proxy:
        port = proxy.port
        edge = device(site, proxy.url)
        until(lambda: edge.is_connected)
    until(lambda: "cannot be reached" in edge.last_error, lambda: edge.last_error)
    assert not edge.is_connected
    with ConnectProxy(port=port):
        until(lambda: edge.is_connected, lambda: edge.last_error)
        edge.stop()


def test_what_a_proxy_refuses_is_said_with_a_remedy(site: Site) -> None:
    with ConnectProxy(credentials="x") as proxy:
        assert "wants a name and a password (407)" in refusal(proxy).message
        with pytest.raises(LinkError, match="refuses the name and password"):
            dial("r", 443, ProxyRule(setting=f"http://a:b@127.0.0.1:{proxy.port}"), timeout_s=5)
    with ConnectProxy(says=b"HTTP/1.1 403 Forbidden\r\nServer: x\r\n\r\n<html>no</html>") as proxy:
        error = refusal(proxy)
        assert "does not connect us to region.example:443: 403 Forbidden" in error.message
        assert "administrators" in error.remedy
    with ConnectProxy() as proxy, pytest.raises(LinkError, match="502"):
        dial("127.0.0.1", free_port(), ProxyRule(setting=proxy.url), timeout_s=5)


@pytest.mark.parametrize(
    "says",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n", b"\x16\x03\x01\x00\x02\x02\x28", b"<html>", b"HTTP/2 200 OK\r\n\r\n", b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (LARGEST_ANSWER_BYTES // 6), b"HTTP/1.1 200 OK\r\n\r\nhello",
    ],
)  # fmt: skip
def test_rubbish_in_the_place_of_an_answer_is_refused(says: bytes) -> None:
    with ConnectProxy(says=says) as proxy:
        assert isinstance(refusal(proxy), ProtocolError)


def test_a_proxy_that_hangs_or_hangs_up_is_given_up_in_time(site: Site) -> None:
    with ConnectProxy(is_silent=True) as proxy:
        began = time.monotonic()
        assert "in time" in refusal(proxy, timeout_s=0.3).message
        assert time.monotonic() - began < 3
    with ConnectProxy(says=b"HTTP/1.1 20") as proxy:
        assert "hung up" in refusal(proxy).message


@given(st.binary(max_size=200), st.integers(1, 50))
def test_whatever_a_proxy_says_is_taken_or_refused_in_our_words(data: bytes, step: int) -> None:
    answer = Answer(SQUID, "r:443")
    try:
        for start in range(0, len(data), step):
            if answer.feed(data[start : start + step]):
                assert data[:5] == b"HTTP/"
                return
        answer.feed(b"")
    except (LinkError, ProtocolError):
        return


@given(st.integers(1, 40))
def test_an_answer_may_come_in_pieces(step: int) -> None:
    whole = b"HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n"
    answer = Answer(SQUID, "r:443")
    said = [answer.feed(whole[start : start + step]) for start in range(0, len(whole), step)]
    assert said == [False] * (len(said) - 1) + [True]


@pytest.mark.parametrize(
    ("host", "spared", "is_so"),
    [
        ("localhost", "", True), ("127.0.0.1", "", True), ("::1", "", True), ("region.example", "", False), ("region.example", "*", True),
        ("region.example", "other, .example", True), ("region.example", "example", True), ("myexample", "example", False),
        ("region.example", "REGION.EXAMPLE", True), ("10.1.2.3", "10.0.0.0/8", True), ("10.1.2.3", "10.1.2.3", True),
        ("11.1.2.3", "10.0.0.0/8", False), ("11.1.2.3", "rubbish/99,,", False), ("10.1.2.3", "3", False), ("*.x", ".", False),
    ],
)  # fmt: skip
def test_what_is_dialled_directly(host: str, spared: str, is_so: bool) -> None:
    assert is_spared(host, spared) is is_so


def test_the_setting_goes_before_the_environment() -> None:
    environment = {"HTTPS_PROXY": "http://env:1", "NO_PROXY": "inside.example"}
    assert ProxyRule(environment=environment).for_host("region.example") == Proxy(host="env", port=1)
    assert ProxyRule(environment={**environment, "https_proxy": "low:2"}).for_host("r") == Proxy(host="low", port=2)
    assert ProxyRule(environment=environment).for_host("a.inside.example") is None
    assert ProxyRule(environment=environment).for_host("127.0.0.1") is None
    assert ProxyRule(setting="direct", environment=environment).for_host("r") is None
    assert ProxyRule(setting="http://set", environment=environment).for_host("127.0.0.1") == Proxy(host="set", port=80)
    assert NO_PROXY.for_host("r") is None
    assert ProxyRule().for_host("r") is None


@pytest.mark.parametrize(
    "url", ["https://p:443", "socks5://p:1", "http://", "http://p:0", "http://p:99999", "http://p/path", "http://[p", "http://a b:1"]
)
def test_an_address_that_is_none_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"link\.proxy") as caught:
        parse(url, "link.proxy")
    assert url not in caught.value.message


def test_passwords_stay_out_of_what_is_printed() -> None:
    rule = ProxyRule(setting="http://me:secret@p:1", environment={"HTTPS_PROXY": "http://me:secret@p:1"})
    assert "secret" not in repr(rule) + repr(rule.for_host("r"))
    assert b"Proxy-Authorization: Basic bWU6c2VjcmV0\r\n" in request("::1", 443, rule.for_host("r") or SQUID)
    assert request("::1", 443, SQUID) == b"CONNECT [::1]:443 HTTP/1.1\r\nHost: [::1]:443\r\n\r\n"


def test_a_device_reads_its_proxy_from_its_configuration_or_its_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    link = LinkSettings(host="region.example", port=443, relay_url="https://region.example")

    def chosen(link: LinkSettings) -> Proxy | None:
        return proxy_rule(cast("EdgeSettings", SimpleNamespace(link=link))).for_host(link.host)

    assert chosen(link) is None
    monkeypatch.setenv("HTTPS_PROXY", "http://env:8080")
    assert chosen(link) == Proxy(host="env", port=8080)
    assert chosen(msgspec.structs.replace(link, proxy="http://set:1")) == Proxy(host="set", port=1)
    with pytest.raises(ConfigurationError, match=r"link\.proxy"):
        chosen(msgspec.structs.replace(link, proxy="socks5://x:1"))
