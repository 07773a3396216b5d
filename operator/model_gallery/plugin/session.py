"""What every command gets: the cluster, the namespace, the output and the time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from model_gallery.api import labels
from model_gallery.plugin import cluster, facts
from model_gallery.plugin.cluster import Cluster, Place
from model_gallery.plugin.output import Output
from model_gallery.plugin.problem import Exit, Problem

__all__ = ["Session"]


@dataclass(frozen=True)
class Session:
    """One run of the program. The cluster is connected to when a command first needs it."""

    place: Place
    output: Output
    now: Callable[[], datetime]

    @property
    def namespace(self) -> str:
        """The namespace that is meant."""
        return self.place.namespace

    @cached_property
    def cluster(self) -> Cluster:
        """The cluster that is meant."""
        return cluster.connect(self.place)

    def close(self) -> None:
        """Ends the connections, if there are any."""
        if "cluster" in self.__dict__:
            self.cluster.close()

    def gallery(self, named: str | None) -> str:
        """Returns the name of the Gallery that is meant: the only one, unless it is named.

        Raises:
            Problem: there are several or none.
        """
        if named:
            return named
        found = [facts.name_of(one) for one in self.cluster.objects(labels.GALLERY, self.namespace)]
        if len(found) == 1:
            return found[0]
        choice = f"one of {', '.join(sorted(found))}" if found else "none is there yet"
        raise Problem(
            f"name a Gallery of namespace {self.namespace} with --gallery ({choice})", Exit.USAGE
        )
