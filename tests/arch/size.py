"""`make size`: print our row of the yardstick, and exit 1 when a value is missed."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from tests.arch import measure


@dataclass(frozen=True)
class Row:
    """One line of the yardstick: what we measured, what we aim for, and whether it is met."""

    name: str
    value: float
    aim: float
    at_most: bool
    examples: tuple[str, ...] = ()

    @property
    def met(self) -> bool:
        """Whether the value is within its aim."""
        return self.value <= self.aim if self.at_most else self.value >= self.aim


def rows() -> list[Row]:
    """Measure the whole checkout."""
    found = measure.modules()
    edges = measure.graph(found)
    functions = [function for module in found.values() for function in module.functions]
    longest = sorted(found.values(), key=lambda module: -module.lines)
    by_lines = sorted(functions, key=lambda function: -function.lines)
    public = sum(module.public for module in found.values())
    documented = sum(module.documented for module in found.values())
    bare = [function.where for function in functions if not function.annotated]
    total = sum(module.lines for module in found.values())
    pure = sum(found[name].lines for name in measure.pure(found, edges))
    cycles, crossings = measure.cycles(edges), measure.crossings(found)
    return [
        Row("longest file, lines", longest[0].lines, 400, True, tuple(f"{m.name} {m.lines}" for m in longest if m.lines > 400)),
        Row("functions, 90th percentile, lines", measure.percentile([f.lines for f in functions], 0.9), 26, True),
        Row("functions, longest, lines", by_lines[0].lines, 60, True, tuple(f"{f.where} {f.lines}" for f in by_lines if f.lines > 60)),
        Row("branches per function, 90th percentile", measure.percentile([f.branches for f in functions], 0.9), 5, True),
        Row("public docstrings, %", round(100 * documented / public, 1), 98, False, tuple(m for f in found.values() for m in f.missing)),
        Row("functions annotated, %", round(100 * (1 - len(bare) / len(functions)), 1), 100, False, tuple(bare)),
        Row("modules in import cycles", len(cycles), 0, True, tuple(cycles)),
        Row("imports across tiers", len(crossings), 0, True, tuple(crossings)),
        Row("lines of pure logic, %", round(100 * pure / total, 1), 40, False),
    ]


def main() -> int:
    """Print the table and our row last."""
    measured = rows()
    for row in measured:
        sign = "≤" if row.at_most else "≥"
        sys.stdout.write(f"{'ok    ' if row.met else 'MISSED'} {row.name:40} {row.value:>7g}  {sign} {row.aim:g}\n")
        for example in () if row.met else row.examples[:8]:
            sys.stdout.write(f"         {example}\n")
    sys.stdout.write("terrace | " + " | ".join(f"{row.value:g}" for row in measured) + "\n")
    return 0 if all(row.met for row in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
