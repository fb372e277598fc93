#!/usr/bin/env python3
"""Checks the dashboards in grafana/, and lists their queries. Needs nothing but Python 3.

  tests/lib/dashboards.py             check everything; exit status 1 when anything is wrong
  tests/lib/dashboards.py --broken    break the dashboards in memory, one way after the other, and see each check fail
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
import copy
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = ROOT / "grafana/dashboards"

LABEL_VALUES = re.compile(r"label_values\((?P<expr>.+), *(?P<label>\w+)\)")


def load():
    """All dashboards by file name."""
    return {path.name: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def queries(dashboard):
    """Every query of a dashboard, as --queries prints it, with variables and macros as they are."""
    uid = dashboard["uid"]

    def entry(kind, name, ref, type_, expr, label="", no_value=""):
        return {"dashboard": uid, "kind": kind, "name": name, "ref": ref, "type": type_, "expr": expr, "label": label,
                "no_value": no_value}

    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            parts = LABEL_VALUES.fullmatch(variable["query"]["query"])
            if not parts:
                raise SystemExit(f"{uid}: variable {variable['name']}: no label_values(SELECTOR, LABEL)")
            yield entry("variable", variable["name"], "", "label_values", parts["expr"], parts["label"])
    for annotation in dashboard["annotations"]["list"]:
        if "target" in annotation and "expr" in annotation["target"]:
            target = annotation["target"]
            yield entry("annotation", annotation["name"], target["refId"], "range", target["expr"])
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield entry("panel", panel["title"], target["refId"], "instant" if target.get("instant") else "range",
                        target["expr"], no_value=panel["fieldConfig"]["defaults"].get("noValue", ""))


def substitute(expr, values):
    """Puts values in the place of $name and ${name}."""
    def value(match):
        name = match[1] or match[2]
        if name not in values:
            raise SystemExit(f"no value is known for ${name} in: {expr}")
        return values[name]
    return re.sub(r"\$(?:\{(\w+)\}|(\w+))", value, expr)


def print_queries(arguments):
    # Between the quotes of a PromQL string, as Grafana puts them there.
    quoted = {name: getattr(arguments, name).replace("\\", "\\\\").replace('"', '\\"')
              for name in ("job", "instance", "group")}
    values = quoted | {"__rate_interval": arguments.rate_interval, "__range": arguments.range,
                       "__interval": arguments.interval}
    for dashboard in load().values():
        for query in queries(dashboard):
            print(json.dumps(query | {"expr": substitute(query["expr"], values)}))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", action="store_true", help="print every query as a line of JSON")
    parser.add_argument("--job", default=".+", metavar="RE")
    parser.add_argument("--instance", default=".+", metavar="RE")
    parser.add_argument("--group", default=".+", metavar="RE")
    parser.add_argument("--rate-interval", default="1m", metavar="DURATION")
    parser.add_argument("--range", default="1h", metavar="DURATION")
    parser.add_argument("--interval", default="15s", metavar="DURATION")
    arguments = parser.parse_args()
    if arguments.queries:
        print_queries(arguments)


if __name__ == "__main__":
    main()
