"""One letter replaced, as the operator does it."""

from pathlib import Path

import pypdfium2  # type: ignore[import-untyped]

from tests.acceptance.conftest import STEVENAGE
from tests.acceptance.site import Site


def test_a_letter_is_replaced_after_a_correction(prepared: Site, tmp_path: Path) -> None:
    prepared.letters("send", "2020")
    assert len(prepared.mail()) == 4
    folder = tmp_path / "fix"
    folder.mkdir()
    (folder / "decisions.csv").write_text(
        "case_reference,authority_code,received_on,decided_on,category,outcome,remedied_early\n"
        f"19 990 001,{STEVENAGE},2019-08-19,2020-01-28,Housing,not_upheld,0\n",
        "utf-8",
    )
    prepared.letters("import", str(folder))
    looked = prepared.letters("reissue", "stevenage", "--dry-run").stdout
    assert "complaints upheld, out of: 1 becomes 2" in looked
    refused = prepared.letters("reissue", "stevenage", "--reason", "x", expect=2).stderr
    assert "say --yes to replace it, or --dry-run to look" in " ".join(refused.split())
    done = prepared.json(
        "reissue", "stevenage", "--reason", "one was missed", "--dated", "2020-09-14", "--yes"
    )
    assert (done["made"]["revision"], done["made"]["approvals_wanted"]) == (2, 1)
    waits = prepared.letters("send", "2020", expect=1).stdout
    assert "1 more person must approve 1 letter before it is sent" in waits
    assert len(prepared.mail()) == 4
    prepared.letters("approve", "2020", "--authority", "stevenage", "--by", "Ann")
    prepared.letters("send", "2020")
    texts = []
    for message in [one.message for one in prepared.mail()]:
        body = message.get_body(("plain",))
        assert body is not None
        texts.append("This replaces our letter of 22 July 2020." in body.get_content())
    assert sorted(texts) == [False] * 4 + [True] * 2
    with pypdfium2.PdfDocument(prepared.archive / done["made"]["pdf"]) as document:
        text = document[0].get_textpage().get_text_bounded()
    assert "14 September 2020" in text
    assert "This replaces our letter of 22 July 2020." in text
    shown = " ".join(prepared.letters("show", "stevenage").stdout.split())
    assert "Revision 2 replaces revision 1 since" in shown
    assert "one was missed" in shown
    prepared.letters("verify", "2020")
    prepared.letters("check", "--ledger")
