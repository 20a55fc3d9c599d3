"""What the peers' workers share: the job they are given, and tasks answered one by one, timed inside the worker."""

import json
import resource
import sys
import time
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

JOB = json.loads(Path(sys.argv[1]).read_text())
torch.set_num_threads(JOB["threads"])
WEIGHTS = torch.tensor(JOB["readout"])
"""[hidden, emotion], for reading a corpus token by token."""


def opened():
    """The job's model and tokenizer, padded on the right."""
    model = AutoModelForCausalLM.from_pretrained(JOB["model"], dtype=getattr(torch, JOB["dtype"])).eval()
    tokenizer = AutoTokenizer.from_pretrained(JOB["model"])
    tokenizer.pad_token, tokenizer.padding_side = tokenizer.pad_token or tokenizer.eos_token, "right"
    return model, tokenizer


def batches(tokenizer):
    """The job's texts, tokenised, as padded batches; longest first so that padding is small."""
    texts = sorted(JOB["texts"], key=len, reverse=True)
    for first in range(0, len(texts), JOB["batch"]):
        yield tokenizer(texts[first : first + JOB["batch"]], return_tensors="pt", padding=True)


def means(hidden, mask):
    """Mean residual of each row over its real tokens."""
    weights = mask[..., None].float()
    return (hidden.float() * weights).sum(1) / weights.sum(1)


def readings(hidden, mask):
    """Readings of each real token."""
    return hidden.float()[mask.bool()] @ WEIGHTS


def reads(hidden, tokenizer):
    """Extraction and corpus reading by `hidden(batch, layer)`, the stream after a layer."""

    def extraction():
        for batch in batches(tokenizer):
            means(hidden(batch, JOB["layer"]), batch["attention_mask"])

    def reading():
        for batch in batches(tokenizer):
            readings(hidden(batch, JOB["reading_layer"]), batch["attention_mask"])

    return {"extraction": extraction, "reading": reading}


def answer(tasks):
    """Run the task that each line of standard input names; one line of answer each."""
    for name in map(str.strip, sys.stdin):
        begun, cpu = time.perf_counter(), time.process_time()
        result = tasks[name]()
        seconds = {"seconds": time.perf_counter() - begun, "cpu": time.process_time() - cpu}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print("ANSWER", json.dumps({**seconds, "peak_mb": peak, "result": result}), flush=True)
