#!/usr/bin/env python3
"""Checks deploy/kubernetes, and the configurations in deploy by the exporter itself.

    tests/lib/kubernetes.py EXPORTER

The schemas of Kubernetes' own objects, whose judge is kubernetes-validate, know nothing of what belongs together. This
knows: the objects find each other by selectors, ports and names, what the configuration names is mounted, and one pod
alone writes. `kubernetes_broken.py` proves that it would find what is wrong.
"""

import copy
import pathlib
import re
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

DEPLOY = pathlib.Path(__file__).parents[2] / "deploy"
FOLDER = DEPLOY / "kubernetes"
RULES = DEPLOY.parent / "prometheus" / "rules"
# The oldest and the newest Kubernetes whose schemas must be met.
VERSIONS = ["1.31", "1.37"]
# What is said about one object alone; the Prometheus Operator's schema is not among Kubernetes' own.
OPERATOR = "monitoring.coreos.com/v1"
NAME = "app.kubernetes.io/name"
# What a ServiceMonitor may hold, as the Operator's API reference has it; these are enough here.
MONITOR_KEYS = {"jobLabel", "selector", "endpoints"}
ENDPOINT_KEYS = {"port", "path", "scheme", "interval", "tlsConfig", "basicAuth", "relabelings"}
WEBHOOKS = 10213
# The Service that Prometheus asks.
NAMED = "dragdropdo-exporter"


class Manifests:
    """Everything that is deployed, with webhooks: a change of it in memory is a way to break it."""

    def __init__(self):
        self.kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
        self.files = {path.name: list(yaml.safe_load_all(path.read_text())) for path in sorted(FOLDER.glob("*.yaml"))
                      if path.name not in ("kustomization.yaml", "config.yaml")}
        self.config = yaml.safe_load(commented_in(FOLDER / "config.yaml"))
        self.tls = {path.name: yaml.safe_load(path.read_text()) for path in sorted((FOLDER / "tls").glob("*.yaml"))}
        self.rules = list(yaml.safe_load_all(subprocess.run([FOLDER / "prometheus-rules"], check=True, text=True,
                                                            capture_output=True, timeout=30).stdout))

    def objects(self):
        return [each for file in self.files.values() for each in file]

    def of(self, kind):
        return [each for each in self.objects() if each["kind"] == kind]

    def with_tls(self):
        """What is deployed with the component `tls`."""
        patched = copy.deepcopy(self)
        merge(stateful_set(patched), self.tls["statefulset.yaml"])
        for kind, file in (("ServiceMonitor", "servicemonitor.yaml"), ("Ingress", "ingress.yaml")):
            for each in patched.of(kind):
                for change in self.tls[file]:
                    add(each, change)
        return patched

    def named(self, kind, name):
        return next((each for each in self.of(kind) if each["metadata"]["name"] == name), None)


def commented_in(path):
    """The file with what is commented out in it: `#key:` or `#  key:`. Words are behind one blank."""
    return re.sub(r"^( *)#(?=\S|  )", r"\1", path.read_text(), flags=re.MULTILINE)


def merge(into, patch):
    """Merges a patch as kustomize does: lists of things with names by these names."""
    for key, value in patch.items():
        if isinstance(value, dict) and key in into:
            merge(into[key], value)
        elif isinstance(value, list) and key in into:
            for each in value:
                named = next((old for old in into[key] if old["name"] == each["name"]), None)
                into[key].append(each) if named is None else merge(named, each)
        else:
            into[key] = value


def add(into, change):
    """Applies a patch of one value, as kustomize does."""
    *way, last = change["path"].strip("/").split("/")
    for key in way:
        into = into[int(key)] if isinstance(into, list) else into[key]
    if change["op"] != "add" or not isinstance(into, dict) or last in into:
        raise ValueError(f"the patch of {change['path']} adds nothing")
    into[last] = change["value"]


def check(manifests):
    """What is wrong, in words."""
    faults = []
    for rule in (schemas, kustomization, one_writer, services, monitor, rules, policies, ingress, probes, mounts, tls):
        faults += rule(manifests)
    return faults


def schemas(manifests):
    for each in manifests.objects():
        what = f"{each['kind']} {each['metadata']['name']}"
        if each["apiVersion"] == OPERATOR:
            continue
        for version in VERSIONS:
            try:
                kubernetes_validate.validate(each, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                yield f"{what}: {version}: {'.'.join(map(str, error.path))}: {error.message}"
            except kubernetes_validate.SchemaNotFoundError as error:
                yield f"{what}: {error.message}"


def kustomization(manifests):
    found = manifests.kustomization
    unlisted = set(manifests.files) - set(found["resources"])
    if unlisted != {"webhooks.yaml"}:
        yield f"kustomization.yaml does not list all but webhooks.yaml: {sorted(unlisted)} are left out"
    if set(found["resources"]) - set(manifests.files):
        yield f"kustomization.yaml lists what is not there: {found['resources']}"
    if "#- webhooks.yaml" not in (FOLDER / "kustomization.yaml").read_text():
        yield "kustomization.yaml does not say how to take webhooks.yaml in"
    if [generator.get("files") for generator in found["configMapGenerator"]] != [["config.yaml"]]:
        yield "kustomization.yaml makes no ConfigMap of config.yaml alone"
    version = re.search(r'^version = "(.*)"$', (DEPLOY.parent / "Cargo.toml").read_text(), re.MULTILINE)[1]
    if [image["newTag"] for image in found["images"]] != [version]:
        yield f"kustomization.yaml does not take the image of {version}, the version of Cargo.toml"
    if [image["name"] for image in found["images"]] != [container(manifests)["image"]]:
        yield "kustomization.yaml renames another image than the StatefulSet's"
    for each in manifests.objects():
        if "namespace" in each["metadata"]:
            yield f"{each['kind']} {each['metadata']['name']} has a namespace of its own"


def one_writer(manifests):
    spec = stateful_set(manifests)["spec"]
    if spec["replicas"] != 1:
        yield "more than one replica would count everything twice"
    if spec["selector"]["matchLabels"] != pod_labels(manifests):
        yield "the StatefulSet does not select its own pods"
    headless = manifests.named("Service", spec["serviceName"])
    if headless is None or headless["spec"].get("clusterIP") != "None":
        yield f"there is no headless Service {spec['serviceName']}"
    pod, box = spec["template"]["spec"], container(manifests)["securityContext"]
    restricted = (pod["securityContext"].get("runAsNonRoot"), pod["securityContext"].get("seccompProfile"),
                  box.get("allowPrivilegeEscalation"), box.get("readOnlyRootFilesystem"), box.get("capabilities"),
                  pod.get("automountServiceAccountToken"))
    if restricted != (True, {"type": "RuntimeDefault"}, False, True, {"drop": ["ALL"]}, False):
        yield f"the pod may do more than it needs: {restricted}"
    user = re.search(r"^USER (\d+):(\d+)$", (DEPLOY.parent / "Dockerfile").read_text(), re.MULTILINE)
    numbers = [pod["securityContext"].get(key) for key in ("runAsUser", "runAsGroup", "fsGroup")]
    if numbers != [int(user[1]), int(user[2]), int(user[2])]:
        yield f"the pod's user {numbers} is not the image's {user[1]}:{user[2]}"
    if not 5 < pod["terminationGracePeriodSeconds"] <= 30:
        yield "the time to end in does not fit the exporter's 5 s"


def services(manifests):
    for service in manifests.of("Service"):
        name, spec = service["metadata"]["name"], service["spec"]
        if not spec["selector"].items() <= pod_labels(manifests).items():
            yield f"Service {name} selects no pod of the StatefulSet"
        for port in spec["ports"]:
            if number(manifests, port["targetPort"]) != port["port"]:
                yield f"Service {name}: the port {port['name']} does not lead to a port of that number"


def monitor(manifests):
    (found,) = manifests.of("ServiceMonitor")
    spec = found["spec"]
    wanted = spec["selector"]["matchLabels"].items()
    selected = [each for each in manifests.of("Service") if wanted <= each["metadata"]["labels"].items()]
    if len(selected) != 1:
        yield f"the ServiceMonitor selects {len(selected)} Services and not one"
    ports = {port["name"] for each in selected for port in each["spec"]["ports"]}
    for endpoint in spec["endpoints"]:
        if endpoint.get("port") not in ports:
            yield f"the ServiceMonitor asks for the port {endpoint.get('port')}, and there are {sorted(ports)}"
        if set(endpoint) - ENDPOINT_KEYS:
            yield f"the ServiceMonitor's endpoint has {sorted(set(endpoint) - ENDPOINT_KEYS)}"
        jobs = [each["replacement"] for each in endpoint.get("relabelings", []) if each["targetLabel"] == "job"]
        if jobs != asked_jobs():
            yield f"the ServiceMonitor makes the jobs {jobs}, and the alerts ask for {asked_jobs()}"
    if found["apiVersion"] != OPERATOR or set(spec) - MONITOR_KEYS:
        yield f"the ServiceMonitor is none: {found['apiVersion']} with {sorted(spec)}"


def asked_jobs():
    """The names of jobs that the alerts ask for."""
    return sorted(set(re.findall(r'job="([^"%]+)"', (RULES / "alerts.yml").read_text())))


def rules(manifests):
    """prometheus-rules prints what is in prometheus/rules."""
    files = [yaml.safe_load((RULES / name).read_text()) for name in ("recording.yml", "alerts.yml")]
    if [each["spec"] for each in manifests.rules] != files:
        yield "prometheus-rules does not print the rules of prometheus/rules"
    for each in manifests.rules:
        if (each["apiVersion"], each["kind"]) != (OPERATOR, "PrometheusRule"):
            yield f"prometheus-rules prints a {each['kind']}"
    if len({each["metadata"]["name"] for each in manifests.rules}) != len(files):
        yield "prometheus-rules gives two objects one name"


def policies(manifests):
    opened, left = set(), set()
    for policy in manifests.of("NetworkPolicy"):
        name, spec = policy["metadata"]["name"], policy["spec"]
        if spec["podSelector"]["matchLabels"] != pod_labels(manifests):
            yield f"NetworkPolicy {name} is not about the StatefulSet's pods"
        for rule in spec.get("ingress", []):
            if not rule.get("from"):
                yield f"NetworkPolicy {name} lets everybody in"
            opened |= {number(manifests, port["port"]) for port in rule["ports"]}
        left |= {(port["port"], port.get("protocol", "TCP")) for rule in spec.get("egress", []) for port in rule["ports"]}
    if opened != {number(manifests, "http"), WEBHOOKS}:
        yield f"the NetworkPolicies open {sorted(map(str, opened))}"
    if left != {(53, "UDP"), (53, "TCP"), (443, "TCP")}:
        yield f"the NetworkPolicies let out to {sorted(left)}: names and the API are needed, and no more"


def ingress(manifests):
    for each in manifests.of("Ingress"):
        hosts = {host for tls in each["spec"].get("tls", []) for host in tls["hosts"]}
        for rule in each["spec"]["rules"]:
            if rule["host"] not in hosts:
                yield f"the Ingress takes webhooks for {rule['host']} without TLS"
            for path in rule["http"]["paths"]:
                backend = path["backend"]["service"]
                service = manifests.named("Service", backend["name"])
                ports = [port["port"] for port in (service or {"spec": {"ports": []}})["spec"]["ports"]
                         if port["name"] == backend["port"]["name"]]
                if (path["path"], path["pathType"], ports) != ("/webhooks/dragdropdo", "Exact", [WEBHOOKS]):
                    yield f"the Ingress leads {path['path']} ({path['pathType']}) to {backend['name']} {ports}"


def probes(manifests):
    for name, path in (("startupProbe", "/-/healthy"), ("livenessProbe", "/-/healthy"), ("readinessProbe", "/-/ready")):
        asked = container(manifests).get(name, {}).get("httpGet")
        if asked != {"path": path, "port": "http"}:
            yield f"the {name} asks {asked} and not {path}"


def mounts(manifests):
    pod = stateful_set(manifests)["spec"]["template"]["spec"]
    config = manifests.config
    at = {mount["name"]: mount["mountPath"] for mount in container(manifests)["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    claims = {claim["metadata"]["name"] for claim in stateful_set(manifests)["spec"]["volumeClaimTemplates"]}
    if set(at) != set(volumes) | claims:
        yield f"mounted are {sorted(at)}, and there are {sorted(set(volumes) | claims)}"
        return
    if not (config["storage"]["url"].startswith(f"sqlite://{at['data']}/") and "data" in claims):
        yield f"the database {config['storage']['url']} is not on the claimed volume"
    for secret in (config["api"]["api_key_file"], config["web"]["api_token_file"], config["webhook"]["secret_file"]):
        if str(pathlib.PurePath(secret).parent) != at["secrets"]:
            yield f"{secret} is not where the Secret is mounted, {at['secrets']}"
    generated = manifests.kustomization["configMapGenerator"][0]["name"]
    if volumes["config"]["configMap"]["name"] != generated or at["config"] != "/etc/dragdropdo-exporter":
        yield f"the configuration {generated} is not mounted where the image looks for it"
    listens = next(each["value"] for each in container(manifests)["env"] if each["name"].endswith("_LISTEN_ADDRESS"))
    if listens != f":{number(manifests, 'http')}" or config["webhook"]["listen_address"] != f":{WEBHOOKS}":
        yield f"the exporter listens on {listens} and {config['webhook']['listen_address']}"


def tls(manifests):
    """The component that serves TLS: what it changes is whole, and names the same files and Secret everywhere."""
    component = manifests.tls["kustomization.yaml"]
    if "#components: [tls]" not in (FOLDER / "kustomization.yaml").read_text():
        yield "kustomization.yaml does not say how to take tls in"
    if {patch["path"] for patch in component["patches"]} | {"kustomization.yaml", "web-config.yaml"} != set(manifests.tls):
        yield "tls/kustomization.yaml does not list all patches"
    (generator,) = component["configMapGenerator"]
    name = manifests.kustomization["configMapGenerator"][0]["name"]
    if generator != {"name": name, "behavior": "merge", "files": ["web-config.yaml"]}:
        yield "tls/kustomization.yaml does not add web-config.yaml to the ConfigMap"

    patched = manifests.with_tls()
    for fault in schemas(patched):
        yield f"with TLS: {fault}"
    for name in ("startupProbe", "livenessProbe", "readinessProbe"):
        if container(patched)[name]["httpGet"].get("scheme") != "HTTPS":
            yield f"with TLS: the {name} asks without"
    env = {each["name"]: each["value"] for each in container(patched)["env"]}
    if env.get("DRAGDROPDO_EXPORTER_WEB_CONFIG_FILE") != "/etc/dragdropdo-exporter/web-config.yaml":
        yield "with TLS: the exporter is not told of web-config.yaml"
    at = {mount["name"]: mount["mountPath"] for mount in container(patched)["volumeMounts"]}
    volumes = {each["name"]: each for each in stateful_set(patched)["spec"]["template"]["spec"]["volumes"]}
    for key, file in manifests.tls["web-config.yaml"]["tls_server_config"].items():
        if str(pathlib.PurePath(file).parent) != at.get("tls"):
            yield f"with TLS: the {key} {file} is not where the Secret is mounted, {at.get('tls')}"
    for endpoint in patched.of("ServiceMonitor")[0]["spec"]["endpoints"]:
        asked = endpoint.get("tlsConfig", {})
        secret = asked.get("ca", {}).get("secret", {}).get("name")
        service = f"{NAMED}.{manifests.kustomization['namespace']}.svc"
        if endpoint.get("scheme") != "https" or asked.get("serverName") != service:
            yield f"with TLS: the ServiceMonitor does not ask {service} over https"
        if secret != volumes.get("tls", {}).get("secret", {}).get("secretName"):
            yield f"with TLS: the CA is in {secret}, and the certificate is not"


def stateful_set(manifests):
    (found,) = manifests.of("StatefulSet")
    return found


def container(manifests):
    (found,) = stateful_set(manifests)["spec"]["template"]["spec"]["containers"]
    return found


def pod_labels(manifests):
    return stateful_set(manifests)["spec"]["template"]["metadata"]["labels"]


def number(manifests, port):
    """The number of a port of the pod. Webhooks have one that need not be declared."""
    if isinstance(port, int):
        return port
    return next((each["containerPort"] for each in container(manifests)["ports"] if each["name"] == port), None)


def check_config(exporter):
    """The exporter reads each configuration, as it is and with what is commented out in it."""
    configs = [(path, path.read_text()) for path in sorted(DEPLOY.glob("*/config.yaml"))]
    configs += [(path, commented_in(path)) for path, _ in configs if path.parent.name in ("kubernetes", "systemd")]
    web_config = FOLDER / "tls/web-config.yaml"
    configs.append((web_config, f"web: {{config_file: {web_config}}}"))
    for path, text in configs:
        with tempfile.TemporaryDirectory() as folder:
            file = pathlib.Path(folder, "config.yaml")
            file.write_text(text)
            done = subprocess.run([exporter, "check-config", file], env={}, capture_output=True, text=True, timeout=30)
        if done.returncode != 0:
            yield f"{path.relative_to(DEPLOY.parent)}: {done.stderr.strip()}"
    if len(configs) != 6:
        yield f"{len(configs)} configurations below deploy were read and not 6"


def main():
    manifests = Manifests()
    faults = check(manifests) + list(check_config(sys.argv[1]))
    for fault in faults:
        print(f"deploy: {fault}", file=sys.stderr)
    print(f"deploy/kubernetes: {len(manifests.objects())} objects, {len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
