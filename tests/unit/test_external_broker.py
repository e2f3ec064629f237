"""A region whose broker is run by others: one set up from what terrace prints, and one its operator wrote in his own way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from region import cli
from region.broker import find_program
from region.brokerconfig import checklist
from region.config import BrokerSettings
from shared.child import Child
from shared.errors import ConfigurationError
from shared.wire import topics
from tests.waiting import until

from .test_region_main import Site, command, free_ports


class Elsewhere:
    """A region without a broker of its own, and a mosquitto that it did not start."""

    def __init__(self, folder: Path) -> None:
        self.site = Site(folder)
        self.folder = folder / "elsewhere"
        self.workers_port = free_ports(1)[0]
        self.site.authority.issue_region("region-1", "broker", ["127.0.0.1", "localhost"], destination=self.folder)
        self._edit(f'[broker]\nurl = "mqtts://127.0.0.1:{self.workers_port}"')
        self.child: Child | None = None

    def _edit(self, section: str) -> None:
        self.site.config.write_text(self.site.config.read_text().replace("[broker]", section))

    def start(self) -> None:
        command_line = [find_program("mosquitto"), "-c", str(self.folder / "mosquitto.conf")]
        self.child = Child("elsewhere", command_line, log_path=self.folder / "log")
        self.child.start()

    def stop(self) -> None:
        self.site.stop()
        if self.child is not None:
            self.child.stop()


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    made = Elsewhere(tmp_path_factory.mktemp("x"))
    yield made
    made.stop()


def one_case_there_and_back(site: Site) -> None:
    online = site.device("edge-1").open()
    online.publish(*online.device.case(1))
    until(lambda: online.receipted() == {1} and online.answers() == {1: 1})
    online.close()


def printed(elsewhere: Elsewhere) -> str:
    line = ["broker-config", "--config", str(elsewhere.site.config), "--out", str(elsewhere.folder)]
    found = CliRunner().invoke(cli.app, [*line, "--folder", str(elsewhere.folder), "--user", "root"], catch_exceptions=False)
    assert found.exit_code == 0
    return found.stdout


def test_a_mosquitto_set_up_from_what_is_printed_serves_the_region_and_outlives_it(elsewhere: Elsewhere) -> None:
    site = elsewhere.site
    printed(elsewhere)
    elsewhere.start()
    site.start()
    one_case_there_and_back(site)
    until(lambda: site.status()["broker_up"])
    site.stop()
    assert elsewhere.child is not None
    assert elsewhere.child.pid is not None
    site.start()
    online = site.device("edge-1").open()
    said = command("revoke", "edge-1.region-1", "--config", str(site.config), "--json")  # silenced without the broker's help
    assert said["active"]
    online.publish(*online.device.case(2))
    until(lambda: site.status()["dropped"].get("revoked"))
    assert site.status()["cases_stored"] == 1
    online.close()


def test_a_broker_written_by_hand_serves_too_and_its_death_is_said(elsewhere: Elsewhere) -> None:
    """One listener for both tiers, rules by user name, other file names: nothing of what terrace generates."""
    site, folder = elsewhere.site, elsewhere.folder
    both = site.identity.anchors.anchors
    (folder / "both.pem").write_text(both["edge"] + both["region"])
    (folder / "rules").write_text(
        "pattern write t/%u/up/#\npattern read t/%u/down/#\npattern read t/all/#\n"
        "user intake-0.region-1\ntopic read t/+/up/#\ntopic write t/+/down/#\ntopic write t/all/#\n"
        "user intake-1.region-1\ntopic read t/+/up/#\ntopic write t/+/down/#\ntopic write t/all/#\n"
    )
    (folder / "mosquitto.conf").write_text(
        f"user root\nlistener {elsewhere.workers_port} 127.0.0.1\ncafile {folder}/both.pem\ncertfile {folder}/certificate.pem\n"
        f"keyfile {folder}/key.pem\nrequire_certificate true\nuse_identity_as_username true\nacl_file {folder}/rules\n"
    )
    site.ports[0] = elsewhere.workers_port
    elsewhere.start()
    site.start()
    one_case_there_and_back(site)
    assert elsewhere.child is not None
    elsewhere.child.stop()
    until(lambda: not site.status()["broker_up"])
    elsewhere.start()
    until(lambda: site.status()["broker_up"], within_s=20)


def test_what_is_printed_names_every_rule_of_the_topic_table(elsewhere: Elsewhere) -> None:
    text = printed(elsewhere)
    for rule in (*topics.DEVICE_RULES, *topics.WORKER_RULES):
        assert rule.split(" ", 2)[2].replace("%u", "{name}") in text
    assert f"port {elsewhere.workers_port}: client certificate required" in text
    assert "--name broker --host 127.0.0.1" in text
    assert "nobody now" in text
    assert "edge-9.region-1" in checklist(BrokerSettings(), region="region-1", revoked=["edge-9.region-1"])


def test_one_port_for_devices_and_workers_is_not_printed(elsewhere: Elsewhere) -> None:
    text = elsewhere.site.config.read_text()
    elsewhere.site.config.write_text(text.replace(f"mqtts://127.0.0.1:{elsewhere.workers_port}", f"mqtts://h:{elsewhere.site.ports[0]}"))
    with pytest.raises(ConfigurationError, match="for devices and for intake workers"):
        CliRunner().invoke(cli.app, ["broker-config", "--config", str(elsewhere.site.config)], catch_exceptions=False)
