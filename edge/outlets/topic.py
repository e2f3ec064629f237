"""The topic of an event on the plant's broker, from a template. Pure.

Rules, in order:
1. `{device}`, `{region}`, `{fleet}`, `{stream}`, `{state}`, `{label}` and `{source}` are filled in; everything else stands as written.
2. A value is one level of the topic: what MQTT gives a meaning (`/`, `+`, `#`, and `$` in front) becomes `_`, so that a label
   can never publish elsewhere than the template says.
3. A template that could not be a topic (MQTT 3.1.1, 4.7) is refused at the start.

Example:
    >>> check("plant/{device}/{stream}")
    >>> fill("plant/{device}/{stream}", {"device": "edge-1.north", "stream": "line/1"})
    'plant/edge-1.north/line_1'
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from shared.errors import ConfigurationError

FIELDS = ("device", "region", "fleet", "stream", "state", "label", "source")
LONGEST_BYTES = 65535
_FIELD = re.compile(r"\{([^{}]*)\}")
_SPECIAL = re.compile(r"[/+#\x00-\x1f]")


def check(template: str) -> None:
    """Check a template.

    Raises:
        ConfigurationError: it names a field that events do not have, or is no topic one may publish to.
    """
    unknown = [name for name in _FIELD.findall(template) if name not in FIELDS]
    if unknown:
        named = ", ".join(f"{{{name}}}" for name in FIELDS)
        raise ConfigurationError(f"the topic {template!r} (outputs.mqtt.topic) names {{{unknown[0]}}}.", f"Use {named}.")
    bare = _FIELD.sub("", template)
    if not template or re.search(r"[+#{}\x00]", bare) or template.startswith("$") or len(template.encode()) > LONGEST_BYTES // 2:
        remedy = "A topic to publish to has no +, # or braces and does not begin with $."
        raise ConfigurationError(f"the topic {template!r} (outputs.mqtt.topic) cannot be published to.", remedy)


def fill(template: str, values: Mapping[str, str]) -> str:
    """Return the topic.

    Args:
        template: one that `check` has passed.
        values: by field; a missing or empty one becomes `_`.
    """
    topic = _FIELD.sub(lambda found: _SPECIAL.sub("_", values.get(found[1], ""))[:255] or "_", template)
    return f"_{topic[1:]}" if topic.startswith("$") else topic
