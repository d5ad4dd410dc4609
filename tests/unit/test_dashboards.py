"""The dashboard and the alert rules that ship: they parse, and ask for metrics and labels that there are."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml  # type: ignore[import-untyped,unused-ignore]

from orchestrator.telemetry.catalog import METRICS

ROOT = Path(__file__).parents[2]
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "config" / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((ROOT / "config" / "grafana-dashboard.json").read_text())
ASKED = {
    **{rule["alert"]: rule["expr"] for rule in RULES},
    **{
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    },
}
ADDED = {"instance", "job", "le"}
"""Labels that Prometheus and its histograms add."""
SAMPLES = {
    f"{metric.name}{suffix}": metric
    for metric in METRICS
    for suffix in (("_bucket", "_count", "_sum") if metric.kind == "histogram" else ("",))
}


def selectors(expr: Any) -> Iterator[tuple[str, list[str]]]:
    """Every metric that an expression asks for, with the labels it matches; walks the parsed tree."""
    if isinstance(expr, promql_parser.VectorSelector):
        yield expr.name or "", [matcher.name for matcher in expr.matchers.matchers]
    for part in ("expr", "lhs", "rhs", "vector_selector", "args"):
        inner = getattr(expr, part, None)
        for one in inner if isinstance(inner, list) else [inner]:
            if one is not None:
                yield from selectors(one)


def parsed(expr: str) -> Any:
    """Its tree, Grafana's variables filled in. Raises ``ValueError``."""
    return promql_parser.parse(expr.replace("$__rate_interval", "5m"))


@pytest.mark.parametrize("name", ASKED)
def test_an_expression_asks_for_metrics_that_there_are(name: str) -> None:
    expr = ASKED[name]
    found = list(selectors(parsed(expr)))
    assert {metric for metric, _ in found} == set(re.findall(r"\bsaga_\w+", expr))
    assert found
    for metric, labels in found:
        assert set(labels) <= {*SAMPLES[metric].labels, *ADDED}
    grouped = {
        label.strip() for part in re.findall(r"by \(([^)]*)\)", expr) for label in part.split(",")
    }
    assert grouped <= ADDED.union(*(SAMPLES[metric].labels for metric, _ in found))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_a_rule_is_one_that_prometheus_takes(rule: dict[str, Any]) -> None:
    assert set(rule) <= {"alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
    assert re.fullmatch(r"\d+[smhd]", rule.get("for", "1m"))
    assert rule["labels"]["severity"] in {"page", "ticket"}
    asked = SAMPLES[next(selectors(parsed(rule["expr"])))[0]]
    said = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", said)) <= {*asked.labels}
    assert set(rule["annotations"]) == {"summary", "description"}


def test_the_dashboard_shows_every_metric() -> None:
    shown = {
        SAMPLES[metric].name
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
        for metric, _ in selectors(parsed(target["expr"]))
    }
    assert shown == {metric.name for metric in METRICS}


def test_panels_have_a_place_of_their_own() -> None:
    places = [tuple(panel["gridPos"][at] for at in "xy") for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(places)


def test_a_metric_that_isnt_there_would_be_found() -> None:
    ((name, labels),) = selectors(parsed('sum(rate(saga_made_up_total{run="1"}[5m])) > 0'))
    assert (name, labels) == ("saga_made_up_total", ["run"])
    assert name not in SAMPLES
    with pytest.raises(ValueError, match="unclosed"):
        parsed("sum(rate(saga_made_up_total[5m])")
