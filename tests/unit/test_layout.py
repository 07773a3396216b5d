"""What must hold of the checkout itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
REGISTRIES = (
    "py" + "pi.org",
    "proxy.go" + "lang.org",
    "registry.npm" + "js.org",
    "deb.deb" + "ian.org",
)


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True
    )
    return [REPOSITORY / name for name in listed.stdout.decode().split("\0") if name]


def test_the_folder_operator_does_not_shadow_the_standard_library() -> None:
    """With an __init__.py in it, any Python that starts in the repository ends at `import collections`."""
    assert not (REPOSITORY / "operator" / "__init__.py").exists()
    subprocess.run([sys.executable, "-c", "import collections"], cwd=REPOSITORY, check=True)


def test_no_file_names_a_registry() -> None:
    for path in tracked():
        if path.is_file() and not path.is_symlink():
            text = path.read_text(errors="ignore")
            assert not [host for host in REGISTRIES if host in text], path


@pytest.mark.parametrize("unwanted", ["kopf", "kubernetes", "aiohttp", "rich"])
def test_the_worker_loads_no_cluster(unwanted: str) -> None:
    """It starts in every Job; what it does not need costs memory and time there."""
    program = f"import model_gallery.worker.main, sys; sys.exit({unwanted!r} in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(REPOSITORY / "operator")},
        check=False,
    )

    assert done.returncode == 0
