"""Judges rendered manifests: check.py FILE...

Each object against the schemas of Kubernetes, strictly; then what no schema knows: that names,
labels, ports, volumes and sizes of different objects fit together.  Prints a line for each thing
that is wrong; the exit code is 1 when there is any.
"""

import re
import sys
import warnings
from urllib.parse import urlsplit
import kubernetes_validate
from manifest import (Manifest, environment, expand, labels_of, matches, may_reach)

VERSIONS = ("1.31", "1.37")
RUN = "talweg-coordinator", "talweg-ps", "talweg-worker"


class Judge:
    def __init__(self, path):
        self.path = path
        self.manifest = Manifest(path)
        self.wrong = []

    def expect(self, is_so, what):
        if not is_so:
            self.wrong.append(f"{self.path}: {what}")

    def schemas(self):
        for found in self.manifest.objects:
            for version in VERSIONS:
                try:
                    with warnings.catch_warnings():
                        warnings.simplefilter("ignore")
                        kubernetes_validate.validate(found, version, strict=True)
                except Exception as error:  # each kind of it says what is wrong
                    name = f"{found.get('kind')} {found.get('metadata', {}).get('name')}"
                    self.wrong.append(f"{self.path}: {name}, schema {version}: {error}")

    def names(self):
        namespaces = {found["metadata"].get("namespace") for found in self.manifest.objects}
        self.expect(len(namespaces) == 1 and None not in namespaces,
                    f"found the namespaces {namespaces}, expected one")
        owners = [found["metadata"]["name"] for found in self.manifest.owners()]
        self.expect(sorted(owners) == sorted(RUN), f"found {owners}, expected {RUN}")

    def selectors(self):
        templates = [labels_of(owner) for owner in self.manifest.owners()]
        for owner in self.manifest.owners():
            self.expect(matches(owner["spec"]["selector"], labels_of(owner)),
                        f"{owner['metadata']['name']} does not select its own pods")
        for kind in ("PodDisruptionBudget", "NetworkPolicy"):
            for found in self.manifest.all(kind):
                spec = found["spec"]
                selector = spec["selector" if kind == "PodDisruptionBudget" else "podSelector"]
                self.expect(any(matches(selector, labels) for labels in templates),
                            f"{kind} {found['metadata']['name']} selects no pod")
        for found in self.manifest.all("HorizontalPodAutoscaler"):
            target = found["spec"]["scaleTargetRef"]
            try:
                owner = self.manifest.find(target["kind"], target["name"])
                self.expect("replicas" not in owner["spec"],
                            f"{target['name']}: found replicas beside an autoscaler")
            except KeyError as error:
                self.wrong.append(f"{self.path}: the autoscaler's target: {error}")

    def services(self):
        for service in self.manifest.all("Service"):
            name, spec = service["metadata"]["name"], service["spec"]
            self.expect(spec.get("clusterIP") == "None" and spec.get("publishNotReadyAddresses"),
                        f"Service {name}: expected clusterIP None and publishNotReadyAddresses")
            owners = [owner for owner in self.manifest.owners()
                      if matches({"matchLabels": spec["selector"]}, labels_of(owner))]
            self.expect(len(owners) == 1 and owners[0]["spec"].get("serviceName") == name,
                        f"Service {name}: expected the pods of the StatefulSet that names it")
            for owner in owners:
                ports = {port["name"]: port["containerPort"]
                         for port in container_of(owner).get("ports", [])}
                for port in spec["ports"]:
                    self.expect(ports.get(port["targetPort"]) == port["port"],
                                f"Service {name}: port {port['name']} is not that of the container")
        for owner in self.manifest.all("StatefulSet"):
            self.expect(any(service["metadata"]["name"] == owner["spec"]["serviceName"]
                            for service in self.manifest.all("Service")),
                        f"{owner['metadata']['name']}: its serviceName is no Service")

    def volumes(self):
        used = set()
        for owner in self.manifest.owners():
            name, pod = owner["metadata"]["name"], owner["spec"]["template"]["spec"]
            volumes = {volume["name"] for volume in pod.get("volumes", [])}
            claims = owner["spec"].get("volumeClaimTemplates", [])
            volumes |= {claim["metadata"]["name"] for claim in claims}
            mounts = {mount["name"] for mount in container_of(owner)["volumeMounts"]}
            self.expect(mounts == volumes, f"{name}: found mounts {sorted(mounts)} of the volumes "
                                           f"{sorted(volumes)}, expected all of them")
            for volume in pod.get("volumes", []):
                if "configMap" in volume:
                    used.add(("ConfigMap", volume["configMap"]["name"]))
                if "secret" in volume:
                    used.add(("Secret", volume["secret"]["secretName"]))
                    self.expect(volume["secret"].get("defaultMode") == 0o440,
                                f"{name}: keys must have mode 0440")
        there = {(found["kind"], found["metadata"]["name"])
                 for kind in ("ConfigMap", "Secret") for found in self.manifest.all(kind)}
        self.expect(used == there, f"found {sorted(used - there)} used and not defined, "
                                   f"{sorted(there - used)} defined and not used")

    def keys(self):
        own = {"coordinator": "coordinator.key", "server": "server.key", "worker": "worker.key"}
        for owner in self.manifest.owners():
            role = labels_of(owner)["app.kubernetes.io/component"]
            for volume in owner["spec"]["template"]["spec"]["volumes"]:
                if "secret" not in volume:
                    continue
                try:
                    secret = self.manifest.find("Secret", volume["secret"]["secretName"])
                except KeyError:
                    continue  # said before
                self.expect(set(secret["data"]) == {"allowed", "client.key", own[role]},
                            f"the secret of the {role} holds {sorted(secret['data'])}")

    def pods(self):
        scripts = [found["data"] for found in self.manifest.all("ConfigMap")
                   if "stay.sh" in found["data"]]
        for owner in self.manifest.owners():
            name, pod = owner["metadata"]["name"], owner["spec"]["template"]["spec"]
            container, context = container_of(owner), pod["securityContext"]
            self.expect(context.get("runAsNonRoot") and context.get("runAsUser") == 10001
                        and context.get("fsGroup") == 10001
                        and context.get("seccompProfile") == {"type": "RuntimeDefault"},
                        f"{name}: the pod's securityContext is {context}")
            self.expect(container["securityContext"] == {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]}}, f"{name}: the container's securityContext")
            for word in ("requests", "limits"):
                self.expect({"cpu", "memory"} <= set(container["resources"][word]),
                            f"{name}: no {word} of cpu and memory")
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                command = container[probe]["exec"]["command"]
                self.expect(len(scripts) == 1 and command[1] == "/scripts/probe.sh"
                            and re.search(rf"^{command[2]}\) ", scripts[0]["probe.sh"], re.M),
                            f"{name}: {probe} asks {command}")

    def addresses(self):
        """Where roles listen, say that they do, and look for each other."""
        for owner in self.manifest.owners():
            name, container = owner["metadata"]["name"], container_of(owner)
            variables = environment(container, f"{name}-0", "space")
            arguments = [expand(text, variables) for text in container["args"]]
            flags = dict(text[2:].split("=", 1) for text in arguments if text.startswith("--")
                         and not text.startswith("--set="))
            known = [port["containerPort"] for port in container.get("ports", [])]
            if "bind" in flags:
                port = urlsplit(flags["bind"]).port
                self.expect(port == known[0], f"{name}: listens on {port}, its port is {known[0]}")
                expected = f"tcp://{name}-0.{owner['spec']['serviceName']}.space.svc:{port}"
                self.expect(flags.get("advertise") == expected,
                            f"{name}: advertises {flags.get('advertise')}, expected {expected}")
            place = urlsplit(variables["TALWEG_COORDINATOR"])
            if place.hostname == "127.0.0.1":
                self.expect(place.port in known, f"{name}: asks itself on port {place.port}")
                continue
            services = {service["metadata"]["name"]: service["spec"]["ports"]
                        for service in self.manifest.all("Service")}
            self.expect(place.port in [port["port"] for port in services.get(place.hostname, [])],
                        f"{name}: there is no Service {place.netloc}")

    def network(self):
        """Exactly these may reach each other, pods of other kinds nobody."""
        allowed = {("worker", "coordinator", 7077), ("server", "coordinator", 7077),
                   ("server", "coordinator", 7078), ("worker", "server", 7080),
                   ("server", "server", 7080), ("worker", "server", 7143),
                   ("server", "server", 7143)}
        roles = {labels_of(owner)["app.kubernetes.io/component"]: labels_of(owner)
                 for owner in self.manifest.owners()}
        peers = dict(roles, stranger={"app.kubernetes.io/name": "other"})
        for source in peers:
            for target in roles:
                for port in (22, 7076, 7077, 7078, 7079, 7080, 7143, 7144):
                    found = may_reach(self.manifest, peers[source], peers[target], port)
                    expected = (source, target, port) in allowed
                    self.expect(found == expected, f"{source} may{'' if found else ' not'} reach "
                                                   f"{target} on port {port}")

    def sizes(self):
        jobs = [found["data"]["job.cfg"] for found in self.manifest.all("ConfigMap")
                if "job.cfg" in found["data"]]
        self.expect(len(jobs) == 1, f"found {len(jobs)} job files, expected one")
        autoscaler = self.manifest.all("HorizontalPodAutoscaler")[0]["spec"]
        servers = self.manifest.find("StatefulSet", "talweg-ps")["spec"]["replicas"]
        for key, found in (("servers", servers), ("workers", autoscaler["minReplicas"]),
                           ("lanes", autoscaler["maxReplicas"])):
            said = re.search(rf"^\s*{key}\s*=\s*(\d+);", jobs[0] if jobs else "", re.M)
            self.expect(said is not None and int(said.group(1)) == found,
                        f"the job file says {said and said.group(0).strip()}, "
                        f"the manifests {found}")


def container_of(owner):
    return owner["spec"]["template"]["spec"]["containers"][0]


def main():
    wrong = []
    for path in sys.argv[1:]:
        judge = Judge(path)
        for judgement in (judge.schemas, judge.names, judge.selectors, judge.services,
                          judge.volumes, judge.keys, judge.pods, judge.addresses, judge.network,
                          judge.sizes):
            try:
                judgement()
            except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                judge.wrong.append(f"{path}: {judgement.__name__}: {error!r}")
        wrong += judge.wrong
    print("\n".join(wrong) if wrong else f"{len(sys.argv) - 1} manifests are right")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
