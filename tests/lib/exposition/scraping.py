"""A real Prometheus that scrapes both formats."""

import contextlib
import json
import time
import urllib.request

import formats
from processes import REQUEST_TIMEOUT, await_true, check, fetch, free_port, running
from prometheus import Prometheus
from serving import serving

# Seconds.
SCRAPE_INTERVAL = 1
# Seconds that a Prometheus may take until it answers, and until it has scraped: far longer than it needs.
PATIENCE = 20
# What Prometheus adds to each target, and what moves between the scrapes of two targets.
NOT_COMPARED = "up|scrape_.*|process_.*|dragdropdo_poll_lag_seconds"


class Relay:
    """Asks the exporter for the text format, whatever it is asked for: Debian's Prometheus cannot be told to."""

    def __init__(self, url):
        self._url = url
        # What Prometheus itself asked for.
        self.accepts = set()

    def answer(self, _path, headers):
        """Answers a scrape."""
        self.accepts.add(headers["Accept"])
        request = urllib.request.Request(self._url, headers={"Accept": "text/plain;version=0.0.4"})
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=REQUEST_TIMEOUT) as answer:
            content_type = answer.headers["Content-Type"]
            return (200 if content_type == formats.TEXT else 500), content_type, answer.read()


@contextlib.contextmanager
def scraping(url, folder):
    """Runs a Prometheus that scrapes OpenMetrics under the job `openmetrics`, and text under `text`."""
    relay = Relay(url)
    with serving(relay.answer) as relay_url:
        jobs = {"openmetrics": url, "text": relay_url}
        configuration = {
            "global": {"scrape_interval": f"{SCRAPE_INTERVAL}s"},
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [target.split("/")[2]]}]}
                for job, target in jobs.items()
            ],
        }
        # JSON is YAML.
        (folder / "prometheus.yml").write_text(json.dumps(configuration))
        address = f"127.0.0.1:{free_port()}"
        command = [
            "prometheus",
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=prometheus-data",
            "--enable-feature=exemplar-storage",
            f"--web.listen-address={address}",
        ]
        with running("prometheus", command, folder) as program:
            prometheus = Prometheus(f"http://{address}")
            await_true("Prometheus is ready", PATIENCE, lambda: fetch(f"{prometheus.url}/-/ready"), program)
            yield prometheus
            # It would have taken OpenMetrics from the relay, too.
            check(all("openmetrics" in accept for accept in relay.accepts), f"Prometheus asks for {relay.accepts}")


def await_scrapes(prometheus):
    """Waits until both targets have been scraped after this moment, twice, and are up."""
    now = time.time()

    def scraped():
        targets = prometheus.get("targets", state="active")["activeTargets"]
        errors = [target["lastError"] for target in targets if target["lastError"]]
        check(not errors, f"Prometheus cannot scrape: {errors}")
        seen = prometheus.instant("min(timestamp(up) and up == 1)")
        count = prometheus.value("count(up == 1)")
        return count == 2 and seen and seen[0][1] > now + SCRAPE_INTERVAL

    await_true("both targets are scraped", PATIENCE, scraped)


def stored(prometheus, job):
    """Gives what Prometheus has of a job: the value by (name, labels)."""
    found = prometheus.instant(f'{{job="{job}",__name__!~"{NOT_COMPARED}"}}')
    samples = {}
    for labels, value in found:
        labels = {name: text for name, text in labels.items() if name not in ("job", "instance")}
        samples[(labels.pop("__name__"), frozenset(labels.items()))] = value
    return samples


def check_exemplars(prometheus, scrape, began):
    """Fails unless Prometheus has the exemplars of the scrape, and only those of the job `openmetrics`."""
    found = prometheus.get("query_exemplars", query='{__name__=~"dragdropdo_.*"}', start=began, end=time.time())
    kept = {}
    for series in found:
        labels = series["seriesLabels"]
        check(labels.pop("job") == "openmetrics", "the text format tells exemplars")
        labels.pop("instance")
        latest = series["exemplars"][-1]
        key = (labels.pop("__name__"), frozenset(labels.items()))
        # To the millisecond.
        kept[key] = (latest["labels"], float(latest["value"]), latest["timestamp"])
    shown = scrape.exemplars
    check(kept.keys() == shown.keys(), f"Prometheus has the exemplars of {len(kept)} of {len(shown)} buckets")
    for key, exemplar in shown.items():
        # Debian's Prometheus leaves the escapes in an exemplar's labels, and takes them out of a series's.
        escaped = {name: text.replace("\\", "\\\\").replace('"', '\\"') for name, text in exemplar.labels.items()}
        labels, value, at = kept[key]
        is_at_that_time = abs(at - float(exemplar.timestamp)) <= 0.001
        check(
            labels in (exemplar.labels, escaped) and value == exemplar.value and is_at_that_time,
            f"Prometheus has the exemplar {kept[key]} of {key} and not {exemplar}",
        )
