"""Words of a server: what is shown of them, and what never is."""

import base64

import pytest

from pipeline.masking import masked, printable

TOKEN = "eyJhbGciOiJSUzI1NiJ9.a-token-of-somebody"  # noqa: S105


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("550  no\r\n such\x1b[31m user", "550 no such [31m user"),
        (b"caf\xc3\xa9 \xff", "café \N{REPLACEMENT CHARACTER}"),
        ("", ""),
    ],
)
def test_words_are_shown_on_one_line_without_what_cannot_be_seen(
    said: str | bytes, shown: str
) -> None:
    assert printable(said) == shown


def test_a_password_is_masked_whole_and_a_token_from_its_beginning() -> None:
    coded = base64.b64encode(TOKEN.encode()).decode()
    said = f"no login with sword fish, {TOKEN}! {coded[:20]} swordfish"
    assert masked(said, passwords=["sword fish", ""], tokens=[TOKEN, coded, ""]) == (
        "no login with ***, *** *** swordfish"
    )
    assert masked(f"cut: {TOKEN[:16]}", tokens=[TOKEN]) == "cut: ***"
    assert masked("pass\tword", passwords=["pass\tword"]) == "***"
    assert masked("a.c abc", passwords=["a.c"], tokens=["a.c"]) == "*** abc"
