"""A running Prometheus, asked over its HTTP API."""

import json
import math
import urllib.error
import urllib.parse

from processes import Failed, fetch_json


class Prometheus:
    """Asks a Prometheus."""

    def __init__(self, url):
        self.url = url

    def get(self, path, **parameters):
        """Gives the `data` of an answer of the API."""
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            return fetch_json(f"{self.url}/api/v1/{path}?{query}")["data"]
        except urllib.error.HTTPError as error:
            with error:
                body = error.read()
            try:
                message = json.loads(body)["error"]
            except (ValueError, KeyError):
                message = body.decode(errors="replace")
            raise Failed(f"Prometheus refuses {parameters.get('query', path)!r}: {message}") from error

    def instant(self, query, at=None):
        """Gives the samples of an instant query: a list of (labels, value)."""
        data = self.get("query", query=query, **({} if at is None else {"time": at}))
        if data["resultType"] == "scalar":
            return [({}, float(data["result"][1]))]
        if data["resultType"] != "vector":
            raise Failed(f"{query!r} gives a {data['resultType']} and no instant vector")
        return [(sample["metric"], float(sample["value"][1])) for sample in data["result"]]

    def range(self, query, start, end, step):
        """Gives the series of a range query: a list of (labels, values)."""
        data = self.get("query_range", query=query, start=start, end=end, step=step)
        return [(series["metric"], [float(value) for _, value in series["values"]]) for series in data["result"]]

    def value(self, query, at=None):
        """Gives the one value of a query, or None when there is none or no number."""
        samples = self.instant(query, at)
        if len(samples) > 1:
            raise Failed(f"{query!r} gives {len(samples)} series where one was expected")
        return samples[0][1] if samples and not math.isnan(samples[0][1]) else None

    def alerts(self):
        """The alerts that are pending or firing now."""
        return self.get("alerts")["alerts"]

    def rules(self):
        """Every rule."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]
