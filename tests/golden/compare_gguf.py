#!/usr/bin/env python3
"""Compares a maker's GGUF file with what llama.cpp's own converter makes of the Hugging Face folder beside it.

usage: compare_gguf.py LLAMA_CPP MODEL
       LLAMA_CPP: a source tree of llama.cpp; MODEL: a folder with hf/ and model.gguf
"""

import sys
import tempfile
from pathlib import Path

import numpy

llama_cpp, model = map(Path, sys.argv[1:])
sys.path[:0] = [str(llama_cpp / "gguf-py"), str(llama_cpp)]
import conversion.base  # noqa: E402
import convert_hf_to_gguf  # noqa: E402
import gguf  # noqa: E402

# The converter knows tokenizers by a hash of what they make of a text; a small vocabulary has another hash.
tokenizer_pre = gguf.GGUFReader(model / "model.gguf").fields["tokenizer.ggml.pre"].contents()
conversion.base.TextModel.get_vocab_base_pre = lambda self, tokenizer: tokenizer_pre

with tempfile.TemporaryDirectory() as folder:
    reference = Path(folder) / "reference.gguf"
    sys.argv = ["convert", str(model / "hf"), "--outtype", "f32", "--outfile", str(reference)]
    convert_hf_to_gguf.main()
    ours, theirs = gguf.GGUFReader(model / "model.gguf"), gguf.GGUFReader(reference)

    differences = []
    for key in sorted(ours.fields.keys() | theirs.fields.keys()):
        a, b = (file.fields.get(key) for file in (ours, theirs))
        a, b = (field and (field.types, field.contents()) for field in (a, b))
        if a != b:
            differences.append(f"{key}: ours {str(a)[:80]}, theirs {str(b)[:80]}")

    tensors = [{tensor.name: tensor for tensor in file.tensors} for file in (ours, theirs)]
    for name in sorted(tensors[0].keys() | tensors[1].keys()):
        a, b = (file.get(name) for file in tensors)
        if a is None or b is None or a.tensor_type != b.tensor_type or not numpy.array_equal(a.data, b.data):
            differences.append(f"tensor {name}")

print(f"{len(tensors[0])} tensors; differences: {len(differences)}")
print("\n".join(differences))
