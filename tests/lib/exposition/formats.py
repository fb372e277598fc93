"""Both formats, as the official Python client reads them."""

import dataclasses
import math

from processes import check
from prometheus_client import parser as text_parser
from prometheus_client.openmetrics import parser as openmetrics_parser

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
# What moves from one scrape to the next without any work.
MOVING = ("process_", "dragdropdo_poll_lag_seconds")


@dataclasses.dataclass(frozen=True)
class Scrape:
    """What one scrape showed."""

    # Type and HELP of each family, by its name without `_total`.
    families: dict
    # Value of each sample, by (name, labels), but for start times.
    samples: dict
    # Start times, by (family, labels).
    created: dict
    # Exemplars, by the (name, labels) of their sample.
    exemplars: dict

    def still(self):
        """Gives the samples that do not move by themselves."""
        return {key: value for key, value in self.samples.items() if not key[0].startswith(MOVING)}


def read(content_type, body):
    """Reads an exposition. The parsers of the client refuse what is malformed."""
    check(content_type in (TEXT, OPENMETRICS), f"/metrics has the content type {content_type!r}")
    parser = text_parser if content_type == TEXT else openmetrics_parser
    families, samples, created, exemplars = {}, {}, {}, {}
    for family in parser.text_string_to_metric_families(body.decode()):
        check(family.name not in families, f"the family {family.name} comes twice")
        families[family.name] = (family.type, family.documentation)
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            if sample.name == f"{family.name}_created":
                created[(family.name, key[1])] = sample.value
                continue
            check(key not in samples, f"the sample {key} comes twice")
            check(sample.timestamp is None, f"the sample {key} has a time")
            samples[key] = sample.value
            if sample.exemplar is not None:
                exemplars[key] = sample.exemplar
    return Scrape(families, samples, created, exemplars)


def check_same(text, openmetrics):
    """Fails unless both hold the same families and samples."""
    check(text.families == openmetrics.families, f"families differ: {_difference(text.families, openmetrics.families)}")
    check(set(text.samples) == set(openmetrics.samples), "the samples have other names or labels")
    ours, theirs = text.still(), openmetrics.still()
    check(ours == theirs, f"values differ: {_difference(ours, theirs)}")
    check(not text.created and not text.exemplars, "the text format tells start times or exemplars")


def _difference(one, other):
    return sorted({str(item) for item in one.items()} ^ {str(item) for item in other.items()})[:10]


def check_created(scrape, process_started, began, ended):
    """Fails unless each counter and histogram has one start: the process's, or one in which its group came to be."""
    expected = set()
    for name, labels in scrape.samples:
        for suffix in ("_total", "_count"):
            family = name.removesuffix(suffix)
            if family != name and scrape.families.get(family, ("",))[0] in ("counter", "histogram"):
                expected.add((family, labels))
    check(set(scrape.created) == expected, f"starts of other series: {set(scrape.created) ^ expected}")
    for (family, labels), created in scrape.created.items():
        check(began <= created <= ended, f"{family} {dict(labels)} starts at {created}, not in {began} to {ended}")
        if not {"group", "source"} & set(dict(labels)):
            # The system knows the start to a second.
            check(abs(created - process_started) < 2, f"{family} starts at {created}, the process at {process_started}")


def check_exemplars(scrape, tasks, ages, longest_id, began, ended):
    """Fails unless the exemplars are just those that the tasks must have left, each in its own bucket."""
    by_id = {task.id: task for task in tasks}
    told = set()
    for (name, labels), exemplar in scrape.exemplars.items():
        labels = dict(labels)
        where = f"the exemplar of {name} {labels}"
        check(set(exemplar.labels) == {"task_id"}, f"{where} has the labels {set(exemplar.labels)}")
        check(len(exemplar.labels["task_id"]) <= longest_id, f"{where} is too long")
        task = by_id[exemplar.labels["task_id"]]
        check(task.group == labels["group"], f"{where} is a task of {task.group}")
        lower, upper = ages[task.age]
        check(float(labels["le"]) == upper, f"{where} is a task of {task.age} s")
        check(lower < exemplar.value <= upper, f"{where} has the latency {exemplar.value}")
        check(began <= float(exemplar.timestamp) <= ended, f"{where} has the time {exemplar.timestamp}")
        told.add((name, labels["group"], labels["state"], upper))
    expected = set()
    for task in tasks:
        if task.state is not None and len(task.id) <= longest_id:
            upper = ages[task.age][1]
            expected.add(("dragdropdo_task_completion_latency_seconds_bucket", task.group, task.state, upper))
            for state in ("failed", task.state):
                expected.add(("dragdropdo_file_completion_latency_seconds_bucket", task.group, state, upper))
    check(told == expected, f"buckets with and without an exemplar: {told ^ expected}")


def check_histograms_hold(scrape, tasks):
    """Fails unless every finished task is in a histogram, also those whose ID is no exemplar."""
    counts = [value for (name, _), value in scrape.samples.items() if name.endswith("task_completion_latency_seconds_count")]
    finished = [task for task in tasks if task.state is not None]
    check(math.fsum(counts) == len(finished), f"{counts} latencies of {len(finished)} tasks")
