"""Federated averaging that holds one update in memory: Flower's FedAvg with a streaming, checked, capped sum.

The first pass over the replies checks each (see `checks`) and notes its count and norm; the second adds those that may count to
one float64 accumulator by torch's `add_(x, alpha=weight)`, in the order of node ids. Same replies, same bits.

Batch-norm statistics are pooled apart, as the moments of a mixture: mean = Σ w·mean_i, var = Σ w·(var_i + mean_i²) − mean². The
mean of variances alone would lose the spread between regions, which is the larger part where cameras differ. Counters
(integers) keep the value of the model the round began with. That the statistics of the released student are shared at all, though
FedBN measured better for unlike cameras, is because one INT8 artefact with folded statistics serves the fleet; the
foundry's distillation re-estimates them, see docs/decisions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import msgspec
import numpy as np
import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg

from cloud.federation import checks, flower
from cloud.federation.checks import Contribution
from shared.errors import FederationError, ProtocolError

EXAMPLES, STEPS = "num-examples", "steps"
LOSSES = ("first-loss", "last-loss")
Judge = Callable[[str, flower.Arrays], str]
"""Given a region and its update's arrays, why it must not count, or an empty string."""


class StreamingFedAvg(FedAvg):
    """FedAvg over a Grid whose replies can be iterated twice.

    Args:
        model: the arrays every update must equal in names, shapes and dtypes: those the round began with.
        names: region names by node id.
        quorum: how many valid updates a round needs.
        minimum_cases: training cases an update must rest on.
        minimum_steps: optimiser steps it must have taken.
        judge: looks alone at an update whose norm is unlike the others'.
    """

    def __init__(
        self,
        model: flower.Arrays,
        *,
        names: dict[int, str],
        quorum: int,
        minimum_cases: int,
        minimum_steps: int,
        judge: Judge | None = None,
    ) -> None:
        super().__init__(fraction_evaluate=0.0, min_train_nodes=quorum, min_available_nodes=quorum, weighted_by_key=EXAMPLES)
        self._model = model
        self._names = names
        self._quorum = quorum
        self._minimum = {"minimum_cases": minimum_cases, "minimum_steps": minimum_steps}
        self._judge = judge
        self.contributions: tuple[Contribution, ...] = ()

    def configure_train(self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid) -> Iterable[Message]:
        """Ask every participant: the round chose them, so nothing is sampled and nothing depends on chance."""
        config["server-round"] = server_round
        record = RecordDict({self.arrayrecord_key: arrays, self.configrecord_key: config})
        return self._construct_messages(record, sorted(grid.get_node_ids()), MessageType.TRAIN)

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Check, weigh and add up the replies.

        Raises:
            FederationError: fewer valid updates than the quorum.
        """
        del server_round
        found = self._alone([self._examine(message) for message in replies], replies)
        valid = [item for item in found if not item.refused]
        if len(valid) < self._quorum:
            reasons = "; ".join(f"{item.region}: {item.refused}" for item in found if item.refused)
            raise FederationError(f"{len(valid)} valid updates, the quorum is {self._quorum} ({reasons}).", "Look at the regions named.")
        parts = dict(zip([item.region for item in valid], checks.weights([item.examples for item in valid]), strict=True))
        self.contributions = tuple(_weighed(item, parts.get(item.region, 0.0)) for item in found)
        arrays = self._sum(replies, parts)
        metrics = MetricRecord({"regions": len(valid), EXAMPLES: sum(item.examples for item in valid)})
        return flower.record_of(arrays), metrics

    def _examine(self, message: Message) -> Contribution:
        region = self._names[message.metadata.src_node_id]
        if message.has_error():
            return Contribution(region=region, refused=message.error.reason or "it failed")
        try:
            update = flower.arrays_of(message.content, self._model)
            examples, steps = _counts(message)
        except ProtocolError as error:
            return Contribution(region=region, refused=error.message)
        refused = checks.misfit(update, self._model) or checks.too_little(examples, steps, **self._minimum)
        if refused or not isinstance(examples, int) or not isinstance(steps, int):
            return Contribution(region=region, refused=refused)
        first, last = _losses(message)
        norm = checks.change_norm(update, self._model)
        return Contribution(region=region, examples=examples, steps=steps, norm=norm, first_loss=first, last_loss=last)

    def _alone(self, found: list[Contribution], replies: Iterable[Message]) -> list[Contribution]:
        """Judge alone what is unlike the others; without a judge, or with nothing unlike, return `found` as it is."""
        unlike = checks.unlike(found)
        if self._judge is None or not unlike:
            return found
        verdicts: dict[str, str] = {}
        for message in replies:
            region = self._names[message.metadata.src_node_id]
            if region in unlike and not message.has_error():
                verdicts[region] = self._judge(region, flower.arrays_of(message.content, self._model))
        return [_refused(item, verdicts.get(item.region, "")) for item in found]

    def _sum(self, replies: Iterable[Message], parts: dict[str, float]) -> flower.Arrays:
        accumulator = Accumulator(self._model)
        for message in replies:
            weight = parts.get(self._names[message.metadata.src_node_id])
            if weight is not None:
                accumulator.add(flower.arrays_of(message.content, self._model), weight)
        return accumulator.result()


class Accumulator:
    """One model-sized float64 sum of weighted updates; memory does not grow with the number of regions."""

    def __init__(self, model: flower.Arrays) -> None:
        self._model = model
        self._sums = {name: torch.zeros(value.shape, dtype=torch.float64) for name, value in model.items() if _is_real(value)}

    def add(self, update: flower.Arrays, weight: float) -> None:
        """Add one update that has passed its checks; weights are to add up to 1."""
        for name, total in self._sums.items():
            value = torch.from_numpy(np.array(update[name], copy=True))
            if name.endswith("running_var"):
                mean = torch.from_numpy(np.array(update[_mean_of(name)], copy=True)).double()
                value = value.double() + mean * mean
            total.add_(value, alpha=weight)

    def result(self) -> flower.Arrays:
        """Return the mean in the model's own types; integers are the model's."""
        arrays: flower.Arrays = {}
        for name, value in self._model.items():
            total = self._sums.get(name)
            if total is None:
                arrays[name] = value
                continue
            if name.endswith("running_var"):
                total = (total - self._sums[_mean_of(name)] ** 2).clamp_(min=0.0)
            arrays[name] = total.numpy().astype(value.dtype)
        return arrays


def _is_real(value: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> bool:
    return bool(np.issubdtype(value.dtype, np.floating))


def _mean_of(name: str) -> str:
    return name.removesuffix("running_var") + "running_mean"


def _counts(message: Message) -> tuple[object, object]:
    records = list(message.content.metric_records.values())
    if len(records) != 1 or set(records[0]) - set(LOSSES) != {EXAMPLES, STEPS}:
        raise ProtocolError("an update must say its num-examples and steps, may say its losses, and nothing else.")
    return records[0][EXAMPLES], records[0][STEPS]


def _losses(message: Message) -> tuple[float | None, float | None]:
    said = next(iter(message.content.metric_records.values()))
    found = [said.get(name) for name in LOSSES]
    first, last = (float(value) if isinstance(value, float | int) and math.isfinite(value) else None for value in found)
    return first, last


def _weighed(item: Contribution, weight: float) -> Contribution:
    return msgspec.structs.replace(item, weight=weight)


def _refused(item: Contribution, reason: str) -> Contribution:
    return msgspec.structs.replace(item, refused=reason) if reason and not item.refused else item
