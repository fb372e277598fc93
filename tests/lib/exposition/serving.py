"""HTTP servers of this program, on loopback."""

import contextlib
import http.server
import threading


@contextlib.contextmanager
def serving(answer):
    """Serves until the block ends, and gives the URL.

    `answer(path, headers)` gives what a GET is answered with: status, content type and body.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        """Answers GETs."""

        def do_GET(self):
            """Answers one."""
            status, content_type, body = answer(self.path, self.headers)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            """Says nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
