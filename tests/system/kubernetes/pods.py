"""Makes of rendered manifests what a kubelet would give to each pod: pods.py FILE DIR POD=IP...

DIR/POD/ gets the volumes' contents with their owners and modes (volumes/), where they go (mounts:
volume, path, ro or rw), the environment and the command line (environment, command), what each
probe runs (startupProbe, readinessProbe, livenessProbe), its NetworkPolicies as rules of nftables
(rules) and the names that it can look up (hosts).  Words end with a NUL.  Claims lie in DIR/claims
and outlive their pods.  Where DIR/POD is there, its ConfigMaps and Secrets change in place.
"""

import base64
import os
import sys
import tempfile
from manifest import Manifest, environment, expand, labels_of, matches, open_ports

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def write_words(path, words):
    with open(path, "w", encoding="utf-8") as stream:
        stream.writelines(word + "\0" for word in words)


def publish(path, files, mode, group):
    """Files of a ConfigMap or Secret: links into a folder that is changed at once for another."""
    os.makedirs(path, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="..", dir=path)
    os.chmod(folder, 0o755)
    for name, content in files.items():
        with open(f"{folder}/{name}", "wb") as stream:
            stream.write(content)
        os.chown(f"{folder}/{name}", 0, group)
        os.chmod(f"{folder}/{name}", mode)
        if not os.path.islink(f"{path}/{name}"):
            os.symlink(f"..data/{name}", f"{path}/{name}")
    os.symlink(os.path.basename(folder), f"{path}/..new")
    os.rename(f"{path}/..new", f"{path}/..data")


def make_folder(path, group):
    """Of an empty volume with a fsGroup."""
    os.makedirs(path, exist_ok=True)
    os.chown(path, 0, group)
    os.chmod(path, 0o2775)


def fill(manifest, volume, folder, group):
    """Returns where the volume's content lies."""
    path = f"{folder}/volumes/{volume['name']}"
    if "configMap" in volume:
        data = manifest.find("ConfigMap", volume["configMap"]["name"])["data"]
        publish(path, {name: text.encode() for name, text in data.items()}, 0o644, group)
    elif "secret" in volume:
        data = manifest.find("Secret", volume["secret"]["secretName"])["data"]
        publish(path, {name: base64.b64decode(text) for name, text in data.items()},
                volume["secret"]["defaultMode"], group)
    elif "emptyDir" in volume:
        make_folder(path, group)
    elif "persistentVolumeClaim" in volume:
        path = f"{folder}/../claims/{volume['persistentVolumeClaim']['claimName']}"
        make_folder(path, group)
    else:
        raise ValueError(f"a volume such as {volume} is not known here")
    return path


def names(manifest, addresses):
    """The lines of a file of hosts: Services, and pods by the Service of their StatefulSet."""
    lines = ["127.0.0.1 localhost"]
    for service in manifest.all("Service"):
        name = service["metadata"]["name"]
        namespace = service["metadata"]["namespace"]
        for pod, address in addresses.items():
            if matches({"matchLabels": service["spec"]["selector"]},
                       labels_of(manifest.owner_of(pod))):
                lines.append(f"{address} {name} {pod}.{name}.{namespace}.svc")
    return "\n".join(lines) + "\n"


def chain(manifest, pod, addresses, direction):
    """What may begin a TCP connection; answers and the pod itself always go through."""
    labels = labels_of(manifest.owner_of(pod))
    hook, end, own = {"Ingress": ("input", "saddr", "iif"),
                      "Egress": ("output", "daddr", "oif")}[direction]
    lines = [f"chain {hook} {{", f"type filter hook {hook} priority 0; policy accept;",
             f"{own} lo accept", "tcp flags & (syn | ack) != syn accept"]
    for peer, address in addresses.items():
        peer_labels = labels_of(manifest.owner_of(peer))
        for first, last in open_ports(manifest, labels, peer_labels, direction):
            lines.append(f"ip {end} {address} tcp dport {first}-{last} accept")
    return lines + ["meta l4proto { tcp, udp } drop", "}"]


def make_pod(manifest, pod, folder, addresses):
    owner = manifest.owner_of(pod)
    spec = owner["spec"]["template"]["spec"]
    container, group = spec["containers"][0], spec["securityContext"]["fsGroup"]
    os.makedirs(f"{folder}/{pod}/volumes", exist_ok=True)
    sources = {volume["name"]: fill(manifest, volume, f"{folder}/{pod}", group)
               for volume in spec["volumes"]}
    for claim in owner["spec"].get("volumeClaimTemplates", []):
        name = claim["metadata"]["name"]
        sources[name] = f"{folder}/claims/{name}-{pod}"
        make_folder(sources[name], group)
    with open(f"{folder}/{pod}/mounts", "w", encoding="utf-8") as stream:
        for mount in container["volumeMounts"]:
            mode = "ro" if mount.get("readOnly") else "rw"
            stream.write(f"{sources[mount['name']]} {mount['mountPath']} {mode}\n")
    variables = environment(container, pod, owner["metadata"]["namespace"])
    around = {"PATH": PATH, "HOSTNAME": pod, "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    write_words(f"{folder}/{pod}/environment",
                [f"{name}={value}" for name, value in {**around, **variables}.items()])
    write_words(f"{folder}/{pod}/command",
                [expand(text, variables) for text in container["command"] + container["args"]])
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        write_words(f"{folder}/{pod}/{probe}", container[probe]["exec"]["command"])
    with open(f"{folder}/{pod}/hosts", "w", encoding="utf-8") as stream:
        stream.write(names(manifest, addresses))
    rules = ["flush ruleset", "table inet policies {"]
    for direction in ("Ingress", "Egress"):
        rules += chain(manifest, pod, addresses, direction)
    with open(f"{folder}/{pod}/rules", "w", encoding="utf-8") as stream:
        stream.write("\n".join(rules + ["}"]) + "\n")


def main():
    manifest, folder = Manifest(sys.argv[1]), sys.argv[2]
    addresses = dict(word.split("=") for word in sys.argv[3:])
    for pod in addresses:
        make_pod(manifest, pod, folder, addresses)


if __name__ == "__main__":
    main()
