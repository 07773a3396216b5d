"""kill -9 at random moments, again and again: the invariants hold after every run, whatever was hit.

MODEL_GALLERY_KILL_RUNS says how many seeds (10); 200 are for a release. The checker looks at the volume
with code of its own: INV1 nothing wrong under a published path at any sampled moment, INV2 all files there
in the end, INV5 foreign files untouched, INV6 removal leaves what was there before.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from pathlib import Path

import pytest

from support.faultserver import CLOSE, answer, serve
from support.volumecheck import Watcher
from support.worker import MIB, Worker

RUNS = int(os.environ.get("MODEL_GALLERY_KILL_RUNS", "10"))
CONTENT = {
    "big.gguf": random.Random(1).randbytes(24 * MIB),  # noqa: S311 - content
    "dir/middle.dat": random.Random(2).randbytes(5 * MIB),  # noqa: S311
    "small.json": b"{}" * 1000,
}
DOCUMENT = "name: m\n"
CANARY = "a foreign file"


@pytest.mark.parametrize("seed", range(RUNS))
def test_a_run_of_kills(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 - a seeded fault
    worker = Worker(tmp_path / "volume")
    (worker.root / "dir").mkdir()
    (worker.root / "dir" / "foreign").write_text(CANARY)

    def behave(request):
        head, body = answer(CONTENT[request.path[1:]], request, etag=f'"{request.path}"')
        yield head
        for start in range(0, len(body), MIB):
            yield body[start : start + MIB]
            yield dice.random() * 0.02
        if dice.random() < 0.1:
            yield CLOSE

    with serve() as server:
        server.behave = behave
        files = [
            {
                "path": name,
                "url": f"{server.url}/{name}",
                "sha256": hashlib.sha256(data).hexdigest(),
            }
            for name, data in CONTENT.items()
        ]
        wish = worker.install(*files, documents=[{"path": "m.yaml", "content": DOCUMENT}])
        watcher = Watcher(worker.root, {name: [data] for name, data in CONTENT.items()})
        watcher.start()
        kills = dice.randrange(1, 5)
        for _ in range(kills):
            process = worker.start(wish)
            time.sleep(0.25 + dice.random() * 0.7)
            process.kill()
            process.communicate()
        code, line = worker.run(wish)
        wrong = watcher.end()

    assert (code, line.reason) == (0, "Succeeded")
    assert wrong == ""
    found = worker.published()
    assert found.pop("dir/foreign") == hashlib.sha256(CANARY.encode()).hexdigest()
    assert found.pop("m.yaml") == hashlib.sha256(DOCUMENT.encode()).hexdigest()
    assert found == {name: hashlib.sha256(data).hexdigest() for name, data in CONTENT.items()}
    total = sum(map(len, CONTENT.values()))
    assert server.sent <= total + kills * 16 * 16 * MIB
    assert worker.remove()[0] == 0
    assert [
        str(path.relative_to(worker.root)) for path in worker.root.rglob("*") if path.is_file()
    ] == ["dir/foreign"]
