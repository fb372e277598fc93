#!/usr/bin/env python3
"""Breaks the manifests in memory, in one way after the other, and fails when tests/lib/kubernetes.py does not find it."""

import copy
import re
import sys

import kubernetes


def pod(m):
    return kubernetes.stateful_set(m)["spec"]["template"]["spec"]


def service(m, name="dragdropdo-exporter"):
    return m.named("Service", name)


def policy(m, name="dragdropdo-exporter"):
    return m.named("NetworkPolicy", name)["spec"]


def monitor(m):
    return m.of("ServiceMonitor")[0]["spec"]


def backend(m):
    return m.of("Ingress")[0]["spec"]["rules"][0]["http"]["paths"][0]


def tls_box(m):
    return m.tls["statefulset.yaml"]["spec"]["template"]["spec"]["containers"][0]


# What is done to the manifests, and what must be said of it.
BREAKS = [
    (lambda m: pod(m).update(hostNetwrok=True), "hostNetwrok"),
    (lambda m: kubernetes.container(m)["resources"].update(limits="much"), "limits"),
    (lambda m: m.of("Ingress")[0].update(apiVersion="extensions/v1beta1"), "find schema"),
    (lambda m: m.kustomization["resources"].pop(), "does not list all"),
    (lambda m: m.kustomization["resources"].append("nothing.yaml"), "lists what is not there"),
    (lambda m: m.kustomization["configMapGenerator"][0].update(files=[]), "no ConfigMap"),
    (lambda m: m.kustomization["images"][0].update(newTag="latest"), "the version of Cargo.toml"),
    (lambda m: m.kustomization["images"][0].update(name="another"), "renames another image"),
    (lambda m: service(m)["metadata"].update(namespace="default"), "a namespace of its own"),
    (lambda m: kubernetes.stateful_set(m)["spec"].update(replicas=2), "count everything twice"),
    (lambda m: kubernetes.stateful_set(m)["spec"]["selector"].update(matchLabels={"a": "b"}), "its own pods"),
    (lambda m: service(m, "dragdropdo-exporter-pods")["spec"].pop("clusterIP"), "no headless Service"),
    (lambda m: kubernetes.container(m)["securityContext"].pop("readOnlyRootFilesystem"), "more than it needs"),
    (lambda m: pod(m).update(automountServiceAccountToken=True), "more than it needs"),
    (lambda m: pod(m)["securityContext"].update(fsGroup=1000), "is not the image's"),
    (lambda m: pod(m).update(terminationGracePeriodSeconds=3), "does not fit"),
    (lambda m: service(m)["spec"].update(selector={"a": "b"}), "selects no pod"),
    (lambda m: service(m)["spec"]["ports"][0].update(targetPort="htp"), "does not lead"),
    (lambda m: service(m)["spec"]["ports"][0].update(name="web"), "asks for the port http"),
    (lambda m: monitor(m)["selector"]["matchLabels"].popitem(), "selects 3 Services"),
    (lambda m: monitor(m)["endpoints"][0].update(targetport="http"), "endpoint has"),
    (lambda m: monitor(m).update(namespaceSelecter={}), "is none"),
    (lambda m: monitor(m)["endpoints"][0].pop("relabelings"), "makes the jobs"),
    (lambda m: monitor(m)["endpoints"][0]["relabelings"][0].update(replacement="another"), "makes the jobs"),
    (lambda m: m.rules[1]["spec"]["groups"][0]["rules"].pop(), "does not print the rules"),
    (lambda m: m.rules[0].update(kind="ConfigMap"), "prints a ConfigMap"),
    (lambda m: m.rules[0]["metadata"].update(m.rules[1]["metadata"]), "two objects one name"),
    (lambda m: policy(m)["podSelector"].update(matchLabels={}), "not about the StatefulSet"),
    (lambda m: policy(m)["ingress"][0].update({"from": []}), "lets everybody in"),
    (lambda m: policy(m)["ingress"][0]["ports"][0].update(port="metrics"), "the NetworkPolicies open"),
    (lambda m: policy(m)["egress"].pop(), "let out to"),
    (lambda m: m.of("Ingress")[0]["spec"].pop("tls"), "without TLS"),
    (lambda m: backend(m).update(path="/"), "the Ingress leads /"),
    (lambda m: backend(m)["backend"]["service"].update(name="dragdropdo-exporter"), "the Ingress leads"),
    (lambda m: kubernetes.container(m)["livenessProbe"]["httpGet"].update(path="/-/ready"), "the livenessProbe asks"),
    (lambda m: kubernetes.container(m).pop("startupProbe"), "the startupProbe asks None"),
    (lambda m: pod(m)["volumes"].pop(), "mounted are"),
    (lambda m: m.config["storage"].update(url="sqlite://exporter.db"), "not on the claimed volume"),
    (lambda m: m.config["api"].update(api_key_file="/run/secrets/api-key"), "not where the Secret is mounted"),
    (lambda m: pod(m)["volumes"][0]["configMap"].update(name="another"), "not mounted where the image looks"),
    (lambda m: kubernetes.container(m)["env"][0].update(value="127.0.0.1:10211"), "the exporter listens on"),
    (lambda m: m.tls["kustomization.yaml"]["patches"].pop(), "does not list all patches"),
    (lambda m: m.tls["kustomization.yaml"]["configMapGenerator"][0].update(behavior="create"), "does not add web-config"),
    (lambda m: tls_box(m)["startupProbe"]["httpGet"].update(shceme="HTTPS"), "with TLS: .*shceme"),
    (lambda m: tls_box(m)["livenessProbe"]["httpGet"].pop("scheme"), "the livenessProbe asks without"),
    (lambda m: tls_box(m).pop("env"), "is not told of web-config"),
    (lambda m: m.tls["web-config.yaml"]["tls_server_config"].update(key_file="tls.key"), "not where the Secret is mounted"),
    (lambda m: m.tls["servicemonitor.yaml"].pop(0), "does not ask .* over https"),
    (lambda m: m.tls["servicemonitor.yaml"][1]["value"]["ca"]["secret"].update(name="another"), "the CA is in another"),
]


def main():
    missed = 0
    for number, (damage, said) in enumerate(BREAKS):
        manifests = copy.deepcopy(kubernetes.Manifests())
        damage(manifests)
        faults = kubernetes.check(manifests)
        if not any(re.search(said, fault) for fault in faults):
            print(f"break {number} ({said}) was not found: {faults}", file=sys.stderr)
            missed += 1
    print(f"deploy/kubernetes broken in {len(BREAKS)} ways, {missed} not found")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
