"""Alerts and dashboard query metrics that the gateway exposes, and the dashboard is valid."""

import json
import re
from itertools import pairwise, product
from pathlib import Path

import pytest
import yaml
from prometheus_client import Counter, Histogram

from metseg.jobs import BUCKETS_S, MetricsSnapshot, WeeklyAgreement
from metseg.jobs import Histogram as JobHistogram
from metseg_api import metrics

ROOT = Path(__file__).parents[3]
RULES = yaml.safe_load((ROOT / "infra/prometheus/rules.yml").read_text())
DASHBOARD = json.loads((ROOT / "infra/grafana/dashboards/metseg.json").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
COLUMNS = 24


class Everything:
    """A deployment that reports every metric."""

    waiting, oldest_s, working = 1, 2.0, 3

    def check(self):
        """It is available."""

    def queue_status(self):
        return self

    def worker_count(self):
        return 1

    def metrics(self):
        histogram = JobHistogram((1,) * (len(BUCKETS_S) + 1), 9.0)
        return MetricsSnapshot({("served", "a"): 1.0}, {("wait", ""): histogram, ("phase", "read"): histogram})

    @property
    def agreements(self):
        return self

    def weekly(self, now):
        return {("a", "2026-W07"): WeeklyAgreement(12, 0.9, 1, 2)}

    def champion(self):
        return self

    def free_bytes(self):
        return 2**30

    version = "a"


def shown():
    """The name of every sample that the gateway can expose, with its labels."""
    labels = {}
    everything = Everything()
    for family in metrics.DeploymentCollector(everything, everything, everything).collect():
        for sample in family.samples:
            labels[sample.name] = set(sample.labels)
    for each in vars(metrics).values():
        if isinstance(each, Counter | Histogram):
            names = ("_total",) if isinstance(each, Counter) else ("_bucket", "_sum", "_count")
            for name in names:
                labels[each._name + name] = set(each._labelnames) | ({"le"} if name == "_bucket" else set())
    return labels


SHOWN = shown()
EXPRESSIONS = [rule["expr"] for rule in ALERTS] + [target["expr"] for panel in PANELS for target in panel["targets"]]


@pytest.mark.parametrize("expression", sorted(set(EXPRESSIONS)))
def test_every_queried_metric_is_exposed_by_the_gateway(expression):
    asked = re.findall(r"\b(metseg_\w+|up)\b(?:\{([^}]*(?:\{\w+\}[^}]*)*)\})?", expression)
    assert asked, expression
    for name, selector in asked:
        if name == "up":
            continue
        assert name in SHOWN, name
        wanted = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", selector))
        assert wanted <= SHOWN[name], (name, wanted)


@pytest.mark.parametrize("expression", sorted(set(EXPRESSIONS)))
def test_metrics_are_grouped_only_by_labels_that_they_have(expression):
    labels = {label for group in re.findall(r"\bby \(([^)]*)\)", expression) for label in re.findall(r"\w+", group)}
    names = [name for name in re.findall(r"\bmetseg_\w+", expression) if name in SHOWN]
    assert all(any(label in SHOWN[name] for name in names) for label in labels)


def test_a_counter_is_queried_as_a_rate_or_increase():
    for expression in EXPRESSIONS:
        for name in re.findall(r"\bmetseg_\w+_(?:total|bucket)\b", expression):
            assert re.search(rf"\b(rate|increase)\({name}\b", expression), expression


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_what_is_wrong_and_what_to_do(rule):
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"] in ({"severity": "page"}, {"severity": "warn"})
    assert set(rule["annotations"]) == {"summary", "action"}
    assert all(words.endswith(".") for words in rule["annotations"].values())


def test_every_alert_is_tested():
    tested = (ROOT / "infra/prometheus/rules_test.yml").read_text()
    for rule in ALERTS:
        assert len(re.findall(rf"\b{rule['alert']}\b", tested)) >= 2, "once that it rings, once that it keeps still"


def test_docs_operations_lists_exactly_the_exposed_metrics():
    page = (ROOT / "docs/operations.md").read_text()
    listed = set(re.findall(r"`(metseg_\w+)`", page))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in SHOWN}
    assert listed == families


# The dashboard, against Grafana's schema version 39


def test_the_dashboard_has_the_fields_that_grafana_needs():
    wanted = {"uid": str, "title": str, "schemaVersion": int, "panels": list, "time": dict, "refresh": str}
    for name, kind in wanted.items():
        assert isinstance(DASHBOARD[name], kind), name
    assert DASHBOARD["schemaVersion"] == 39
    assert set(DASHBOARD["time"]) == {"from", "to"}
    assert "id" not in DASHBOARD, "Grafana gives it"


def test_every_panel_has_a_known_type_and_the_provisioned_source():
    [source] = yaml.safe_load((ROOT / "infra/grafana/provisioning/datasources/prometheus.yml").read_text())[
        "datasources"
    ]
    reference = {"type": source["type"], "uid": source["uid"]}
    for panel in PANELS:
        assert panel["type"] in {"stat", "timeseries"}
        assert panel["datasource"] == reference
        assert panel["targets"]
        for index, target in enumerate(panel["targets"]):
            assert target["datasource"] == reference
            assert target["refId"] == "ABCDEFGH"[index]
            assert target["legendFormat"]
        assert panel["fieldConfig"]["defaults"]["unit"] in {"short", "s", "reqps", "Bps", "bytes"}
        assert panel["fieldConfig"]["overrides"] == []


def test_panels_have_unique_ids_and_do_not_overlap():
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    taken = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert 0 <= place["x"] < place["x"] + place["w"] <= COLUMNS
        across, down = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = set(product(across, down))
        assert not taken & cells, panel["title"]
        taken |= cells


def test_the_four_golden_signals_each_have_a_row_with_panels():
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert {"Latency", "Traffic", "Errors", "Saturation"} <= set(rows)
    kinds = [panel["type"] for panel in DASHBOARD["panels"]]
    assert kinds[-1] != "row"
    assert ("row", "row") not in set(pairwise(kinds)), "an empty row"


def test_compose_gives_prometheus_and_grafana_these_files():
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert "./infra/prometheus:/etc/prometheus:ro" in services["prometheus"]["volumes"]
    provider = yaml.safe_load((ROOT / "infra/grafana/provisioning/dashboards/metseg.yml").read_text())["providers"][0]
    assert f"./infra/grafana/dashboards:{provider['options']['path']}:ro" in services["grafana"]["volumes"]
    for name in ("prometheus", "grafana"):
        assert services[name]["profiles"] == ["watch"]
        assert all(port.startswith("127.0.0.1:") for port in services[name]["ports"])
