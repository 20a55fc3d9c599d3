"""`foreshock export`: a steering as a file for another program."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from foreshock.cli.options import StudyName, dose, found_vectors, numbers
from foreshock.errors import SteeringError

STRENGTH = 0.1
"""In mean residual norms, where the study measured no usable strength and none is given."""


class Format(StrEnum):
    """Programs that can be exported for."""

    gguf = "gguf"
    vllm_lens = "vllm-lens"
    repeng = "repeng"
    npz = "npz"


USE = {
    Format.gguf: "llama-cli -m MODEL.gguf --control-vector {file}",
    Format.vllm_lens: "SteeringVector.model_validate_json(Path({file!r}).read_text())",
    Format.repeng: "controlled.set_control(ControlVector.import_gguf({file!r}), coeff=1.0)",
    Format.npz: "numpy.load({file!r})",
}


def export(
    study: StudyName,
    doses: Annotated[
        list[str],
        typer.Argument(
            metavar="EMOTION[=STRENGTH] …",
            help="Emotions, each with its strength in mean residual norms; without one, the largest at which the study "
            "found text still coherent.",
            show_default=False,
        ),
    ],
    to: Annotated[
        Format, typer.Option(help="llama.cpp (gguf), vLLM-Lens, repeng, or plain NumPy arrays.", show_default=False)
    ],
    out: Annotated[Path, typer.Option(help="The file to write.", show_default=False)],
    layers: Annotated[
        str | None,
        typer.Option(help="Layers to add it after, e.g. 12,15; left out: the steering layer.", show_default=False),
    ] = None,
) -> None:
    """Write a steering as a file for llama.cpp, vLLM-Lens, repeng or NumPy; at their scale 1 it has the strength given here.

    Examples: `foreshock export embedded calm=0.1 --to gguf --out calm.gguf` ·
    `foreshock export study/qwen calm=0.1 desperate=-0.05 --to vllm-lens --out calm.json --layers 14-16`
    """
    wanted = numbers(layers, "--layers")

    from foreshock.interop import ControlVector, gguf, npz, repeng, vllm_lens
    from foreshock.steering import Steering
    from foreshock.vectors import EmotionVectors

    vectors = EmotionVectors.load(found_vectors(study))
    usual = vectors.usable_strength or STRENGTH
    given = [dose(text if "=" in text else f"{text}={usual}", "The dose") for text in doses]
    if len(dict(given)) < len(given):
        raise SteeringError("An emotion was given twice; give each once, with its whole strength.")
    steering = Steering(dict(given), vectors, wanted)
    if sentence := steering.beyond():
        typer.echo(f"Warning: {sentence}", err=True)
    write = {Format.gguf: gguf, Format.vllm_lens: vllm_lens, Format.repeng: repeng, Format.npz: npz}[to].save
    write(ControlVector.of(steering), out)
    shown = ", ".join(f"{word} {strength:g}" for word, strength in given)
    typer.echo(f"{shown} after layer {', '.join(map(str, steering.where))}, at every token: {out}")
    typer.echo(f"Use: {USE[to].format(file=str(out))}")
