"""What breaks, and when: faults one after another, processes killed with -9 during each of them, and progress demanded after it.

A fault is entered, stays for some kills, and is mended; then the world has to store more cases within a bound, or the link has stalled.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import msgspec

from tests.bench.links.shaped import Lane
from tests.bench.links.surroundings import DAY_S
from tests.bench.links.world import CLEAR, World

VICTIMS = ("edge", "edge", "edge", "broker", "broker", "region", "region", "worker", "worker")
"""Whom a kill meets, by weight; workers are those that are processes of their own."""
LONGEST_PAUSE_S = 0.8
SLOW = Lane(rate_mbit=0.5, delay_ms=150, queue_ms=2000)
DISORDERLY = Lane(rate_mbit=20, delay_ms=10, loss=0.02, reorder=0.2, reorder_ms=8)
PATIENCE_S = 4.0


class Outcome(msgspec.Struct, kw_only=True):
    """What was done: kills by victim, and the seconds until cases went on after each fault."""

    kills: Counter[str]
    recovered_s: dict[str, list[float]]


Fault = Callable[[World], Iterator[None]]


def nothing(world: World) -> Iterator[None]:
    """Break nothing but the processes."""
    yield


def cut(world: World) -> Iterator[None]:
    """Let nothing pass."""
    world.link.cut(True)
    yield
    world.link.cut(False)


def slowed(world: World) -> Iterator[None]:
    """Half a megabit, 300 ms there and back."""
    world.link.shape(SLOW)
    yield
    world.link.shape(CLEAR)


def disorderly(world: World) -> Iterator[None]:
    """A fifth of the packets overtaken, a fiftieth lost."""
    world.link.shape(DISORDERLY)
    yield
    world.link.shape(CLEAR)


def device_disk_full(world: World) -> Iterator[None]:
    """No byte left for any spool."""
    world.disks["device"].fill()
    yield
    world.disks["device"].free()


def region_disk_full(world: World) -> Iterator[None]:
    """No byte left for the vault."""
    world.disks["region"].fill()
    yield
    world.disks["region"].free()


def spool_re_created(world: World) -> Iterator[None]:
    """A device begins again with another spool, whose sequences begin at 1."""
    world.destroy_spool()
    yield


def vault_restored(world: World) -> Iterator[None]:
    """A backup is taken, more is stored, and the backup is put back."""
    backup = world.folder / "backup.db"
    backup.unlink(missing_ok=True)
    world.back_up(backup)
    world.kill("region")
    world.progress(2, what="after a backup")
    world.restore(backup)
    yield


def worker_removed(world: World) -> Iterator[None]:
    """One intake worker is taken away and added again; others take its devices over."""
    world.set_workers(world.site.workers[2:])
    yield
    world.set_workers(world.site.workers[1:])


def stepped(side: str, seconds: int) -> Fault:
    """Return a fault that sets a side's clock for a while."""

    def fault(world: World) -> Iterator[None]:
        world.clocks[side].step(seconds)
        yield
        world.clocks[side].step(0)

    return fault


FAULTS: dict[str, Fault] = {
    "nothing else": nothing,
    "link cut": cut,
    "link slowed": slowed,
    "link reordered and lossy": disorderly,
    "device disk full": device_disk_full,
    "region disk full": region_disk_full,
    "spool re-created": spool_re_created,
    "vault restored": vault_restored,
    "worker removed": worker_removed,
    "device clock a day ahead": stepped("device", DAY_S),
    "device clock a day behind": stepped("device", -DAY_S),
    "region clock a day ahead": stepped("region", DAY_S),
    "region clock a day behind": stepped("region", -DAY_S),
}


def run(world: World, *, kills: int, each: int, names: tuple[str, ...] = tuple(FAULTS), told: Callable[[str], None]) -> Outcome:
    """Break the world until so many processes have been killed.

    Args:
        world: a started world.
        kills: how many in all.
        each: how many during each fault.
        names: which faults, each once before any comes again.
        told: told what happens.

    Raises:
        AssertionError: the link stalled.
    """
    done = Outcome(kills=Counter(), recovered_s={name: [] for name in names})
    world.progress(2, what="at the start")
    while done.kills.total() < kills:
        for name in world.chance.sample(names, len(names)):
            if done.kills.total() >= kills:
                break
            with contextmanager(FAULTS[name])(world):
                for _ in range(min(each, kills - done.kills.total())):
                    done.kills[_kill_somebody(world)] += 1
            done.recovered_s[name].append(world.progress(2, what=f"after: {name}"))
            taken, stored = done.recovered_s[name][-1], world.stored().total()
            told(f"{name}: went on after {taken:.1f} s; {done.kills.total()} kills, {stored} cases stored")
    return done


def _kill_somebody(world: World) -> str:
    """Kill one process at a random moment; returns what it was. Who is not there for long (its parent was killed) gives way to another."""
    while True:
        victim, deadline = world.chance.choice(VICTIMS), time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            time.sleep(world.chance.uniform(0.05, LONGEST_PAUSE_S))  # the moment is what is tried here
            world.tend()
            if world.kill(victim):
                return victim
