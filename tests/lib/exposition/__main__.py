"""Proves both exposition formats with tools that others wrote: curl, the official Python client, promtool, Prometheus.

    PYTHONPATH=CLIENT:tests/lib/proof python3 tests/lib/exposition BINARY      BINARY is the exporter

The real exporter follows tasks whose groups, IDs and error codes hold quotes, backslashes and all else that a label may
hold. Then: format and compression are what is asked for; both formats say the same, without start times and with them;
a Prometheus that scrapes both stores the same, and the exemplars.
"""

import collections
import contextlib
import datetime
import json
import pathlib
import signal
import subprocess
import tempfile
import time

import answers
import formats
import scraping
import work
from processes import await_true, check, fetch_json, free_port, main, running
from serving import serving

# Seconds for everything: some 15 are needed on two cores.
TIME_LIMIT = 90
# Seconds until all tasks have settled, and until the formats say the same: far longer than it takes.
PATIENCE = 20


class Exposition:
    """The exporter that is scraped, and the tasks that it shows."""

    def __init__(self, binary, folder, stack):
        self._folder = folder
        self.tasks = work.tasks()
        self.began = time.time()
        address = f"127.0.0.1:{free_port()}"
        self._api = stack.enter_context(serving(work.Api(self.tasks).answer))
        self._address = address
        self.configure(created_samples=False)
        command = [binary, "serve", "--config.file=config.yaml"]
        self._program = stack.enter_context(running("exporter", command, folder))
        self.url = f"http://{address}/metrics"

    def configure(self, created_samples):
        """Writes the configuration."""
        now = datetime.datetime.fromtimestamp(self.began, datetime.timezone.utc)
        configuration = {
            "api": {"base_url": self._api, "api_key": "d3_live_exposition", "rate_limit": "500/s"},
            # A task that has just been submitted is asked for again at once, one of five days only after minutes.
            "poll": {"interval": "10m", "min_interval": "50ms", "precision": 0.001},
            "tasks": [task.configured(now) for task in self.tasks],
            "web": {"listen_address": self._address},
            "storage": {"url": "sqlite://exporter.db"},
            "metrics": {"created_samples": created_samples},
        }
        # JSON is YAML, but for characters that JSON would write as two escapes.
        text = json.dumps(configuration, ensure_ascii=False)
        (self._folder / "config.yaml").write_text(text, encoding="utf-8")

    def reload(self, created_samples):
        """Changes the configuration, and waits until that is in force."""
        at = "dragdropdo_exporter_config_last_reload_success_timestamp_seconds"
        before = self.scrape()[0].samples[(at, frozenset())]
        self.configure(created_samples)
        self._program.signal(signal.SIGHUP)
        # The tasks that it lists are taken in before it counts as loaded, so nothing moves from then on.
        await_true("it is reloaded", PATIENCE, lambda: self.scrape()[0].samples[(at, frozenset())] > before)

    def scrape(self, *headers):
        """Scrapes, with these headers."""
        return answers.scrape(self.url, *headers)

    def await_settled(self):
        """Waits until each task has ended that ever does."""

        def settled():
            tasks = fetch_json(self.url.replace("/metrics", "/api/v1/tasks"))
            ended = {task["id"] for task in tasks if task["settled"]}
            return ended == {task.id for task in self.tasks if task.state is not None}

        await_true("all tasks have settled", PATIENCE, settled, self._program)

    def both(self):
        """Scrapes both formats in a moment in which nothing moves, and checks that they say the same."""

        def still():
            before, _ = self.scrape()
            openmetrics, _ = self.scrape(f"Accept: {answers.BOTH}")
            text, body = self.scrape()
            return before.still() == text.still() and (text, body, openmetrics)

        text, body, openmetrics = await_true("nothing moves", PATIENCE, still, self._program)
        formats.check_same(text, openmetrics)
        subprocess.run(["promtool", "check", "metrics"], input=body, check=True)
        return text, openmetrics


def check_names(scrape, tasks):
    """Fails unless every odd name came through both writers and parsers unharmed."""
    shown = collections.defaultdict(set)
    for _, labels in scrape.samples:
        for name, value in labels:
            shown[name].add(value)
    check(shown["group"] == set(work.GROUPS), f"groups are shown as {shown['group']}")
    check(shown["task_id"] == {task.id for task in tasks}, f"task IDs are shown as {shown['task_id']}")
    check(shown["error_code"] == set(work.ERROR_CODES), f"error codes are shown as {shown['error_code']}")


def prove(binary):
    """Goes through all of it."""
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dragdropdo-exposition-")))
        exposition = Exposition(binary, folder, stack)
        exposition.await_settled()
        answers.check_negotiation(exposition.url)
        print("curl: format and compression are what is asked for, by GET and HEAD", flush=True)

        text, openmetrics = exposition.both()
        check(not openmetrics.created, "start times are told though nobody asked for them")
        check_names(text, exposition.tasks)
        formats.check_histograms_hold(text, exposition.tasks)
        formats.check_exemplars(
            openmetrics, exposition.tasks, work.AGES, work.LONGEST_ID, exposition.began, time.time()
        )
        print(
            f"Python client: {len(text.families)} families and {len(text.samples)} samples are the same in both"
            f" formats; {len(openmetrics.exemplars)} exemplars",
            flush=True,
        )

        prometheus = stack.enter_context(scraping.scraping(exposition.url, folder))
        scraping.await_scrapes(prometheus)
        stored = {job: scraping.stored(prometheus, job) for job in ("openmetrics", "text")}
        check(stored["openmetrics"] == stored["text"], "Prometheus stores different samples of the two formats")
        scraping.check_exemplars(prometheus, openmetrics, exposition.began - 1)
        print(f"Prometheus: {len(stored['text'])} series are the same from both formats, and the exemplars", flush=True)

        exposition.reload(created_samples=True)
        text, openmetrics = exposition.both()
        process_started = text.samples[("process_start_time_seconds", frozenset())]
        formats.check_created(openmetrics, process_started, exposition.began, time.time())
        scraping.await_scrapes(prometheus)
        with_created, without = (scraping.stored(prometheus, job) for job in ("openmetrics", "text"))
        # As this Prometheus knows no start times, each becomes a series.
        created = {key for key in with_created if key[0].endswith("_created")}
        check(created and with_created.keys() - created == without.keys(), "Prometheus stores other samples than before")
        print(f"start times: {len(openmetrics.created)} in OpenMetrics, beside samples that stay the same", flush=True)


if __name__ == "__main__":
    main("exposition", TIME_LIMIT, prove)
