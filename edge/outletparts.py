"""The outputs that edge.toml names beside the event file, as parts of the agent."""

from __future__ import annotations

from edge.config import EdgeSettings, SelectedOutputSettings
from edge.outlets.outlet import Outlet
from edge.outlets.plant import PlantBroker
from edge.outlets.selection import Selection
from edge.outlets.webhook import Webhook
from shared.errors import ConfigurationError
from shared.link.proxy import ProxyRule


def outlets(settings: EdgeSettings, proxy: ProxyRule) -> list[Outlet]:
    """Return the outputs, not started.

    Args:
        settings: edge.toml.
        proxy: which HTTP proxy leads to webhooks.

    Raises:
        ConfigurationError: two have one name, one names a stream that is not there, or a webhook's address cannot be used.
    """
    given: list[SelectedOutputSettings] = [*settings.outputs.mqtt, *settings.outputs.webhook]
    names = [one.name for one in given]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigurationError(f"two outputs are called {twice[0]}.", "Give every output a name of its own.")
    known = {stream.name for stream in settings.streams}
    for one in given:
        if unknown := sorted(set(one.streams) - known):
            raise ConfigurationError(f"the output {one.name} names the stream {unknown[0]}, which is not there.", "Correct its `streams`.")
    where = {"device": settings.device, "region": settings.region, "fleet": settings.fleet}
    brokers = [
        Outlet(one.name, PlantBroker(one, client_id=f"terrace-{settings.device}-{one.name}", names=where), selection(one))
        for one in settings.outputs.mqtt
    ]
    hooks = [Outlet(one.name, Webhook(one, device=settings.device, proxy=proxy), selection(one)) for one in settings.outputs.webhook]
    return [*brokers, *hooks]


def selection(settings: SelectedOutputSettings) -> Selection:
    """Return which events an output is sent."""
    return Selection(states=settings.states, labels=settings.labels, streams=settings.streams)
