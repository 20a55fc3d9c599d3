"""Runs in the environment of vLLM: batches of requests through one engine, with what came out written as JSON.

The job: `engine` (arguments of `vllm.LLM`), `environment`, `batches` (lists of requests: `prompt` text, `ids` or `chat`;
`params`; `foreshock`; `extra` arguments; `id`, where two have the same), `rounds` (how often each batch of `timed` is run and timed, in turn), `out`.
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

    llm = LLM(enforce_eager=job["engine"].pop("enforce_eager", True), disable_log_stats=False, **job["engine"])
    batches = [twins(llm, *batch) if "id" in batch[0] else run(llm, batch) for batch in job.get("batches", [])]
    found = {"batches": batches, "seconds": {}, "errors": []}
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
    found["preemptions"] = sum(one.value for one in llm.get_metrics() if one.name == "vllm:num_preemptions")
    Path(job["out"]).write_text(json.dumps(found))


def wanted(one):
    """A request's parameters."""
    from vllm import SamplingParams

    extra = one.get("extra", {}) | ({"foreshock": one["foreshock"]} if one.get("foreshock") else {})
    return SamplingParams(extra_args=extra or None, **one["params"])


def run(llm, batch, fetch=True):
    """One batch; each reply's ids, log-probabilities and readings."""
    params = [wanted(one) for one in batch]
    if "chat" in batch[0]:
        outputs = llm.chat([one["chat"] for one in batch], params, use_tqdm=False)
    else:
        prompts = [{"prompt_token_ids": one["ids"]} if "ids" in one else one["prompt"] for one in batch]
        outputs = llm.generate(prompts, params, use_tqdm=False)
    watched = [None] * len(outputs)
    if os.environ.get("FORESHOCK_VECTORS"):
        from foreshock.interop.vllm_readings import taken

        watched = taken(llm, outputs)
    if not fetch:
        return None
    pairs = zip(outputs, watched, strict=True)
    return [told(output, k, own) for output, own in pairs for k in range(len(output.outputs))]


def twins(llm, first, second):
    """Two requests by one id, the first aborted while it runs; the second, and what is there when it is fetched again."""
    from foreshock.interop.vllm_readings import taken

    engine = llm.llm_engine
    engine.add_request(first["id"], {"prompt_token_ids": first["ids"]}, wanted(first))
    for _ in range(4):
        engine.step()
    engine.abort_request([first["id"]])
    engine.add_request(second["id"], {"prompt_token_ids": second["ids"]}, wanted(second))
    outputs = []
    while engine.has_unfinished_requests():
        outputs += [output for output in engine.step() if output.finished]
    return [told(outputs[-1], 0, *taken(llm, outputs[-1:])) for _ in range(2)]


def told(output, choice, watched):
    """One reply."""
    reply = output.outputs[choice]
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
