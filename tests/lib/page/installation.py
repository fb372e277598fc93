"""An exporter and an API that answers as it is told to, for the browser to look at."""

import contextlib
import http.server
import json
import threading
import urllib.parse

from processes import await_true, fetch, free_port, running

# Seconds that the exporter may take until it is ready.
START_TIMEOUT = 30
# What the exporter registers tasks with.
TOKEN = "the-token-of-the-applications"
# What no page may show.
SECRETS = [TOKEN, "d3_live_the-key-of-the-api", "the-download-link", "the-message-of-a-failure"]


class Server(http.server.ThreadingHTTPServer):
    """A server whose client may be killed at any moment."""

    daemon_threads = True

    def handle_error(self, *_):
        """Says nothing of it."""


class Api:
    """A D3 API that knows the tasks in `tasks`: each a state, and files as key, state and error code."""

    def __init__(self):
        self.tasks = {}
        # What it answers to everything, in place of what it knows.
        self.status = None
        self._server = None

    @contextlib.contextmanager
    def serving(self):
        """Serves until the block ends; gives its address."""
        api = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                task = api.tasks.get(urllib.parse.unquote(self.path.rpartition("/")[2]))
                status = api.status or (200 if task else 404)
                body = json.dumps(api.body(*task) if status == 200 else {"error": "the-message-of-a-failure"}).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        with Server(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            try:
                yield f"http://127.0.0.1:{server.server_address[1]}"
            finally:
                server.shutdown()

    @staticmethod
    def body(state, files):
        """A status body, with all that must not be shown."""
        entries = [
            {
                "file_key": key,
                "status": file_state,
                "error_code": code,
                "error_message": "the-message-of-a-failure",
                "download_link": "https://files.d3.example/the-download-link",
            }
            for key, file_state, code in files
        ]
        return {"operation_status": state, "files_data": entries}


class Exporter:
    """An exporter of that API, which can be ended and started again at the same address."""

    def __init__(self, binary, api_url, folder):
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        self._folder = folder
        (folder / "token").write_text(TOKEN)
        configuration = {
            "api": {"base_url": api_url, "api_key": "d3_live_the-key-of-the-api", "rate_limit": "200/s"},
            "poll": {"interval": "500ms", "min_interval": "200ms"},
            "web": {"listen_address": address, "api_token_file": "token"},
            "storage": {"url": "sqlite://exporter.db"},
        }
        # JSON is YAML.
        (folder / "config.yaml").write_text(json.dumps(configuration))
        self._command = [binary, "serve", "--config.file=config.yaml"]
        self.program = None

    @contextlib.contextmanager
    def running(self):
        """Runs it until the block ends."""
        with running("exporter", self._command, self._folder) as self.program:
            self.await_ready()
            yield self

    def await_ready(self):
        """Waits until it is ready."""
        await_true("the exporter is ready", START_TIMEOUT, lambda: fetch(f"{self.url}/-/ready"), self.program)

    def follow(self, task, group):
        """Registers a task."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        fetch(f"{self.url}/api/v1/tasks", {"id": task, "group": group}, headers)

    def page(self, query=""):
        """The page as it is sent."""
        return fetch(f"{self.url}/{query}").decode()

    def await_page(self, what, condition):
        """Waits until the page as it is sent meets a condition."""
        return await_true(what, START_TIMEOUT, lambda: condition(self.page()), self.program)
