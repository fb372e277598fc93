#!/usr/bin/env python3
"""Breaks the dashboards in memory, in one way after the other, and fails when tests/lib/dashboards.py does not find it."""

import copy
import re

import dashboards

WORK, EXPORTER = "dragdropdo-work", "dragdropdo-exporter"


def panel(dashboard, title):
    return next(panel for panel in dashboard["panels"] if panel["title"] == title)


def defaults(dashboard, title):
    return panel(dashboard, title)["fieldConfig"]["defaults"]


def replace(dashboard, old, new):
    """Replaces a text in every query."""
    for each in dashboard["panels"]:
        for target in each.get("targets", []):
            target["expr"] = target["expr"].replace(old, new)


def variable(dashboard, name):
    return next(variable for variable in dashboard["templating"]["list"] if variable["name"] == name)


# What is done to a dashboard, and what must be said of it.
BREAKS = [
    (WORK, lambda d: d.update(uid="another"), "the uid another is not the file's name"),
    (WORK, lambda d: d.update(schemaVersion=36), "schemaVersion is 36"),
    (WORK, lambda d: d.update(__inputs=[]), "is an export"),
    (WORK, lambda d: d.update(links=[]), "does not link to dragdropdo-exporter"),
    (WORK, lambda d: d["annotations"]["list"].pop(), "no annotation of firing alerts"),
    (WORK, lambda d: panel(d, "Failed files").update(id=1), "the id 1 is not unique"),
    (WORK, lambda d: panel(d, "Failed files").update(title="Failing now"), "two panels have the title Failing now"),
    (WORK, lambda d: panel(d, "Failed files")["gridPos"].update(x=7), "overlaps Latest failure"),
    (WORK, lambda d: panel(d, "Oldest unfinished task")["gridPos"].update(w=4), "is not within the 24 columns"),
    (WORK, lambda d: panel(d, "Failing now").update(type="graph"), "panel type graph"),
    (WORK, lambda d: panel(d, "Failing now").pop("description"), "has no description"),
    (WORK, lambda d: panel(d, "Failing now").update(datasource={"type": "prometheus", "uid": "abc"}),
     "Failing now: does not take its data source"),
    (WORK, lambda d: panel(d, "Failing now")["targets"][0].pop("datasource"), "a query does not take its data source"),
    (WORK, lambda d: defaults(d, "Latest failure").pop("unit"), "Latest failure: has no unit"),
    (WORK, lambda d: defaults(d, "Latest failure").pop("noValue"), "noValue"),
    (WORK, lambda d: defaults(d, "Latest failure")["thresholds"].update(steps=[]), "coloured by thresholds that are none"),
    (WORK, lambda d: defaults(d, "Latest failure")["thresholds"]["steps"][0].update(color="green"), "is green when"),
    (WORK, lambda d: panel(d, "Oldest unfinished tasks")["targets"].pop(), "takes Value #D"),
    (WORK, lambda d: replace(d, "dragdropdo_tasks{", "dragdropdo_task{"), "there is no metric dragdropdo_task$"),
    (WORK, lambda d: replace(d, "completion_latency", "latency"), "there is no metric"),
    (WORK, lambda d: replace(d, "$__rate_interval", "5m"), r"\[5m\]\) does not use \$__rate_interval"),
    (WORK, lambda d: replace(d, "$__rate_interval", "$__range"), "for instant queries under increase"),
    (WORK, lambda d: replace(d, "rate(", "delta("), "is not under rate"),
    (WORK, lambda d: replace(d, "[$__range]", ""), "is not under rate"),
    (WORK, lambda d: replace(d, "group, le", "group"), "is summed without le"),
    (WORK, lambda d: replace(d, "histogram_quantile(0.95, ", "("), "neither in a histogram_quantile"),
    (WORK, lambda d: replace(d, 'group=~"$group"', 'group="$group"'), "lacks the matcher group"),
    (WORK, lambda d: replace(d, 'job=~"$job",', ""), "lacks the matcher job"),
    (WORK, lambda d: replace(d, "$instance", "$host"), r"\$host is used, but not defined"),
    (WORK, lambda d: replace(d, "sum(", "sum"), "PromQL"),
    (WORK, lambda d: panel(d, "Tasks by outcome")["targets"][0].update(legendFormat="{{result}}"), "the legend shows result"),
    (WORK, lambda d: variable(d, "group").update(includeAll=False), "its All does not match all"),
    (WORK, lambda d: variable(d, "instance")["query"].update(query="label_values(dragdropdo_tasks, instance)"),
     "variable instance: dragdropdo_tasks lacks the matcher job"),
    (EXPORTER, lambda d: replace(d, "dragdropdo_poll_lag_seconds{", "rate(dragdropdo_poll_lag_seconds{"), "PromQL"),
    (EXPORTER, lambda d: panel(d, "Poll lag")["targets"][0].update(
        expr='rate(dragdropdo_poll_lag_seconds{job=~"$job",instance=~"$instance"}[$__rate_interval])'), "is no counter"),
    (EXPORTER, lambda d: replace(d, 'group=~"$group"', 'group=~".+"'), "lacks the matcher group"),
    (EXPORTER, lambda d: panel(d, "Memory")["targets"][0].update(
        expr='process_resident_memory_bytes{job=~"$job",instance=~"$instance"}'), "is not limited to exporters"),
    (WORK, lambda d: panel(d, "p95 completion latency by group")["targets"][0].pop("exemplar"), "asks for exemplars"),
    (EXPORTER, lambda d: panel(d, "Duration of commits")["targets"][0].update(exemplar=True), "asks for exemplars"),
    (EXPORTER, lambda d: replace(d, "process_open_fds", "process_open_files"), "there is no metric process_open_files"),
]

# The same, where docs/metrics.md says which labels a metric has.
BREAKS_OF_LABELS = [
    (EXPORTER, lambda d: replace(d, "and on (job, instance)", "and on (group)"), "groups by group"),
    (WORK, lambda d: replace(d, "by (error_code)", "by (code)"), "groups by code"),
    (WORK, lambda d: replace(d, 'state="failed"', 'state="broken"'), "is no value that"),
]


def main():
    sound, metrics = dashboards.load(), dashboards.known_metrics()
    missed = []
    breaks = list(BREAKS)
    if all(metric.labels is not None for metric in metrics.values()):
        breaks += BREAKS_OF_LABELS
    for number, (file, change, expected) in enumerate(breaks):
        broken = copy.deepcopy(sound)
        change(broken[file])
        if broken == sound:
            missed.append(f"{number}: nothing was changed that should lead to: {expected}")
        problems = list(dashboards.check_all(broken, metrics))
        if not any(re.search(expected, problem) for problem in problems):
            missed.append(f"{number}: not found: {expected}; but: {problems or 'nothing'}")
    for each in missed:
        print(each)
    if missed:
        raise SystemExit(1)
    print(f"{len(breaks)} mistakes found, each when it was made")


if __name__ == "__main__":
    main()
