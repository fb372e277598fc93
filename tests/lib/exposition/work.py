"""The work that is exposed: tasks whose names hold all that a label value can, and an API that knows them."""

import dataclasses
import datetime
import json
import urllib.parse

# Groups, task IDs and error codes may hold anything but control characters.
GROUPS = ["default", 'quo"ted \\ back\\\\slashed', "mit Ümläuten, 日本語 und 🗜", 'a="b",c} 1 # {d="e"} 2\\']
ODD_ID = 'id "of" \\n {a="b"} # 日本語 \\'
ERROR_CODES = ["internal_error", 'odd "code"\\', "{x=\"y\"} # 1", "fehler_ü"]
# One more character and "task_id" does not fit the 128 that OpenMetrics allows for an exemplar.
LONGEST_ID = 121
# Seconds since the submission of a task when the exporter starts. Each lies so far below a bound of the default buckets
# that the latency falls into that bucket even where everything is slow.
AGES = {20: (10, 30), 80: (60, 120), 400: (300, 600)}


@dataclasses.dataclass(frozen=True)
class Task:
    """One task of the configuration."""

    id: str
    group: str
    # Seconds; a key of AGES, or far more for one that never ends.
    age: int
    # How it ends; None for one that never does.
    state: str | None

    def configured(self, now):
        """Gives the entry for the configuration."""
        submitted_at = now - datetime.timedelta(seconds=self.age)
        return {"id": self.id, "group": self.group, "submitted_at": submitted_at.isoformat()}

    def answer(self, is_first):
        """Gives the status body."""
        if is_first or self.state is None:
            files = [{"file_key": key, "status": "queued"} for key in ("a", "b")]
            return {"operation_status": "in_progress", "files_data": files}
        failed = {"file_key": "a", "status": "failed", "error_code": ERROR_CODES[len(self.id) % len(ERROR_CODES)]}
        completed = {"file_key": "b_out", "status": "completed"}
        files = [failed, completed] if self.state == "completed" else [failed, {**failed, "file_key": "b"}]
        return {"operation_status": self.state, "files_data": files}


def tasks():
    """Gives all tasks."""
    found = []
    for place, group in enumerate(GROUPS):
        for age in AGES:
            found.append(Task(f"{ODD_ID} {place} {age}", group, age, "completed"))
        found.append(Task("\\" * (place + 1), group, 20, "failed"))
        found.append(Task(f"{place}".ljust(LONGEST_ID, "ü"), group, 80, "failed"))
        found.append(Task(f"{place}".ljust(LONGEST_ID + 1, "x"), group, 400, "failed"))
    # Polled so seldom that nothing moves while the formats are compared.
    found.append(Task("unfinished", GROUPS[0], 5 * 24 * 3600, None))
    return found


class Api:
    """A D3 API that knows these tasks."""

    def __init__(self, known):
        self._known = {task.id: task for task in known}
        self._asked = set()

    def answer(self, path, _headers):
        """Answers a poll: status, content type and body."""
        task_id = urllib.parse.unquote(path.removeprefix("/api/v1/status/"))
        task = self._known.get(task_id)
        if task is None:
            return 404, "application/json", b"{}"
        is_first = task_id not in self._asked
        self._asked.add(task_id)
        return 200, "application/json", json.dumps(task.answer(is_first)).encode()
