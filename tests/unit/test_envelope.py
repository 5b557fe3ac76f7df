"""VERP addresses and xtext: what is written on an envelope can be read back, and not made up."""

import base64
import hmac
import string

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.envelope import Forged, ReturnAddress, Token, token_of, unxtext, verp, xtext
from pipeline.errors import LetterFault, Misconfigured

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

MAILBOX = "bounces@letters.example"
KEY = b"a key that only the tests have"
OLD_KEY = b"a key that was used last year"
MARKED = "bounces+d4f7q2k9w1.k6q5nuqycntkflz3@letters.example"

TOKENS = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=39)
SEPARATORS = st.sampled_from("+-=_#~!$%&'*/?^`{|}")


def test_an_address_stays_what_it_is() -> None:
    """Mail comes back for weeks: an address of last week must be read by this week's program."""
    assert verp(MAILBOX, "d4f7q2k9w1", KEY) == MARKED


@unhurried
@given(token=TOKENS, separator=SEPARATORS, keys=st.permutations([KEY, OLD_KEY]))
def test_a_token_comes_back_whatever_relays_do_to_capitals(
    token: str, separator: str, keys: list[bytes]
) -> None:
    address = verp("Bounces@letters.example", token, KEY, separator=separator)
    for each in (address, address.upper(), address.title(), f"<{address}>", f" {address} "):
        assert token_of(each, keys, separator=separator) == Token(value=token)
    assert isinstance(token_of(address, [OLD_KEY], separator=separator), Forged)
    assert isinstance(token_of(address, [], separator=separator), Forged)


def test_a_mailbox_may_hold_its_own_separator() -> None:
    address = verp("annual-bounces@letters.example", "a1", KEY, separator="-")
    for mailbox in (None, "Annual-Bounces@other.example"):
        found = token_of(address, [KEY], separator="-", mailbox=mailbox)
        assert found == Token(value="a1"), mailbox


@unhurried
@given(token=TOKENS, data=st.data())
def test_one_other_character_makes_it_forged_or_none(token: str, data: st.DataObject) -> None:
    address = verp(MAILBOX, token, KEY)
    start, end = address.index("+") + 1, address.index("@")
    at = data.draw(st.integers(start, end - 1))
    other = data.draw(st.characters().filter(lambda one: one.lower() != address[at]))
    assert not isinstance(token_of(address[:at] + other + address[at + 1 :], [KEY]), Token)
    assert not isinstance(token_of(address[:at] + address[at + 1 :], [KEY]), Token)
    assert not isinstance(token_of(address[:at] + "a" + address[at:], [KEY]), Token)


@unhurried
@given(one=TOKENS, other=TOKENS)
def test_a_mac_fits_no_other_token(one: str, other: str) -> None:
    if one != other:
        mac = verp(MAILBOX, other, KEY).partition(".")[2]
        assert isinstance(token_of(f"bounces+{one}.{mac}", [KEY]), Forged)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "@",
        "chief@stevenage.example",
        "bounces@letters.example",
        "bounces+d4f7q2k9w1@letters.example",
        "bounces+.k6q5nuqycntkflz3@letters.example",
        "bounces+d4f7q2k9w1.k6q5nuqycntkflz@letters.example",
        "bounces+d4f7q2k9w1.k6q5nuqycntkflz1@letters.example",
        "+d4f7q2k9w1.k6q5nuqycntkflz3@letters.example",
        "bounces-d4f7q2k9w1.k6q5nuqycntkflz3@letters.example",
        # the Kelvin sign is a k in small letters
        "bounces+d4f7q2k9w1.\u212a6q5nuqycntkflz3@letters.example",
        "bounces+" + "a" * 400 + ".k6q5nuqycntkflz3@letters.example",
    ],
)
def test_other_addresses_carry_no_token(address: str) -> None:
    assert token_of(address, [KEY]) is None


def test_only_the_own_mailbox_counts_where_it_is_given() -> None:
    own = ReturnAddress(mailbox=MAILBOX, keys=(KEY, OLD_KEY))
    assert own.token_of(MARKED) == Token(value="d4f7q2k9w1")
    assert own.token_of(MARKED.replace("letters.", "relay.")) == Token(value="d4f7q2k9w1")
    assert own.token_of(MARKED.replace("bounces", "list-bounces")) is None
    assert own.token_of(verp(MAILBOX, "a1", OLD_KEY)) == Token(value="a1")
    assert own.verp("d4f7q2k9w1") == MARKED, "the first key signs"
    forged = MARKED.replace("d4f7", "d4f8")
    assert own.token_of(forged) == Forged(address=forged)


def test_a_short_key_is_no_key() -> None:
    with pytest.raises(Misconfigured, match="has 15 octets; give one of 16 or more"):
        verp(MAILBOX, "a1", b"x" * 15)
    with pytest.raises(Misconfigured, match="has 0 octets"):
        ReturnAddress(mailbox=MAILBOX, keys=(KEY, b""))
    with pytest.raises(Misconfigured, match="has no key"):
        ReturnAddress(mailbox=MAILBOX, keys=())


def test_nobody_can_sign_with_a_key_that_is_too_short() -> None:
    mac = base64.b32encode(hmac.digest(b"", b"verp\0a1", "sha256")).decode().lower()[:16]
    address = f"bounces+a1.{mac}@letters.example"
    assert token_of(address, [b""]) == Forged(address=address)
    mac = base64.b32encode(hmac.digest(KEY, b"verp\0a1", "sha256")).decode().lower()[:16]
    assert token_of(f"bounces+a1.{mac}@letters.example", [KEY]) == Token(value="a1")


def test_keys_are_not_shown() -> None:
    assert "tests" not in repr(ReturnAddress(mailbox=MAILBOX, keys=(KEY,)))


@pytest.mark.parametrize("token", ["", "A1", "a-1", "a.1", "a+1", "é", "a\n", "a b"])
def test_a_token_is_small_letters_and_digits(token: str) -> None:
    with pytest.raises(LetterFault, match="small letters and digits"):
        verp(MAILBOX, token, KEY)


def test_the_local_part_keeps_to_its_limit() -> None:
    longest = verp(MAILBOX, "a" * 39, KEY)
    assert len(longest.partition("@")[0]) == 64
    with pytest.raises(LetterFault, match="65 characters long, and mail allows 64"):
        verp(MAILBOX, "a" * 40, KEY)


@pytest.mark.parametrize("mailbox", ["", "bounces", "bounces@", "b c@letters.example"])
def test_the_mailbox_must_be_an_address(mailbox: str) -> None:
    with pytest.raises(Misconfigured, match="address for returned mail"):
        verp(mailbox, "a1", KEY)


@pytest.mark.parametrize("separator", ["", "a", "1", ".", "@", "++", " ", "é", "\n"])
def test_a_separator_is_one_sign(separator: str) -> None:
    with pytest.raises(Misconfigured, match="must be one sign"):
        verp(MAILBOX, "a1", KEY, separator=separator)


@unhurried
@given(st.text(), st.lists(st.binary(), max_size=3), st.text(max_size=2))
def test_reading_an_address_never_raises(address: str, keys: list[bytes], separator: str) -> None:
    assert not isinstance(token_of(address, keys, separator=separator), Token)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", ""),
        ("d4f7q2k9w1", "d4f7q2k9w1"),
        ("a+b=c", "a+2Bb+3Dc"),
        ("a b\t", "a+20b+09"),
        ("môn", "m+C3+B4n"),
        ("~!", "~!"),
    ],
)
def test_xtext_is_as_the_standard_writes_it(text: str, written: str) -> None:
    assert xtext(text) == written
    assert unxtext(written) == text


@unhurried
@given(st.text(st.characters()))
def test_xtext_comes_back(text: str) -> None:
    written = xtext(text)
    assert all("!" <= one <= "~" and one != "=" for one in written)
    assert unxtext(written) == text


@pytest.mark.parametrize("text", ["a=b", "a b", "a+", "a+2", "a+GG", "é", "+FF", "a\n"])
def test_what_is_no_xtext_is_not_read(text: str) -> None:
    assert unxtext(text) is None


@unhurried
@given(st.text("+=0123456789ABCDEFaz \n"))
def test_reading_xtext_never_raises(text: str) -> None:
    read = unxtext(text)
    if read is not None:
        assert unxtext(xtext(read)) == read
