# Each target is one line into hack/; `make help` lists them.
.PHONY: help venv generate lint unit integration e2e test verify run down image

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
venv: ## make the Python environment
	hack/venv
generate: venv ## write what is generated from the code: CRDs, docs/reasons.md
	hack/generate
lint: venv ## ruff, mypy, import contracts
	hack/lint
unit: ## unit tests
	hack/test unit
integration: ## tests on a real kube-apiserver
	hack/test integration
e2e: ## tests on a whole cluster
	hack/test e2e
test: ## all tests
	hack/test all
verify: generate lint ## regenerate and lint, then fail where anything is not checked in
	git diff --exit-code
run: ## the quickstart: a cluster, the operator, models on a volume
	hack/quickstart
down: ## remove what `run` made
	hack/quickstart down
image: ## build the image
	hack/build-image
