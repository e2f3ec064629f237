"""Flower's Grid over the mailbox: how a strategy's messages reach regions and their replies come back.

- Nodes are the round's participants; a node's id is the fleet's for the region named in its certificate. The id a reply
  carries is ignored.
- Posting is idempotent (a task is named after round and region), so a resumed round posts again and finds the replies.
- Replies are waited for on disk and read one at a time, in the order of node ids: memory stays that of one update, and the
  sum is the same whichever came first.
- Fewer replies than the quorum at the deadline is an error, never an empty round.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from cloud.federation import flower
from cloud.mailbox import Mailbox
from shared.clock import Clock
from shared.errors import FederationError, ProtocolError, StorageError
from shared.wire.reports import TaskFailed, TrainReply, TrainTask

POLL_S = 0.1


class MailboxGrid(Grid):
    """The Grid of one round.

    Args:
        mailbox: where tasks go and replies come from.
        round_number: the round; its tasks are named after it.
        nodes: region names by node id, the round's participants.
        begun_at: when the round began, Unix seconds.
        deadline: until when replies count, Unix seconds.
        quorum: how many regions must have replied by then.
        limit_bytes: what one reply may weigh.
        clock: tells the time.
        pause: waits for so many seconds; False when the process is to stop.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        *,
        round_number: int,
        nodes: Mapping[int, str],
        begun_at: float,
        deadline: float,
        quorum: int,
        limit_bytes: int,
        clock: Clock,
        pause: Callable[[float], bool],
    ) -> None:
        self._mailbox = mailbox
        self._round = round_number
        self._nodes = dict(sorted(nodes.items()))
        self._begun_at = begun_at
        self._deadline = deadline
        self._quorum = quorum
        self._limit = limit_bytes
        self._clock = clock
        self._pause = pause
        self._run = Run.create_empty(round_number)
        self._sent: dict[str, Message] = {}
        flower.take_identity(round_number)

    def set_run(self, run: Run) -> None:
        """Keep Flower's description of the run."""
        self._run = run

    @property
    def run(self) -> Run:
        """Flower's description of the run."""
        return self._run

    def create_message(self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None) -> Message:
        """Return a message to one node."""
        return Message(content, dst_node_id, message_type, group_id=group_id, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the participants' ids in ascending order."""
        return list(self._nodes)

    def region_of(self, node: int) -> str:
        """Return the name of the region with this node id."""
        return self._nodes[node]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Post messages to their regions; a message posted before stays as it was.

        Raises:
            FederationError: a message is for a node that takes no part.
        """
        return [self._post(message) for message in messages]

    def _post(self, message: Message) -> str:
        region = self._nodes.get(message.metadata.dst_node_id)
        if region is None:
            raise FederationError(f"node {message.metadata.dst_node_id} takes no part in round {self._round}.")
        task = f"{self._round:06d}-train-{region}"
        message.metadata.created_at = self._begun_at  # the same bytes, and so the same blob, when a killed round posts again
        self._sent[region] = message
        if region not in self._mailbox.replies(self._round, "train"):
            data = flower.encode(message)
            blob = self._mailbox.blobs.put(data)
            self._mailbox.post(region, TrainTask(task=task, round=self._round, deadline=self._deadline, blob=blob, size=len(data)))
        return task

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Yield the replies that are here, in the order of node ids."""
        wanted = set(message_ids)
        here = [node for node, region in self._nodes.items() if f"{self._round:06d}-train-{region}" in wanted and self._has(region)]
        return [self._read(node) for node in here]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Post messages, wait for the replies, and return them to be read one at a time.

        The wait ends when every region replied or at the round's deadline (`timeout`, relative, would not survive a restart and is
        not used).

        Raises:
            FederationError: fewer regions than the quorum replied, or the process is to stop.
        """
        del timeout
        asked = list(self.push_messages(messages))
        if not asked:
            return []
        self.wait()
        return Replies(self)

    def wait(self) -> None:
        """Wait until every participant replied, or for the deadline.

        Raises:
            FederationError: the quorum was missed, or the process is to stop.
        """
        while True:
            replies = self._mailbox.replies(self._round, "train")
            trained = sum(isinstance(reply, TrainReply) for reply in replies.values())
            if all(reply is not None for reply in replies.values()):
                break
            if self._clock() > self._deadline:
                self._mailbox.withdraw(self._round, "train")
                break
            if not self._pause(POLL_S):
                raise InterruptedError("the worker is to stop")
        if trained < self._quorum:
            reasons = "; ".join(f"{name}: {_reason(reply)}" for name, reply in replies.items() if not isinstance(reply, TrainReply))
            raise FederationError(
                f"round {self._round} has {trained} updates, its quorum is {self._quorum} ({reasons}).",
                "Look at the regions named, or lower rounds.minimum_regions.",
            )

    def replies(self) -> Iterator[Message]:
        """Yield every reply, one in memory at a time; a region without one is left out."""
        for node, region in self._nodes.items():
            if self._has(region):
                yield self._read(node)

    def _has(self, region: str) -> bool:
        return self._mailbox.replies(self._round, "train").get(region) is not None

    def _read(self, node: int) -> Message:
        sent = self._sent[self._nodes[node]]
        reply = self._mailbox.replies(self._round, "train")[self._nodes[node]]
        if not isinstance(reply, TrainReply):
            return flower.error_reply(sent, node, _reason(reply))
        try:
            if reply.size > self._limit:
                raise ProtocolError(f"an update of {reply.size} bytes is larger than the {self._limit} its model allows.")
            data = self._mailbox.blobs.read(reply.blob)
            return flower.from_node(flower.decode(data, limit_bytes=self._limit), node, sent)
        except (ProtocolError, StorageError) as error:
            return flower.error_reply(sent, node, error.message)


class Replies(Iterable[Message]):
    """The replies of a round; each iteration reads them from disk anew, in the same order."""

    def __init__(self, grid: MailboxGrid) -> None:
        self._grid = grid

    def __iter__(self) -> Iterator[Message]:
        return self._grid.replies()


def _reason(reply: object) -> str:
    return reply.reason if isinstance(reply, TaskFailed) else "no answer"
