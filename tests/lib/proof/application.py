"""What stands around the exporter: an application that submits work, the lists of it, and webhooks that go astray."""

import contextlib
import datetime
import hashlib
import hmac
import itertools
import json
import threading
import urllib.error

from processes import Failed, check, fetch, fetch_json
from server import Handler, Server

# They open nothing but the simulated API and the exporter of this proof.
API_KEY = "d3_live_proof"
TOKEN = "proof"
WEBHOOK_SECRET = "proof-webhooks"

# The group whose ends the API announces by webhook.
WEBHOOK_GROUP = "invoices"
# The work that is submitted, one after the other: group, action, number of files, and how the exporter is told.
WORK = [
    ("invoices", "convert", 2, "registration"),
    ("photos", "compress", 4, "registration"),
    ("invoices", "merge", 3, "registration"),
    ("contracts", "lock", 1, "http"),
    ("archive", "zip", 5, "file"),
    ("photos", "convert", 3, "registration"),
]
# Seconds between two operations.
SUBMIT_EVERY = 0.4


class Application:
    """Submits operations to the API and tells the exporter of them, each kind in its own way."""

    def __init__(self, api, exporter, folder):
        self._api = api
        self._exporter = exporter
        self._list = folder / "lists" / "tasks.json"
        self._list.parent.mkdir()
        # What follows is changed by the thread that works and by the one that makes trouble.
        self._lock = threading.Lock()
        self._targets = {"http": [], "file": []}
        self._count = itertools.count()
        self._lists_answer = True
        # The IDs of all tasks of which the exporter was told.
        self.told = set()
        self._write_list()
        application = self

        class List(Handler):
            """Serves the list of tasks for HTTP discovery."""

            def do_GET(self):
                """Answers with the list, or as a broken server does."""
                body = json.dumps(application._targets["http"]).encode()
                self.send_response(200 if application._lists_answer else 500)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self.lists = Server(List)
        self.lists_url = f"{self.lists.url}/tasks"

    @contextlib.contextmanager
    def working(self):
        """Submits one operation after the other until the block ends, and fails when one could not be."""
        stop = threading.Event()
        failures = []

        def work():
            try:
                for kind in itertools.cycle(WORK):
                    self.submit(*kind)
                    if stop.wait(SUBMIT_EVERY):
                        return
            # Nothing else would tell of it.
            except Exception as error:
                failures.append(error)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            stop.set()
            thread.join()
        if failures:
            raise Failed(f"the application could not go on working: {failures[0]}") from failures[0]

    def submit(self, group, action, files, way):
        """Submits one operation, tells the exporter of it, and gives its ID."""
        task, submitted_at = self._submit(group, action, files)
        self.tell(task, group, way, None if way == "registration" else submitted_at)
        return task

    def submit_unseen(self, group, action, files):
        """Submits one operation of which the exporter hears only later, and gives what it is then to be told."""
        task, submitted_at = self._submit(group, action, files)
        return task, group, "registration", submitted_at

    def _submit(self, group, action, files):
        number = next(self._count)
        submitted_at = datetime.datetime.now(datetime.timezone.utc).isoformat()
        operation = {
            "action": action,
            "file_keys": [f"{group}_{number}_file_{file}" for file in range(1, files + 1)],
            "parameters": {},
            "notes": group,
        }
        answer = fetch_json(f"{self._api}/api/v1/do", operation, {"Authorization": f"Bearer {API_KEY}"})
        return answer["data"]["main_task_id"], submitted_at

    def tell(self, task, group, way, submitted_at=None):
        """Tells the exporter of a task. A registered one without `submitted_at` starts when it is registered."""
        self.told.add(task)
        if way == "registration":
            registration = {"id": task, "group": group, "submitted_at": submitted_at}
            fetch(f"{self._exporter}/api/v1/tasks", registration, {"Authorization": f"Bearer {TOKEN}"})
        elif way != "configuration":
            labels = {"group": group, "submitted_at": submitted_at}
            with self._lock:
                self._targets[way].append({"targets": [task], "labels": labels})
                self._write_list()

    def break_lists(self):
        """Lets both lists be of no use, until they are mended."""
        with self._lock:
            self._lists_answer = False
            self._list.write_text("this is no list")

    def mend_lists(self):
        """Lets both lists be right again."""
        with self._lock:
            self._lists_answer = True
            self._write_list()

    def _write_list(self):
        if not self._lists_answer:
            return
        # Renamed over, so that it is never read half written.
        unfinished = self._list.with_suffix(".new")
        unfinished.write_text(json.dumps(self._targets["file"]))
        unfinished.replace(self._list)

    def deliver_stray_webhooks(self):
        """Delivers webhooks of an unknown task, of an unknown type, malformed, and wrongly signed."""
        moment = datetime.datetime.now(datetime.timezone.utc).isoformat()
        stray = {"timestamp": moment, "payload": {"main_task": {"id": "main_task_of_somebody_else"}}}
        self._deliver({"type": "operation.completed", **stray}, 204)
        self._deliver({"type": "operation.rumoured", **stray}, 204)
        self._deliver({"type": "operation.failed"}, 400)
        # One alone is nobody's trouble.
        for _ in range(4):
            self._deliver({"type": "operation.failed", **stray}, 401, secret="a guess")

    def _deliver(self, webhook, expected, secret=WEBHOOK_SECRET):
        body = json.dumps(webhook).encode()
        signature = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        try:
            fetch(f"{self._exporter}/webhooks/dragdropdo", body, {"X-Webhook-Signature": signature})
            status = 204
        except urllib.error.HTTPError as error:
            error.close()
            status = error.code
        check(status == expected, f"the exporter answers {status} and not {expected} to the webhook {body!r}")
