"""What is paged: nothing in a healthy run, a failing file soon, and nothing again because of a restart."""

import re
import time
import urllib.parse
from datetime import datetime, timezone

from installation import EVALUATION_INTERVAL, GROUP_WAIT, SCRAPE_DURATION, SCRAPE_INTERVAL
from processes import await_true, check, fetch_json

FILE_FAILED = "DragDropDoFileFailed"
# What this scenario makes fire, and where each is delivered to. All others must stay silent.
FIRING = {
    FILE_FAILED: "page",
    "DragDropDoTaskFailed": "page",
    "DragDropDoTasksDropped": "ticket",
    "DragDropDoWebhooksRejected": "ticket",
    "DragDropDoDiscoveryBroken": "ticket",
}
# Seconds from a failure's count until its alert fires, at most: two scrapes and one evaluation.
ALERT_BOUND = 2 * SCRAPE_INTERVAL + EVALUATION_INTERVAL
# Seconds that Alertmanager and the two deliveries may take beside what Alertmanager waits on purpose.
DELIVERY_SLACK = 2
# Seconds until a page that is due has come for certain.
PAGE_TIMEOUT = 30

# What a template leaves in a text when it goes wrong.
TEMPLATE_TROUBLE = re.compile(
    r"<no value>|<nil>|<error|error expanding|\{\{|\}\}|%!|\bNaN\b|\bInf\b|  |^\s|\s$|\s[.,:]"
)


def check_silence(installation, began):
    """Fails when an alert has fired since `began`, or was about to, or a notification came."""
    for state, names in _states(installation.prometheus, began).items():
        check(not names, f"in a healthy run some alerts were {state}: {sorted(names)}")
    pages = installation.receiver.pages()
    check(not pages, f"a healthy run notifies of {[page.labels for page in pages]}")


def check_failure_paged(installation, began, summary):
    """Fails unless the files that failed since `began`, and nothing else, paged in time."""
    await_true("the failing file has paged", PAGE_TIMEOUT, lambda: installation.receiver.pages(FILE_FAILED, "firing"))
    installation.await_settled()
    # The other failures of the same operation come with the next notification of their group.
    time.sleep(ALERT_BOUND + GROUP_WAIT + DELIVERY_SLACK)
    fired = _states(installation.prometheus, began)["firing"]
    check(
        fired == {FILE_FAILED}, f"an operation with failing files sets off {sorted(fired)}, and not {FILE_FAILED} alone"
    )

    counted = _first_failures(installation.prometheus, began)
    # A notification repeats what its group has told before: the first one of each counts.
    pages = {_key(page): page for page in reversed(installation.receiver.pages(FILE_FAILED))}
    check(pages.keys() == counted.keys(), f"failures were counted for {sorted(counted)}, and paged for {sorted(pages)}")
    first = min(counted, key=counted.get)
    for key, failed_at in sorted(counted.items(), key=lambda item: item[1]):
        page = pages[key]
        _check_text(page, FIRING[FILE_FAILED])
        fired_at = _unix(page.starts_at)
        fired, delivered = fired_at - failed_at, page.received - fired_at
        check(
            -SCRAPE_DURATION <= fired <= ALERT_BOUND,
            f"the alert for {key} fired {fired:.2f} s after the failure's count",
        )
        # The first failure opens the group; a later one may come while Alertmanager waits for the next notification.
        wait = GROUP_WAIT * (1 if key == first else 2) + DELIVERY_SLACK
        check(delivered <= wait, f"the page for {key} was delivered {delivered:.2f} s after its alert fired")
        summary.note(
            f"failing file ({'/'.join(key)}): its alert fired {fired:.2f} s after its count (bound: {ALERT_BOUND} s),"
            f" its page came {page.received - failed_at:.2f} s after, of which Alertmanager waits {GROUP_WAIT} s"
        )
    summary.note(f"the first page: {next(iter(_texts(installation, FILE_FAILED)))}")


def standing(installation):
    """What stands now: for each firing alert since when, in Prometheus and in Alertmanager; and the pages so far."""
    prometheus = {
        _labels(alert["labels"]): alert["activeAt"]
        for alert in installation.prometheus.alerts()
        if alert["state"] == "firing"
    }
    filters = urllib.parse.urlencode({"active": "true"})
    alertmanager = {
        alert["fingerprint"]: alert["startsAt"]
        for alert in fetch_json(f"{installation.alertmanager_url}/api/v2/alerts?{filters}")
    }
    return prometheus, alertmanager, len(installation.receiver.pages())


def check_nothing_new(installation, before, summary):
    """Fails unless everything stands as it did, and nobody was notified of anything."""
    after = standing(installation)
    check(before[0] and before[1], "no alert stood before the restart, so it shows nothing")
    for name, then, now in zip(("alerts of Prometheus", "alerts of Alertmanager"), before, after):
        check(then == now, f"the {name} were {then} before the restart, and are {now} after it")
    new = installation.receiver.pages()[before[2] :]
    check(not new, f"the restart notifies of {[(page.status, page.labels) for page in new]}")
    summary.note(f"restart: {len(after[0])} alerts stand as before, with the same start, and nobody was notified")


def check_all(installation, began, summary):
    """Fails unless exactly the expected alerts have fired, and each was delivered with a text that makes sense."""

    def delivered():
        return {page.name for page in installation.receiver.pages(status="firing")} >= FIRING.keys()

    await_true(f"all of {sorted(FIRING)} have been delivered", PAGE_TIMEOUT, delivered)
    states = _states(installation.prometheus, began)
    check(states["firing"] == FIRING.keys(), f"{sorted(states['firing'])} fired, and expected are {sorted(FIRING)}")
    for page in installation.receiver.pages():
        check(page.name in FIRING, f"a notification of {page.name} came")
        _check_text(page, FIRING[page.name])
    for name in sorted({rule["name"] for rule in installation.prometheus.rules() if rule["type"] == "alerting"}):
        if name in states["firing"]:
            pages = installation.receiver.pages(name, "firing")
            delay = min(page.received - _unix(page.starts_at) for page in pages)
            summary.alert(name, "fired", f"the soonest page after {delay:.2f} s: {pages[0].annotations['description']}")
        else:
            summary.alert(name, "pending" if name in states["pending"] else "silent", "")


def _states(prometheus, began):
    """The names of the alerts that were pending, and firing, at some time since `began`."""
    window = max(1, round(time.time() - began))
    query = f"count by (alertname, alertstate) (count_over_time(ALERTS[{window}s]))"
    states = {"pending": set(), "firing": set()}
    for labels, _ in prometheus.instant(query):
        states[labels["alertstate"]].add(labels["alertname"])
    return states


def _first_failures(prometheus, began):
    """When the first failure of each group and code since `began` was counted."""
    window = max(1, round(time.time() - began))
    query = f"min_over_time(dragdropdo_last_failure_timestamp_seconds[{window}s])"
    return {(labels["group"], labels["error_code"]): value for labels, value in prometheus.instant(query)}


def _key(page):
    return page.labels["group"], page.labels["error_code"]


def _labels(labels):
    return tuple(sorted(labels.items()))


def _texts(installation, name):
    return [
        f"{page.annotations['summary']} | {page.annotations['description']}"
        for page in installation.receiver.pages(name)
    ]


def _check_text(page, severity):
    """Fails unless an alert came to the right receiver, with labels and texts that make sense in a chat message."""
    check(page.path == f"/{severity}" and page.labels["severity"] == severity, f"{page.name} came to {page.path}")
    for label in ("job", "instance"):
        check(page.labels.get(label), f"{page.name} has no label {label}: {page.labels}")
    for name in ("summary", "description", "runbook_url"):
        text = page.annotations.get(name, "")
        check(text and not TEMPLATE_TROUBLE.search(text), f"{page.name} has the {name} {text!r}")


def _unix(text):
    """Unix time of an RFC 3339 text in UTC, with however many digits after the seconds."""
    seconds, _, fraction = text.removesuffix("Z").partition(".")
    moment = datetime.strptime(seconds, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc)
    return moment.timestamp() + float(f"0.{fraction or 0}")
