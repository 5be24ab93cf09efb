# What CI calls, and what is good to have at hand. "make" lists it.
# Everything that is fetched or built goes to .cache and dist, which git ignores.

# How long a run of tests may take, and what else goes to go test: make test-race TIMEOUT=5m FLAGS='-run Commit -v'
TIMEOUT ?= 10m
FLAGS   ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## Build dist/connector, and compile everything else
	go build ./...
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o dist/connector ./cmd/connector

.PHONY: generate
generate: ## Rewrite what is generated: docs/configuration.md, cmd/connector/config_doc.go
	go generate ./...

.PHONY: fmt
fmt: ## Format the code
	gofmt -s -w cmd internal schemas examples bench docs helm

.PHONY: lint
lint: ## Say what can be said of the code without running it
	scripts/lint
	scripts/lint-test

.PHONY: test
test: ## Test what needs no other component
	go test -timeout $(TIMEOUT) $(FLAGS) ./...

.PHONY: test-race
test-race: ## The connector's with the race detector; scenarios and mutants, which mostly wait, run without it ("make test")
	go test -race -skip '^(TestEveryScenarioLosesNothing|TestBrokenConnectorsAreCaught)$$' -timeout $(TIMEOUT) $(FLAGS) ./cmd/... ./internal/... ./schemas/...

.PHONY: test-kafka
test-kafka: ## Test against real Apache Kafka, which is fetched (Java 17, Maven)
	scripts/test-tagged kafka -timeout $(TIMEOUT) $(FLAGS)

.PHONY: test-matrix
test-matrix: ## Test against each Apache Kafka since 2.8, which are fetched (Java 17, Maven)
	scripts/test-tagged matrix -timeout $(TIMEOUT) $(FLAGS)

.PHONY: test-upgrade
test-upgrade: ## Test that an older version's state is taken over, against real Apache Kafka (the repository's history)
	scripts/test-tagged upgrade -timeout $(TIMEOUT) $(FLAGS)

.PHONY: test-browser
test-browser: ## Test the status page and the evidence report in Chromium, which is installed (Debian); screenshots and the PDF go to dist/screenshots
	scripts/test-tagged browser -timeout $(TIMEOUT) $(FLAGS)

.PHONY: test-connect
test-connect: ## Test the way to OpenSearch: Kafka, Connect, registry and search, all fetched (JDK 17, Maven)
	scripts/test-tagged connect -timeout $(TIMEOUT) $(FLAGS)

.PHONY: test-postgres
test-postgres: ## Test the way to PostgreSQL, and the reports there: Kafka, Connect, registry, PostgreSQL, all fetched (JDK 17, Maven)
	scripts/test-tagged postgres -timeout $(TIMEOUT) $(FLAGS)

.PHONY: test-siem
test-siem: ## Test the SIEM example against rsyslog (Debian)
	scripts/test-tagged siem -timeout $(TIMEOUT) $(FLAGS)

.PHONY: test-evidence
test-evidence: ## Edit each file of an evidence export and see that examples/evidence/verify.py notices (Python, openssl)
	scripts/test-tagged evidence -timeout $(TIMEOUT) $(FLAGS)

.PHONY: test-sdk
test-sdk: ## Test the simulated organisation with the vendor's Python SDK, which is fetched (Python)
	scripts/test-tagged sdk -timeout $(TIMEOUT) $(FLAGS)

.PHONY: bench
bench: ## Measure what needs no other component (how fresh events are in Kafka takes minutes: bench-freshness)
	go test -run '^$$' -bench . -skip '^BenchmarkFreshness$$' -benchmem -timeout $(TIMEOUT) $(FLAGS) \
	  $$(grep -rl --include='*_test.go' '^func Benchmark' cmd internal | xargs -n 1 dirname | sort -u | sed 's|^|./|')

.PHONY: bench-freshness
bench-freshness: ## Measure how long events take from the API to Kafka, on the simulated organisation
	go test -run '^$$' -bench '^BenchmarkFreshness$$' -benchtime 1x -timeout $(TIMEOUT) ./cmd/connector

.PHONY: bench-fleet
bench-fleet: ## Measure 200 organisations on one replica and real Apache Kafka: CPU, memory, how fresh events are
	scripts/kafka-install
	FLEET_ORGS=$${FLEET_ORGS:-200} go test -tags kafka -run '^$$' -bench '^BenchmarkFleet$$' -benchtime 1x -timeout $(TIMEOUT) ./cmd/connector

.PHONY: bench-kafka
bench-kafka: ## Measure a backfill of 200,000 events into real Apache Kafka, and a start with ten million ids in it
	scripts/kafka-install
	go run ./bench
	go test -tags kafka -run '^$$' -bench Load -benchtime 1x ./internal/replica

.PHONY: bench-verify
bench-verify: ## Measure the memory in which ten million events are compared, with the API and with the evidence log
	go test -run '^$$' -bench Comparison -benchtime 1x -timeout $(TIMEOUT) ./internal/verify -args -events 10000000
	go test -run '^$$' -bench Verify -benchtime 1x -timeout $(TIMEOUT) ./internal/evidence -args -entries 10000000

.PHONY: check-helm
check-helm: ## Lint, render and validate the Helm chart
	scripts/helm-check

.PHONY: check-rules
check-rules: ## Test the alert rules, and parse the dashboard's queries, with promtool (Debian, root)
	scripts/check-rules

.PHONY: check-image
check-image: ## Build the image and start it (Debian, root)
	scripts/image-check

.PHONY: demo
demo: ## See it work, with nothing but Go
	go run ./cmd/connector demo

.PHONY: ci
ci: ## All that CI does
	.ci/run

.PHONY: clean
clean: ## Remove what was built, and keep what was fetched
	rm -rf dist
