"""The fields of upkeep, listings and kept entries on a real API server."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from support.kube import KubectlError
from support.signmake import authority, key
from support.stage import with_spec

NAMESPACE = "crds-upkeep"
pytestmark = pytest.mark.integration

MODEL: dict[str, Any] = {
    "apiVersion": "modelgallery.dev/v1alpha1",
    "kind": "Model",
    "metadata": {"name": "m", "namespace": NAMESPACE},
    "spec": {"galleryName": "g", "source": {"entry": {"name": "a"}}},
}
GALLERY: dict[str, Any] = {
    "apiVersion": "modelgallery.dev/v1alpha1",
    "kind": "Gallery",
    "metadata": {"name": "g", "namespace": NAMESPACE},
    "spec": {"index": {"configMap": {"name": "i"}}, "storage": {"claimName": "c"}},
}


SIGNER = {
    "issuer": "https://issuer.example.org",
    "subject": "https://git.example.org/models/tiny/.ci/sign.yaml@refs/heads/main",
}


@pytest.fixture(scope="module")
def kube(control_plane):
    document = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
    control_plane.kube.apply(document)
    return control_plane.kube


def model(**changes: Any) -> dict[str, Any]:
    return with_spec(MODEL, **changes)


def gallery(**changes: Any) -> dict[str, Any]:
    return with_spec(GALLERY, **changes)


def serving(**changes: Any) -> dict[str, Any]:
    selector = {"matchLabels": {"app": "serve"}}
    return gallery(backends=[{"name": "b", "selector": selector, **changes}])


def listing(**changes: Any) -> dict[str, Any]:
    return gallery(listing=changes)


def matching(**changes: Any) -> dict[str, Any]:
    return gallery(install={"matching": changes})


def policy(**changes: Any) -> dict[str, Any]:
    return gallery(policy=changes)


def trusting(*keys: str) -> dict[str, Any]:
    return policy(signatures={"publicKeys": [*keys]})


def signers(**named: Any) -> dict[str, Any]:
    return policy(signatures=named)


def create(kube, body: dict[str, Any]) -> dict[str, Any]:
    """Creates nothing; returns what would be stored."""
    flags = ("--dry-run=server", "--validate=strict", "-o", "json")
    return json.loads(kube.run("create", *flags, "-f", "-", stdin=json.dumps(body)))


def with_defaults(wish: Any, stored: Any) -> Any:
    """Returns the wish, with what was added where it says nothing."""
    if not isinstance(wish, dict):
        return wish
    return stored | {key: with_defaults(value, stored.get(key)) for key, value in wish.items()}


def public(pair: Any) -> str:
    form = PublicFormat.SubjectPublicKeyInfo
    return pair.public_key().public_bytes(Encoding.PEM, form).decode()


def private(form: PrivateFormat) -> str:
    pair = ec.generate_private_key(ec.SECP256R1())
    return pair.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


ACCEPTED: dict[str, dict[str, Any]] = {
    "never verified": model(verifyPeriodSeconds=0),
    "verified each minute": model(verifyPeriodSeconds=60),
    "verified each year": model(verifyPeriodSeconds=31536000),
    "never asked": model(updatePolicy={"checkPeriodSeconds": 0}),
    "asked each minute": model(updatePolicy={"mode": "Track", "checkPeriodSeconds": 60}),
    "nothing kept": model(updatePolicy={"keepSeconds": 0}),
    "no wait for users": model(updatePolicy={"waitSeconds": 0}),
    "only planned": model(mode="Plan"),
    "a policy of its own": model(policy={"formats": "Safe", "licenses": ["mit"]}),
    "everything listed": listing(nameRegex="", looseFilePolicy="AlwaysInclude"),
    "an expression": listing(nameRegex="^(?i)qwen[0-9]+(\\.[0-9]+)?-\\pL+$"),
    "an expression that 'a' is": listing(nameRegex="a"),
    "an expression that nothing is": listing(nameRegex="[^\\x00-\\x{10FFFF}]"),
    "all filters": listing(nameRegex="a", tags=["llm", "cpu"], backend="llama-cpp", useCase="chat"),
    "scanned each half minute": listing(scanPeriodSeconds=30),
    "entries": gallery(install={"entries": ["a", "Any name: 1_2"]}),
    "selected by a tag": matching(tags=["llm"]),
    "selected by a backend": matching(backend="whisper"),
    "selected by name": matching(nameRegex="qwen.*"),
    "many selected": gallery(install={"matching": {"tags": ["a"]}, "maxModels": 2000}),
    "hosts": policy(allowedHosts=["huggingface.co", ".hf.co", "A.example.ORG", "10.0.0.1", "x"]),
    "licenses": policy(licenses=["apache-2.0", "llama3.1"], checksums="Required"),
    "a quota": gallery(storage={"claimName": "c", "maxBytes": "1.5Ti"}),
    "keys of all curves": trusting(key("p256"), key("p384"), key("p521")),
    "a key with other line ends": trusting(f"\n{key()}\n".replace("\n", "\r\n")),
    "as many keys as may be": trusting(*(f"{key()}{' ' * n}" for n in range(16))),
    "identities": signers(identities=[SIGNER, SIGNER | {"subject": "b@example.org"}]),
    "as many identities as may be": signers(
        identities=[{"issuer": "i" * 1024, "subject": f"{n:>01024}"} for n in range(16)]
    ),
    "an instance of one's own": signers(identities=[SIGNER], trustedRoot={"configMapName": "root"}),
    "authorities": signers(certificateAuthorities=[authority(), authority("other")]),
    "as many authorities as may be": signers(
        certificateAuthorities=[f"{authority()}{' ' * n}" for n in range(16)]
    ),
    "an authority with other line ends": signers(
        certificateAuthorities=[authority().replace("\n", "\r\n")]
    ),
    "all kinds of signers": signers(
        publicKeys=[key()], identities=[SIGNER], certificateAuthorities=[authority()]
    ),
    "signers of a Model": model(policy={"signatures": {"identities": [SIGNER]}}),
    "a limit for reading": gallery(worker={"verifyBandwidthLimit": "1Gi"}),
}


@pytest.mark.parametrize("body", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_accepted(kube, body: dict[str, Any]) -> None:
    stored = create(kube, body)["spec"]

    assert with_defaults(body["spec"], stored) == stored


def test_backends_that_tell_their_model_and_those_that_do_not(kube) -> None:
    (found,) = create(kube, serving())["spec"]["backends"]
    assert (found["type"], found["model"]) == ("Auto", "")
    told = {"type": "LocalAIBackend", "model": "Any name: 1"}
    (found,) = create(kube, serving(**told))["spec"]["backends"]
    assert told.items() <= found.items()


EXPRESSION = "must be a regular expression in RE2's syntax"
SOMETHING = "must name tags, a backend or a nameRegex"
PUBLIC = "must be one public key in PEM, of the curve P-256, P-384 or P-521"
AUTHORITY = "must be one certificate in PEM, and nothing else"
NOBODY = "at least one of publicKeys, identities, certificateAuthorities must name somebody"
HOST = "spec.policy.allowedHosts[0]"

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "verified each second": (model(verifyPeriodSeconds=1), "must be 0 or at least 60"),
    "verified each 59 seconds": (model(verifyPeriodSeconds=59), "must be 0 or at least 60"),
    "verified before it is asked": (
        model(verifyPeriodSeconds=-1),
        "greater than or equal to 0",
    ),
    "verified after a year": (model(verifyPeriodSeconds=31536001), "less than or equal to"),
    "asked each second": (
        model(updatePolicy={"checkPeriodSeconds": 1}),
        "must be 0 or at least 60",
    ),
    "a switch that waits for an hour": (
        model(updatePolicy={"waitSeconds": 3600}),
        "less than or equal to 1800",
    ),
    "kept for ever": (model(updatePolicy={"keepSeconds": -1}), "greater than or equal to 0"),
    "another mode": (model(mode="Dry"), "Unsupported value"),
    "another mode of updates": (model(updatePolicy={"mode": "Auto"}), "Unsupported value"),
    "a backend of LocalAI without its model": (serving(type="LocalAIBackend"), "model must be set"),
    "a model where the backend tells it": (
        serving(type="Ollama", model="m"),
        "for LocalAIBackend, which does not tell it, and for no other type",
    ),
    "a backend of LocalAI with TLS": (
        serving(type="LocalAIBackend", model="m", scheme="HTTPS"),
        "leave scheme at HTTP",
    ),
    "a Model that widens formats": (model(policy={"formats": "Any"}), "Unsupported value"),
    "a Model that widens checksums": (
        model(policy={"checksums": "WhenAvailable"}),
        "Unsupported value",
    ),
    "an open group": (listing(nameRegex="a("), "spec.listing.nameRegex"),
    "an open class": (listing(nameRegex="["), "spec.listing.nameRegex"),
    "a look ahead": (listing(nameRegex="(?=a)"), "spec.listing.nameRegex"),
    "a reference back": (listing(nameRegex="(a)\\1"), "spec.listing.nameRegex"),
    "a repetition beyond RE2's": (listing(nameRegex="a{1001}"), "spec.listing.nameRegex"),
    "an expression that is too long": (listing(nameRegex="a" * 257), "Too long"),
    "scanned all the time": (listing(scanPeriodSeconds=29), "greater than or equal to 30"),
    "another policy for loose files": (listing(looseFilePolicy="Skip"), "Unsupported value"),
    "a tag twice": (listing(tags=["a", "a"]), "Duplicate value"),
    "an empty tag": (listing(tags=[""]), "spec.listing.tags[0]"),
    "more tags than sense": (listing(tags=[str(n) for n in range(17)]), "Too many"),
    "selected by nothing": (matching(), SOMETHING),
    "selected by empty words": (matching(backend="", nameRegex="", tags=[]), SOMETHING),
    "selected by an expression that is none": (
        matching(nameRegex="a("),
        "spec.install.matching.nameRegex",
    ),
    "an entry twice": (gallery(install={"entries": ["a", "a"]}), "Duplicate value"),
    "an empty entry": (gallery(install={"entries": [""]}), "spec.install.entries[0]"),
    "more entries than may be": (
        gallery(install={"entries": [str(n) for n in range(513)]}),
        "Too many",
    ),
    "no Models at most": (
        gallery(install={"matching": {"tags": ["a"]}, "maxModels": 0}),
        "greater than or equal to 1",
    ),
    "too many Models": (
        gallery(install={"matching": {"tags": ["a"]}, "maxModels": 2001}),
        "less than or equal to 2000",
    ),
    "a URL for a host": (policy(allowedHosts=["https://e.org"]), HOST),
    "a path behind a host": (policy(allowedHosts=["e.org/x"]), HOST),
    "a port behind a host": (policy(allowedHosts=["e.org:443"]), HOST),
    "a star in a host": (policy(allowedHosts=["*.e.org"]), HOST),
    "only a dot for a host": (policy(allowedHosts=["."]), HOST),
    "a dot behind a host": (policy(allowedHosts=["e.org."]), HOST),
    "two dots before a host": (policy(allowedHosts=["..org"]), HOST),
    "a user before a host": (policy(allowedHosts=["a@e.org"]), HOST),
    "an empty host": (policy(allowedHosts=[""]), HOST),
    "a host twice": (policy(allowedHosts=["e.org", "e.org"]), "Duplicate value"),
    "an empty license": (policy(licenses=[""]), "spec.policy.licenses[0]"),
    "a license twice": (policy(licenses=["mit", "mit"]), "Duplicate value"),
    "nobody's keys": (trusting(), NOBODY),
    "signatures of nobody": (policy(signatures={}), NOBODY),
    "signatures of nobody, for a Model": (model(policy={"signatures": {}}), NOBODY),
    "empty lists of signers": (signers(identities=[], certificateAuthorities=[]), NOBODY),
    "an instance for nobody": (
        signers(publicKeys=[key()], trustedRoot={"configMapName": "root"}),
        "identities must be set as well",
    ),
    "an instance without a name": (signers(identities=[SIGNER], trustedRoot={}), "configMapName"),
    "an identity without an issuer": (signers(identities=[{"subject": "s"}]), "issuer"),
    "an identity without a subject": (signers(identities=[{"issuer": "i"}]), "subject"),
    "an empty subject": (
        signers(identities=[{"issuer": "i", "subject": ""}]),
        "spec.policy.signatures.identities[0].subject",
    ),
    "an identity twice": (signers(identities=[SIGNER, SIGNER]), "Duplicate value"),
    "text for an authority": (signers(certificateAuthorities=["mine"]), AUTHORITY),
    "a key for an authority": (signers(certificateAuthorities=[key()]), AUTHORITY),
    "two authorities in one": (signers(certificateAuthorities=[authority() * 2]), AUTHORITY),
    "a private key behind an authority": (
        signers(certificateAuthorities=[authority() + private(PrivateFormat.PKCS8)]),
        AUTHORITY,
    ),
    "an authority twice": (signers(certificateAuthorities=[authority()] * 2), "Duplicate value"),
    "an empty key": (trusting(""), "spec.policy.signatures.publicKeys[0]"),
    "a key twice": (trusting(key(), key()), "Duplicate value"),
    "more keys than may be": (trusting(*(f"{key()}{' ' * n}" for n in range(17))), "Too many"),
    "a key that is too long": (trusting(key() + "\n" * 1024), "Too long"),
    "text for a key": (trusting("my key"), PUBLIC),
    "a key without its frame": (trusting(key().split("\n")[1]), PUBLIC),
    "two keys in one": (trusting(key("p256") + key("p384")), PUBLIC),
    "text behind a key": (trusting(key() + "x"), PUBLIC),
    "a certificate": (trusting(key().replace("PUBLIC KEY", "CERTIFICATE")), PUBLIC),
    "a key of RSA": (trusting(public(rsa.generate_private_key(65537, 2048))), PUBLIC),
    "a key of another curve": (trusting(public(ec.generate_private_key(ec.SECP256K1()))), PUBLIC),
    "a private key": (trusting(private(PrivateFormat.PKCS8)), "must be a public key"),
    "a private key of OpenSSL's": (
        trusting(private(PrivateFormat.TraditionalOpenSSL)),
        "must be a public key",
    ),
    "a private key behind a public one": (
        trusting(key() + private(PrivateFormat.PKCS8)),
        "must be a public key",
    ),
    "a quota that is none": (
        gallery(storage={"claimName": "c", "maxBytes": "much"}),
        "spec.storage.maxBytes",
    ),
    "a quota below nothing": (
        gallery(storage={"claimName": "c", "maxBytes": "-1Gi"}),
        "spec.storage.maxBytes",
    ),
    "a quota with two points": (
        gallery(storage={"claimName": "c", "maxBytes": "1.2.3Gi"}),
        "spec.storage.maxBytes",
    ),
}


@pytest.mark.parametrize(("body", "word"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(kube, body: dict[str, Any], word: str) -> None:
    with pytest.raises(KubectlError) as caught:
        create(kube, body)

    assert word in str(caught.value)


def test_a_broken_expression_is_told_as_such(kube) -> None:
    """The rule itself fails on it, which must not read like a fault of the API server."""
    with pytest.raises(KubectlError) as caught:
        create(kube, listing(nameRegex="a("))

    said = str(caught.value)
    assert EXPRESSION in said or "error parsing regexp" in said


def test_what_is_not_said(kube) -> None:
    spec = create(kube, model(updatePolicy={}))["spec"]

    assert spec["mode"] == "Install"
    assert spec["verifyPeriodSeconds"] == 86400
    assert spec["updatePolicy"] == {
        "mode": "Pinned",
        "checkPeriodSeconds": 86400,
        "keepSeconds": 86400,
        "waitSeconds": 300,
    }
    spec = create(kube, gallery(install={"matching": {"tags": ["a"]}}, listing={}))["spec"]
    assert spec["install"]["maxModels"] == 100
    assert spec["listing"]["looseFilePolicy"] == "SkipIfConfigured"
    assert spec["listing"]["scanPeriodSeconds"] == 900


def test_reading_without_a_limit(kube) -> None:
    """The way that the description names must survive defaulting."""
    unlimited = create(kube, gallery(worker={"verifyBandwidthLimit": "0"}))

    assert unlimited["spec"]["worker"]["verifyBandwidthLimit"] == "0"
    explained = kube.run("explain", "gallery.spec.worker.verifyBandwidthLimit")
    assert "0: no limit" in " ".join(explained.split())


def test_wishes_may_change(kube) -> None:
    kube.apply(gallery(install={"entries": ["a"]}, policy={"licenses": ["mit"]}))
    kube.apply(gallery(install={"entries": ["b"]}, policy={"allowedHosts": ["e.org"]}))
    kube.apply(model(mode="Plan"))
    kube.apply(model(mode="Install", updatePolicy={"mode": "Track"}))

    assert kube.get("gallery", "g", NAMESPACE)["spec"]["install"]["entries"] == ["b"]
    assert kube.get("model", "m", NAMESPACE)["spec"]["updatePolicy"]["mode"] == "Track"
