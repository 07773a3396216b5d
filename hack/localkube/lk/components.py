"""What runs in a cluster: each component's command line and rendered configuration."""

from __future__ import annotations

import os
import string
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lk import cgroups, tools
from lk.addresses import Addresses
from lk.images import PAUSE_REFERENCE
from lk.paths import SOURCE, TEMPLATES, ClusterPaths
from lk.pki import node_name

# Ready means that the roles are there too, without which every component starts in vain.
API = "https://127.0.0.1:6443/readyz"
ETCD = "127.0.0.1:2379"
CONTAINERD = "/run/containerd/containerd.sock"
CONFIGURATIONS = {
    "audit-policy.yaml": "audit-policy.yaml",
    "containerd.toml": "containerd.toml",
    "kube-proxy.yaml": "kube-proxy.yaml",
    "kubelet.yaml": "kubelet.yaml",
    "pods.conflist": "cni/10-pods.conflist",
    "resolv.conf": "resolv.conf",
}


@dataclass(frozen=True)
class Component:
    """One supervised process; it starts once everything in `after` answers."""

    name: str
    argv: list[str]
    after: tuple[str, ...] = ()


def render_all(paths: ClusterPaths, addresses: Addresses) -> None:
    """Write the configuration files."""
    for template, target in CONFIGURATIONS.items():
        file = paths.etc / target
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(render(template, values(paths, addresses)))


def render(template: str, substitutes: dict[str, str]) -> str:
    """Return a template with its `$$name`s replaced."""
    return string.Template((TEMPLATES / template).read_text()).substitute(substitutes)


def values(paths: ClusterPaths, addresses: Addresses) -> dict[str, str]:
    """Return what templates may name."""
    return {
        "cgroup": cgroups.cgroup_name(paths.name),
        "dns_ip": addresses.dns_ip,
        "etc": str(paths.etc),
        "host_ip": addresses.host_ip,
        "node": node_name(paths.name),
        "node_ip": addresses.node_ip,
        "pause": PAUSE_REFERENCE,
        "pki": str(paths.pki),
        "pod_cidr": addresses.pod_cidr,
        "root": str(paths.root),
        "runc": str(tools.path("runc")),
        "volumes": str(paths.volumes),
    }


def plan(paths: ClusterPaths, addresses: Addresses, *, full: bool) -> dict[str, Any]:
    """Return what the supervisor is to do."""
    components = _control_plane(paths, addresses)
    if full:
        components += _node(paths, addresses)
    search = [str(tools.path(name).parent) for name in ("containerd", "runc")]
    return {
        "node": node_name(paths.name),
        "node_ip": addresses.node_ip,
        "host_ip": addresses.host_ip,
        "scratch": str(paths.etc),
        "running": str(paths.running),
        "components": [
            {
                "name": component.name,
                "argv": component.argv,
                "after": list(component.after),
                "log": str(paths.log(component.name)),
                "environment": {
                    "PATH": ":".join([*search, os.environ["PATH"], "/usr/sbin", "/sbin"])
                },
            }
            for component in components
        ],
    }


def _control_plane(paths: ClusterPaths, addresses: Addresses) -> list[Component]:
    pki = paths.pki
    return [
        Component(
            "etcd",
            [
                str(tools.path("etcd")),
                "--name=localkube",
                f"--data-dir={paths.root}/etcd",
                f"--listen-client-urls=http://{ETCD}",
                f"--advertise-client-urls=http://{ETCD}",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--unsafe-no-fsync",
                "--quota-backend-bytes=4294967296",
                "--auto-compaction-retention=1h",
            ],
        ),
        Component(
            "kube-apiserver",
            [
                str(tools.path("kube-apiserver")),
                f"--etcd-servers=http://{ETCD}",
                f"--advertise-address={addresses.node_ip}",
                "--secure-port=6443",
                f"--service-cluster-ip-range={addresses.service_cidr}",
                f"--tls-cert-file={pki}/apiserver.crt",
                f"--tls-private-key-file={pki}/apiserver.key",
                f"--client-ca-file={pki}/ca.crt",
                f"--token-auth-file={pki}/tokens.csv",
                "--authorization-mode=Node,RBAC",
                "--enable-admission-plugins=NodeRestriction",
                "--allow-privileged=true",
                "--profiling=false",
                "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
                f"--service-account-key-file={pki}/service-account.key",
                f"--service-account-signing-key-file={pki}/service-account.key",
                f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
                f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
                "--kubelet-preferred-address-types=InternalIP",
                f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
                "--requestheader-allowed-names=front-proxy-client",
                "--requestheader-username-headers=X-Remote-User",
                "--requestheader-group-headers=X-Remote-Group",
                "--requestheader-extra-headers-prefix=X-Remote-Extra-",
                f"--proxy-client-cert-file={pki}/front-proxy-client.crt",
                f"--proxy-client-key-file={pki}/front-proxy-client.key",
                f"--audit-policy-file={paths.etc}/audit-policy.yaml",
                f"--audit-log-path={paths.audit}",
                "--audit-log-maxsize=1024",
            ],
            after=(ETCD,),
        ),
        Component(
            "kube-controller-manager",
            [
                str(tools.path("kube-controller-manager")),
                *_kubeconfig_flags(pki / "kube-controller-manager.kubeconfig"),
                # One identity for all controllers: an account for each takes 5 s more to start.
                "--leader-elect=false",
                "--use-service-account-credentials=false",
                # The default of 20 a second would be what a thousand Jobs measure.
                "--kube-api-qps=300",
                "--kube-api-burst=600",
                f"--root-ca-file={pki}/ca.crt",
                f"--service-account-private-key-file={pki}/service-account.key",
                f"--cluster-signing-cert-file={pki}/ca.crt",
                f"--cluster-signing-key-file={pki}/ca.key",
                "--bind-address=127.0.0.1",
                "--profiling=false",
            ],
            after=(API,),
        ),
    ]


def _node(paths: ClusterPaths, addresses: Addresses) -> list[Component]:
    pki, etc = paths.pki, paths.etc
    return [
        Component(
            "kube-scheduler",
            [
                str(tools.path("kube-scheduler")),
                *_kubeconfig_flags(pki / "kube-scheduler.kubeconfig"),
                "--leader-elect=false",
                "--bind-address=127.0.0.1",
                "--profiling=false",
            ],
            after=(API,),
        ),
        Component(
            "containerd",
            [
                str(tools.path("containerd")),
                f"--config={etc}/containerd.toml",
            ],
        ),
        Component(
            "kubelet",
            [
                str(tools.path("kubelet")),
                f"--config={etc}/kubelet.yaml",
                f"--kubeconfig={pki}/kubelet.kubeconfig",
                f"--root-dir={paths.root}/kubelet",
                f"--cert-dir={pki}/kubelet",
                f"--hostname-override={node_name(paths.name)}",
                f"--node-ip={addresses.node_ip}",
            ],
            after=(API, CONTAINERD),
        ),
        Component(
            "kube-proxy",
            [
                str(tools.path("kube-proxy")),
                f"--config={etc}/kube-proxy.yaml",
            ],
            after=(API,),
        ),
        Component(
            "limited-provisioner",
            [
                sys.executable,
                "-B",
                str(SOURCE / "lk" / "limited.py"),
                str(pki / "limited-provisioner.kubeconfig"),
                str(paths.volumes / "limited"),
                node_name(paths.name),
            ],
            after=(API,),
        ),
    ]


def _kubeconfig_flags(kubeconfig: Path) -> list[str]:
    """Return the flags of a component that asks the API server who its own callers are."""
    return [
        f"--{purpose}={kubeconfig}"
        for purpose in ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
    ]
