#!/usr/bin/env bash
# Makes base.tar.gz and top.tar.gz: the layers of a modelcar as buildah commits them (1.28.2 of Debian 12, as
# root, storage driver vfs). The second changes, hides and replaces what the first has below /models; beside it
# lies what base images are full of.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
echo '{"default": [{"type": "insecureAcceptAnything"}]}' >"$scratch/policy"
build() { buildah --root "$scratch/root" --runroot "$scratch/run" --storage-driver vfs "$@"; }

container=$(build from scratch)
root=$(build mount "$container")
mkdir -p "$root"/models/{old,gone,keep} "$root/usr/bin" "$root/dev"
for name in old/a gone/x keep/k f turns; do printf base >"$root/models/$name"; done
ln -s usr/bin "$root/bin"
ln -s "$(printf 'x%.0s' {1..150})" "$root/usr/bin/long"
ln "$root/usr/bin/long" "$root/usr/bin/hard"
mkfifo "$root/dev/pipe"
build umount "$container"
build commit -q --signature-policy "$scratch/policy" "$container" base

container=$(build from --signature-policy "$scratch/policy" localhost/base)
root=$(build mount "$container")
rm -r "$root"/models/{gone,old,turns}
mkdir "$root"/models/{old,turns}
for name in old/b f turns/t; do printf top >"$root/models/$name"; done
build umount "$container"
build commit -q --signature-policy "$scratch/policy" "$container" top

build push -q --signature-policy "$scratch/policy" localhost/top "dir:$scratch/image"
names=(base top)
for digest in $(python3 -c 'import json, sys
for layer in json.load(sys.stdin)["layers"]: print(layer["digest"][7:])' <"$scratch/image/manifest.json"); do
  gzip -dc "$scratch/image/$digest" | gzip -9n >"${names[0]}.tar.gz"
  names=("${names[@]:1}")
done
