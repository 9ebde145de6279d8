"""The verbs that run a saved network. They need neither PyTorch nor scikit-learn."""

import argparse
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import DataError, printable
from ..options import options_of
from .complaints import UsageError, note, say
from .flags import Parser, add

if TYPE_CHECKING:
    from ..tasks.language_model.saved import TextModel
    from .predict import Trained


def generate(network: str, prompt: str = "", **options: Any) -> None:
    """Write text as it is made, the prompt first."""
    from ..tasks.language_model import saved

    model = saved.load(network)
    if unknown := model.unknown(prompt):
        note(f"{unknown} of the prompt's tokens are unknown to the network")
    # A file gets the text as it is; a terminal would obey what is not printable.
    escaped = sys.stdout.isatty()
    for piece in model.pieces(prompt, **options):
        sys.stdout.write("".join(c if c in "\n\t" else printable(c) for c in piece) if escaped else piece)
        sys.stdout.flush()
    print()


def add_generate(parser: Parser) -> None:
    _folder(parser)
    parser.add_argument("--prompt", default="", metavar="TEXT", help="the text to go on from")
    parser.add_argument("--length", type=_integer(0), default=500, metavar="N", help="the tokens to make (500)")
    parser.add_argument(
        "--temperature", type=float, default=1.0, metavar="X", help="below 1 likelier text, above 1 more varied (1.0)"
    )
    parser.add_argument("--top-k", type=_integer(1), metavar="N", help="draw from the k likeliest tokens only")
    parser.add_argument(
        "--top-p", type=float, metavar="X", help="draw from the likeliest, up to this total probability"
    )
    parser.add_argument(
        "--random-state", "--seed", type=_integer(0), metavar="N", help="the same number gives the same text"
    )


def evaluate(network: str, file: str, picture: str | None = None, **data: Any) -> None:
    """Measure a network on a file; on the one that it was trained on, only on the part that was held out."""
    from . import predict

    trained = predict.load(network)
    if picture is not None and trained.word != "series":
        raise UsageError("--picture is for networks that 'unspool fit series' trained.")
    if trained.word == "text":
        _evaluate_text(trained.model, file, **text_only(data))
    else:
        _evaluate(trained, file, **({} if picture is None else {"picture": picture}), **data)


def _evaluate(trained: "Trained", file: str, **data: Any) -> None:
    """Print how well a network of sequences or series does on a file."""
    from . import forecast, predict

    if trained.word == "series":
        forecast.evaluate(trained.model, trained.config, file, **data)
    else:
        predict.evaluate(trained, file, **data)


def text_only(data: dict[str, Any]) -> dict[str, Any]:
    """The flags of a text; raise UsageError if there are others."""
    from ..tasks.language_model.saved import TextFile

    others = data.keys() - {f.name for f in options_of(TextFile)}
    if others:
        raise UsageError(f"--{min(others)} is not for a network that was trained by 'unspool fit text'.")
    return data


def _evaluate_text(model: "TextModel", file: str, **data: Any) -> None:
    from ..tasks.language_model import saved

    try:
        result = model.evaluate(saved.TextFile(file, **data).read(model.vocabulary.level))
    except DataError as error:
        raise DataError(str(error) if str(error).startswith(file) else f"{file}: {error}") from None
    per, score = model.loss_unit, result.network
    part = "held out when it was trained on this text" if result.held_out else "the whole text"
    say(
        f"{file}     {score.tokens:,} {model.token}s, {part}; "
        f"{score.unknown:,} of them unknown, scored as the unknown token"
    )
    say(f"network    {score.bits:.4f} {per}, perplexity {score.perplexity:.4g}")
    name = model.metrics["baseline"]["name"]
    if result.baseline is not None:
        say(f"baseline   {result.baseline:.4f} {per}, perplexity {2**result.baseline:.4g}, {name}")
    else:
        held_out, baseline = model.metrics["validation"]["bits"], model.metrics["baseline"]["bits"]
        say(f"when trained, held out: network {held_out:.4f}, {name} {baseline:.4f} {per}")


def add_evaluate(parser: Parser) -> None:
    from ..tasks.language_model.saved import TextFile

    _folder(parser)
    parser.add_argument(
        "file", metavar="FILE", help=f"such a file as it was trained on: {TextFile.what}, or sequences, or series"
    )
    parser.add_argument("--picture", metavar="FILE", help="of series, draw the last forecast: .png, .svg or .pdf")
    _add_data(parser)


def pack(network: str, weights: str, out: str | None, force: bool, file: str | None, **data: Any) -> None:
    """Save a network with weights of 16 or 8 bits; with --file, print how much that changes the loss on a text."""
    from ..saved import small

    if file is None and data:
        raise UsageError(f"--{min(data).replace('_', '-')} needs --file. Try 'unspool pack --help'.")
    to = out or f"{network.rstrip('/')}-{weights}"
    small.pack(network, to, weights, force=force)
    before, after = (os.path.getsize(os.path.join(folder, "model.safetensors")) for folder in (network, to))
    say(f"saved in   {to}, weights {after:,} bytes instead of {before:,}")
    if file is not None:
        _print_loss(network, to, file, **data)


def _print_loss(network: str, packed: str, file: str, **data: Any) -> None:
    """Print how well a network does on a file with its own weights, and with the small ones."""
    from ..tasks.language_model import saved
    from . import predict

    trained = [predict.load(folder) for folder in (network, packed)]
    if trained[0].word != "text":
        for name, one in zip(("float32", "packed"), trained, strict=True):
            say(name)
            _evaluate(one, file, **data)
        return
    models = [one.model for one in trained]
    text, per = saved.TextFile(file, **text_only(data)).read(models[0].vocabulary.level), models[0].loss_unit
    before, after = (model.evaluate(text).network.bits for model in models)
    say(f"float32    {before:.4f} {per} on {file}")
    part = f" ({100 * (after / before - 1):+.2f} %)" if before else ""
    say(f"packed     {after:.4f} {per}, {after - before:+.4f}" + part)


def add_pack(parser: Parser) -> None:
    from ..tasks.language_model.saved import TextFile

    _folder(parser)
    parser.add_argument("--weights", choices=("bf16", "int8"), required=True, help="the type of the weights")
    parser.add_argument("--out", metavar="DIR", help="the folder to save into (DIR-bf16 or DIR-int8)")
    parser.add_argument("--file", metavar="FILE", help=f"measure on this file: {TextFile.what}, or sequences")
    _add_data(parser)
    parser.add_argument("--force", action="store_true", help="replace the network in --out")


def export(network: str, file: str, force: bool) -> None:
    """Write a network into an ONNX file, once its outputs have been compared with ours."""
    from ..onnx.export import export

    difference = export(network, file, force=force)
    say(f"saved in   {file}, {os.path.getsize(file):,} bytes; in onnxruntime it differs from ours by {difference:.1g}")


def add_export(parser: Parser) -> None:
    _folder(parser)
    parser.add_argument("file", metavar="FILE", help="the ONNX file to write")
    parser.add_argument("--force", action="store_true", help="replace the file")


def _add_data(parser: Parser) -> None:
    """Add the flags of texts, and those of sequences that texts do not have."""
    from ..tasks.files import SequenceFile
    from ..tasks.language_model.saved import TextFile

    of_text = options_of(TextFile)
    names = {f.name for f in of_text}
    add(parser, [*of_text, *(f for f in options_of(SequenceFile) if f.name not in names)], {}, {})


def _folder(parser: Parser) -> None:
    parser.add_argument("network", metavar="DIR", help="the folder of a saved network")


def _integer(least: int) -> Callable[[str], int]:
    """A function that parses an integer of at least this value."""

    def integer(word: str) -> int:
        value = int(word)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return integer
