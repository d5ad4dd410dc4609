"""The documentation's table of metrics is the catalog."""

from __future__ import annotations

import re
from pathlib import Path

from orchestrator.telemetry.catalog import METRICS

PAGE = (Path(__file__).parents[3] / "docs" / "observability.md").read_text()


def test_every_metric_is_in_the_table_as_it_is() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \| ([^|]*) \| (\w+) \| ([^|]+) \|$", PAGE, re.MULTILINE
    )
    assert rows == [
        (m.name, m.kind, ", ".join(f"`{label}`" for label in m.labels), m.place, m.says)
        for m in METRICS
    ]
