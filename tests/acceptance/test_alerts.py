"""`letters alerts`, and who is told: the real command, with mail that is kept on this machine."""

from datetime import timedelta
from pathlib import Path

from tests.acceptance.site import Site
from tests.acceptance.test_schedule import imported

HOUR = timedelta(hours=1)
OPS = "ops@office.example"


def test_who_looks_after_the_letters_is_told_once_and_when_it_is_over(tmp_path: Path) -> None:
    site = Site(
        tmp_path / "site",
        more={"LETTERS_APPROVAL__PEOPLE": "2", "LETTERS_ALERTS__TO": f"Operators <{OPS}>"},
    )
    imported(site, tmp_path, dispatch=23 * HOUR)
    made, first = site.letters("tick", expect=1).stdout.splitlines()
    assert made == "2 letters of 2020 made."
    assert "2 more people must approve them first. When you have looked at them: letters" in first
    assert site.letters("tick").stdout == "", "said once"
    told = site.letters("alerts", expect=1).stdout
    assert told.startswith("1. The letters of 2020 are due to be sent on ")
    assert "   When you have looked at them: letters approve 2020\n" in told
    assert "; mailed on " in told
    [mail] = site.mail()
    assert (mail.recipient, mail.sender) == (OPS, "annual.letters@ombudsman.example")
    assert mail.message["Subject"] == "[letters] The letters of 2020 wait for approval"
    assert mail.message["Auto-Submitted"] == "auto-generated"

    imported(site, tmp_path, dispatch=9 * 24 * HOUR)  # put off
    facts = site.json("tick")
    assert (facts["alerts"]["raised"], facts["needs_a_person"]) == ([], False)
    assert [one["cause"] for one in facts["alerts"]["cleared"]] == ["approval:2020"]
    assert site.letters("alerts").stdout == "Nothing needs a person.\n"
    assert len(site.mail()) == 2
    everything = site.json("alerts", "--all")
    assert everything["open"] == everything["open_in_other_modes"] == []
    [over] = everything["over"]
    assert (over["kind"], over["year"], over["mode"]) == ("approval", 2020, "capture")
    assert over["raised_at"] <= over["mailed_at"] <= over["cleared_mailed_at"]
    assert "The letters of 2020 wait for approval" in site.letters("alerts", "--all").stdout
