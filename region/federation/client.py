"""The region's Flower ClientApp: one verb, train. What it answers is weights and two counts, nothing else.

The training itself runs in a child process (region.training); this turns Flower's message into a job and the outcome into
Flower's reply.
"""

from __future__ import annotations

from collections.abc import Callable

from flwr.app import ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from region.federation import flower
from region.jobs import Outcome, Wish
from shared.errors import ProtocolError

Train = Callable[[flower.Arrays, Wish], Outcome]


def client_app(train: Train) -> ClientApp:
    """Return the app; `train` takes the round's weights and wishes and returns the outcome."""
    app = ClientApp()

    @app.train()
    def _(message: Message, context: Context) -> Message:
        del context
        outcome = train(flower.arrays_of(message), wish_of(message))
        losses = {"first-loss": outcome.first_loss, "last-loss": outcome.last_loss}
        metrics = MetricRecord({"num-examples": outcome.examples, "steps": outcome.steps, **losses})
        return Message(RecordDict({"arrays": flower.record_of(outcome.arrays), "metrics": metrics}), reply_to=message)

    return app


def answer(app: ClientApp, data: bytes, *, run: int) -> bytes:
    """Answer a message that arrived as a bundle, with a bundle.

    Raises:
        ProtocolError: it is no message for this app.
        TerraceError: what the training raised.
    """
    message = flower.decode(data)
    context = Context(run_id=run, node_id=message.metadata.dst_node_id, node_config={}, state=RecordDict(), run_config={})
    return flower.encode(app(message, context))


def wish_of(message: Message) -> Wish:
    """Return what the cloud asks for, from the message's ConfigRecord.

    Raises:
        ProtocolError: a value is missing or of the wrong type.
    """
    records = list(message.content.config_records.values())
    config = records[0] if len(records) == 1 else ConfigRecord({})
    try:
        return Wish(
            classes=_number(config, "classes"),
            side=_number(config, "side"),
            steps=_number(config, "steps"),
            batch=_number(config, "batch"),
            seed=_number(config, "seed"),
            minimum_cases=_number(config, "minimum-cases"),
            replay_share=_share(config, "replay-share"),
            device_share=_share(config, "device-share"),
            turning=bool(config["turning"]),
        )
    except KeyError as error:
        raise ProtocolError(f"the cloud's task does not say {error}.") from None


def _number(config: ConfigRecord, key: str) -> int:
    value = config[key]
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 31:
        raise ProtocolError(f"the cloud's {key} is {value!r}, which is no count.")
    return value


def _share(config: ConfigRecord, key: str) -> float:
    value = config[key]
    if not isinstance(value, float) or not 0.0 <= value <= 1.0:
        raise ProtocolError(f"the cloud's {key} is {value!r}, which is no share.")
    return value
