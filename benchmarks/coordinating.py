"""The coordinator process under measurement. With ``BENCH_PROFILE`` set, its profile is written there at the end."""

from __future__ import annotations

import cProfile
import os
import signal
import sys

from orchestrator.settings import load
from orchestrator.wiring import coordinator, measured, open_journal

PROFILE_VARIABLE = "BENCH_PROFILE"


def main() -> None:
    """Run a coordinator until SIGTERM; says ``ready`` when it has begun."""
    settings = load()
    journal = open_journal(settings)
    path = os.environ.get(PROFILE_VARIABLE)
    with measured(settings) as meter:
        driver = coordinator(settings, journal, meter)
        signal.signal(signal.SIGTERM, lambda *_: driver.stop())
        driver.turn(0)
        print("ready", flush=True)
        if path:
            with cProfile.Profile() as profile:
                driver.run()
            profile.dump_stats(path)
        else:
            driver.run()
    print(dict(driver.counts), file=sys.stderr)
    journal.close()


if __name__ == "__main__":
    main()
