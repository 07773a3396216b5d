"""Twenty entries of LocalAI's public gallery, of different shapes, from a mirror in the cluster.

The entries are used as they are; only the digests are those of the small files that the mirror sends.
What the configuration on the volume must be is worked out here a second time, from LocalAI's rules:
base configuration, then `name`, then the overrides, merged deeply.
"""

import os
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml

from support.origin import URL, body

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(
    os.environ.get("MODEL_GALLERY_DATA")
    or REPOSITORY.parent / "shared" / "data" / "localai-gallery"
)
HUB = "https://huggingface.co/"
ENTRIES = [
    "hy-mt2-1.8b-q4",  # one file in nested folders
    "huihui-qwen3.8-27b-abliterated",  # weights and a projector
    "gemma-4-12b-it-qat-q4_0",  # an underscore: no legal metadata.name
    "llama-3.2-1b-instruct:q4_k_m",  # a colon, and a base configuration with templates
    "llama-3.2-3b-instruct:q8_0",
    "deepseek-v4-pro-0813",  # a GGUF in twenty parts
    "qwen3-coder-next-mxfp4_moe",  # overrides.name is another name
    "glm-4.7-flash-derestricted",
    "secret-filter",  # no files: only a configuration
    "aurore-reveil_koto-small-7b-it",  # no base configuration
    "lfm2-1.2b",
    "wan-2.1-t2v-1.3b-ggml",  # safetensors and GGUF, one of them without a digest
    "voxtral-mini-4b-realtime",
]
WANTED = 20
MIRRORED = "/small/hub/"


@pytest.fixture(scope="module")
def entries():
    """The chosen entries by name, and others from all over the index up to twenty."""
    if not (DATA / "index.yaml").exists():
        pytest.skip(f"the public gallery is not at {DATA}; set MODEL_GALLERY_DATA")
    everything = yaml.load((DATA / "index.yaml").read_text(), yaml.CSafeLoader)
    by_name = {entry["name"]: entry for entry in everything}
    chosen = {name: by_name[name] for name in ENTRIES}
    taken = {file["filename"] for entry in chosen.values() for file in entry.get("files") or ()}
    for entry in everything[:: len(everything) // 80]:
        if len(chosen) < WANTED and _is_plain(entry, taken):
            chosen[entry["name"]] = entry
            taken |= {file["filename"] for file in entry["files"]}
    assert len(chosen) == WANTED
    return [_with_digests(entry) for entry in chosen.values()]


def _is_plain(entry, taken):
    files = entry.get("files") or ()
    return (
        0 < len(files) <= 3
        and all(_hub_path(file["uri"]) and file["filename"] not in taken for file in files)
        and (entry.get("overrides") or {}).get("name", entry["name"]) == entry["name"]
    )


def _hub_path(uri):
    """The path on the hub that a URI stands for; None for another server."""
    if uri.startswith(HUB):
        return uri.removeprefix(HUB)
    if uri.startswith("huggingface://"):
        owner, repository, path = uri.removeprefix("huggingface://").split("/", 2)
        return f"{owner}/{repository}/resolve/main/{quote(path)}"
    return None


def _content(uri):
    return body(MIRRORED + _hub_path(uri))


def _with_digests(entry):
    files = [
        {**file, "sha256": _content(file["uri"]).sha256() if file["sha256"] else ""}
        for file in entry.get("files") or ()
    ]
    return {**entry, "files": files}


def _configuration(entry):
    """What LocalAI writes for the entry, before it guesses at parameters."""
    base = {}
    if entry.get("url"):
        file = DATA / "configs" / entry["url"].rpartition("/")[2].partition("@")[0]
        base = yaml.safe_load(yaml.safe_load(file.read_text()).get("config_file") or "{}") or {}
    return _merged({**base, "name": entry["name"]}, entry.get("overrides") or {})


def _merged(base, over):
    result = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result


def _upload(stage, entries):
    stage.origin.upload("/real/index.yaml", yaml.safe_dump(entries, sort_keys=False))
    for name in {entry["url"].rpartition("/")[2] for entry in entries if entry.get("url")}:
        file = name.partition("@")[0]
        stage.origin.upload(f"/real/gallery/{file}", (DATA / "configs" / file).read_text())


@pytest.mark.timeout(280)
def test_twenty_real_entries_are_installed(stage, entries):
    """All Ready; every file has its digest; every configuration is what LocalAI would have written."""
    _upload(stage, entries)
    raw = "https://raw.githubusercontent.com/mudler/LocalAI/master/gallery/"
    stage.set_up(
        index={"http": {"url": f"{URL}/real/index.yaml"}},
        rewrites=[
            {"prefix": HUB, "replacement": URL + MIRRORED},
            {"prefix": raw, "replacement": f"{URL}/real/gallery/"},
        ],
        worker={"maxConcurrent": 4},
    )
    for number, entry in enumerate(entries):
        stage.create(f"real-{number}", source={"entry": {"name": entry["name"]}})
    for number in range(len(entries)):
        stage.ready(f"real-{number}", timeout=180)
    _check_files(stage, entries)
    for entry in entries:
        written = yaml.safe_load(stage.shell(f"cat '{entry['name']}.yaml'"))
        assert written == _configuration(entry), entry["name"]


def _check_files(stage, entries):
    files = {
        file["filename"]: _content(file["uri"]).sha256()
        for entry in entries
        for file in entry["files"]
    }
    lines = stage.shell(
        "find . -path ./.modelgallery -prune -o -type f -print0 | xargs -0 sha256sum"
    ).splitlines()
    found = {line[66:].removeprefix("./"): line[:64] for line in lines}
    configurations = {f"{entry['name']}.yaml" for entry in entries}
    records = {f"._gallery_{entry['name']}.yaml" for entry in entries}
    assert found.keys() == files.keys() | configurations | records
    assert {path: found[path] for path in files} == files
