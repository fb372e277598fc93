"""A headless Chromium, driven by way of its own WebDriver server."""

import base64
import contextlib
import json
import urllib.request

from processes import await_true, check, fetch_json, free_port, running

# Seconds that the driver may take to answer at the start, and that anything on the page may take.
START_TIMEOUT = 30
PATIENCE = 30
# What keeps the browser to the pages that it is sent to.
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-proxy-server",
    "--hide-scrollbars",
    "--window-size=1280,900",
]
# The key under which WebDriver names an element.
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"

# A proxy of the environment has no business on loopback.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Browser:
    """One tab."""

    def __init__(self, url, session):
        self._url = f"{url}/session/{session}"

    def _ask(self, command, **parameters):
        return fetch_json(f"{self._url}/{command}", parameters)["value"]

    def close(self):
        """Ends the browser, which is the driver's child and not this process's."""
        request = urllib.request.Request(self._url, method="DELETE")
        with contextlib.suppress(OSError), _opener.open(request, timeout=PATIENCE):
            pass

    def open(self, address):
        """Loads an address."""
        self._ask("url", url=address)

    def run(self, script, *arguments):
        """Gives what the body of a function returns that runs in the page."""
        return self._ask("execute/sync", script=script, args=list(arguments))

    def type(self, selector, text):
        """Types into an element, as with a keyboard."""
        element = self._ask("element", using="css selector", value=selector)[ELEMENT]
        self._ask(f"element/{element}/value", text=text)

    def devtools(self, command, **parameters):
        """Gives what a command of the developer tools answers."""
        return self._ask("goog/cdp/execute", cmd=command, params=parameters)

    def until(self, what, script, *arguments, seconds=PATIENCE):
        """Waits until what a function in the page returns is true, and gives it."""
        return await_true(what, seconds, lambda: self.run(script, *arguments))

    def console(self):
        """What the console says since the last time: errors, and violations of the page's policy."""
        return [entry["message"] for entry in self._ask("se/log", type="browser")]

    def requests(self):
        """The addresses that the browser has asked for since the last time, in whatever way."""
        messages = [json.loads(entry["message"])["message"] for entry in self._ask("se/log", type="performance")]
        return [
            message["params"]["request"]["url"] for message in messages if message["method"] == "Network.requestWillBeSent"
        ]

    def show(self, width, height=900, scheme="light", media="screen"):
        """Sets the size of the window, whether the reader likes it dark, and whether it is printed."""
        self.devtools(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.devtools("Emulation.setEmulatedMedia", media=media, features=features)

    def picture(self, path):
        """Keeps a picture of the whole page."""
        taken = self.devtools("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))


@contextlib.contextmanager
def browsing(folder):
    """Runs a browser with a profile of its own below `folder`."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "LANG": "C.UTF-8", "TMPDIR": str(folder)}
    with running("chromedriver", ["chromedriver", f"--port={port}"], folder, environment=environment) as driver:
        await_true("chromedriver answers", START_TIMEOUT, lambda: fetch_json(f"{url}/status")["value"]["ready"], driver)
        options = {"args": [*ARGUMENTS, f"--user-data-dir={folder}/profile"], "perfLoggingPrefs": {"enableNetwork": True}}
        capabilities = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        session = fetch_json(f"{url}/session", {"capabilities": {"alwaysMatch": capabilities}})["value"]
        check("sessionId" in session, f"the browser does not start: {session}")
        browser = Browser(url, session["sessionId"])
        try:
            yield browser
        finally:
            browser.close()
