"""InstallRequest: what a Model comes down to, whatever its source."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from model_gallery.protocol.operation import Document, Repository, WantedFile

__all__ = ["InstallRequest"]


@dataclass(frozen=True, slots=True)
class InstallRequest:
    """What shall be on the volume.

    Attributes:
        documents: in publishing order; the configuration comes last, since backends look for it.
        served_name: the name that backends know.
        repository: fetched too; only the worker learns its files.
        backend: the engine that the configuration names; empty where it names none.
        license: as the entry names it; empty where none is named.
        tags: of the entry.
        use_cases: what the configuration says that the model is for, such as `chat`.
        weights: the file that the configuration names as the model's weights.
    """

    files: tuple[WantedFile, ...]
    documents: tuple[Document, ...]
    served_name: str
    backend: str
    repository: Repository | None = None
    license: str = ""
    tags: tuple[str, ...] = ()
    use_cases: tuple[str, ...] = ()
    weights: str = ""

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts that are asked for the files; of a claim and of the volume itself there is none."""
        urls = [file.url for file in self.files]
        if self.repository is not None:
            urls.append(self.repository.url)
        parts = [urlsplit(url) for url in urls]
        return frozenset(
            part.hostname for part in parts if part.hostname and part.scheme in {"http", "https"}
        )
