"""The queries of the documents, put to the running Prometheus: each gives data, where it does not look for trouble."""

import json
import math
import pathlib
import re
import subprocess
import sys

from processes import Failed

# Lists every query of the documents.
LISTER = pathlib.Path(__file__).resolve().parents[1] / "documents.py"
# A query that compares looks for what need not be there.
COMPARISON = re.compile(r"[<>]|[=!]=")


def check(prometheus, moments, summary):
    """Fails unless Prometheus answers every query, and those that do not compare with a number at least."""
    command = [sys.executable, "-B", str(LISTER), "--queries"]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    problems, answered = [], 0
    for entry in map(json.loads, lines):
        # Where a reader puts the group of the alert.
        query = entry["expr"].replace('group="GROUP"', 'group=~".+"')
        samples = prometheus.instant(query, at=moments.end)
        if any(math.isfinite(value) for _, value in samples):
            answered += 1
        elif not COMPARISON.search(re.sub(r"\{[^}]*\}", "", query)):
            problems.append(f"{entry['document']}: no number: {query}")
    if problems:
        raise Failed("queries of the documents find nothing here:\n  " + "\n  ".join(problems))
    summary.note(f"queries of the documents: {len(lines)} are answered, {answered} of them with a number")
