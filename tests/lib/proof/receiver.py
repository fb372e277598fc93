"""The one who is paged: takes Alertmanager's notifications and remembers when each came."""

import dataclasses
import json
import threading
import time

from server import Handler, Server


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

        class Notifications(Handler):
            """Takes notifications."""

            def do_POST(self):
                """Takes one notification."""
                received = time.time()
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take(received, self.path, json.loads(body))
                self.send_response(200)
                self.end_headers()

        self.server = Server(Notifications)
        self.url = self.server.url

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
