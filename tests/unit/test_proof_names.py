"""Finding authorities' names in a letter's text, however it was broken into lines."""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.proof import Folded, Names, fold

REGISTER = [
    "Bath and North East Somerset Council",
    "Bournemouth, Christchurch and Poole Council",
    "Buckinghamshire Council",
    "Buckinghamshire County Council",
    "City of Westminster",
    "Council of the Isles of Scilly",
    "Hammersmith & Fulham",
    "King's Lynn and West Norfolk",
    "Kingston upon Hull City Council",
    "Newcastle-under-Lyme Borough Council",
    "Reading",
    "Royal Borough of Kingston upon Thames",
    "Stevenage Borough Council",
    "Stoke-on-Trent City Council",
    "Telford & Wrekin Council",
    "Ynys Môn",
    "Bury",
    "Bath",
    "Wycombe District Council",
]


def found(text: str, register: list[str] | None = None) -> list[str]:
    return [each.name for each in Names(register or REGISTER).find(Folded(text))]


@pytest.mark.parametrize("name", REGISTER)
def test_finds_each_name_in_a_sentence(name: str) -> None:
    assert found(f"We wrote to {name}, as before.") == [name]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("to Stevenage\r\nBorough Council", "Stevenage Borough Council"),
        ("to Stevenage \n  Borough\u00a0Council’s", "Stevenage Borough Council"),
        ("Stoke\ufffeon-Trent City Council", "Stoke-on-Trent City Council"),
        ("Stoke-on-\r\nTrent City Council", "Stoke-on-Trent City Council"),
        ("Stoke\u2011on\u2011Trent City Council", "Stoke-on-Trent City Council"),
        ("Steve\ufffenage Borough Council", "Stevenage Borough Council"),
        ("Steve\u00adnage Borough Coun\x02\r\ncil", "Stevenage Borough Council"),
        ("Hammersmith and Fulham", "Hammersmith & Fulham"),
        ("Telford &\nWrekin Council", "Telford & Wrekin Council"),
        ("King’s Lynn and West Norfolk", "King's Lynn and West Norfolk"),
        ("King\u02bcs Lynn and West Norfolk", "King's Lynn and West Norfolk"),
        ("STEVENAGE BOROUGH COUNCIL", "Stevenage Borough Council"),
        ("Ynys Mo\u0302n", "Ynys Môn"),
        ("(Bury)", "Bury"),
    ],
)
def test_finds_a_name_however_it_is_set(text: str, name: str) -> None:
    assert found(text) == [name]


@pytest.mark.parametrize(
    "text",
    [
        "Westminster",
        "Kingston upon Hull",
        "reading the letter, and burying it in the bath",
        "Buryness and Readings",
        "Stevenage Borough Councillors",
        "NewStevenage Borough Council",
        "City of Westminsters",
    ],
)
def test_finds_no_name_that_is_not_there_whole(text: str) -> None:
    assert found(text) == []


def test_ligatures_in_the_text_are_letters() -> None:
    assert found("Shefﬁeld City Council", ["Sheffield City Council"]) == ["Sheffield City Council"]


def test_the_longest_name_wins_and_none_is_found_within_another() -> None:
    text = "Bath and North East Somerset Council, Bath, Buckinghamshire County Council"
    assert found(text) == [
        "Bath and North East Somerset Council",
        "Bath",
        "Buckinghamshire County Council",
    ]


def test_what_is_the_letters_own_is_passed_over_but_not_a_longer_name() -> None:
    text = Folded("Bath wrote. Bath and North East Somerset Council wrote.")
    own = dict(text.whole(fold("Bath")))
    assert [each.name for each in Names(REGISTER).find(text, own)] == [
        "Bath and North East Somerset Council"
    ]


def test_a_text_is_found_only_where_words_begin_and_end() -> None:
    text = Folded("an average of 45% in similar authorities, 31/03/20")
    assert list(text.whole(fold("45%")))
    assert list(text.whole(fold("31/03/20")))
    assert not list(text.whole(fold("5%")))
    assert not list(text.whole(fold("1/03/20")))
    assert not list(text.whole(fold("similar author")))
    assert not list(text.whole(""))


def test_a_number_is_one_word_with_its_commas() -> None:
    text = Folded("a total of 1,110 detailed investigations, 12,345 and 7")
    assert list(text.whole(fold("1,110 detailed investigations")))
    assert list(text.whole(fold("12,345 and 7")))
    assert not list(text.whole(fold("110 detailed investigations")))
    assert not list(text.whole(fold("345")))
    assert list(Folded("in 2019, 110 detailed").whole(fold("110 detailed")))


def test_names_of_no_letters_are_no_names() -> None:
    assert found("a b", ["", " ", "-"]) == []


@pytest.mark.parametrize("names", [["Arc", "arc"], ["arc", "Arc"], ["Arc", "Arc", "arc"]])
def test_of_names_that_differ_in_capitals_neither_hides_the_other(names: list[str]) -> None:
    assert len(found("7; arc ;7", names)) == 1
    assert len(found("7; Arc ;7", names)) == 1
    assert found("7; arc ;7", ["Arc", "Arc"]) == []


def test_short_names_are_found() -> None:
    assert found("We wrote to Ayr and to Ely.", ["Ely", "Ay", "Ayr"]) == ["Ayr", "Ely"]


def test_a_hundred_thousand_names_are_looked_up_at_once() -> None:
    register = [f"Authority {number:05d} District Council" for number in range(100_000)]
    names = Names(register)
    wording = "The Authority considered what each authority had done. " * 100
    text = Folded(wording + "Authority 31415 District Council " + wording)
    assert [each.name for each in names.find(text)] == ["Authority 31415 District Council"]


@given(
    st.lists(
        st.text(alphabet="abAB &'-é", min_size=1, max_size=8).filter(lambda name: fold(name) != ""),
        min_size=1,
        max_size=6,
    ),
    st.randoms(use_true_random=False),
)
def test_a_name_is_found_wherever_lines_break(names: list[str], chance: random.Random) -> None:
    name = chance.choice(names)
    broken = "".join(
        chance.choice([" ", "\r\n", "\u00a0", " \n"]) if each == " " else each for each in name
    )
    text = Folded(f"7; {broken} ;7")
    assert any(
        start <= each.start and each.end <= end
        for start, end in text.whole(fold(name))
        for each in Names(names).find(text)
    )


@given(st.lists(st.text(alphabet=string.printable + "\ufffe\u00ad’ﬁ&İß", max_size=60)))
def test_folding_keeps_an_edge_and_a_page_for_every_character(pages: list[str]) -> None:
    text = Folded(*pages)
    assert len(text.text) == len(text.cased) == len(text.edges) - 1
    assert not any(each.isspace() for each in text.text)
    for number, page in enumerate(pages, start=1):
        folded = fold(page)
        start = text.starts[number - 1]
        assert text.text[start : start + len(folded)] == folded
        assert {text.page_of(start + each) for each in range(len(folded))} <= {number}
