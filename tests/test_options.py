"""Options: what is said once is what constructors, documentation, checks and flags say."""

from dataclasses import MISSING, dataclass, fields

import pytest

from unspool import UnspoolError
from unspool.cli.complaints import UsageError
from unspool.cli.flags import GROUPS, Parser, add
from unspool.options import check, documented, like, option, options_of
from unspool.tasks.options import Options, TrainingOptions, apart, flat


@documented
@dataclass(kw_only=True)
class Oven:
    """An oven.

    Args:
        {options}
        shelf: no option.
    """

    heat: float = option(180.0, "the heat in degrees", "run", above=0, below=300)
    trays: int = option(2, "the trays", "data", least=1)
    timer: float | None = option(None, "minutes until it ends", "run", above=0)
    mode: str = option("fan", "what blows", "network", choices=("fan", "grill"))
    light: bool = option(False, "leave the light on", "run")
    shelf: str = "top"


@dataclass(kw_only=True)
class Grill(Oven):
    mode: str = like(Oven, "mode", "grill")


def parse(*words, of=Oven, **defaults):
    parser = Parser("bake", "Bake.")
    add(parser, options_of(of), defaults, {"temperature": "heat"})
    return vars(parser.parse_args(words)), parser.format_help()


def test_documentation_has_the_sentences():
    assert "        heat: the heat in degrees.\n        trays: the trays.\n" in Oven.__doc__
    assert "        mode: what blows. One of fan, grill.\n" in Oven.__doc__
    assert Oven.__doc__.count("shelf") == 1 and "{options}" not in Oven.__doc__
    assert [f.name for f in options_of(Oven)] == ["heat", "trays", "timer", "mode", "light"]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"heat": 0}, "heat must be a number more than 0 and less than 300; got 0"),
        ({"heat": 300}, "heat must be a number more than 0 and less than 300; got 300"),
        ({"trays": 0}, "trays must be an integer of at least 1; got 0"),
        ({"trays": 1.0}, "trays must be an integer of at least 1; got 1.0"),
        ({"trays": None}, "trays must be an integer of at least 1; got None"),
        ({"timer": -1}, "timer must be a number more than 0; got -1"),
        ({"mode": "steam"}, "mode must be one of fan, grill; got 'steam'"),
        ({"mode": 3}, "mode must be one of fan, grill; got 3"),
    ],
    ids=str,
)
def test_bounds_are_checked(given, complaint):
    check(Oven())
    with pytest.raises(UnspoolError, match=complaint):
        check(Oven(**given))


def test_another_default_is_all_that_differs():
    assert Grill().mode == "grill" and "what blows: fan, grill (grill)" in parse(of=Grill)[1]
    with pytest.raises(UnspoolError, match="mode must be one of fan, grill"):
        check(Grill(mode="steam"))


def test_flags_are_read_off():
    given, help_text = parse("--heat", "200", "--light", "--mode", "grill", trays=7)
    assert given == {"heat": 200.0, "light": True, "mode": "grill"}, "what is not given is absent"
    assert "the trays (7)" in help_text and "what blows: fan, grill (fan)" in help_text and "(None)" not in help_text
    assert parse("--temperature", "9")[0] == {"heat": 9.0}
    places = [help_text.index(f"\n{group}:") for group in GROUPS if group != "training"]
    assert places == sorted(places) and "\ntraining:" not in help_text
    for words in (["--heat", "hot"], ["--mode", "steam"], ["--he", "3"], ["--trays"]):
        with pytest.raises(UsageError, match=r"Try 'unspool bake --help'"):
            parse(*words)


def test_no_option_of_a_task_is_told_twice():
    """Each is in `options.py`, or in the `Plan` that it is like; its sentence is there and ends without a stop."""
    for options in (Options, TrainingOptions, *Options.__subclasses__()):
        for f in options_of(options):
            known = f.metadata["option"]
            assert known.sentence and not known.sentence.endswith(".") and known.group in GROUPS, f.name
            assert f.default is not MISSING, f"{f.name} has a default"
    assert {f.name for f in fields(Options)} & {f.name for f in fields(TrainingOptions)} == set()


def test_flat_and_apart_are_inverse():
    @dataclass(kw_only=True)
    class Baker(Options):
        own_training = TrainingOptions(tbptt=9, patience=3)

    plain = apart(Baker, TrainingOptions, {})
    assert plain.training is None and flat(plain)["tbptt"] == 9 and flat(plain)["patience"] == 3
    given = {"clip_norm": 0.5, "seed": 4, "epochs": 2}
    made = apart(Baker, TrainingOptions, given)
    assert flat(made) == flat(plain) | {"clip_norm": 0.5, "random_state": 4, "epochs": 2}
    again = apart(Baker, TrainingOptions, flat(made))
    assert flat(again) == flat(made)
    assert apart(Baker, TrainingOptions, flat(plain)).training is None
    with pytest.raises(UnspoolError, match="'yeast' is not an option; there are batch_size, cell, clip_norm"):
        apart(Baker, TrainingOptions, {"yeast": 1})
