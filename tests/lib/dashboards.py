#!/usr/bin/env python3
"""Checks the dashboards in grafana/, and lists their queries. Needs nothing but Python 3.

  tests/lib/dashboards.py             check everything; exit status 1 when anything is wrong
  tests/lib/dashboards.py --queries [--job RE] [--instance RE] [--group RE] [--rate-interval 1m] [--range 1h] [--interval 15s]
                                      print each query as one line of JSON, ready for Prometheus

A line of --queries is an object with the keys

  dashboard   the dashboard's uid
  kind        "panel", "variable" or "annotation"
  name        the title of the panel, or the name of the variable or annotation
  ref         the query's refId in its panel; "" for a variable
  type        "instant" or "range": how to run `expr`; "label_values": the values of `label` in the series that match `expr`
  expr        PromQL, with Grafana's variables and macros replaced
  label       for "label_values" the label, else ""
  no_value    what the panel says when there is nothing to show, else ""
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import NamedTuple

from promql import parse
from provisioning import check_provisioning

ROOT = Path(__file__).resolve().parents[2]

# What Grafana 12 and 13 write, and the last one of this kind of dashboard.
SCHEMA_VERSION = 42
COLUMNS = 24
PANEL_TYPES = {"row", "text", "stat", "timeseries", "table", "heatmap", "barchart"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
VARIABLES = ["datasource", "job", "instance", "group"]
MACROS = {"__all", "__interval", "__range", "__rate_interval", "__url_time_range", "__value"}
# What Prometheus itself says of a target and of its rules, and what the client's process collector says on Linux.
FOREIGN_METRICS = {"ALERTS", "up", "scrape_duration_seconds"} | {
    f"process_{name}" for name in ("cpu_seconds_total", "open_fds", "max_fds", "virtual_memory_bytes",
                                   "resident_memory_bytes", "start_time_seconds", "threads")}


# --- the queries ----------------------------------------------------------------------------------------------------

LABEL_VALUES = re.compile(r"label_values\((?P<expr>.+), *(?P<label>\w+)\)")


def load():
    """All dashboards by the name of their file."""
    return {path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "grafana/dashboards").glob("*.json"))}


def panels(dashboard):
    """All panels, those in collapsed rows too."""
    for panel in dashboard["panels"]:
        yield panel
        yield from panel.get("panels", [])


def queries(dashboard):
    """Every query of a dashboard, as --queries prints it, with variables and macros as they are."""
    def entry(kind, name, ref, type_, expr, label="", no_value=""):
        return {"dashboard": dashboard["uid"], "kind": kind, "name": name, "ref": ref, "type": type_, "expr": expr,
                "label": label, "no_value": no_value}

    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            parts = LABEL_VALUES.fullmatch(variable["query"]["query"])
            if not parts:
                raise ValueError(f"{dashboard['uid']}: variable {variable['name']} is no label_values(SELECTOR, LABEL)")
            yield entry("variable", variable["name"], "", "label_values", parts["expr"], parts["label"])
    for annotation in dashboard["annotations"]["list"]:
        if not annotation.get("builtIn"):
            yield entry("annotation", annotation["name"], annotation["target"]["refId"], "range",
                        annotation["target"]["expr"])
    for panel in panels(dashboard):
        for target in panel.get("targets", []):
            yield entry("panel", panel["title"], target["refId"], "instant" if target.get("instant") else "range",
                        target["expr"], no_value=panel["fieldConfig"]["defaults"].get("noValue", ""))


def substitute(expr, values):
    """Puts values in the place of $name and ${name}."""
    def value(match):
        name = match[1] or match[2]
        if name not in values:
            raise ValueError(f"no value is known for ${name} in: {expr}")
        return values[name]
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", value, expr)


def print_queries(arguments):
    # Between the quotes of a PromQL string, as Grafana puts them there.
    values = {name: getattr(arguments, name).replace("\\", "\\\\").replace('"', '\\"')
              for name in ("job", "instance", "group")}
    values |= {"__rate_interval": arguments.rate_interval, "__range": arguments.range, "__interval": arguments.interval}
    for dashboard in load().values():
        for query in queries(dashboard):
            print(json.dumps(query | {"expr": substitute(query["expr"], values)}))


# --- the metrics that there are -------------------------------------------------------------------------------------

class Metric(NamedTuple):
    type: str  # counter, gauge, histogram; "" when only the name is known
    labels: dict  # label: its possible values, empty when they are not closed; None when only the name is known


def known_metrics():
    """The exporter's metrics by name, as docs/metrics.md describes them; without it the names in the sources."""
    page = ROOT / "docs/metrics.md"
    if not page.exists():
        sources = [ROOT / "src/totals.rs", *(ROOT / "src").glob("metrics*"), *(ROOT / "src/metrics").glob("*.rs")]
        text = "".join(path.read_text() for path in sources if path.is_file())
        return {name: Metric("", None) for name in re.findall(r'"(dragdropdo_[a-z_]+)"', text)}
    metrics = {}
    for name, type_, labels in re.findall(r"^\| `(dragdropdo_\w+)` \| (\w+) \|([^|]*)\|", page.read_text(), re.MULTILINE):
        metrics[name] = Metric(type_, {label: set(re.findall(r"`([^`]+)`", values))
                                       for label, values in re.findall(r"`(\w+)`(?: \(([^)]*)\))?", labels)})
    return metrics


def find_metric(name, metrics):
    """A series' metric and its suffix, the empty one or a histogram's."""
    if name in metrics:
        return metrics[name], ""
    base, _, suffix = name.rpartition("_")
    if suffix in ("bucket", "sum", "count") and base in metrics and metrics[base].type in ("histogram", ""):
        return metrics[base], suffix
    return None, ""


# --- the checks: each yields what is wrong --------------------------------------------------------------------------

def check_expr(expr, metrics, *, earlier=VARIABLES, instant=False, heatmap=False):
    try:
        # Macros stand where durations do; variables only in strings.
        selectors, labels = parse(expr)
    except ValueError as error:
        yield f"PromQL {error}"
        return
    if not selectors:
        yield "the query selects nothing"
    names = {selector.metric for selector in selectors}
    if names & FOREIGN_METRICS - {"ALERTS"} and "dragdropdo_exporter_build_info" not in names:
        # "All" jobs are all jobs of that Prometheus.
        yield "is not limited to exporters (and on (job, instance) dragdropdo_exporter_build_info)"
    allowed_labels = {"job", "instance"}
    for selector in selectors:
        metric, suffix = find_metric(selector.metric, metrics)
        if not metric and selector.metric not in FOREIGN_METRICS:
            yield f"there is no metric {selector.metric}"
            continue
        # Which labels it has beside job and instance, where that is known.
        own = metric.labels if metric else None if selector.metric == "ALERTS" else {}
        yield from check_matchers(selector, own, earlier)
        yield from check_counter(selector, metric, suffix, labels, instant=instant, heatmap=heatmap)
        allowed_labels |= {"le"} if suffix == "bucket" else set()
        allowed_labels |= set(own) if own is not None else labels
    for label in sorted(labels - allowed_labels):
        yield f"groups by {label}, which is no label of its metrics"


def check_matchers(selector, own, earlier):
    name = selector.metric
    is_alert = name == "ALERTS"
    needed = [label for label in ("job", "instance", "group") if label in earlier]
    if not is_alert and "group" not in (selector.matchers if own is None else own):
        needed = [label for label in needed if label != "group"]
    for label in needed:
        # Alerts over sums have lost some of these labels: they match the empty value, too.
        value = f"${label}|" if is_alert else f"${label}"
        if selector.matchers.get(label) != ("=~", value):
            yield f'{name} lacks the matcher {label}=~"{value}"'
    for label, (operator, value) in selector.matchers.items():
        if is_alert or own is None or label in ("job", "instance", "le"):
            continue
        if label not in own:
            yield f"{name} has no label {label}"
        elif own[label]:
            for word in value.split("|") if operator in ("=~", "!~") else [value]:
                if word not in own[label]:
                    yield f'{label}="{word}" is no value that {name} can have'


def check_counter(selector, metric, suffix, labels, *, instant, heatmap):
    name = selector.metric
    function = selector.inside[-1] if selector.inside else ""
    is_counter = bool(re.search(r"_(total|count|sum|bucket)$", name)) or bool(metric and metric.type == "counter")
    if not is_counter:
        if selector.range and function in ("rate", "increase"):
            yield f"{name} is no counter, but is under {function}()"
        return
    if not selector.range or function not in ("rate", "increase"):
        yield f"the counter {name} is not under rate() or increase()"
    elif selector.range == "$__range":
        if function != "increase" or not instant:
            yield f"{function}({name}[$__range]) is for instant queries under increase() only"
    elif selector.range != "$__rate_interval":
        yield f"{function}({name}[{selector.range}]) does not use $__rate_interval"
    if suffix == "bucket":
        if not heatmap and "histogram_quantile" not in selector.inside:
            yield f"{name} is neither in a histogram_quantile() nor in a heatmap"
        if "le" not in labels:
            yield f"{name} is summed without le"


def check_panel(panel, metrics):
    kind = panel["type"]
    if kind not in PANEL_TYPES:
        yield f"panel type {kind} is not among {', '.join(sorted(PANEL_TYPES))}"
    if kind in ("row", "text"):
        return
    if len(panel.get("description", "")) < 15:
        yield "has no description that says how to read it"
    if panel.get("datasource") != DATASOURCE:
        yield "does not take its data source from the variable"
    yield from check_fields(panel)

    targets = panel.get("targets", [])
    if not targets:
        yield "has no query"
    refs = [target.get("refId") for target in targets]
    if len(set(refs)) < len(refs) or not all(refs):
        yield f"the refIds of its queries are not unique: {refs}"
    for target in targets:
        if target.get("datasource") != DATASOURCE:
            yield "a query does not take its data source from the variable"
        if bool(target.get("instant")) == bool(target.get("range")):
            yield "a query is not either instant or over a range"
        has_exemplars = "_completion_latency_seconds_bucket" in target.get("expr", "") and bool(target.get("range"))
        if bool(target.get("exemplar")) != has_exemplars:
            yield "a query asks for exemplars where there are none, or not where there are"
        heatmap = target.get("format") == "heatmap"
        if heatmap != (kind == "heatmap") or (target.get("format") == "table") != (kind == "table"):
            yield f"the format {target.get('format')} is not for a {kind}"
        yield from check_expr(target.get("expr", ""), metrics, instant=target.get("instant"), heatmap=heatmap)
        if kind == "timeseries":
            yield from check_legend(target)
    used = set(re.findall(r'"Value #(\w+)"', json.dumps(panel.get("transformations", []))))
    for ref in sorted(used - set(refs)):
        yield f"a transformation takes Value #{ref}, but there is no such query"


def check_fields(panel):
    """Unit, thresholds, and what it says when there is no data."""
    defaults = panel["fieldConfig"]["defaults"]
    if not defaults.get("unit"):
        yield "has no unit"
    if len(defaults.get("noValue", "")) < 5:
        yield "does not say what it means that there is no data (noValue)"
    steps = defaults["thresholds"]["steps"]
    if panel["type"] == "stat" and steps and steps[0]["color"] == "green":
        yield "is green when there is no data"
    coloured = []
    if (panel["type"] == "stat" and defaults["color"]["mode"] == "thresholds"
            or defaults.get("custom", {}).get("thresholdsStyle", {}).get("mode", "off") != "off"):
        coloured.append(defaults)
    for override in panel["fieldConfig"]["overrides"]:
        properties = {property["id"]: property["value"] for property in override["properties"]}
        if properties.get("custom.cellOptions", {}).get("type", "auto") != "auto":
            coloured.append(properties)
    for fields in coloured:
        steps = fields.get("thresholds", {}).get("steps", [])
        values = [step["value"] for step in steps]
        if len(steps) < 2 or values[0] is not None or values[1:] != sorted(set(values[1:])):
            yield f"is coloured by thresholds that are none: {values}"


def check_legend(target):
    legend = target.get("legendFormat", "")
    if not legend or legend == "__auto":
        yield "a query has no legend"
    try:
        labels = parse(target.get("expr", ""))[1] | {"job", "instance"}
    except ValueError:
        return
    for label in re.findall(r"\{\{(\w+)\}\}", legend):
        if label not in labels:
            yield f"the legend shows {label}, which the query does not keep"


def check_layout(dashboard):
    """Unique ids and titles, and no overlap."""
    seen, titles, taken = set(), set(), {}
    for panel in panels(dashboard):
        name = panel.get("title") or "(untitled)"
        if not panel.get("title"):
            yield f"panel {panel.get('id')}: has no title"
        if name in titles:
            yield f"two panels have the title {name}"
        titles.add(name)
        if not isinstance(panel.get("id"), int) or panel["id"] in seen:
            yield f"{name}: the id {panel.get('id')} is not unique"
        seen.add(panel.get("id"))
        grid = panel["gridPos"]
        if min(grid["x"], grid["y"]) < 0 or min(grid["w"], grid["h"]) < 1 or grid["x"] + grid["w"] > COLUMNS:
            yield f"{name}: is not within the {COLUMNS} columns: {grid}"
        cells = {(x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])}
        for other in sorted({taken[cell] for cell in cells if cell in taken}):
            yield f"{name}: overlaps {other}"
        taken |= dict.fromkeys(cells, name)


def check_variables(dashboard, metrics):
    variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
    if list(variables) != VARIABLES:
        yield f"the variables are {list(variables)}, not {VARIABLES}"
    for place, (name, variable) in enumerate(variables.items()):
        if variable["type"] != "query":
            if variable.get("query") != "prometheus":
                yield f"variable {name}: does not choose a Prometheus"
            continue
        if variable.get("datasource") != DATASOURCE:
            yield f"variable {name}: does not take its data source from the variable"
        if not (variable.get("includeAll") and variable.get("multi") and variable.get("allValue") in (".*", ".+")):
            yield f"variable {name}: its All does not match all"
        parts = LABEL_VALUES.fullmatch(variable["query"]["query"])
        for problem in check_expr(parts["expr"], metrics, earlier=VARIABLES[:place]) if parts else ["no label_values()"]:
            yield f"variable {name}: {problem}"
    text = json.dumps(dashboard)
    for name in sorted(set(re.findall(r"\$\{?([a-zA-Z_]\w*)", text)) - set(variables) - MACROS):
        yield f"${name} is used, but not defined"


def check_dashboard(file, dashboard, uids, metrics):
    if dashboard.get("uid") != file:
        yield f"the uid {dashboard.get('uid')} is not the file's name"
    if dashboard.get("id") is not None or any(key.startswith("__") for key in dashboard):
        yield "is an export (id, __inputs): it cannot be provisioned"
    if dashboard.get("schemaVersion") != SCHEMA_VERSION:
        yield f"schemaVersion is {dashboard.get('schemaVersion')}, not {SCHEMA_VERSION}"
    if not (dashboard.get("title") and dashboard.get("refresh") and dashboard.get("time", {}).get("to") == "now"):
        yield "has no title, no refresh or a time range that does not end now"
    for uid in sorted(uids - {file}):
        if not any(link.get("url") == f"/d/{uid}" and link.get("includeVars") and link.get("keepTime")
                   for link in dashboard.get("links", [])):
            yield f"does not link to {uid} with its variables and time"
    for uid in re.findall(r'"/d/([\w-]+)', json.dumps(dashboard)):
        if uid not in uids:
            yield f"links to {uid}, which is no dashboard"
    yield from check_layout(dashboard)
    yield from check_variables(dashboard, metrics)
    annotations = [annotation for annotation in dashboard["annotations"]["list"] if not annotation.get("builtIn")]
    if not any("ALERTS{" in annotation["target"]["expr"] for annotation in annotations):
        yield "has no annotation of firing alerts"
    for annotation in annotations:
        if annotation.get("datasource") != DATASOURCE:
            yield f"annotation {annotation['name']}: does not take its data source from the variable"
        for problem in check_expr(annotation["target"]["expr"], metrics):
            yield f"annotation {annotation['name']}: {problem}"
    for panel in panels(dashboard):
        for problem in check_panel(panel, metrics):
            yield f"{panel.get('title')}: {problem}"


def check_all(dashboards, metrics):
    if not dashboards:
        yield "grafana/dashboards: there is no dashboard"
    for file, dashboard in dashboards.items():
        for problem in check_dashboard(file, dashboard, set(dashboards), metrics):
            yield f"{file}: {problem}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", action="store_true", help="print every query as a line of JSON")
    for name, default in (("job", ".+"), ("instance", ".+"), ("group", ".+")):
        parser.add_argument(f"--{name}", default=default, metavar="RE")
    for name, default in (("rate-interval", "1m"), ("range", "1h"), ("interval", "15s")):
        parser.add_argument(f"--{name}", default=default, metavar="DURATION")
    arguments = parser.parse_args()
    if arguments.queries:
        print_queries(arguments)
        return
    dashboards = load()
    problems = [*check_all(dashboards, known_metrics()), *check_provisioning(ROOT)]
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise SystemExit(1)
    for file, dashboard in dashboards.items():
        print(f"{file}: {len(list(panels(dashboard)))} panels, {len(list(queries(dashboard)))} queries")


if __name__ == "__main__":
    main()
