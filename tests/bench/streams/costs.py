"""How many processor cores 100 cameras need, from what one frame costs, for every hardware profile. Pure.

What is measured: the parts of a frame's cost, on the machine the bench runs on, in CPU time of one thread. What is computed: everything
else. Rules, in order:
1. Decoding, looking and preparing are the processor's work on every profile; a profile may have a decoder in hardware, which the agent uses
   through a GStreamer pipeline only, so it is not counted.
2. The network's run is the processor's where the profile's engine runs on it; on a GPU it costs the processor nothing here, and
   how many runs the GPU makes is not known to this model.
3. One thread runs the network and decides, so no device answers more than 1 / (run + decide) frames a second on a processor.
4. A core of another board is slower or faster than the measured one by a factor that nobody measured: the table counts cores like the
   measured one, and says so. `terrace hw probe` measures a board.

Example:
    >>> cost = FrameCost(decode_us=400.0, look_us=100.0, prepare_us=50.0, run_us=400.0, decide_us=50.0)
    >>> cores_for(cost, cameras=100, fps=10.0, on_processor=True)
    1.0
"""

from __future__ import annotations

import msgspec

from shared.hwprofile.profile import Profile

CPU = "CPUExecutionProvider"


class FrameCost(msgspec.Struct, frozen=True, kw_only=True):
    """A frame's cost, microseconds of CPU time: decoding, scaling and converting, preparing, the network's run, deciding with the event."""

    decode_us: float
    look_us: float
    prepare_us: float
    run_us: float
    decide_us: float

    def of(self, *, on_processor: bool) -> float:
        """Return what of it is the processor's, microseconds."""
        return self.decode_us + self.look_us + self.prepare_us + self.decide_us + (self.run_us if on_processor else 0.0)


def runs_on_processor(profile: Profile) -> bool:
    """Tell whether a profile's network runs on the processor."""
    return profile.engine.name == "onnx" and profile.engine.providers[0] == CPU


def cores_for(cost: FrameCost, *, cameras: int, fps: float, on_processor: bool) -> float:
    """Return how many cores like the measured one so many cameras keep busy."""
    return cameras * fps * cost.of(on_processor=on_processor) / 1e6


def most_cameras(cost: FrameCost, *, fps: float) -> float:
    """Return how many cameras the one answering thread can serve on a processor, whatever the number of cores (rule 3)."""
    return 1e6 / (fps * (cost.prepare_us + cost.run_us + cost.decide_us))


def row(profile: Profile, cost: FrameCost, *, fps: float, is_this_machine: bool) -> dict[str, float | str]:
    """Return a profile's line of the table."""
    on_processor = runs_on_processor(profile)
    measured = "measured" if is_this_machine else "computed, nobody measured this board"
    return {
        "profile": profile.name,
        "engine": f"{profile.engine.name} {profile.engine.precision}",
        "processor_us_per_frame": round(cost.of(on_processor=on_processor), 1),
        "cores_for_100_cameras": round(cores_for(cost, cameras=100, fps=fps, on_processor=on_processor), 2),
        "most_cameras_one_answering_thread": str(int(most_cameras(cost, fps=fps))) if on_processor else "not known: the GPU's run",
        "costs": measured if on_processor else f"{measured}; the run is the GPU's and not in it",
    }
