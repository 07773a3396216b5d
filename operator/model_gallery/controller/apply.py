"""From actions to API calls; the one writer of status."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, assert_never

from pydantic import BaseModel

from model_gallery.api import labels
from model_gallery.controller import kinds
from model_gallery.reconcile import actions
from model_gallery.reconcile.manifests import configmap
from model_gallery.runtime.cache import Cache
from model_gallery.runtime.client import ApiClient, Refused
from model_gallery.runtime.resources import CLAIMS, CONFIG_MAPS, JOBS, Resource

__all__ = ["Applier", "status_body"]

Body = dict[str, Any]


def status_body(status: BaseModel) -> Body:
    """Returns the status as the API shall hold it: set fields only."""
    body = status.model_dump(by_alias=True, exclude_none=True, exclude_defaults=True, mode="json")
    return {"observedGeneration": -1, **body}


@dataclass(frozen=True, slots=True)
class Applier:
    """Carries actions out and keeps the cache at the height of its own writes.

    Attributes:
        answered: told the kind and the object that the API server answered to a write. Others may have
            changed the object in the meantime, and the cache then tells their event from nothing new:
            who takes the answer must look for more in it than what was written.
        gone: told the kind and the last known state of what no longer exists.
    """

    client: ApiClient
    cache: Cache
    answered: Callable[[str, Body], None]
    gone: Callable[[str, Body], None]

    async def carry_out(self, resource: Resource, body: Body, action: actions.Action) -> None:
        """Carries out one action for an object of ours.

        Args:
            resource: the object's resource.
            body: the object as the cache has it.

        Raises:
            TransientError: the API server could not be reached or refused the write.
        """
        match action:
            case actions.AddFinalizer():
                await self._finalizers(resource, body, [labels.FINALIZER])
            case actions.RemoveFinalizer():
                await self._finalizers(resource, body, [])
            case actions.StartWorker(job=job, operation=operation):
                await self._start_worker(job, operation)
            case actions.DeleteJob(name=name, uid=uid):
                await self._delete_job(body["metadata"]["namespace"], name, uid)
            case actions.ApplyClaim(claim=claim):
                applied = await self.client.apply(CLAIMS, claim, manager=labels.FIELD_MANAGER)
                self.answered(kinds.CLAIM, applied)
            case actions.ApplyModel(model=model):
                applied = await self.client.apply(
                    kinds.MODELS, model, manager=labels.INSTALL_FIELD_MANAGER
                )
                self.answered(kinds.MODEL, applied)
            case actions.DeleteModel(name=name, uid=uid):
                namespace = body["metadata"]["namespace"]
                await self.client.delete(
                    kinds.MODELS, namespace, name, uid=uid, propagation="Background"
                )
            case actions.LoadIndex():
                raise AssertionError("indexes are loaded by controller/gallery")
            case _:
                assert_never(action)

    async def write_status(self, resource: Resource, body: Body, status: BaseModel) -> bool:
        """Writes the status in one server-side apply, unless it stands already.

        Returns:
            Whether a write was made.
        """
        wanted = status_body(status)
        current = body.get("status")
        if current is not None and status_body(type(status).model_validate(current)) == wanted:
            return False
        applied = await self.client.apply(
            resource,
            {**_identity(body), "status": wanted},
            manager=labels.STATUS_FIELD_MANAGER,
            subresource="status",
        )
        self.answered(body["kind"], applied)
        return True

    async def _finalizers(self, resource: Resource, body: Body, finalizers: list[str]) -> None:
        wish = _identity(body)
        wish["metadata"]["finalizers"] = finalizers
        try:
            applied = await self.client.apply(resource, wish, manager=labels.FIELD_MANAGER)
        except Refused as refusal:
            # The uid in the body keeps the API server from creating a vanished object anew.
            if finalizers or not refusal.is_race:
                raise
            if await self._is_there(resource, body):
                raise
            return
        self.answered(body["kind"], applied)

    async def _is_there(self, resource: Resource, body: Body) -> bool:
        metadata = body["metadata"]
        found = await self.client.get(resource, metadata["namespace"], metadata["name"])
        return found is not None and found["metadata"]["uid"] == metadata["uid"]

    async def _start_worker(self, job: Body, operation: str | None) -> None:
        applied = await self.client.apply(JOBS, job, manager=labels.FIELD_MANAGER)
        self.answered(kinds.JOB, applied)
        if operation is not None:
            metadata = applied["metadata"]
            carrier = configmap.operation(
                metadata["name"], metadata["uid"], metadata["namespace"], operation
            )
            await self.client.apply(CONFIG_MAPS, carrier, manager=labels.FIELD_MANAGER)

    async def _delete_job(self, namespace: str, name: str, uid: str) -> None:
        """Deletes in the foreground: the Job stays visible until its pods have ended."""
        await self.client.delete(JOBS, namespace, name, uid=uid, propagation="Foreground")
        job = await self.client.get(JOBS, namespace, name)
        known = self.cache.get(kinds.JOB, namespace, name)
        if job is not None:
            self.answered(kinds.JOB, job)
        elif known is not None and known["metadata"]["uid"] == uid:
            self.gone(kinds.JOB, known)


def _identity(body: Body) -> Body:
    metadata = body["metadata"]
    return {
        "apiVersion": body["apiVersion"],
        "kind": body["kind"],
        "metadata": {key: metadata[key] for key in ("name", "namespace", "uid")},
    }
