"""Keys, certificates, tokens and kubeconfigs."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path

from lk.addresses import Addresses
from lk.paths import ClusterPaths
from lk.report import LocalkubeError

DAYS = "3650"
# Component -> its user and groups.
IDENTITIES = {
    "admin": ("localkube-admin", "system:masters"),
    "kube-controller-manager": ("system:kube-controller-manager", "system:masters"),
    "kube-scheduler": ("system:kube-scheduler", ""),
    "kube-proxy": ("system:kube-proxy", ""),
    "limited-provisioner": ("localkube-limited-provisioner", "system:masters"),
}


def node_name(cluster: str) -> str:
    """Return the name of the cluster's only node."""
    return f"localkube-{cluster}"


def create(paths: ClusterPaths, addresses: Addresses) -> None:
    """Create everything that proves an identity; a later `up` keeps what is there."""
    pki = paths.pki
    if (pki / "tokens.csv").exists():
        return
    pki.mkdir(parents=True, exist_ok=True, mode=0o700)
    _authority(pki, "ca")
    _authority(pki, "front-proxy-ca")
    _key(pki / "service-account.key")
    names = (
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
        "localhost",
    )
    ips = ("127.0.0.1", addresses.api_service_ip, addresses.node_ip)
    alternative = ",".join([*(f"DNS:{name}" for name in names), *(f"IP:{ip}" for ip in ips)])
    ca, front_proxy_ca = pki / "ca", pki / "front-proxy-ca"
    _certificate(
        pki / "apiserver",
        ca,
        "/CN=kube-apiserver",
        f"extendedKeyUsage=serverAuth\nsubjectAltName={alternative}",
    )
    _certificate(
        pki / "apiserver-kubelet-client",
        ca,
        "/O=system:masters/CN=kube-apiserver-kubelet-client",
        "extendedKeyUsage=clientAuth",
    )
    _certificate(
        pki / "front-proxy-client",
        front_proxy_ca,
        "/CN=front-proxy-client",
        "extendedKeyUsage=clientAuth",
    )
    node = ("kubelet", (f"system:node:{node_name(paths.name)}", "system:nodes"))
    lines = []
    for component, (user, groups) in [*IDENTITIES.items(), node]:
        token = secrets.token_hex(24)
        lines.append(f'{token},{user},{user},"{groups}"\n')
        file = paths.kubeconfig if component == "admin" else pki / f"{component}.kubeconfig"
        _kubeconfig(file, paths.name, f"https://{addresses.node_ip}:6443", pki / "ca.crt", token)
    (pki / "tokens.csv").write_text("".join(lines))


def _kubeconfig(file: Path, cluster: str, server: str, authority: Path, token: str) -> None:
    name = f"localkube-{cluster}"
    encoded = subprocess.run(
        ["openssl", "base64", "-A", "-in", str(authority)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    file.touch(mode=0o600)
    # JSON is YAML too, and needs no library to read back.
    file.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": name,
                "clusters": [
                    {
                        "name": name,
                        "cluster": {"server": server, "certificate-authority-data": encoded},
                    }
                ],
                "users": [{"name": name, "user": {"token": token}}],
                "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            },
            indent=2,
        )
        + "\n"
    )


def _key(file: Path) -> None:
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(file))


def _authority(pki: Path, name: str) -> None:
    key, certificate = f"{pki}/{name}.key", f"{pki}/{name}.crt"
    _key(Path(key))
    usage = "keyUsage=critical,digitalSignature,keyCertSign,cRLSign"
    request = ("req", "-x509", "-new", "-key", key, "-subj", f"/CN=localkube-{name}")
    _openssl(*request, "-days", DAYS, "-addext", usage, "-out", certificate)


def _certificate(stem: Path, authority: Path, subject: str, extensions: str) -> None:
    """Make `stem`.key and `stem`.crt, signed by the authority of that stem."""
    key, request, wanted = f"{stem}.key", f"{stem}.csr", Path(f"{stem}.ext")
    _key(Path(key))
    wanted.write_text(f"keyUsage=critical,digitalSignature\n{extensions}\n")
    _openssl("req", "-new", "-key", key, "-subj", subject, "-out", request)
    signer = ("-CA", f"{authority}.crt", "-CAkey", f"{authority}.key", "-CAcreateserial")
    details = ("-days", DAYS, "-extfile", str(wanted), "-out", f"{stem}.crt")
    _openssl("x509", "-req", "-in", request, *signer, *details)


def _openssl(*arguments: str) -> None:
    result = subprocess.run(["openssl", *arguments], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise LocalkubeError(f"`openssl {arguments[0]}` failed: {result.stderr.strip()}")
