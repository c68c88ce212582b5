"""Which scenes a benchmark runs: seeds, or folders of ready ones."""

import argparse
from collections.abc import Iterator
from pathlib import Path


def add_scene_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seeds", default="")
    parser.add_argument("--scenes", type=Path, nargs="*", default=[])
    parser.add_argument("--write", type=Path)
    parser.add_argument("--only-write", action="store_true")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path)


def chosen_scenes(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> list[tuple[int | None, str | None]]:
    """Seed or folder of each scene; a wrong usage if there is none."""
    chosen: list[tuple[int | None, str | None]] = []
    if options.seeds:
        chosen += [(seed, None) for seed in seeds_of(options.seeds)]
    for folder in options.scenes:
        ready = sorted(p.parent for p in folder.glob("**/truth.json"))
        chosen += [(None, str(p)) for p in ready]
    if not chosen:
        parser.error("expected --seeds or --scenes with at least one scene")
    return chosen


def seeds_of(text: str) -> Iterator[int]:
    """Read 0-3,7 as 0, 1, 2, 3 and 7."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from range(int(first), int(last or first) + 1)
