"""`foreshock doctor`: prove that a model can be read and written as the rest relies on."""

from __future__ import annotations

from foreshock.cli.options import Device, Dtype, DtypeOption, Model, opened


def doctor(model: Model = None, dtype: DtypeOption = Dtype.auto, device: Device = None) -> None:
    """Prove that a model can be read and steered: every check with what it showed.

    Example: `foreshock doctor Qwen/Qwen3-0.6B --dtype float32`
    """
    from rich.console import Console

    from foreshock.model.proofs import prove

    console = Console(highlight=False)
    subject = opened(model, dtype, device)
    console.print(
        f"[bold]{subject.name}[/]: {type(subject.model).__name__}, {str(subject.dtype)[6:]} on {subject.device}, "
        f"context {subject.context or 'unstated'}, fingerprint {subject.fingerprint}"
    )
    for proof in prove(subject):
        console.print(f"  [green]✓[/] [bold]{proof.part:18}[/] {proof.shown}", soft_wrap=True, markup=True)
    console.print("This model can be read and steered.")
