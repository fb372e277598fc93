"""Reads PromQL, as far as the checks of the dashboards need it: what is selected, under which functions, and by which
labels it is grouped or joined."""

import re
from typing import NamedTuple

AGGREGATIONS = {"sum", "min", "max", "avg", "count", "topk", "bottomk"}
GROUPINGS = {"by", "without", "on", "ignoring", "group_left", "group_right"}
OPERATORS = {"and", "or", "unless", "bool", "offset"}
TOKEN = re.compile(r"""\s*(?: (?P<string>"(?:[^"\\]|\\.)*") | (?P<range>\[[^\]]*\]) | (?P<word>[a-zA-Z_:][\w:]*)
                       | (?P<number>[\d.]+(?:e[+-]?\d+)?) | (?P<sign>=~|!~|!=|==|>=|<=|[-+*/%^=<>(){},]) )""", re.VERBOSE)


class Selector(NamedTuple):
    metric: str
    matchers: dict  # label: (operator, value)
    range: str  # as in $__rate_interval, "" for an instant vector
    inside: list  # the functions and aggregations around it, the innermost last


def parse(expr):
    """The selectors of an expression, and the labels that it groups or joins by."""
    tokens, at = [], 0
    expr = expr.rstrip()
    while at < len(expr):
        match = TOKEN.match(expr, at)
        if not match:
            raise ValueError(f"cannot be read from here on: {expr[at:at + 30]}")
        tokens.append((match.lastgroup, match[match.lastgroup]))
        at = match.end()
    tokens += [("end", ""), ("end", "")]

    selectors, labels, stack, pending, i = [], set(), [], "", 0
    while tokens[i][0] != "end":
        kind, text = tokens[i]
        following = tokens[i + 1][1]
        if kind == "word" and text in GROUPINGS and following == "(":
            end = tokens.index(("sign", ")"), i)
            labels |= {word for kind, word in tokens[i:end] if kind == "word"} - GROUPINGS
            i = end
        elif kind == "word" and (text in AGGREGATIONS or following == "("):
            pending = text
        elif kind == "word" and text not in OPERATORS | GROUPINGS:
            matchers, range_ = {}, ""
            if following == "{":
                end = tokens.index(("sign", "}"), i)
                inner = [token for token in tokens[i + 2:end] if token != ("sign", ",")]
                if len(inner) % 3:
                    raise ValueError(f"the matchers of {text} cannot be read")
                for (_, label), (_, operator), (_, value) in zip(inner[::3], inner[1::3], inner[2::3]):
                    matchers[label] = (operator, value[1:-1])
                i = end
            if tokens[i + 1][0] == "range":
                i += 1
                range_ = tokens[i][1][1:-1]
            selectors.append(Selector(text, matchers, range_, list(stack)))
        elif text == "(":
            stack.append(pending)
            pending = ""
        elif text == ")":
            if not stack:
                raise ValueError("a parenthesis is closed that was not opened")
            stack.pop()
        i += 1
    if stack:
        raise ValueError("a parenthesis is not closed")
    return selectors, labels
