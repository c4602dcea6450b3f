import pytest

from jusinfer.wire.validation_errors import validation_error


@pytest.mark.parametrize(
    ("said", "message", "param"),
    [
        ("Expected `int`, got `str` - at `$.n`", "`n` must be a whole number, not a string", "n"),
        (
            "Expected `int | null`, got `str` - at `$.n`",
            "`n` must be a whole number, not a str",
            "n",
        ),
        ("Expected `object`, got `array`", "the body must be an object, not an array", None),
        ("Expected `str` of length <= 1 - at `$.a`", "`a` must be a string of at most 1 char", "a"),
        ("Expected `array` of length >= 2 - at `$.a`", "an array of at least 2 items", "a"),
        ("Expected `float` >= -2.0 - at `$.p`", "`p` must be a number, at least -2", "p"),
        (
            "Invalid enum value 'secret' - at `$.a[0].role`",
            "`a[0].role` is not one of",
            "a[0].role",
        ),
        ("Object missing required field `b` - at `$.a`", "`a.b` is missing", "a.b"),
        ("Object missing required field `b`", "`b` is missing", "b"),
        ("Something else with 'secret' - at `$.a`", "`a` cannot be understood", "a"),
        ("Something else with 'secret'", "the body cannot be understood", None),
        ('Expected `int`, got `str` - at `$["secret"].x`', "`[…].x` must be", "[…].x"),
        ("Expected `int`, got `str` - at `$.m[...]`", "`m[…]` must be", "m[…]"),
    ],
)
def test_what_the_decoder_says_is_said_again_without_values(
    said: str, message: str, param: str | None
) -> None:
    error = validation_error(said)
    assert error.message.startswith(message) or message in error.message
    assert error.param == param
    assert "secret" not in f"{error.message} {error.hint} {error.param}"
    assert error.hint
