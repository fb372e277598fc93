"""Everything that runs: the simulated API, the exporter, Prometheus, Alertmanager, and what stands around them."""

import collections
import json
import signal
import time

import shipped
from application import API_KEY, TOKEN, WEBHOOK_GROUP, WEBHOOK_SECRET, Application
from processes import await_true, check, fetch, fetch_json, free_port, running
from prometheus import Prometheus
from receiver import Receiver

# Seconds of each: what the promise "within two scrapes and an evaluation" is measured by.
SCRAPE_INTERVAL = 1
EVALUATION_INTERVAL = 1
# Seconds that a scrape may take. All that it brings is dated at its begin, so that much of it may come from the future.
SCRAPE_DURATION = 0.5
# Seconds that Alertmanager collects before it notifies: the least that it allows.
GROUP_WAIT = 1
# Seconds that a program may take until it answers: far longer than any needs.
START_TIMEOUT = 30
# Seconds that an operation takes, at most.
LONGEST_OPERATION = 6
# Seconds within which all operations settle: with time to spare for polls that back off after a failure.
SETTLE_TIMEOUT = 4 * LONGEST_OPERATION

# What the simulated API does, beside where it listens and which key it takes.
API_OPTIONS = [
    f"--duration=1s..{LONGEST_OPERATION}s",
    "--rate-limit=6000/m",
    "--latency=5ms",
    "--latency-jitter=5ms",
    "--webhook-retries=0",
    f"--webhook-tag={WEBHOOK_GROUP}",
    f"--webhook-secret={WEBHOOK_SECRET}",
]
HEALTHY = ["--seed=1", "--failure-share=0"]
# With 8 files of which each fails with this share it is all but certain that one does and another does not.
FAILING = [
    "--seed=2",
    "--failure-share=0.4",
    "--error-codes=internal_error=3,invalid_input_file=2,password_required=1",
    "--codeless-share=0.1",
    "--fault-server-error=0.02",
    "--fault-garbage=0.01",
]
# The group and number of files of the first operation with a failing file.
FIRST_FAILURE = ("contracts", "convert", 8, "registration")
# Group, action and number of files of an operation of which the exporter is told when it has finished.
UNSEEN_WORK = ("photos", "convert", 2)
# Seconds until a task is given up: longer than any takes that the API knows.
ABANDON_AFTER = 15
# A task that the API does not know, the only one of its group.
UNKNOWN_TASK = ("main_task_that_nobody_knows", "lost", "registration")


class Installation:
    """All of it, running on loopback in one folder until `stack` is closed."""

    def __init__(self, binary, folder, stack):
        self._binary = binary
        self._folder = folder
        self._stack = stack
        self._api = f"127.0.0.1:{free_port()}"
        self._exporter = f"127.0.0.1:{free_port()}"
        self.exporter_url = f"http://{self._exporter}"
        self.receiver = Receiver()
        stack.enter_context(self.receiver.server.serving())
        self.application = Application(f"http://{self._api}", self.exporter_url, folder)
        stack.enter_context(self.application.lists.serving())

        self._api_program = None
        # What became of the operations of simulated APIs that have ended.
        self._past_truths = []
        self._start_api("api-healthy", HEALTHY)
        # A static task has to exist before the configuration that names it.
        static = self.application.submit("archive", "unlock", 1, "configuration")
        self._configure(static)
        command = [binary, "serve", "--config.file=config.yaml"]
        self._exporter_program = stack.enter_context(running("exporter", command, folder))
        self._await_exporter()
        self.alertmanager_url = self._start_alertmanager()
        self.prometheus = self._start_prometheus()

    def _start_api(self, name, options):
        url = f"--webhook-url={self.exporter_url}/webhooks/dragdropdo"
        command = [self._binary, "simulate", f"--listen-address={self._api}", f"--api-key={API_KEY}", url]
        program = running(name, [*command, *API_OPTIONS, *options], self._folder)
        self._api_program = self._stack.enter_context(program)
        await_true("the simulated API answers", START_TIMEOUT, self._truth, self._api_program)

    def let_api_fail(self):
        """Replaces the simulated API by one that fails, on the same address, while nothing is under way."""
        self._past_truths.append(self._truth()["finished"])
        self._api_program.stop()
        self._start_api("api-failing", FAILING)

    def _configure(self, static):
        secrets = {"api-key": API_KEY, "token": TOKEN, "webhook-secret": WEBHOOK_SECRET}
        for name, text in secrets.items():
            (self._folder / name).write_text(text)
        configuration = {
            "api": {
                "base_url": f"http://{self._api}",
                "api_key_file": "api-key",
                "rate_limit": "50/s",
                "timeout": "2s",
            },
            "poll": {"interval": "1s", "min_interval": "500ms", "abandon_after": f"{ABANDON_AFTER}s"},
            "tasks": [{"id": static, "group": "archive"}],
            "discovery": {
                "files": ["lists/*.json"],
                "http": [{"url": self.application.lists_url, "refresh_interval": "1s", "timeout": "1s"}],
            },
            "web": {"listen_address": self._exporter, "api_token_file": "token"},
            "webhook": {"secret_file": "webhook-secret"},
            "storage": {"url": "sqlite://exporter.db"},
            # Few, so that there are some to hide.
            "metrics": {"per_task_limit": 20},
        }
        # JSON is YAML.
        (self._folder / "config.yaml").write_text(json.dumps(configuration))

    def _await_exporter(self):
        def ready():
            return fetch(f"{self.exporter_url}/-/ready")

        await_true("the exporter is ready", START_TIMEOUT, ready, self._exporter_program)

    def _start_alertmanager(self):
        address = f"127.0.0.1:{free_port()}"
        configuration = shipped.alertmanager(self._folder, self.receiver.url, GROUP_WAIT)
        command = [
            "prometheus-alertmanager",
            f"--config.file={configuration}",
            "--storage.path=alertmanager-data",
            f"--web.listen-address={address}",
            # There is one: it waits for no other.
            "--cluster.listen-address=",
        ]
        program = self._stack.enter_context(running("alertmanager", command, self._folder))
        url = f"http://{address}"
        await_true("Alertmanager answers", START_TIMEOUT, lambda: fetch_json(f"{url}/api/v2/status"), program)
        return url

    def _start_prometheus(self):
        address = f"127.0.0.1:{free_port()}"
        alertmanager = self.alertmanager_url.removeprefix("http://")
        addresses = {10211: self._exporter, 9093: alertmanager, 9090: address}
        configuration = shipped.prometheus(self._folder, addresses, SCRAPE_INTERVAL, EVALUATION_INTERVAL)
        command = [
            "prometheus",
            f"--config.file={configuration}",
            "--storage.tsdb.path=prometheus-data",
            f"--web.listen-address={address}",
        ]
        program = self._stack.enter_context(running("prometheus", command, self._folder))
        prometheus = Prometheus(f"http://{address}")
        await_true("Prometheus is ready", START_TIMEOUT, lambda: fetch(f"{prometheus.url}/-/ready"), program)

        def ready():
            evaluated = all(rule["health"] == "ok" for rule in prometheus.rules())
            known = prometheus.get("alertmanagers")["activeAlertmanagers"]
            return evaluated and known and self.scraped_since(0)

        self.prometheus = prometheus
        await_true("Prometheus has scraped, evaluated and found Alertmanager", START_TIMEOUT, ready, program)
        return prometheus

    def target_labels(self):
        """The job and instance under which Prometheus scrapes the exporter."""
        targets = self.prometheus.get("targets", state="active")["activeTargets"]
        mine = [target["labels"] for target in targets if self._exporter in target["scrapeUrl"]]
        check(len(mine) <= 1, f"Prometheus scrapes the exporter by {len(mine)} targets")
        return {label: mine[0][label] for label in ("job", "instance")} if mine else None

    def scraped_since(self, moment):
        """Whether a scrape of the exporter after `moment` succeeded."""
        labels = self.target_labels()
        if not labels:
            return False
        up = 'up{job="%(job)s",instance="%(instance)s"}' % labels
        # Of anything but a plain metric, timestamp() would be that of the query.
        seen = self.prometheus.instant(f"timestamp({up}) and {up} == 1")
        return any(scraped > moment for _, scraped in seen)

    def wait(self, seconds):
        """Lets time pass, and fails when a program has ended meanwhile."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._exporter_program.check_running()
            self._api_program.check_running()
            time.sleep(0.2)

    def fail_some_files(self):
        """Has some files of one operation fail, and others complete."""
        group = FIRST_FAILURE[0]
        self.application.submit(*FIRST_FAILURE)
        planned = self._truth()["tags"][group]["planned"]
        check(planned["partially_failed"] == 1, f"the first operation of {FAILING} is no partial failure: {planned}")

    def restart_exporter(self):
        """Kills the exporter, leaves it down for some scrapes and evaluations, and starts it on the same database."""
        self._exporter_program.kill()
        time.sleep(3 * max(SCRAPE_INTERVAL, EVALUATION_INTERVAL))
        self._exporter_program.start()
        self._await_exporter()
        started = time.time()
        await_true("the exporter is scraped again", START_TIMEOUT, lambda: self.scraped_since(started))
        # As many again, for what the restart may have set off.
        self.wait(4 * max(SCRAPE_INTERVAL, EVALUATION_INTERVAL) + GROUP_WAIT)

    def make_trouble(self):
        """Has everything happen that is neither work nor a failure of it."""
        self.application.tell(*UNKNOWN_TASK)
        unseen = self.application.submit_unseen(*UNSEEN_WORK)
        self.application.deliver_stray_webhooks()
        self.application.break_lists()
        text = (self._folder / "config.yaml").read_text()
        self._reload(f"no such key: 1\n{text}")
        # Longer than a refresh takes, so that each list is found broken, and than a scrape and an evaluation.
        self.wait(4)
        self.application.mend_lists()
        self._reload(text)
        # Longer than an operation takes, so that the exporter finds it finished, and nobody knows since when.
        self.wait(LONGEST_OPERATION)
        self.application.tell(*unseen)

    def _reload(self, configuration):
        (self._folder / "config.yaml").write_text(configuration)
        self._exporter_program.signal(signal.SIGHUP)

    def await_settled(self):
        """Waits until every task has settled and Prometheus has seen that."""

        def settled():
            tasks = fetch_json(f"{self.exporter_url}/api/v1/tasks")
            # Those of a list come with its next refresh.
            return self.application.told == {task["id"] for task in tasks if task["settled"]}

        await_true("every task has settled", SETTLE_TIMEOUT, settled, self._exporter_program, self._api_program)
        now = time.time()
        await_true("that is scraped", START_TIMEOUT, lambda: self.scraped_since(now), self._exporter_program)

    def settled_tasks(self):
        """How many tasks Prometheus has seen settle."""
        return round(self.prometheus.value("sum(dragdropdo_tasks_finished_total)"))

    def check_against_truth(self):
        """Fails unless Prometheus shows what has become of the operations, of which none is under way."""
        truths = [*self._past_truths, self._truth()["finished"]]
        outcomes, codes = collections.Counter(), collections.Counter()
        for truth in truths:
            outcomes.update({outcome: truth[outcome] for outcome in ("completed", "partially_failed", "failed")})
            codes.update({code or "unspecified": count for code, count in truth["failures_by_code"].items()})
        for query, label, expected in (
            ("sum by (outcome) (dragdropdo_tasks_finished_total)", "outcome", outcomes),
            ("sum by (error_code) (dragdropdo_file_failures_total)", "error_code", codes),
        ):
            shown = {labels[label]: round(value) for labels, value in self.prometheus.instant(query) if value > 0}
            true = {name: count for name, count in expected.items() if count > 0}
            check(shown == true, f"{query} shows {shown}, and what really happened is {true}")

    def _truth(self):
        return fetch_json(f"http://{self._api}/simulator/truth")
