"""Checks the YAML that sets Grafana up, and deploy/compose.yaml, against the files that they speak of."""

import re


def check_provisioning(root):
    """What the YAML files beside the dashboards and deploy/compose.yaml must agree about."""
    texts = {}
    for name in ("grafana/provisioning/datasources/prometheus.yaml", "grafana/provisioning/dashboards/dragdropdo.yaml",
                 "deploy/compose.yaml"):
        texts[name] = (root / name).read_text()
        for number, line in enumerate(texts[name].splitlines(), 1):
            if line and not re.fullmatch(r"(  )*\S.*", line):
                yield f"{name}:{number}: is not indented by twos: {line}"
    datasource, provider, compose = texts.values()
    for name, text in list(texts.items())[:2]:
        if not re.search(r"^apiVersion: 1$", text, re.MULTILINE):
            yield f"{name}: has no apiVersion"
    if "type: prometheus" not in datasource:
        yield "the data source is no Prometheus"
    interval = re.search(r"timeInterval: (\S+)", datasource)
    path = re.search(r"path: (\S+)", provider)
    if not path or f"../grafana/dashboards:{path[1]}:ro" not in compose:
        yield "deploy/compose.yaml does not mount grafana/dashboards where the provider looks for it"
    for image in re.findall(r"image: (\S+)", compose):
        if not re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+", image) and not image.startswith("dragdropdo-exporter"):
            yield f"deploy/compose.yaml: the version of {image} is not pinned"
    for port in re.findall(r'^ +- "?([\d.:]+:\d+)"?$', compose, re.MULTILINE):
        if not port.startswith("127.0.0.1:"):
            yield f"deploy/compose.yaml: the port {port} is open to others"
    prometheus = root / "prometheus/prometheus.yml"
    if not prometheus.exists():
        return
    scrape = re.search(r"scrape_interval: (\S+)", prometheus.read_text())
    if not interval or not scrape or interval[1] != scrape[1]:
        yield "the data source's timeInterval is not the scrape_interval of prometheus/prometheus.yml"
    for source in re.findall(r"- (\.\./[^:]+):", compose):
        if not (root / "deploy" / source).exists():
            yield f"deploy/compose.yaml mounts {source}, which is not there"
    names = re.findall(r"- alert: (\S+)", (root / "prometheus/rules/alerts.yml").read_text())
    for name in names:
        if not name.startswith("DragDropDo"):
            yield f"the annotations of the dashboards do not match the alert {name}"
