"""Addresses: which ones mail can be sent to, and what is said of the others."""

import pytest

from pipeline.address import ascii_address, hidden_character
from pipeline.errors import LetterFault

_MORE = "holds more than one address, or a comma or semicolon"
_SPACE = "holds a space, or two addresses with a space between them"
_NAME = "holds a name or brackets beside the address"
_DOTS = "begins or ends with a dot, or has two dots in a row"


@pytest.mark.parametrize(
    "address",
    [
        "chief@stevenage.example",
        "chief@stevenage.test",
        "Chief.Executive+letters@Stevenage.Gov.Example",
        "o'neill@x.example",
        "a%0aBcc@x.example",  # text like any other: nothing here decodes it
        "a%0d%0aBcc%3ab@x.example",
        "!#$%&'*+-/=?^_`{|}~@x.example",
        "a" * 64 + "@x.example",
        "a@" + ".".join(["x" * 61] * 4) + ".uk",
        "1@1a.example",
    ],
)
def test_an_address_is_taken_as_it_is(address: str) -> None:
    assert ascii_address(address) == address


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        ("prif@cyngor-môn.example", "prif@xn--cyngor-mn-n7a.example"),
        ("prif@cyngor-mo\u0302n.example", "prif@xn--cyngor-mn-n7a.example"),
        ("a@MÔN.example", "a@xn--mn-8ja.example"),
        ("a@例え.test", "a@xn--r8jz45g.test"),
    ],
)
def test_an_international_domain_is_put_into_plain_letters(address: str, plain: str) -> None:
    assert ascii_address(address) == plain
    assert ascii_address(plain) == plain


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("", "it has no @"),
        ("nobody", "it has no @"),
        ("@x.example", "nothing stands before the @"),
        ("a@b.example,c@d.example", _MORE),
        ("a@b.example, c@d.example", _MORE),
        ("a@b.example; c@d.example", _MORE),
        ("a@b.example;", _MORE),
        ("a@b.example c@d.example", _MORE),
        ("a@b@x.example", _MORE),
        ("a b@x.example", _SPACE),
        ("a@x .example", _SPACE),
        (" a@x.example", _SPACE),
        ("a@x.example\u00a0", _SPACE),
        ("Jo Jones <jo@x.example>", _NAME),
        ("<jo@x.example>", _NAME),
        ('"Jones, Jo" <jo@x.example>', _NAME),
        ("a@x.example\r\nBcc: b@x.example", r"it holds CARRIAGE RETURN \(U\+000D\)"),
        ("a@x.example\nBcc: b@x.example", r"it holds LINE FEED \(U\+000A\)"),
        ("a\0@x.example", r"it holds NULL \(U\+0000\)"),
        ("a\u200b@x.example", r"it holds ZERO WIDTH SPACE \(U\+200B\)"),
        ("a@x\u202e.example", r"it holds RIGHT-TO-LEFT OVERRIDE \(U\+202E\)"),
        ("a\ue000@x.example", r"it holds PRIVATE USE CHARACTER \(U\+E000\)"),
        ('"a b"@x.example', "it has a quoted part before the @"),
        ('"a"@x.example', "it has a quoted part before the @"),
        ("siân@x.example", r"need an extension \(SMTPUTF8\) that not every mail system has"),
        ("\u0430@x.example", "SMTPUTF8"),  # a Cyrillic a
        ("a" * 65 + "@x.example", "65 characters stand before the @, and mail allows 64"),
        (".a@x.example", f"what stands before the @ {_DOTS}"),
        ("a.@x.example", f"what stands before the @ {_DOTS}"),
        ("a..b@x.example", f"what stands before the @ {_DOTS}"),
        ("a(b)@x.example", "must be plain letters, digits and signs"),
        ("a@", "its domain is empty,"),
        ("a@x.example.", f"its domain is empty, {_DOTS}"),
        ("a@.example", f"its domain is empty, {_DOTS}"),
        ("a@x..example", f"its domain is empty, {_DOTS}"),
        ("a@[127.0.0.1]", "names a computer by number"),
        ("a@[IPv6:::1]", "names a computer by number"),
        ("a@127.0.0.1", "names a computer by number"),
        ("a@-x.example", "the part '-x' of its domain is none"),
        ("a@x_y.example", "the part 'x_y' of its domain is none"),
        ("a@%0a.example", "the part '%0a' of its domain is none"),
        ("a@" + "x" * 64 + ".example", "a part of its domain is 64 characters long"),
        ("a@" + "x." * 130 + "example", "it is 269 characters long, and mail allows 254"),
        ("a@straße.example", "the part 'straße' of its domain .* in its xn-- form"),
        ("a" * 5000 + "@x.example", "5000 characters stand before the @"),
    ],
)
def test_any_other_is_refused_with_its_reason(address: str, reason: str) -> None:
    with pytest.raises(
        LetterFault, match=f"^The address .* cannot be written to: .*{reason}"
    ) as it:
        ascii_address(address)
    message = str(it.value)
    assert message.endswith(".")
    assert message.isprintable()
    assert len(message) < 700


def test_whatever_does_not_show_can_be_named() -> None:
    hidden = {code: hidden_character(chr(code)) for code in range(0x110000)}
    named = {code: name for code, name in hidden.items() if name is not None}
    assert len(named) > 100_000
    assert all(name.endswith(f" (U+{code:04X})") for code, name in named.items())
    assert not any("WITHOUT A NAME" in name for name in named.values())
