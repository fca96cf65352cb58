# What people do every day. `make` alone lists it.
.DEFAULT_GOAL := help
.PHONY: help run test check tour up down images deploy-check

help: ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

run: ## start Steward on this machine, with the sandbox
	cargo run --release

test: ## everything that must hold (starts its own MongoDB and Redis)
	scripts/test

check: ## formatting, lints, rustdoc; no tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items

tour: ## a walk through a running Steward
	scripts/tour

images: ## build both images
	docker build --tag steward:local .
	docker build --file gateway/Dockerfile --tag steward-gateway:local .

up: ## the production shape with faked providers, at http://localhost:8000
	scripts/compose-secrets
	docker compose -f compose.yaml -f compose.tour.yaml up --build --detach --wait

down: ## end it; the volumes stay
	docker compose -f compose.yaml -f compose.tour.yaml down

deploy-check: ## gateway, compose files, Kubernetes, alert rules
	scripts/check-deploy
