"""What the exporter answers to one request, as curl shows it."""

import gzip
import subprocess

from formats import OPENMETRICS, TEXT, read
from processes import REQUEST_TIMEOUT, check

# What a Prometheus that knows both formats sends.
BOTH = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"


def ask(url, *headers, method="GET"):
    """Gives status, headers (each name with the list of its values) and body, just as they came."""
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(REQUEST_TIMEOUT)]
    command += ["--include", "--header", "Accept:", *(["--head"] if method == "HEAD" else [])]
    for header in headers:
        command += ["--header", header]
    answer = subprocess.run([*command, url], check=True, stdout=subprocess.PIPE).stdout
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    found = {}
    for name, _, value in (line.partition(": ") for line in lines):
        found.setdefault(name.lower(), []).append(value)
    return int(status.split()[1]), found, body


def scrape(url, *headers):
    """Reads what `/metrics` answers to a request with these headers."""
    status, found, body = ask(url, *headers)
    check(status == 200, f"/metrics answers {status}")
    return read(found["content-type"][0], body), body


def check_negotiation(url):
    """Fails unless format and compression are what the headers ask for."""
    for headers, content_type, is_zipped in (
        ([], TEXT, False),
        (["Accept: */*"], TEXT, False),
        (["Accept: text/html"], TEXT, False),
        (["Accept: application/openmetrics-text;version=0.0.1"], TEXT, False),
        (["Accept: application/openmetrics-text;q=0, */*;q=0.1"], TEXT, False),
        ([f"Accept: {BOTH}"], OPENMETRICS, False),
        (["Accept: text/plain;q=0.3", "Accept: application/openmetrics-text;q=0.4"], OPENMETRICS, False),
        (["Accept-Encoding: gzip"], TEXT, True),
        (["Accept-Encoding: br, gzip;q=0.1"], TEXT, True),
        (["Accept-Encoding: gzip;q=0"], TEXT, False),
        (["Accept-Encoding: gzip;q=0, identity"], TEXT, False),
        (["Accept-Encoding: identity"], TEXT, False),
        (["Accept-Encoding: br"], TEXT, False),
        ([f"Accept: {BOTH}", "Accept-Encoding: gzip"], OPENMETRICS, True),
        ([f"Accept: {BOTH}", "Accept-Encoding: identity"], OPENMETRICS, False),
    ):
        for method in ("GET", "HEAD"):
            status, found, body = ask(url, *headers, method=method)
            what = f"the answer to {method} with {headers}"
            check(status == 200, f"{what} is {status}")
            check(found["content-type"] == [content_type], f"{what} has {found['content-type']}")
            vary = {name.strip().lower() for line in found["vary"] for name in line.split(",")}
            check(vary == {"accept", "accept-encoding"}, f"{what} varies by {vary}")
            encoding = found.get("content-encoding")
            check(encoding == (["gzip"] if is_zipped else None), f"{what} has the encoding {encoding}")
            if method == "HEAD":
                check(body == b"", f"{what} has a body")
            else:
                read(content_type, gzip.decompress(body) if is_zipped else body)
