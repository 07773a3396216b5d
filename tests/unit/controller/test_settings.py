"""Settings: what the chart sets is what the process uses, and a mistake names its variable."""

from __future__ import annotations

import pytest

from model_gallery.controller import settings
from model_gallery.errors import StalledError

MINIMUM = {"MODEL_GALLERY_WORKER_IMAGE": "image:1"}


def test_defaults() -> None:
    found = settings.from_environment(MINIMUM)

    assert found.namespaces == ()
    assert found.worker.image == "image:1"
    assert found.worker.network.allowed_networks == ()
    assert found.worker.network.allow_plain_http is True
    assert found.worker.resources["limits"] == {"memory": "256Mi"}
    assert found.port == 8080


def test_everything_set() -> None:
    found = settings.from_environment(
        {
            **MINIMUM,
            "MODEL_GALLERY_NAMESPACES": "a, b",
            "MODEL_GALLERY_ALLOWED_NETWORKS": "10.0.0.0/8,fd00::/8",
            "MODEL_GALLERY_ALLOW_PLAIN_HTTP": "false",
            "MODEL_GALLERY_WORKER_UID": "1000",
            "MODEL_GALLERY_WORKER_RESOURCES": '{"limits": {"memory": "1Gi"}}',
            "MODEL_GALLERY_WORKER_IMAGE_PULL_SECRETS": "one,two",
            "MODEL_GALLERY_PROXY": "http://proxy.corp:3128",
            "MODEL_GALLERY_NO_PROXY": "a.corp, .svc",
            "MODEL_GALLERY_PROXY_CREDENTIALS": "/run/proxy",
            "MODEL_GALLERY_LOG_LEVEL": "debug",
            "MODEL_GALLERY_LOG_FORMAT": "text",
        }
    )

    assert found.namespaces == ("a", "b")
    assert found.worker.network.allowed_networks == ("10.0.0.0/8", "fd00::/8")
    assert found.worker.network.proxy == "http://proxy.corp:3128"
    assert found.worker.network.no_proxy == ("a.corp", ".svc")
    assert found.proxy_folder == "/run/proxy"
    assert found.worker.network.allow_plain_http is False
    assert found.worker.run_as_user == 1000
    assert found.worker.resources == {"limits": {"memory": "1Gi"}}
    assert found.worker.pull_secrets == ("one", "two")
    assert (found.log_level, found.log_json) == ("DEBUG", False)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKER_IMAGE", ""),
        ("WORKER_UID", "root"),
        ("ALLOWED_NETWORKS", "10.0.0.1/8"),
        ("WORKER_RESOURCES", "{"),
        ("WORKER_RESOURCES", '{"limits": 1}'),
        ("PORT", "http"),
        ("PROXY", "socks5://proxy.corp"),
        ("PROXY", "http://user:password@proxy.corp"),
    ],
)
def test_a_mistake_names_its_variable(name: str, value: str) -> None:
    with pytest.raises(StalledError, match=f"MODEL_GALLERY_{name}"):
        settings.from_environment({**MINIMUM, f"MODEL_GALLERY_{name}": value})
