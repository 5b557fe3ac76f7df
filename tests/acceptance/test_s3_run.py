"""A year taken all the way with its archive in a bucket, through the real command."""

import hashlib
from pathlib import Path

from tests.acceptance.site import Site, part_of_the_sample
from tests.s3 import KEYS, running_s3, spoilt

STEVENAGE, WATFORD = "E07000243", "E07000103"


def test_a_year_whose_archive_is_in_a_bucket(tmp_path: Path) -> None:
    with running_s3() as store:
        bucket = store.make_bucket()
        place = f"s3://{bucket}/letters"
        there = {**KEYS, "AWS_ENDPOINT_URL_S3": store.endpoint, "LETTERS_ARCHIVE__URL": place}
        site = Site(tmp_path / "site", more=there)
        site.folder.mkdir()
        data = part_of_the_sample(tmp_path / "data", [STEVENAGE, WATFORD])
        site.letters("import", str(data))
        assert f"Letters  {place}/2020" in site.letters("run", "2020").stdout
        assert not site.archive.exists()

        kept = store.objects(bucket)
        pdfs = {
            code: key
            for code in (STEVENAGE, WATFORD)
            for key in kept
            if key.startswith(f"letters/2020/{code}-") and key.endswith(".pdf")
        }
        assert {kept[key] for key in pdfs.values()} == {mail.pdf for mail in site.mail()}
        for key, content in kept.items():  # a hash in each name, and it is the content's
            assert hashlib.sha256(content).hexdigest()[:12] in key
        facts = site.json("verify")
        assert {kind: counts["sound"] for kind, counts in facts["counts"].items()} == {
            "letter": 2,
            "message": 2,
            "enclosure": 0,
            "template": 1,
            "returned mail": 0,
        }
        assert (facts["problems"], facts["unknown"], facts["unnamed"]) == ([], [], [])
        site.letters("letter", WATFORD, "--out", str(tmp_path / "copy.pdf"))
        assert (tmp_path / "copy.pdf").read_bytes() == kept[pdfs[WATFORD]]

        store.put(bucket, pdfs[STEVENAGE], spoilt(kept[pdfs[STEVENAGE]]))
        store.delete(bucket, pdfs[WATFORD])
        store.put(bucket, "letters/2020/stray.pdf", b"nobody's")
        before = store.objects(bucket)
        facts = site.json("verify", expect=1)
        assert [
            (each["kind"], each["condition"], each["authority"], each["place"])
            for each in facts["problems"]
        ] == [
            ("letter", "missing", WATFORD, f"s3://{bucket}/{pdfs[WATFORD]}"),
            ("letter", "altered", STEVENAGE, f"s3://{bucket}/{pdfs[STEVENAGE]}"),
        ]
        assert facts["unnamed"] == [f"{place}/2020/stray.pdf"]
        lost = site.letters("letter", WATFORD, expect=69).stderr
        assert f"The archive has no file s3://{bucket}/{pdfs[WATFORD]}" in " ".join(lost.split())
        assert store.objects(bucket) == before
    # The server has gone; what does not need it goes on, and what does says so.
    assert site.json("status", "2020")["year"] == 2020
    away = site.letters("check", "--quick", "--json", expect=1)
    assert "nothing answers at" in away.stdout
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in away.stdout
