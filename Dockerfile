# One file for Docker and for buildah. `hack/build-image` calls whichever is there.
#
# With Docker, `docker build .` is enough: packages come from Debian and from the package index. Where
# a build cannot reach an index, put the wheels into wheels/ and name a base image that has Python.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS python
RUN command -v python3 >/dev/null \
 || (apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*)

FROM python AS builder
RUN python3 -c 'import ensurepip' 2>/dev/null \
 || (apt-get update && apt-get install -y --no-install-recommends python3-venv)
WORKDIR /build
# The dependencies are a layer of their own: a change of our code installs nothing anew.
# `wheel[s]` matches nothing where there is no such folder, which COPY accepts beside a real file.
COPY requirements.lock wheel[s] wheels/
RUN python3 -m venv /opt/model-gallery \
 && if ls wheels/*.whl >/dev/null 2>&1; then index="--no-index --find-links wheels"; else index=""; fi \
 && /opt/model-gallery/bin/pip install --no-cache-dir --no-compile --disable-pip-version-check \
      $index --no-deps --require-hashes -r wheels/requirements.lock
COPY pyproject.toml README.md ./
COPY operator operator
# Bytecode is compiled here, once, and never checked against its source: the root is read-only, and a
# worker starts for every operation. pip is not needed any more.
RUN if ls wheels/*.whl >/dev/null 2>&1; then index="--no-index --find-links wheels"; else index=""; fi \
 && /opt/model-gallery/bin/pip install --no-cache-dir --no-compile --disable-pip-version-check \
      $index --no-deps . \
 && /opt/model-gallery/bin/pip uninstall -y -q pip setuptools \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/model-gallery/lib

FROM python
LABEL org.opencontainers.image.title="model-gallery-operator" \
      org.opencontainers.image.description="Kubernetes operator that keeps AI model files on volumes" \
      org.opencontainers.image.licenses="Apache-2.0"
ENV PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=builder /opt/model-gallery /opt/model-gallery
USER 65532:65532
ENTRYPOINT ["/opt/model-gallery/bin/model-gallery"]
