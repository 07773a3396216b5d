"""What the API server calls things: groups, versions, plurals, and the paths made of them."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

__all__ = ["CLAIMS", "CONFIG_MAPS", "EVENTS", "JOBS", "PODS", "POD_METRICS", "Resource"]


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as the API server serves it.

    Attributes:
        group: of the API; empty for the core group.
        plural: in paths, lower case.
        kind: in objects, CamelCase.
    """

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """What objects of this kind say in `apiVersion`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self,
        namespace: str | None = None,
        name: str | None = None,
        subresource: str | None = None,
    ) -> str:
        """Returns the absolute path below the API server's address.

        Args:
            namespace: None for all of them, or for kinds without one.
            name: None for the collection.
            subresource: such as `status`; only with a name.
        """
        root = "apis" if self.group else "api"
        space = ["namespaces", namespace] if namespace else []
        rest = [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(
            quote(part, safe="") for part in [root, *self._group(), *space, *rest]
        )

    def _group(self) -> list[str]:
        return [self.group, self.version] if self.group else [self.version]


PODS = Resource("", "v1", "pods", "Pod")
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
JOBS = Resource("batch", "v1", "jobs", "Job")
POD_METRICS = Resource("metrics.k8s.io", "v1beta1", "pods", "PodMetrics")
EVENTS = Resource("events.k8s.io", "v1", "events", "Event")
