"""The one who is paged: takes Alertmanager's notifications and remembers when each came."""

import contextlib
import dataclasses
import http.server
import json
import threading
import time


@dataclasses.dataclass(frozen=True)
class Page:
    """One alert of one notification."""

    # Unix time of the notification's receipt.
    received: float
    status: str
    labels: dict
    annotations: dict
    fingerprint: str
    starts_at: str
    # The path that it was posted to: it tells the receivers of the configuration apart.
    path: str

    @property
    def name(self):
        """The alert's name."""
        return self.labels.get("alertname", "")


class Receiver:
    """A webhook receiver on loopback."""

    def __init__(self):
        self._lock = threading.Lock()
        self._pages = []
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            """Takes notifications."""

            def do_POST(self):
                """Takes one notification."""
                received = time.time()
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take(received, self.path, json.loads(body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                """Says nothing: the pages are checked, not read."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def take(self, received, path, notification):
        """Remembers a notification's alerts."""
        pages = [
            Page(
                received,
                alert["status"],
                alert["labels"],
                alert["annotations"],
                alert["fingerprint"],
                alert["startsAt"],
                path,
            )
            for alert in notification["alerts"]
        ]
        with self._lock:
            self._pages.extend(pages)

    def pages(self, name=None, status=None):
        """All pages so far, or those of the alert `name` and with `status`."""
        with self._lock:
            return [
                page
                for page in self._pages
                if (name is None or page.name == name) and (status is None or page.status == status)
            ]

    @contextlib.contextmanager
    def serving(self):
        """Serves until the block ends."""
        thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()
