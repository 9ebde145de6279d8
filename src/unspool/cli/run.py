"""The verbs that run a saved network. They need neither PyTorch nor what draws the rest of the command line."""

import argparse
import io
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from ..errors import DataError, UnspoolError

FILE = "text in UTF-8, a table with --column, or python-stdlib"


class UsageError(Exception):
    """A command that was not understood."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message[0].upper()}{message[1:]}. Try '{self.prog} --help'.")


def guarded(call: Callable[[], Any]) -> int:
    """Call it; an exit status. What a person can mend is one line on standard error, and status 2."""
    try:
        status = call()
        sys.stdout.flush()
        return status or 0
    except (UsageError, UnspoolError) as error:
        return _complain(str(error))
    except ModuleNotFoundError as error:
        if error.name not in ("onnx", "onnxruntime"):
            raise
        return _complain(f"{error.name} is not installed; pip install 'unspool[onnx]' brings it")
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "can't allocate memory" not in str(error):
            raise
        return _complain("there is not enough memory for this; make the network, its batches or the text smaller")
    except BrokenPipeError:
        # Whoever reads has enough; typer too leaves with 1.
        _drop_output()
        return 1
    except OSError as error:
        if error.filename is None:
            _drop_output()
        return _complain(
            f"{error.filename or 'standard output'}: {error.strerror or error}; make room, or choose another"
        )
    except KeyboardInterrupt:
        return 130


def speak_utf8() -> None:
    """Text is UTF-8, whatever the locale says."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")


def run(arguments: list[str]) -> int:
    """Run one of `VERBS`, the first argument; its exit status."""
    return guarded(lambda: _run(arguments))


def _run(arguments: list[str]) -> int | None:
    verb, add_arguments = VERBS[arguments[0]]
    parser = _Parser(f"unspool {arguments[0]}", description=verb.__doc__, allow_abbrev=False)
    add_arguments(parser)
    try:
        options = vars(parser.parse_args(arguments[1:]))
    except SystemExit as end:  # --help
        return int(end.code or 0)
    return verb(**options)


def generate(network: str, prompt: str = "", **options: Any) -> None:
    """Write text as it is made, the prompt first."""
    from ..tasks.language_model.saved import TextStream

    model = TextStream(network)
    if unknown := model.unknown(prompt):
        print(f"unspool: {unknown} of the prompt's tokens are unknown to the network", file=sys.stderr)
    for piece in model.pieces(prompt, **options):
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()


def _generate(parser: argparse.ArgumentParser) -> None:
    _folder(parser)
    parser.add_argument("--prompt", default="", help="text to go on from")
    parser.add_argument("--length", type=_integer(0), default=500, help="tokens to make (500)")
    parser.add_argument("--temperature", type=float, default=1.0, help="below 1 likelier, above 1 more varied (1)")
    parser.add_argument("--top-k", type=_integer(1), help="draw from the k likeliest tokens only")
    parser.add_argument("--top-p", type=float, help="draw from the likeliest, up to this probability")
    parser.add_argument("--seed", type=_integer(0), help="the same seed, the same text")


def texts(file: str, level: str, column: str | None, skip_bad: int) -> list[str] | list[bytes]:
    """The texts of a file; what was let go is told on standard error."""
    from ..data import text

    def tell(complaint: str) -> None:
        print(f"unspool: left out: {complaint}", file=sys.stderr)

    return text.read(file, level, column=column, skip_bad=skip_bad, tell=tell)


def evaluate(network: str, file: str, column: str | None, skip_bad: int) -> None:
    """Score a text; of the text that the network was trained on, only the part that was held out."""
    from ..data.vocabulary import UNITS
    from ..tasks.language_model.saved import TextStream

    model = TextStream(network)
    level = model.vocabulary.level
    try:
        result = model.evaluate(texts(file, level, column, skip_bad))
    except DataError as error:
        raise DataError(str(error) if str(error).startswith(file) else f"{file}: {error}") from None
    unit, score = UNITS[level], result.network
    part = "held out when it was trained on this text" if result.held_out else "the whole text"
    print(
        f"{file}     {score.tokens:,} {unit}s, {part}; {score.unknown:,} of them unknown, scored as the unknown token"
    )
    print(f"network    {score.bits:.4f} bits/{unit}, perplexity {score.perplexity:.4g}")
    name = model.metrics["baseline"]["name"]
    if result.baseline is not None:
        print(f"baseline   {result.baseline:.4f} bits/{unit}, perplexity {2**result.baseline:.4g}, {name}")
    else:
        held_out, baseline = model.metrics["validation"]["bits"], model.metrics["baseline"]["bits"]
        print(f"when trained, held out: network {held_out:.4f}, {name} {baseline:.4f} bits/{unit}")


def _evaluate(parser: argparse.ArgumentParser) -> None:
    _folder(parser)
    parser.add_argument("file", metavar="FILE", help=FILE)
    _of_text(parser)


def _of_text(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--column", help="of a table: each of its cells is a text")
    parser.add_argument("--skip-bad", type=_integer(0), default=0, metavar="N", help="bad lines or rows to let go (0)")


def pack(network: str, weights: str, out: str | None, force: bool, file: str | None, **options: Any) -> None:
    """Save a network once more, with weights of 16 or 8 bits; with --file, print what it costs on that text."""
    from ..saved import small

    if file is None and any(options.values()):
        raise UsageError("Options --column and --skip-bad are those of --file. Try 'unspool pack --help'.")
    to = out or f"{network.rstrip('/')}-{weights}"
    small.pack(network, to, weights, force=force)
    before, after = (_size(folder) for folder in (network, to))
    print(f"saved in   {to}, weights {after:,} bytes instead of {before:,}")
    if file is not None:
        _print_loss(network, to, file, **options)


def _print_loss(network: str, packed: str, file: str, column: str | None, skip_bad: int) -> None:
    """What a text costs with the network's weights, and with the small ones."""
    from ..data.vocabulary import UNITS
    from ..tasks.language_model.saved import TextStream

    models = [TextStream(folder) for folder in (network, packed)]
    level = models[0].vocabulary.level
    text = texts(file, level, column, skip_bad)
    before, after = (model.evaluate(text).network.bits for model in models)
    print(f"float32    {before:.4f} bits/{UNITS[level]} on {file}")
    print(f"packed     {after:.4f} bits/{UNITS[level]}, {after - before:+.4f} ({100 * (after / before - 1):+.2f} %)")


def _size(network: str) -> int:
    return os.path.getsize(os.path.join(network, "model.safetensors"))


def _pack(parser: argparse.ArgumentParser) -> None:
    _folder(parser)
    parser.add_argument("--weights", choices=("bf16", "int8"), required=True, help="bits of a weight")
    parser.add_argument("--out", metavar="DIR", help="folder to save into (DIR-bf16 or DIR-int8)")
    parser.add_argument("--file", metavar="FILE", help=f"measure the loss on it: {FILE}")
    _of_text(parser)
    parser.add_argument("--force", action="store_true", help="replace the network in --out")


def export(network: str, file: str, force: bool) -> None:
    """Write the network into an ONNX file, after its outputs have been compared with ours."""
    from ..onnx.export import export

    difference = export(network, file, force=force)
    print(
        f"saved in   {file}, {os.path.getsize(file):,} bytes; in onnxruntime it differs from ours by {difference:.1g}"
    )


def _export(parser: argparse.ArgumentParser) -> None:
    _folder(parser)
    parser.add_argument("file", metavar="FILE", help="model.onnx")
    parser.add_argument("--force", action="store_true", help="replace the file")


def _folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("network", metavar="DIR", help="folder of a saved network")


def _integer(least: int) -> Callable[[str], int]:
    """What makes an integer of at least so much of a word."""

    def integer(word: str) -> int:
        value = int(word)
        if value < least:
            raise argparse.ArgumentTypeError(f"{value} is less than {least}")
        return value

    return integer


def _complain(message: str) -> int:
    print("unspool:", " ".join(message.split()), file=sys.stderr)
    return 2


def _drop_output() -> None:
    """What is left in the buffer could not be written: it must not be tried again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# Each with what adds its arguments to a parser.
VERBS: dict[str, tuple[Callable[..., int | None], Callable[[argparse.ArgumentParser], None]]] = {
    "generate": (generate, _generate),
    "evaluate": (evaluate, _evaluate),
    "pack": (pack, _pack),
    "export": (export, _export),
}
