"""What every end-to-end test gets: a namespace of its own on the one full cluster."""

import re
from pathlib import Path

import pytest

from support.kube import wait_until
from support.stage import Stage

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def leftovers(full_cluster):
    """After the last test every namespace of a test must be gone: finalizers hold nothing back."""
    yield

    def gone():
        found = full_cluster.kube.run("get", "namespaces", "-o", "name").split()
        return not [name for name in found if name.startswith("namespace/e2e-")]

    wait_until(
        "all namespaces of the tests are gone",
        gone,
        60,
        lambda: full_cluster.kube.run("get", "namespaces,models,galleries,jobs,pods,pvc", "-A"),
    )


@pytest.fixture
def stage(full_cluster, leftovers, request):
    """A namespace named after the test; `set_up` fills it."""
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower().removeprefix("test_"))
    made = Stage(full_cluster, f"e2e-{name[:40].strip('-')}")
    yield made
    made.remove()
