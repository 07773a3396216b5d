"""Names that stand on Kubernetes objects: group, labels, annotations, finalizer, field managers.

Everything that writes or selects objects takes its strings from here, so that a rename is one line.
"""

__all__ = [
    "ANNOTATION_COLLECT_AT",
    "ANNOTATION_DEFAULTS",
    "ANNOTATION_GALLERY",
    "ANNOTATION_INSTALLED_BY",
    "ANNOTATION_MODEL",
    "ANNOTATION_PLAN_DIGEST",
    "ANNOTATION_RECONCILE_AT",
    "ANNOTATION_SHAPE",
    "ANNOTATION_VERIFY_AT",
    "API_VERSION",
    "CATEGORY",
    "FIELD_MANAGER",
    "FINALIZER",
    "GALLERY",
    "GROUP",
    "INSTALL_FIELD_MANAGER",
    "LABEL_COMPONENT",
    "LABEL_MANAGED_BY",
    "LABEL_MODEL_UID",
    "LABEL_NAME",
    "LABEL_OPERATION",
    "LABEL_PART_OF",
    "MANAGED_BY",
    "MODEL",
    "PART_OF",
    "STATUS_FIELD_MANAGER",
    "VERSION",
    "WORKER_COMPONENT",
    "WORKER_SELECTOR",
]

GROUP = "modelgallery.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
CATEGORY = "modelgallery"

MODEL = "Model"
GALLERY = "Gallery"

FINALIZER = f"{GROUP}/cleanup"
FIELD_MANAGER = "model-gallery-operator"
STATUS_FIELD_MANAGER = "model-gallery-operator-status"

INSTALL_FIELD_MANAGER = "model-gallery-operator-install"
"""Of the Models that a Gallery makes: the finalizer has another, which would take the spec away."""

ANNOTATION_RECONCILE_AT = f"{GROUP}/reconcile-requested-at"
ANNOTATION_VERIFY_AT = f"{GROUP}/verify-requested-at"
"""On a Model: all its files shall be read and compared; `status.lastHandledVerifyAt` answers."""
ANNOTATION_COLLECT_AT = f"{GROUP}/collect-requested-at"
"""On a Gallery: what nobody needs shall be removed from the volume."""
ANNOTATION_INSTALLED_BY = f"{GROUP}/installed-by"
"""On a Model that its Gallery made: `entries`, or `matching-` and the digest of the selection."""
ANNOTATION_DEFAULTS = f"{GROUP}/install-defaults"
"""On a Model that its Gallery made: digest of the defaults that it was made with; without any: none."""
ANNOTATION_MODEL = f"{GROUP}/model"
"""The Model's name on its workers; an annotation, since names may be longer than a label's 63."""
ANNOTATION_GALLERY = f"{GROUP}/gallery"
ANNOTATION_PLAN_DIGEST = f"{GROUP}/plan-digest"
ANNOTATION_SHAPE = f"{GROUP}/worker-shape"
"""Digest of what decides whether a worker can start: image, resources, node selector."""

LABEL_NAME = "app.kubernetes.io/name"
LABEL_COMPONENT = "app.kubernetes.io/component"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
LABEL_PART_OF = "app.kubernetes.io/part-of"
LABEL_MODEL_UID = f"{GROUP}/model-uid"
LABEL_OPERATION = f"{GROUP}/operation"

MANAGED_BY = "model-gallery-operator"
PART_OF = "model-gallery"
WORKER_COMPONENT = "worker"
WORKER_SELECTOR = f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_COMPONENT}={WORKER_COMPONENT}"
