"""What rendered manifests say: their objects, the pods that they make, what may speak to what."""

import re
import yaml

POD_KINDS = ("StatefulSet", "Deployment")


class Manifest:
    def __init__(self, path):
        with open(path, encoding="utf-8") as stream:
            self.objects = [found for found in yaml.safe_load_all(stream) if found]

    def all(self, kind):
        return [found for found in self.objects if found["kind"] == kind]

    def find(self, kind, name):
        for found in self.all(kind):
            if found["metadata"]["name"] == name:
                return found
        raise KeyError(f"there is no {kind} {name}")

    def owners(self):
        """What makes pods."""
        return [found for found in self.objects if found["kind"] in POD_KINDS]

    def owner_of(self, pod_name):
        """By the pod's name: talweg-ps-1, talweg-worker-7d9c6b5f4d-24578."""
        for found in self.owners():
            tail = r"-\d+" if found["kind"] == "StatefulSet" else r"-[a-z0-9]+-[a-z0-9]{5}"
            if re.fullmatch(re.escape(found["metadata"]["name"]) + tail, pod_name):
                return found
        raise KeyError(f"no StatefulSet or Deployment makes a pod {pod_name}")


def labels_of(owner):
    return owner["spec"]["template"]["metadata"]["labels"]


def matches(selector, labels):
    """A LabelSelector; an empty one selects all."""
    for key, value in selector.get("matchLabels", {}).items():
        if labels.get(key) != value:
            return False
    for rule in selector.get("matchExpressions", []):
        if rule["operator"] != "In":
            raise ValueError(f"operator {rule['operator']} is not known here")
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return True


def expand(text, variables):
    """$(NAME) as Kubernetes puts it in."""
    def value(match):
        if match.group(1) not in variables:
            raise KeyError(f"{text}: the variable {match.group(1)} is not defined before it")
        return variables[match.group(1)]
    return re.sub(r"\$\((\w+)\)", value, text)


def environment(container, pod_name, namespace):
    """Name to value, in order."""
    fields = {"metadata.name": pod_name, "metadata.namespace": namespace}
    found = {}
    for row in container.get("env", []):
        if "valueFrom" in row:
            found[row["name"]] = fields[row["valueFrom"]["fieldRef"]["fieldPath"]]
        else:
            found[row["name"]] = expand(row["value"], found)
    return found


def port_range(rule):
    return rule["port"], rule.get("endPort", rule["port"])


def _sides(manifest, labels, direction):
    """The rules of all policies that select the pod; None when it is free in that direction."""
    word = {"Ingress": "ingress", "Egress": "egress"}[direction]
    policies = [found for found in manifest.all("NetworkPolicy")
                if direction in found["spec"]["policyTypes"]
                and matches(found["spec"]["podSelector"], labels)]
    if not policies:
        return None
    return [rule for policy in policies for rule in policy["spec"].get(word, [])]


def open_ports(manifest, labels, peer_labels, direction):
    """TCP ports, as (first, last), by which a pod hears a pod (Ingress) or reaches it (Egress)."""
    rules = _sides(manifest, labels, direction)
    if rules is None:
        return [(1, 65535)]
    found = []
    for rule in rules:
        peers = rule.get("from" if direction == "Ingress" else "to", [])
        if any("podSelector" in peer and "namespaceSelector" not in peer
               and matches(peer["podSelector"], peer_labels) for peer in peers):
            found += [port_range(port) for port in rule["ports"] if port["protocol"] == "TCP"]
    return found


def may_reach(manifest, from_labels, to_labels, port):
    """Both ends must let it through."""
    return all(any(first <= port <= last for first, last in ranges) for ranges in (
        open_ports(manifest, from_labels, to_labels, "Egress"),
        open_ports(manifest, to_labels, from_labels, "Ingress")))
