"""Runs in the environment of vLLM: batches of requests through one engine, with what came out written as JSON.

The job: `engine` (arguments of `vllm.LLM`), `environment`, `batches` (lists of requests: `prompt` text, `ids` or `chat`;
`params`; `foreshock`), `rounds` (how often each batch of `timed` is run and timed, in turn), `out`.
"""

import json
import os
import sys
import time
from pathlib import Path

QUIET = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
}


def main(job):
    from vllm import LLM

    llm = LLM(enforce_eager=job["engine"].pop("enforce_eager", True), **job["engine"])
    found = {"batches": [run(llm, batch) for batch in job.get("batches", [])], "seconds": {}, "errors": []}
    for _ in range(job.get("rounds", 0)):
        for name, batch in job["timed"].items():
            begun = time.perf_counter(), time.process_time()
            run(llm, batch, fetch=False)
            found["seconds"].setdefault(name, []).append(time.perf_counter() - begun[0])
            found["seconds"].setdefault(f"{name} (processor)", []).append(time.process_time() - begun[1])
    for batch in job.get("refused", []):
        from foreshock.errors import ForeshockError

        try:
            run(llm, batch)
            found["errors"].append("")
        except ForeshockError as problem:
            found["errors"].append(str(problem))
    Path(job["out"]).write_text(json.dumps(found))


def run(llm, batch, fetch=True):
    """One batch; each request's ids, log-probabilities and readings."""
    from vllm import SamplingParams

    params = []
    for one in batch:
        extra = {"foreshock": one["foreshock"]} if one.get("foreshock") else None
        params.append(SamplingParams(extra_args=extra, **one["params"]))
    if "chat" in batch[0]:
        outputs = llm.chat([one["chat"] for one in batch], params, use_tqdm=False)
    else:
        prompts = [{"prompt_token_ids": one["ids"]} if "ids" in one else one["prompt"] for one in batch]
        outputs = llm.generate(prompts, params, use_tqdm=False)
    if not os.environ.get("FORESHOCK_VECTORS"):
        return [told(output, None) for output in outputs] if fetch else None
    from foreshock.interop.vllm_readings import taken

    watched = taken(llm, outputs)
    return [told(*pair) for pair in zip(outputs, watched, strict=True)] if fetch else None


def told(output, watched):
    reply = output.outputs[0]
    chances = [step[id].logprob for id, step in zip(reply.token_ids, reply.logprobs or [], strict=False)]
    found = {"prompt": list(output.prompt_token_ids), "reply": list(reply.token_ids), "logprobs": chances}
    found["cached"] = output.num_cached_tokens
    if watched:
        found |= {"first": watched.first, "tokens": list(watched.tokens), "layer": watched.layer}
        found["values"] = watched.values.tolist()
    return found


if __name__ == "__main__":
    the_job = json.loads(Path(sys.argv[1]).read_text())
    os.environ.update(QUIET | the_job.get("environment", {}))
    main(the_job)
