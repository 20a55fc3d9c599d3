"""Runs in the environment of repeng: its own reading of hidden states over the job's texts, timed without its PCA."""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from repeng.extract import batched_get_hiddens
from transformers import AutoModelForCausalLM, AutoTokenizer

job = json.loads(Path(sys.argv[1]).read_text())
torch.set_num_threads(job["threads"])
model = AutoModelForCausalLM.from_pretrained(job["model"], torch_dtype=getattr(torch, job["dtype"]))
tokenizer = AutoTokenizer.from_pretrained(job["model"])
tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
seconds = []
for _ in range(job["rounds"]):
    begun = time.perf_counter()
    batched_get_hiddens(model, tokenizer, job["texts"], [job["layer"]], job["batch"])
    seconds.append(time.perf_counter() - begun)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": sorted(seconds)[len(seconds) // 2], "peak_mb": peak}))
