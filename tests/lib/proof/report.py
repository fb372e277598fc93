"""What the proof has seen, printed at its end."""


class Summary:
    """Collects what was seen."""

    def __init__(self):
        self._notes = []
        self._alerts = []
        self._queries = []
        self._rules = []

    def note(self, text):
        """Adds a line."""
        self._notes.append(text)

    def alert(self, name, state, detail):
        """Adds an alert, the furthest state that it reached, and what is to be said of it."""
        self._alerts.append((name, state, detail))

    def rule(self, name, branches, mutations):
        """Adds a rule, with how many branches of its expression gave something, and how many of their mutations not."""
        self._rules.append((name, branches, str(mutations)))

    def query(self, query, series, problem):
        """Adds a query with the number of series that it gave, and what was wrong with them."""
        self._queries.append((str(query), str(series), problem or ""))

    def print(self):
        """Prints everything."""
        _table("queries of the dashboards, and how many series each gave", self._queries)
        _table(
            "rules: branches that gave something in this run, and metrics renamed in those, each noticed", self._rules
        )
        _table("alerts", self._alerts)
        print()
        for note in self._notes:
            print(note)


def _table(title, rows):
    if not rows:
        return
    print(f"\n{title}")
    widths = [max(len(cell) for cell in column) for column in zip(*rows)]
    for row in rows:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
