"""Runs in the environment of steering-vectors: its own extraction over the job's texts, timed."""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from steering_vectors import train_steering_vector
from transformers import AutoModelForCausalLM, AutoTokenizer

job = json.loads(Path(sys.argv[1]).read_text())
torch.set_num_threads(job["threads"])
model = AutoModelForCausalLM.from_pretrained(job["model"], torch_dtype=getattr(torch, job["dtype"]))
tokenizer = AutoTokenizer.from_pretrained(job["model"])
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
# Each text is read once: the first half as positives, the second as negatives.
half = len(job["texts"]) // 2
pairs = list(zip(job["texts"][:half], job["texts"][half : 2 * half], strict=True))
seconds = []
for _ in range(job["rounds"]):
    begun = time.perf_counter()
    train_steering_vector(model, tokenizer, pairs, layers=[job["layer"]], batch_size=job["batch"])
    seconds.append(time.perf_counter() - begun)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": sorted(seconds)[len(seconds) // 2], "peak_mb": peak}))
