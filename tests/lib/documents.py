#!/usr/bin/env python3
"""Holds every PromQL query of the documents against promtool: Prometheus has to be able to read it.

  tests/lib/documents.py             exit status 1 when one cannot be read
  tests/lib/documents.py --queries   print each query as one line of JSON: document, expr
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# As many as there are at least: a document whose form changed must not go unread.
FEWEST = 50


# With these a line goes on with the query of the line before.
GOES_ON = re.compile(r"(and|or|unless)\b|[-+*/%^)<>=!]")


def split(block):
    """The queries of a block: one ends where its parentheses are closed and the next line does not go on with it."""
    query = ""
    for line in [*re.sub(r"^ *#.*$", "", block, flags=re.MULTILINE).splitlines(), ""]:
        complete = query.count("(") == query.count(")")
        if query and complete and not GOES_ON.match(line.strip()):
            yield query
            query = ""
        query = f"{query}\n{line}".strip()


def queries():
    """The queries of all documents, each with the path of its document: those in blocks of code, and in the column
    `query` of tables."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text()
        name = path.relative_to(ROOT)
        for block in re.findall(r"^ *```promql\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
            # Whoever copies a block gets something that can be run.
            if len(list(split(block))) != 1:
                sys.exit(f"documents: {name}: not one query in the block:\n{block}")
            yield from ((name, query) for query in split(block))
        for table in re.findall(r"^\| question \| query \|\n\|---\|---\|\n((?:\|.*\n)+)", text, re.MULTILINE):
            yield from ((name, query) for query in re.findall(r"\| `([^`]+)` \|$", table, re.MULTILINE))


def main():
    found = list(queries())
    if len(found) < FEWEST:
        sys.exit(f"documents: found only {len(found)} queries")
    if sys.argv[1:] == ["--queries"]:
        for name, query in found:
            print(json.dumps({"document": str(name), "expr": query}))
        return
    # JSON is YAML.
    rules = [{"record": f"documents:query_{place}", "expr": query} for place, (_, query) in enumerate(found)]
    with tempfile.TemporaryDirectory(prefix="dragdropdo-documents-") as folder:
        path = Path(folder) / "rules.yml"
        path.write_text(json.dumps({"groups": [{"name": "documents", "rules": rules}]}, indent=1))
        checked = subprocess.run(["promtool", "check", "rules", path], capture_output=True, text=True, timeout=60)
    if checked.returncode:
        sys.exit(f"documents: promtool refuses a query:\n{checked.stdout}{checked.stderr}")
    print(f"documents: promtool reads {len(found)} queries of {len({name for name, _ in found})} documents")


if __name__ == "__main__":
    main()
