"""The life after the install, on the real cluster: damage, updates, ways back, loose files, quotas."""

import pytest

from support.kube import condition, is_current, wait_until
from support.origin import URL, body
from support.stage import model as model_of

MIB = 1 << 20
ENTRY = {"name": "kept", "tags": ["llm"], "license": "mit", "overrides": {"backend": "llama-cpp"}}


def entry(path, **more):
    return {
        **ENTRY,
        "files": [{"filename": "kept.dat", "uri": URL + path, "sha256": body(path).sha256()}],
        **more,
    }


def model(stage, name):
    return stage.kube.get("model", name, stage.namespace) or {}


def status_of(stage, name):
    return model(stage, name).get("status", {})


def describe(stage):
    return lambda: stage.kube.run(
        "get", "models,galleries,jobs", "-o", "yaml", "-n", stage.namespace
    )


def until(stage, what, probe, timeout=90):
    return wait_until(what, probe, timeout, describe(stage))


def has(found, type_, status="True"):
    return (condition(found, type_) or {}).get("status") == status


def test_a_flipped_byte_is_found_and_only_its_part_is_fetched(stage, tmp_path):
    """P64, T78: 256 MiB, one byte flipped: Verified=False, then 16 MiB come again and all is well."""
    path = "/gen/256Mi/flip/flip.dat"
    stage.set_up()
    files = [{"path": "flip.dat", "uri": URL + path, "sha256": body(path).sha256()}]
    stage.create("flip", source={"files": files})
    first = stage.ready("flip")["status"]["checkedTime"]
    before = stage.origin.stats(path)["bytes"]
    stage.write(
        "python3 -c \"f=open('flip.dat','r+b'); f.seek(99999999); b=f.read(1)[0]; f.seek(-1,1);"
        ' f.write(bytes([b^1]))"'
    )
    assert stage.sha256("flip.dat") != body(path).sha256()
    with stage.kube.watching("models", stage.namespace, tmp_path / "models") as seen:
        stage.annotate("model", "flip", "modelgallery.dev/verify-requested-at")
        until(
            stage,
            "the damage is mended",
            lambda: (
                status_of(stage, "flip").get("checkedTime", first) > first
                and "damage" not in status_of(stage, "flip")
            ),
        )
        versions = seen()
    damaged = [found for found in versions if has(found, "Verified", "False")]
    assert damaged
    assert condition(damaged[0], "Verified")["reason"] == "FilesDamaged"
    assert damaged[0]["status"]["damage"]["problems"] == [
        {"path": "flip.dat", "problem": "Damaged"}
    ]
    assert stage.sha256("flip.dat") == body(path).sha256()
    assert stage.origin.stats(path)["bytes"] - before <= 17 * MIB
    assert has(stage.ready("flip"), "Verified")


def test_a_file_that_somebody_removed_comes_back_by_itself(stage):
    """P65: a scan notices, no byte is fetched."""
    path = "/gen/8Mi/gone/gone.dat"
    stage.set_up(listing={"scanPeriodSeconds": 30})
    stage.create("gone", source={"uri": URL + path})
    stage.ready("gone")
    before = stage.origin.stats(path)["bytes"]
    stage.write("rm gone.dat")
    until(stage, "the file is back", lambda: "./gone.dat" in stage.published(), 120)
    assert stage.sha256("gone.dat") == body(path).sha256()
    assert stage.origin.stats(path)["bytes"] - before <= 1


def test_a_pinned_model_stays_and_says_so_and_goes_when_told(stage):
    """T77: the index changes: Ready stays, UpdateAvailable shows; Track takes it; the way back is free."""
    old, new = "/gen/8Mi/old/kept.dat", "/gen/8Mi/new/kept.dat"
    stage.set_up()
    stage.index(entry(old))
    stage.create("kept", source={"entry": {"name": "kept"}})
    stage.ready("kept")
    stage.index(entry(new))
    until(stage, "UpdateAvailable", lambda: has(model(stage, "kept"), "UpdateAvailable"))
    assert is_current(model(stage, "kept"))
    assert stage.sha256("kept.dat") == body(old).sha256()
    stage.create("kept", source={"entry": {"name": "kept"}}, updatePolicy={"mode": "Track"})
    until(stage, "the new file", lambda: stage.sha256("kept.dat") == body(new).sha256())
    assert "updateAvailable" not in stage.ready("kept")["status"]
    fetched = stage.origin.stats(old)["bytes"]
    stage.index(entry(old))
    until(stage, "the old file again", lambda: stage.sha256("kept.dat") == body(old).sha256())
    assert stage.origin.stats(old)["bytes"] == fetched


@pytest.mark.parametrize(
    ("wish", "reason", "agreed"),
    [({"mode": "Plan"}, "Planned", {"mode": "Install"}), ({"suspend": True}, "Suspended", {})],
    ids=["mode", "suspended"],
)
def test_a_plan_fetches_nothing(stage, wish, reason, agreed):
    """Mode Plan, and a Model that is made suspended: files, sizes, licence; then the files."""
    path = f"/gen/8Mi/{reason.lower()}/kept.dat"
    stage.set_up()
    stage.index(entry(path))
    stage.create("planned", source={"entry": {"name": "kept"}}, **wish)
    plan = until(stage, "a plan", lambda: status_of(stage, "planned").get("plan"))
    ready = condition(model(stage, "planned"), "Ready")
    assert (ready["reason"], "1 file, 8.0 MiB" in ready["message"]) == (reason, True)
    assert (plan["filesTotal"], plan["sizeBytes"], plan["fetchBytes"]) == (1, 8 * MIB, 8 * MIB)
    assert (plan["license"], plan["files"][0]["path"]) == ("mit", "kept.dat")
    assert stage.origin.stats(path)["bytes"] <= 1
    assert stage.published() == []
    stage.create("planned", source={"entry": {"name": "kept"}}, **agreed)
    stage.ready("planned")
    assert "plan" not in status_of(stage, "planned")


def test_the_listing_shows_models_and_loose_files(stage):
    """A loose file appears, is taken over by a Model without a download, and goes with it."""
    path = "/small/loose.gguf"
    stage.set_up(listing={"scanPeriodSeconds": 30})
    stage.create("first", source={"uri": f"{URL}/small/first.gguf"})
    stage.ready("first")
    stage.origin.stats(path)
    stage.write(
        f"python3 -c \"import urllib.request as u; u.urlretrieve('{URL}{path}', 'loose.gguf')\""
    )
    stage.write("echo hello > notes.txt")

    def names():
        listed = stage.gallery()["status"].get("listing", {})
        return [(item["name"], item["kind"]) for item in listed.get("models", [])]

    until(
        stage,
        "the listing",
        lambda: names() == [("first", "Configured"), ("loose.gguf", "Loose")],
        120,
    )
    loose = body(path).size + len("hello\n")
    until(
        stage,
        "the loose bytes",
        lambda: stage.gallery()["status"]["storage"].get("looseBytes") == loose,
        120,
    )
    storage = stage.gallery()["status"]["storage"]
    assert storage["managedBytes"] == body("/small/first.gguf").size
    assert storage["availableBytes"] > 0
    fetched = stage.origin.stats(path)["bytes"]
    files = [{"path": "loose.gguf", "uri": URL + path, "sha256": body(path).sha256()}]
    stage.create("adopted", source={"files": files})
    stage.ready("adopted")
    assert stage.origin.stats(path)["bytes"] - fetched <= 1
    until(
        stage,
        "the loose file is a Model's",
        lambda: names() == [("adopted", "Configured"), ("first", "Configured")],
        120,
    )


def test_a_gallery_keeps_entries_installed(stage):
    """By name and by tag; a vanished entry takes nothing away, a changed wish does."""
    stage.set_up(install={"entries": ["kept"], "matching": {"tags": ["extra"]}})
    path = "/gen/1Mi/stock/kept.dat"
    other = {
        "name": "Other/Model:1",
        "tags": ["extra"],
        "overrides": {"backend": "x", "name": "other"},
        "files": [{"filename": "other.dat", "uri": f"{URL}/gen/1Mi/other/other.dat"}],
    }
    stage.index(entry(path), other)
    until(
        stage,
        "both are there",
        lambda: stage.gallery()["status"].get("install") == {"wanted": 2, "ready": 2},
    )
    owners = {
        found["spec"]["source"]["entry"]["name"]: found["metadata"]["ownerReferences"][0]["name"]
        for found in stage.kube.list("models", stage.namespace)
    }
    assert owners == {"kept": "demo", "Other/Model:1": "demo"}
    stage.index()
    until(
        stage,
        "the index is empty",
        lambda: stage.gallery()["status"].get("install", {}).get("missing") == ["kept"],
    )
    assert stage.sha256("other.dat") == body("/gen/1Mi/other/other.dat").sha256()
    stage.set_up(install={"entries": ["kept"]})
    until(stage, "only the named one is left", lambda: "./other.dat" not in stage.published())
    assert stage.sha256("kept.dat") == body(path).sha256()


def test_policies_refuse_by_name(stage):
    """Hosts, licences, checksums and quota: each with its reason, and nothing fetched."""
    stage.set_up(
        policy={"allowedHosts": [".origin.svc"], "licenses": ["mit"], "checksums": "Required"},
        storage={"claimTemplate": {"size": "4Gi"}, "maxBytes": "4Mi"},
    )
    stage.index(
        entry("/gen/8Mi/much/kept.dat"),
        {**entry("/gen/1Mi/free/x.dat"), "name": "unfree", "license": "other"},
        {
            **ENTRY,
            "name": "bare",
            "files": [{"filename": "bare.dat", "uri": f"{URL}/gen/1Mi/bare/bare.dat"}],
        },
        {
            **ENTRY,
            "name": "far",
            "files": [{"filename": "far.dat", "uri": "http://far.example/far.dat"}],
        },
    )
    wanted = {
        "kept": "QuotaExceeded",
        "unfree": "LicenseNotAllowed",
        "bare": "ChecksumRequired",
        "far": "TargetNotAllowed",
    }
    for name in wanted:
        stage.create(name, source={"entry": {"name": name}})
    for name, reason in wanted.items():
        stalled = until(
            stage, f"{name} is Stalled", lambda name=name: condition(model(stage, name), "Stalled")
        )
        assert stalled["reason"] == reason, stalled
    assert stage.published() == []


def test_two_that_begin_at_once_do_not_share_what_the_quota_leaves(stage):
    """There is room for one of them; the other is told so, and gets it once the first is gone."""
    stage.set_up(storage={"claimTemplate": {"size": "4Gi"}, "maxBytes": "12Mi"})
    names = ("one", "two")
    stage.kube.apply(
        *(
            model_of(name, stage.namespace, source={"uri": f"{URL}/gen/8Mi/{name}/{name}.dat"})
            for name in names
        )
    )

    def settled():
        kinds = [
            [condition(model(stage, name), kind) for kind in ("Ready", "Stalled")] for name in names
        ]
        return all(
            stalled or (ready and ready["status"] == "True") for ready, stalled in kinds
        ) and [name for name, (_, stalled) in zip(names, kinds, strict=True) if stalled]

    (late,) = until(stage, "both are settled", settled)
    stalled = condition(model(stage, late), "Stalled")
    assert stalled["reason"] == "QuotaExceeded", stalled
    assert model(stage, late)["status"]["lastFailure"]["missingBytes"] == 4 * 2**20
    (first,) = set(names) - {late}
    stage.kube.delete("model", first, stage.namespace)
    stage.ready(late)


def test_the_longest_unused_makes_room_and_comes_back_when_asked(stage):
    """Of three evictable Models one goes, and only one; the other two are not touched."""
    stage.set_up(storage={"claimTemplate": {"size": "4Gi"}, "maxBytes": "24Mi"})
    for name in ("first", "second", "third"):
        stage.create(
            name, source={"uri": f"{URL}/gen/7Mi/{name}/{name}.dat"}, evictable=name != "first"
        )
        stage.ready(name)
    stage.create("late", source={"uri": f"{URL}/gen/7Mi/late/late.dat"})
    stage.ready("late")

    gone = until(
        stage,
        "the second is evicted",
        lambda: (
            condition(model(stage, "second"), "Ready")["reason"] == "Evicted"
            and model(stage, "second")
        ),
    )
    assert stage.published() == ["./first.dat", "./late.dat", "./third.dat"]
    assert "made room for Model late" in condition(gone, "Ready")["message"]
    assert "files" not in gone["status"]
    stage.annotate("model", "second", "modelgallery.dev/reconcile-requested-at")
    until(
        stage,
        "the third goes for it",
        lambda: condition(model(stage, "third"), "Ready")["reason"] == "Evicted",
    )
    stage.ready("second")
    assert stage.published() == ["./first.dat", "./late.dat", "./second.dat"]


def test_what_nobody_needs_is_shown_and_collected(stage):
    """Staging of nobody: reclaimable, then gone after the annotation."""
    stage.set_up(listing={"scanPeriodSeconds": 30})
    stage.create("first", source={"uri": f"{URL}/small/waste.gguf"})
    stage.ready("first")
    stage.write(
        "mkdir -p .modelgallery/staging/dead/plan && head -c 1000000 /dev/zero"
        " > .modelgallery/staging/dead/plan/0.part"
    )
    stage.annotate("gallery", "demo", "modelgallery.dev/collect-requested-at")

    def handled():
        found = stage.gallery()
        wish = found["metadata"]["annotations"]["modelgallery.dev/collect-requested-at"]
        return found["status"].get("lastHandledCollectAt") == wish

    until(stage, "the collection has run", handled)
    # It is too young to be taken for waste: an install may be about to use it.
    assert stage.shell("ls .modelgallery/staging").split() == ["dead"]
