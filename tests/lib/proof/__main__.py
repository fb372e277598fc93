"""Proves the rules and dashboards in the real thing: exporter, simulated API, Prometheus and Alertmanager.

    python3 tests/lib/proof BINARY      BINARY is the exporter

In this order: a healthy run pages nobody; a failing file pages; a restart of the exporter pages nobody again; every
query of the dashboards gives data that makes sense; each of them, and each rule, notices when a metric is renamed; the
queries of the documents give data, too.
"""

import contextlib
import pathlib
import tempfile
import time

import examples
import pages
import panels
import rulebook
from installation import SCRAPE_INTERVAL, Installation
from processes import main
from report import Summary

# Seconds for everything: some 100 are needed on two cores.
TIME_LIMIT = 150
# Seconds of healthy work, at least: longer than any failure needs to page.
HEALTHY_SECONDS = 20
# Seconds of work with failures until the dashboards are looked at: longer than a task that is given up lives.
TROUBLED_SECONDS = 28


class Proof:
    """The parts of the proof, in their order."""

    def __init__(self, installation, summary):
        self._installation = installation
        self._prometheus = installation.prometheus
        self._summary = summary
        self._began = time.time()
        self._healthy_until = None

    def healthy_run(self):
        """Shows that work that goes well pages nobody."""
        rulebook.check_loaded(self._prometheus)
        with self._installation.application.working():
            self._installation.wait(HEALTHY_SECONDS)
        self._installation.await_settled()
        self._healthy_until = time.time()
        self._installation.check_against_truth()
        pages.check_silence(self._installation, self._began)
        operations, seconds = self._installation.settled_tasks(), self._healthy_until - self._began
        self._summary.note(f"healthy run: {operations} operations in {seconds:.0f} s, no alert and no page")

    def failing_file(self):
        """Shows that a failing file pages, and how soon."""
        self._installation.let_api_fail()
        began = time.time()
        self._installation.fail_some_files()
        pages.check_failure_paged(self._installation, began, self._summary)
        self._installation.check_against_truth()

    def restart(self):
        """Shows that a restart of the exporter pages nobody again."""
        before = pages.standing(self._installation)
        self._installation.restart_exporter()
        pages.check_nothing_new(self._installation, before, self._summary)

    def queries(self):
        """Shows that every query of the dashboards makes sense, and that each one and each rule needs its metrics."""
        with self._installation.application.working():
            self._installation.make_trouble()
            self._installation.wait(TROUBLED_SECONDS)
        moments = panels.Moments(healthy=self._healthy_until, start=self._began, end=time.time())
        everything = panels.queries(SCRAPE_INTERVAL, moments)
        panels.check(self._prometheus, everything, moments, self._summary)
        # As with variables that are set, and not at All.
        one = panels.queries(SCRAPE_INTERVAL, moments, **self._installation.target_labels())
        panels.check(self._prometheus, one, moments)
        panels.check_mutations(self._prometheus, everything, moments, self._summary)
        rulebook.check_mutations(self._prometheus, moments, self._summary)
        examples.check(self._prometheus, moments, self._summary)

    def alerts(self):
        """Shows that what has happened has been told, and nothing else."""
        rulebook.check_loaded(self._prometheus)
        pages.check_all(self._installation, self._began, self._summary)


def prove(binary):
    """Goes through all of it."""
    summary = Summary()
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dragdropdo-proof-")))
        began = time.monotonic()
        proof = Proof(Installation(binary, folder, stack), summary)
        print(f"started in {time.monotonic() - began:.1f} s", flush=True)
        try:
            for part in (proof.healthy_run, proof.failing_file, proof.restart, proof.queries, proof.alerts):
                began = time.monotonic()
                part()
                print(f"{part.__name__}: ok in {time.monotonic() - began:.1f} s", flush=True)
        finally:
            # What was seen explains a failure, too.
            summary.print()


if __name__ == "__main__":
    main("proof", TIME_LIMIT, prove)
