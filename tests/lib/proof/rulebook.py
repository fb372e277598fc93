"""The rules, as Prometheus has loaded them: each is healthy, and needs the metrics that it names."""

import math

import shipped
from processes import Failed, check
from renaming import branches, metric_names, needed_names, renamed


def check_loaded(prometheus):
    """Fails unless every shipped rule is loaded and evaluates without an error."""
    loaded = prometheus.rules()
    names = sorted(rule["name"] for rule in loaded)
    check(names == shipped.rules(), f"Prometheus has loaded the rules {names}, and shipped are {shipped.rules()}")
    for rule in loaded:
        check(rule["health"] == "ok", f"rule {rule['name']} is {rule['health']}: {rule.get('lastError')}")


def check_mutations(prometheus, moments, summary):
    """Fails unless each rule needs its metrics.

    Each branch of an expression that gave something in this scenario must give nothing once a metric is renamed that it
    needs. Of what gave nothing, every metric must at least be there, and be a number.
    """
    problems = []
    for rule in prometheus.rules():
        name = rule["name"]
        told = mutations = 0
        all_branches = branches(rule["query"])
        for branch in all_branches:
            if not prometheus.range(branch, moments.start, moments.end, step=1):
                continue
            told += 1
            for metric in sorted(needed_names(branch)):
                mutations += 1
                if prometheus.range(renamed(branch, metric), moments.start, moments.end, step=1):
                    problems.append(f"{name}: still gives something without {metric}: {branch}")
        for metric in metric_names(rule["query"]):
            if not _is_there(prometheus, metric, moments):
                problems.append(f"{name}: there is no {metric}")
        summary.rule(name, f"{told} of {len(all_branches)}", mutations)
    if problems:
        raise Failed("rules do not stand on metrics that are there:\n  " + "\n  ".join(problems))


def _is_there(prometheus, metric, moments):
    window = math.ceil(moments.end - moments.start)
    samples = prometheus.instant(f"last_over_time({metric}[{window}s])", at=moments.end)
    return any(math.isfinite(value) for _, value in samples)
