"""The shipped configurations of Prometheus and Alertmanager, with nothing changed but addresses and times.

Python's standard library reads no YAML, so this works on the text: each change has to find what it changes.
"""

import pathlib
import re
import shutil

from processes import check

SHIPPED = pathlib.Path(__file__).resolve().parents[3] / "prometheus"


def prometheus(folder, addresses, scrape_interval, evaluation_interval):
    """Copies the configuration with its rules into `folder`, and gives the path of the copy.

    `addresses` has for each port that the configuration may name what takes its place. Rules are copied as they are.
    """
    copy = folder / "prometheus"
    shutil.copytree(SHIPPED, copy)
    path = copy / "prometheus.yml"
    text = path.read_text()
    text = _set(text, "scrape_interval", f"{scrape_interval}s")
    text = _set(text, "evaluation_interval", f"{evaluation_interval}s")
    for port, address in addresses.items():
        text = re.sub(rf'(?<=["\[ ])localhost:{port}\b', address, text)
    left = re.findall(r"^[^#\n]*\blocalhost:\d+", text, re.MULTILINE)
    check(not left, f"prometheus.yml names an address that the proof does not know: {left}")
    for address in (addresses[10211], addresses[9093]):
        check(address in text, f"prometheus.yml does not name what runs at {address} in the proof")
    path.write_text(text)
    return path


def alertmanager(folder, receiver, group_wait):
    """Copies the configuration into `folder`, and gives the path of the copy.

    All receivers become paths of `receiver`. Alertmanager then waits `group_wait` seconds, before the first notification
    of a group as before the next ones.
    """
    text = (SHIPPED / "alertmanager.yml").read_text()
    text = _set(text, "group_wait", f"{group_wait}s")
    text = _set(text, "group_interval", f"{group_wait}s")
    text, count = re.subn(r"\bhttp://localhost:\d+(?=/)", receiver, text)
    check(count > 0, "alertmanager.yml has no receiver http://localhost:PORT/… that the proof could stand in for")
    path = folder / "alertmanager.yml"
    path.write_text(text)
    return path


def rules():
    """How many rules the shipped files hold, and of which names."""
    text = "\n".join(path.read_text() for path in sorted((SHIPPED / "rules").glob("*.yml")))
    return sorted(re.findall(r"^ *- (?:alert|record): *(\S+)", text, re.MULTILINE))


def _set(text, key, value):
    text, count = re.subn(rf"^( *(?:- )?{key}:) .*$", rf"\1 {value}", text, flags=re.MULTILINE)
    check(count > 0, f"there is no {key} to change")
    return text
