"""How much each scenario does: enough for steady medians, or, for a look, a tenth of it."""

from __future__ import annotations

import msgspec


class Size(msgspec.Struct, frozen=True):
    """Numbers of runs and repetitions."""

    pairs: int = 5
    warm_up: int = 100
    chain_runs: int = 300
    our_runs: int = 3_000
    our_single_runs: int = 600
    latencies: int = 10
    """Runs in each half of a pair, one at a time."""
    dbos_runs: int = 150
    embedded_runs: int = 4_000
    written_runs: int = 200
    mixed_runs: int = 200
    open_runs: int = 10_000
    transfers: int = 1_500
    hot_transfers: int = 200
    finished_runs: int = 1_000_000
    archived_runs: int = 10_000


FULL = Size()
QUICK = Size(
    pairs=1,
    warm_up=20,
    chain_runs=30,
    our_runs=200,
    our_single_runs=60,
    latencies=5,
    dbos_runs=20,
    embedded_runs=300,
    written_runs=60,
    mixed_runs=30,
    open_runs=500,
    transfers=60,
    hot_transfers=30,
    finished_runs=5_000,
    archived_runs=1_000,
)
