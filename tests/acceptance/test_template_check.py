"""What whoever edits the letter in Word is told, on a screen of 80 columns and as JSON."""

import re
from pathlib import Path

from tests.acceptance.site import ROOT, Site
from tests.acceptance.terminal import Terminal
from tests.acceptance.test_bad_templates import BODY, CORE, PARTS, docx, ole, with_paragraph


def test_every_fault_is_told_with_its_place_and_what_to_do(tmp_path: Path) -> None:
    site = Site(tmp_path)
    assert "Letters can be made with it" in site.letters("template", "check").stdout

    many = "".join(
        f"<w:p><w:r><w:t>Paragraph {number} of {{{{ authorty }}}} and on it goes.</w:t></w:r></w:p>"
        for number in range(200)
    )
    title = PARTS[CORE].replace("{{ authority }}", "{{ autority }}")
    file = tmp_path / "many.docx"
    file.write_bytes(docx({BODY: with_paragraph(many), CORE: title}))
    found = site.json("template", "check", str(file), expect=1)
    assert (found["blocking"], found["advisory"], found["usable"]) == (201, 0, False)
    assert found["faults"][7] == {
        "kind": "unknown field",
        "blocking": True,
        "what": "There is no field authorty; did you mean authority?",
        "in_word": "Write {{ authority }}, or take the tag out.",
        "where": "Body, under “Complaint statistics”, 8th paragraph: "
        "“…7 of {{ authorty }} and on it…”",
        "part": "body",
        "name": "body",
        "page": None,
        "heading": "Complaint statistics",
        "paragraph": found["faults"][6]["paragraph"] + 1,
        "below": 8,
        "words": "…7 of {{ authorty }} and on it…",
    }
    with Terminal(site, "template", "check", str(file)) as terminal:
        shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.end(1)).splitlines()
    assert max(map(len, shown)) <= 80
    assert sum("no field authorty" in line for line in shown) == 200
    assert shown[-1].rstrip() == "No letter can go out with it: 201 things to mend first."

    for name, data, words in (
        ("old.doc", ole("WordDocument"), "old format (.doc)"),
        ("none.docx", None, "There is no file"),
    ):
        path = tmp_path / name
        if data is not None:
            path.write_bytes(data)
        done = site.letters("template", "check", str(path), expect=2)
        assert words in " ".join(done.stderr.split())
        assert done.stdout == ""

    templates = tmp_path / "templates"
    templates.mkdir()
    for name in ("letter.docx", "message.html"):
        (templates / name).write_bytes((ROOT / "templates" / name).read_bytes())
    text = (ROOT / "templates" / "message.txt").read_text("utf-8")
    (templates / "message.txt").write_text(f"{text}\n{{{{ salutaton }}}}\n", "utf-8")
    ours = {"LETTERS_TEMPLATE__PATH": str(templates / "letter.docx")}
    (one,) = site.json("template", "check", expect=1, env=ours)["faults"]
    assert one["part"] == "message"
    assert one["where"].startswith("message.txt, line ")
    assert one["what"] == "There is no field salutaton; did you mean salutation?"
