"""Codes in a file: one a line, or a column of a table."""

from pathlib import Path

import pytest

from pipeline.cli.selection import codes_in
from pipeline.errors import Refused


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A1\n\n# the second\nb2  # by telephone\n", [(1, "A1"), (4, "b2")]),
        ("A1", [(1, "A1")]),
        ("A1\r\nB2\r\n", [(1, "A1"), (2, "B2")]),
        ("A1\rB2", [(1, "A1"), (2, "B2")]),
        ("\ufeffcode\nA1\n", [(2, "A1")]),
        ('"A1"\n', [(1, "A1")]),
        ('name,code\n"A, or so",A1\n\n# none\nB,B2\n', [(2, "A1"), (5, "B2")]),
        ("Code;Name\nA1;A\n", [(2, "A1")]),
        ("name\tCODE\nA\tA1\n", [(2, "A1")]),
        ("name,code\nA\n", [(2, "(empty)")]),
        ("", []),
        ("# nothing\n\n", []),
    ],
)
def test_codes_are_read_with_their_lines(
    tmp_path: Path, text: str, expected: list[tuple[int, str]]
) -> None:
    file = tmp_path / "codes"
    file.write_bytes(text.encode())
    assert list(codes_in(str(file))) == expected


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"name,place\nA,B\n", "none of them is headed code"),
        ("\u00e9\n".encode("utf-16"), "is not UTF-8 text"),
    ],
)
def test_what_is_no_list_of_codes_is_refused(tmp_path: Path, data: bytes, says: str) -> None:
    file = tmp_path / "codes"
    file.write_bytes(data)
    with pytest.raises(Refused, match=says):
        list(codes_in(str(file)))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    for file in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(Refused, match="cannot be read"):
            list(codes_in(str(file)))
