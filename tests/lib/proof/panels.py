"""The queries of the dashboards, put to the running Prometheus: each has to give data that makes sense here."""

import dataclasses
import json
import math
import pathlib
import subprocess
import sys

from installation import SCRAPE_DURATION
from processes import Failed
from renaming import metric_names, renamed

# Lists every query of the dashboards.
LISTER = pathlib.Path(__file__).resolve().parents[1] / "dashboards.py"
DASHBOARDS = pathlib.Path(__file__).resolve().parents[3] / "grafana" / "dashboards"

# What this scenario never makes happen. These have to show 0 and nothing else: one that moves is to leave this list.
ALWAYS_ZERO = {"Store errors", "Store errors over time", "Unknown state words"}
# What may or may not happen: polls are late on a busy machine alone, and CPU time is counted in whole seconds.
MAY_BE_ZERO = {"Poll lag", "Poll lag over time", "CPU"}


@dataclasses.dataclass(frozen=True)
class Query:
    """One query of a dashboard."""

    dashboard: str
    kind: str
    name: str
    ref: str
    type: str
    expr: str
    label: str
    # The unit of its panel.
    unit: str

    def __str__(self):
        return f"{self.dashboard} / {self.kind} {self.name}" + (f" {self.ref}" if self.ref else "")

    @property
    def falls_back(self):
        """Whether it has something else to show where there is nothing."""
        return " or " in self.expr


@dataclasses.dataclass(frozen=True)
class Moments:
    """When queries are asked, in Unix time."""

    # The end of the healthy run.
    healthy: float
    # What a range query covers: the whole run, so that nothing that is shown is older.
    start: float
    end: float


def queries(scrape_interval, moments, **values):
    """Lists the queries as Grafana would ask them for the whole run, with variables set to `values`."""
    command = [
        sys.executable,
        str(LISTER),
        "--queries",
        f"--interval={scrape_interval}s",
        # Grafana's own rule, for a data source that knows the scrape interval.
        f"--rate-interval={4 * scrape_interval}s",
        f"--range={math.ceil(moments.end - moments.start)}s",
        *(f"--{name}={value}" for name, value in values.items()),
    ]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    units = _units()
    found = []
    for line in lines:
        entry = json.loads(line)
        entry.pop("no_value", None)
        unit = units.get((entry["dashboard"], entry["name"]), "") if entry["kind"] == "panel" else ""
        found.append(Query(unit=unit, **entry))
    return found


def _units():
    """The unit of each panel's values, by its dashboard and title."""
    dashboards = [json.loads(path.read_text()) for path in DASHBOARDS.glob("*.json")]
    return {
        (dashboard["uid"], panel["title"]): panel.get("fieldConfig", {}).get("defaults", {}).get("unit", "")
        for dashboard in dashboards
        for panel in dashboard["panels"]
        # The values of a heatmap are numbers of events: its unit is that of the buckets.
        if panel["type"] != "heatmap"
    }


def judge(prometheus, query, moments):
    """Asks a query, and gives how many series it has and what is wrong with them, or None."""
    if query.falls_back:
        at_ease = prometheus.instant(query.expr, at=moments.healthy)
        problem = _not_numbers(at_ease and [[value] for _, value in at_ease])
        if problem:
            return len(at_ease), f"in the healthy run: {problem}"
    if query.type == "label_values":
        values = prometheus.get(
            f"label/{query.label}/values", **{"match[]": query.expr}, start=moments.start, end=moments.end
        )
        return len(values), None if values and all(values) else f"its values are {values}"
    if query.type == "instant":
        series = [[value] for _, value in prometheus.instant(query.expr, at=moments.end)]
    else:
        series = [values for _, values in prometheus.range(query.expr, moments.start, moments.end, step=1)]
    return len(series), _not_numbers(series) or _senseless(query, series, moments)


def _not_numbers(series):
    """What is wrong with what is no number, or None."""
    if not series:
        return "no series"
    if not any(math.isfinite(value) for values in series for value in values):
        return "no number"
    if any(math.isinf(value) for values in series for value in values):
        return "an infinite number"
    return None


def _senseless(query, series, moments):
    """What is wrong with the numbers, or None."""
    numbers = [value for values in series for value in values if math.isfinite(value)]
    highest = max(numbers)
    if min(numbers) < -SCRAPE_DURATION:
        return f"a negative number, {min(numbers)}"
    if query.name in ALWAYS_ZERO:
        return f"{highest} for what never happened" if highest > 0 else None
    if query.name not in MAY_BE_ZERO and highest == 0:
        return "zero alone, for what has happened"
    if query.unit == "percentunit" and highest > 1:
        return f"a share of {highest}"
    if query.unit == "s" and highest > moments.end - moments.start:
        return f"{highest} s, which is longer than all of this has run"
    return None


def check(prometheus, queries_, moments, summary=None):
    """Fails unless every query gives sensible data. `summary` is told of each."""
    problems = []
    for query in queries_:
        series, problem = judge(prometheus, query, moments)
        if summary:
            summary.query(query, series, problem)
        if problem:
            problems.append(f"{query}: {problem}: {query.expr}")
    if problems:
        raise Failed("queries of the dashboards make no sense here:\n  " + "\n  ".join(problems))


def check_mutations(prometheus, queries_, moments, summary):
    """Fails unless each query makes no sense any more once a metric that it names is renamed."""
    problems, count, metrics = [], 0, set()
    for query in queries_:
        names = metric_names(query.expr)
        if not names:
            problems.append(f"{query}: names no metric: {query.expr}")
        for name in names:
            mutated = dataclasses.replace(query, expr=renamed(query.expr, name))
            _, problem = judge(prometheus, mutated, moments)
            count += 1
            metrics.add(name)
            if not problem:
                problems.append(f"{query}: still gives sensible data without {name}: {mutated.expr}")
    if problems:
        raise Failed("a renamed metric goes unnoticed:\n  " + "\n  ".join(problems))
    summary.note(
        f"mutations of the dashboards: {count} queries with one of {len(metrics)} metrics renamed, each noticed"
    )
