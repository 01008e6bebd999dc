"""The dashboard and the alert rules in config/monitoring ask for what the agent writes, and tell what they should."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from copy import deepcopy
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from agent.core.report.known import ConnectionState
from agent.core.report.metrics import PREFIX, render
from reference.pages import metrics
from support import make
from support.documents.grafana import complaints
from support.documents.pages import section
from support.make import DAY, NOW

MONITORING = Path(__file__).parents[3] / "config" / "monitoring"
RULES = MONITORING / "alerts.yaml"
ALERTS: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
}
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]

WRITTEN = {
    name: set(re.findall(r"`(\w+)`", labels))
    for name, labels in re.findall(rf"^\| `({PREFIX}_\w+)` \| \w+ \| (.*?) \|", metrics(), flags=re.MULTILINE)
}
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
QUERIES += [entry["query"]["query"] for entry in DASHBOARD["templating"]["list"] if entry["type"] == "query"]
EXPRESSIONS = [*QUERIES, *(rule["expr"] for rule in ALERTS.values())]
SCRAPED = {"job", "instance"}  # the labels that Prometheus adds


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_what_is_asked_for_is_what_the_agent_writes(expression: str) -> None:
    """In Prometheus's grammar; each metric by its name, with labels that it has, in states that there are."""
    promql_parser.parse(re.sub(r"^label_values\((.+), \w+\)$", r"\1", expression))  # that one is Grafana's
    named = re.findall(rf"({PREFIX}_\w+)(?:\{{(.*?)\}})?", expression)
    assert named
    for name, selector in named:
        assert set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", selector)) <= WRITTEN[name] | SCRAPED
    for states in re.findall(r'state=~?"([\w|-]+)"', expression.partition(" or ")[0]):
        assert set(states.split("|")) <= {state.value for state in ConnectionState}


def test_each_panel_is_whole_and_has_a_place_of_its_own() -> None:
    """Ids are unique, panels fill 24 columns without an overlap, and each asks the source that was chosen."""
    assert [panel["id"] for panel in PANELS] == list(range(1, len(PANELS) + 1))
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        assert panel["type"] in {"stat", "table", "timeseries"}
        assert panel["title"]
        assert panel["description"]
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken
        taken |= cells
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters)
    assert len(taken) == 24 * (1 + max(y for _, y in taken))


def test_the_dashboard_can_be_imported() -> None:
    """It names no data source of one Grafana, and each variable that a query uses is declared before."""
    declared = [entry["name"] for entry in DASHBOARD["templating"]["list"]]
    assert declared == ["datasource", "job", "instance"]
    assert set(re.findall(r"\$\{?(\w+)", " ".join(QUERIES))) <= set(declared)
    assert DASHBOARD["uid"] == "iot-cert-agent"
    assert "id" not in DASHBOARD
    assert DASHBOARD["schemaVersion"] >= 36


def test_grafana_knows_each_key_of_the_dashboard_and_its_type() -> None:
    """Panels, their options, queries, variables and transformations, by the types of Grafana's own makers."""
    assert complaints(DASHBOARD) == []


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("panels", 0), {"named": "Gateways"}),
        (("panels", 0, "gridPos"), {"w": "6"}),
        (("panels", 0, "options"), {"colorMode": "rainbow"}),
        (("panels", 0, "targets", 0), {"exp": "up"}),
        (("panels", 6, "transformations", 0), {"ids": "organize"}),
        (("panels", 10, "fieldConfig", "defaults", "custom"), {"drawStyle": "curve"}),
        (("templating", "list", 1), {"refresh": 9}),
        (("time",), {"from": 6}),
    ],
)
def test_what_grafana_would_not_take_is_found(place: tuple[str | int, ...], wrong: dict[str, Any]) -> None:
    """A key that it does not know, a word of none of its lists, another type."""
    dashboard = deepcopy(DASHBOARD)
    part = dashboard
    for step in place:
        part = part[step]
    part.update(wrong)
    assert len(complaints(dashboard)) == 1


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_says_where_what_and_what_to_do(name: str) -> None:
    """As a person is told of it in the night."""
    rule = ALERTS[name]
    assert re.fullmatch(r"IotCert[A-Z][A-Za-z]+", name)
    assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}
    assert rule["labels"] in ({"severity": "critical"}, {"severity": "warning"})
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["annotations"]["summary"].startswith("{{ $labels.instance }}: ")
    assert rule["annotations"]["description"].endswith(".")
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "0m"))


def test_the_page_names_every_alert() -> None:
    """In its table; and none that is not there."""
    text = section("docs/fleet-operator.md", "Seeing it in Grafana")
    assert re.findall(r"^\| `(IotCert\w+)`", text, flags=re.MULTILINE) == list(ALERTS)


# -- by Prometheus itself, where it is installed -----------------------------------------------------------------------

promtool = [
    pytest.mark.whole,  # CI has no Prometheus
    pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed"),
]

HEALTHY = {"live": make.live()}
ENDED = make.in_use(certificate=make.certificate(not_after=NOW - DAY))
ENDING = make.in_use(certificate=make.certificate(not_after=NOW + 10 * DAY))
OLD_ANCHOR = make.in_use(anchors=(make.anchor(not_after=NOW + 20 * DAY),))
SITUATIONS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "healthy": (HEALTHY, set()),
    "lent to a change": ({"live": make.live("lent")}, set()),
    "expired": (HEALTHY | {"current": ENDED}, {"IotCertCertificateExpired"}),
    "expiring": (HEALTHY | {"current": ENDING}, {"IotCertCertificateExpiresSoon"}),
    "anchor": (HEALTHY | {"current": OLD_ANCHOR}, {"IotCertAnchorExpiresSoon"}),
    "locked out": ({"live": make.live(stuck="No set is accepted.")}, {"IotCertCritical"}),
    "unseen": ({"live": make.live(unseen="It cannot be read.")}, {"IotCertDegraded"}),
    "down": ({"live": make.live("down", "No route.")}, {"IotCertDisconnected"}),
    "contested": ({"live": make.live(rival="Another.")}, {"IotCertClientIdContested", "IotCertDegraded"}),
}
UNIT = 'node_systemd_unit_state{job="node", instance="gw", name="iot-cert-agent.service", state="active"}'


def series(steps: str, **changes: Any) -> list[dict[str, str]]:
    """Return what the agent writes of such a gateway as promtool takes it, whose clock begins at 0 instead of NOW."""
    found = [{"series": 'up{job="node", instance="gw"}', "values": "1x180"}]
    for line in render(make.status(**changes), ()).splitlines():
        if not line.startswith("#"):
            name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups(default="")  # type: ignore[union-attr]
            number = float(value) - (NOW.timestamp() if name.endswith("_seconds") else 0)
            scraped = ",".join(part for part in ('job="node"', 'instance="gw"', labels) if part)
            found.append({"series": f"{name}{{{scraped}}}", "values": f"{number:.10g}{steps}"})
    return found


def fired(place: Path, told: list[dict[str, str]]) -> set[str]:
    """Return which alerts Prometheus raises after two hours of that."""
    found = set()
    for name in ALERTS:
        alert = {"eval_time": "2h", "alertname": name, "exp_alerts": []}
        test = {"interval": "1m", "input_series": told, "alert_rule_test": [alert]}
        (place / "test.yaml").write_text(yaml.safe_dump({"rule_files": [str(RULES)], "tests": [test]}))
        command = ["promtool", "test", "rules", str(place / "test.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 0 or "exp:[" in said.replace(" ", ""), said
        found |= {name} if done.returncode else set()
    return found


class TestByPrometheus:
    """What promtool says."""

    pytestmark = promtool

    def test_the_rules_are_sound(self) -> None:
        """As `promtool check rules` reads them."""
        subprocess.run(["promtool", "check", "rules", RULES], check=True, capture_output=True)

    @pytest.mark.parametrize("situation", SITUATIONS)
    def test_a_situation_raises_its_alerts(self, situation: str, tmp_path: Path) -> None:
        """And no other ones but of the gateway's health, which says the same more shortly."""
        changes, alerts = SITUATIONS[situation]
        health = set() if situation in {"healthy", "lent to a change"} else {"IotCertCritical", "IotCertDegraded"}
        found = fired(tmp_path, series("x180", **changes))
        assert alerts <= found <= alerts | health

    def test_a_daemon_that_stopped_took_its_metrics_along(self, tmp_path: Path) -> None:
        """They were there for an hour."""
        assert fired(tmp_path, series("x60 stale", **HEALTHY)) == {"IotCertDaemonGone"}

    def test_a_daemon_that_was_killed_left_them(self, tmp_path: Path) -> None:
        """The collector of units knows."""
        told = [*series("x180", **HEALTHY), {"series": UNIT, "values": "1x60 0x120"}]
        assert fired(tmp_path, told) == {"IotCertDaemonGone"}

    def test_a_gateway_that_is_off_is_no_lost_daemon(self, tmp_path: Path) -> None:
        """What Prometheus cannot reach is another alert's."""
        _, *told = series("x60 stale", **HEALTHY)
        assert fired(tmp_path, [{"series": 'up{job="node", instance="gw"}', "values": "1x60 0x120"}, *told]) == set()
