"""Programs that run beside this one, on loopback, and end with it, whatever happens."""

import contextlib
import json
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

# Seconds that a program has for ending by itself: longer than the exporter gives itself for shutting down.
GRACE = 10
# Lines of a program's log that are shown when the proof fails.
SHOWN_LINES = 30
# Seconds that one request may take.
REQUEST_TIMEOUT = 10

# A proxy of the environment has no business on loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Failed(Exception):
    """Says what did not hold."""


def check(holds, message):
    """Fails with `message` unless `holds`."""
    if not holds:
        raise Failed(message)


def free_port():
    """Finds a port of loopback that nothing listens on.

    It lies below the kernel's range for outgoing connections, so that none of those takes it before the program does.
    """
    for port in random.sample(range(20000, 30000), 50):
        with socket.socket() as listener:
            with contextlib.suppress(OSError):
                listener.bind(("127.0.0.1", port))
                return port
    raise Failed("found no free port on 127.0.0.1 between 20000 and 29999")


class Program:
    """A program that runs in a folder and logs into a file there."""

    def __init__(self, name, command, folder, environment=None):
        self.name = name
        self._command = [str(part) for part in command]
        self._folder = folder
        self._environment = environment
        self._log = folder / f"{name}.log"
        self._process = None

    def start(self):
        """Starts it. The kernel ends it should this process end without ending it."""
        setpriv = shutil.which("setpriv")
        check(setpriv, "setpriv is missing: it comes with util-linux")
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                [setpriv, "--pdeathsig", "KILL", "--", *self._command],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def signal(self, number):
        """Sends it a signal."""
        self._process.send_signal(number)

    def kill(self):
        """Ends it as a power cut would."""
        self._process.kill()
        self._process.wait(GRACE)

    def stop(self):
        """Ends it, by force when it does not end by itself."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self.kill()

    def check_running(self):
        """Fails when it has ended by itself."""
        status = self._process.poll()
        check(status is None, f"{self.name} ended by itself with status {status}")

    def log(self):
        """All that it has logged."""
        return self._log.read_text(errors="replace")


@contextlib.contextmanager
def running(*arguments, **options):
    """Runs a program until the block ends, and tells what it logged when the block failed."""
    program = Program(*arguments, **options)
    failed = True
    try:
        program.start()
        yield program
        failed = False
    finally:
        program.stop()
        if failed:
            print(f"--- the last lines of the log of {program.name}", file=sys.stderr)
            print("\n".join(program.log().splitlines()[-SHOWN_LINES:]), file=sys.stderr)


def fetch(url, data=None, headers=None):
    """Gives the body that `url` answers with. `data` is posted; what is no bytes is posted as JSON."""
    headers = dict(headers or {})
    if data is not None and not isinstance(data, bytes):
        data = json.dumps(data).encode()
        headers["Content-Type"] = "application/json"
    request = urllib.request.Request(url, data, headers)
    with _opener.open(request, timeout=REQUEST_TIMEOUT) as answer:
        return answer.read()


def fetch_json(url, data=None, headers=None):
    """Gives the JSON that `url` answers with."""
    return json.loads(fetch(url, data, headers))


def await_true(what, seconds, condition, *programs):
    """Waits until `condition()` is true, gives its value, and fails after `seconds` or when a program has ended."""
    deadline = time.monotonic() + seconds
    last_error = ""
    while True:
        for program in programs:
            program.check_running()
        try:
            value = condition()
            if value:
                return value
        except (OSError, urllib.error.URLError) as error:
            last_error = f"; the last request failed: {error}"
        check(time.monotonic() < deadline, f"waited {seconds} s in vain until {what}{last_error}")
        time.sleep(0.1)


def main(name, time_limit, prove):
    """Runs `prove` with the exporter that the command line names; the exit code says whether all of it holds.

    What is not done within `time_limit` seconds fails. All programs end in any case.
    """

    def out_of_time(*_):
        raise Failed(f"it took longer than {time_limit} s")

    signal.signal(signal.SIGALRM, out_of_time)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(f"{name}: ended by SIGTERM"))
    signal.alarm(time_limit)
    try:
        prove(pathlib.Path(sys.argv[1]).resolve(strict=True))
    except Failed as failure:
        sys.exit(f"{name}: {failure}")
