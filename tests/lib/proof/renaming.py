"""The metric names in a query, and the query with one of them changed. Strings and comments are no names."""

import re

# A string or comment, a bracket, or an identifier. All else is of no interest.
_TOKEN = re.compile(
    r""" "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | `[^`]*` | \#[^\n]* | (?P<open>[({\[]) | (?P<close>[)}\]])
    | (?P<name>[a-zA-Z_:][a-zA-Z0-9_:]*) """,
    re.VERBOSE,
)
# Which identifiers are metrics that this project or Prometheus itself makes.
_METRIC = re.compile(r"(dragdropdo|process|scrape|prometheus|alertmanager)[_:].*|up|ALERTS|ALERTS_FOR_STATE")
# By which labels an operator matches, at the head of its right operand.
_MATCHING = re.compile(r"\s*((on|ignoring)\s*\([^)]*\)\s*)?((group_left|group_right)\s*(\([^)]*\))?)?")
# What a name gets behind it when it is renamed: nothing is called so.
_SUFFIX = "_renamed"


def metric_names(query):
    """Gives the metric names of a query, sorted."""
    tokens = (match["name"] for match in _TOKEN.finditer(query))
    return sorted({name for name in tokens if name and _METRIC.fullmatch(name)})


def renamed(query, metric):
    """Gives the query with `metric` renamed wherever it occurs."""
    return _TOKEN.sub(lambda match: match[0] + _SUFFIX if match["name"] == metric else match[0], query)


def branches(query):
    """Splits a query at the `or` outside all brackets, which binds least of all, into what stands on its own."""
    return [query[start:end].strip() for start, end in _parts(query, "or")]


def needed_names(query):
    """Gives the metric names without which a query can give nothing: not those of which another can take the place, nor
    those that only take something away."""
    query = query[_MATCHING.match(query).end() :].strip()
    alternatives = branches(query)
    if len(alternatives) > 1:
        return set.intersection(*map(needed_names, alternatives))
    operands = [query[start:end] for start, end in _parts(query, "and")]
    if len(operands) > 1:
        return set.union(*map(needed_names, operands))
    start, end = next(_parts(query, "unless"))
    if end < len(query):
        return needed_names(query[start:end])
    if _is_bracketed(query):
        return needed_names(query[1:-1])
    return set(metric_names(query))


def _is_bracketed(query):
    """Whether the first bracket of a query opens all of it, and the last one closes it."""
    if not query.startswith("("):
        return False
    depth = 0
    for match in _TOKEN.finditer(query):
        depth += bool(match["open"]) - bool(match["close"])
        if depth == 0:
            return match.end() == len(query)
    return False


def _parts(query, operator):
    """The places of what stands between the `operator`s outside all brackets."""
    depth, start = 0, 0
    for match in _TOKEN.finditer(query):
        depth += bool(match["open"]) - bool(match["close"])
        if depth == 0 and match["name"] == operator:
            yield start, match.start()
            start = match.end()
    yield start, len(query)
