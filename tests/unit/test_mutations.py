"""What `tests/mutations.py` would break is still there, and so are the tests that would notice."""

from pathlib import Path

import pytest

from tests.mutations import MUTATIONS, PROJECT, Mutation, mutated


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_every_mutation_still_has_its_place_and_its_tests(mutation: Mutation) -> None:
    texts: dict[Path, str] = {}
    for edit in mutation.edits:
        path = PROJECT / edit.path
        text = texts.get(path, path.read_text("utf-8"))
        texts[path] = mutated(text, edit)
        assert texts[path] != text
    for path, text in texts.items():
        compile(text, path, "exec")
    for test in (*mutation.noticed, *mutation.blind):
        file, _, name = test.partition("::")
        body = (PROJECT / "tests" / file).read_text("utf-8")
        assert f"def {name.partition('[')[0]}(" in body or not name


def test_no_two_mutations_have_one_name() -> None:
    assert len({one.name for one in MUTATIONS}) == len(MUTATIONS)


def test_a_text_that_is_gone_or_stands_twice_is_refused() -> None:
    edit = MUTATIONS[0].edits[0]
    for text in ("", edit.old * 2):
        with pytest.raises(ValueError, match="and not once"):
            mutated(text, edit)
