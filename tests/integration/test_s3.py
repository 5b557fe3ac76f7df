"""The archive in a bucket: a real S3 server, and all that can go wrong on the way to it."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from pipeline import bootstrap
from pipeline.archive import PROBE, Account, Archive, Limits, letter_name
from pipeline.checks import keeping
from pipeline.checks.found import Check, Kind, guarded
from pipeline.errors import Misconfigured, Refused, Unavailable
from pipeline.settings import Settings, load
from tests import servers
from tests.postgres import free_port
from tests.relays import make_certificates
from tests.s3 import (
    KEYS,
    Fault,
    Store,
    Turn,
    Way,
    careless,
    dropped_after,
    dropped_before,
    passed,
    refused,
    running_s3,
    slow_down,
    spoilt,
    spoilt_down,
    spoilt_up,
    stalled,
    truncated,
    unconditional,
)

ROOT = Path(__file__).resolve().parent.parent.parent
DATA = b"%PDF-1.7 one letter" * 1000
HASH = hashlib.sha256(DATA).hexdigest()
NAME = letter_name(2020, "E07000243", "Stevenage Borough Council", HASH)
PREFIX = "of the/ombudsman"
KEY = f"{PREFIX}/{NAME}"
AT_ONCE = Limits(pause=0.001, tries=4)
IMPATIENT = Limits(connect=0.5, silence=0.3, attempt=0.5, tries=2, pause=0.001)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with running_s3() as running:
        yield running


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def kept(store: Store) -> Iterator[tuple[str, Way]]:
    """One bucket and one way to it: what it costs to begin anew would be most of each test."""
    with Way(store).open() as opened:
        yield store.make_bucket(), opened


@pytest.fixture
def way(kept: tuple[str, Way]) -> Iterator[Way]:
    _, opened = kept
    opened.faults.clear()
    opened.always = passed
    opened.asked.clear()
    yield opened
    assert "DELETE" not in opened.methods  # whatever went wrong, nothing is deleted


@pytest.fixture
def bucket(store: Store, kept: tuple[str, Way]) -> str:
    """An empty bucket."""
    name, _ = kept
    for key in store.keys(name):
        store.delete(name, key)
    return name


@pytest.fixture(scope="module")
def opened(kept: tuple[str, Way]) -> Archive:
    name, way = kept
    return by(way, name)


@pytest.fixture
def archive(bucket: str, way: Way, opened: Archive) -> Archive:  # noqa: ARG001 - which is emptied
    opened.require()  # whatever it remembers of a server in trouble is over
    way.asked.clear()
    return opened


def by(way: Way, bucket: str, limits: Limits = AT_ONCE) -> Archive:
    return Archive(f"s3://{bucket}/{PREFIX}", Account(endpoint=way.endpoint), limits)


def unsaid(error: BaseException) -> str:
    """What an error says; it has to be sentences, and nothing of the keys."""
    said = str(error)
    assert said.endswith(".")
    whole = "".join(traceback.format_exception_only(error))
    for secret in (*list(KEYS.values())[:2], "Signature", "Credential="):
        assert secret not in whole
    return said


# -------------------------------------------------------------------------------- put, get and list


def test_what_was_put_is_given_back_and_each_is_one_request(
    store: Store, bucket: str, way: Way, archive: Archive
) -> None:
    archive.put(NAME, DATA)
    assert archive.get(NAME, HASH.upper()) == DATA
    assert way.methods == ["PUT", "GET"]
    assert store.objects(bucket) == {KEY: DATA}
    assert archive.location(NAME) == f"s3://{bucket}/{KEY}"
    assert by(way, bucket).get(NAME, HASH) == DATA
    assert archive.exists(NAME)
    assert not archive.exists("2020/other.pdf")
    archive.put("empty", b"")
    assert archive.exists("empty")
    assert archive.get("empty", hashlib.sha256(b"").hexdigest()) == b""
    assert archive.beginning(NAME, 8) == b"%PDF-1.7"
    assert archive.beginning("empty", 8) == b""
    archive.require()


def test_the_same_file_again_is_left_alone_and_another_is_refused(
    store: Store, bucket: str, archive: Archive
) -> None:
    archive.put(NAME, DATA)
    archive.put(NAME, DATA)
    with pytest.raises(Refused, match=rf"another file as s3://{bucket}/{KEY} already"):
        archive.put(NAME, b"another")
    assert store.objects(bucket) == {KEY: DATA}


def test_without_a_prefix_names_are_keys(store: Store, bucket: str, way: Way) -> None:
    for url in (f"s3://{bucket}", f"s3://{bucket}/", f"s3a://{bucket}"):
        archive = Archive(url, Account(endpoint=way.endpoint), AT_ONCE)
        archive.put(NAME, DATA)
        assert archive.location(NAME) == f"s3://{bucket}/{NAME}"
        assert list(archive.names("2020")) == [NAME]
    assert store.objects(bucket) == {NAME: DATA}


def test_of_many_that_write_one_name_one_wins(store: Store, bucket: str, way: Way) -> None:
    writers, together = 6, threading.Barrier(6)
    archives = [by(way, bucket) for _ in range(2)]  # two processes would be no more apart

    def write(number: int) -> bool:
        together.wait()
        try:
            archives[number % 2].put(NAME, str(number).encode())
        except Refused:
            return False
        return True

    with ThreadPoolExecutor(writers) as pool:
        won = list(pool.map(write, range(writers)))
    assert won.count(True) == 1
    assert store.objects(bucket) == {KEY: str(won.index(True)).encode()}


def test_one_archive_serves_several_threads(store: Store, bucket: str) -> None:
    archive = Archive(f"s3://{bucket}", Account(endpoint=store.endpoint), AT_ONCE)

    def work(number: int) -> bytes:
        data = str(number).encode() * 1000
        archive.put(f"2020/{number}.pdf", data)
        return archive.get(f"2020/{number}.pdf", hashlib.sha256(data).hexdigest())

    with ThreadPoolExecutor(8) as pool:
        assert [data[:2] for data in pool.map(work, range(10, 50))] == [
            str(number).encode() for number in range(10, 50)
        ]
    assert len(store.keys(bucket)) == 40


def test_names_are_listed_page_by_page(
    store: Store, bucket: str, way: Way, archive: Archive
) -> None:
    wanted = [f"2020/{number:03}.pdf" for number in range(5)]
    wanted += ["2020/messages/a b&c+é.eml", "2020/z.pdf", "2021/a.pdf", "templates/a.docx"]
    for name in wanted:
        store.put(bucket, f"{PREFIX}/{name}", DATA)
    store.put(bucket, f"{PREFIX}/2020/", b"")  # as a console makes a folder
    store.put(bucket, f"{PREFIX}/{PROBE}", b"probe")
    store.put(bucket, f"{PREFIX} too/2020/a.pdf", DATA)  # somebody else's

    def three_a_page(turn: Turn) -> None:
        turn.path = turn.path.replace("max-keys=1000", "max-keys=3")
        turn.give(turn.forward())

    way.always = three_a_page
    assert list(archive.names()) == wanted
    pages = len(way.asked)
    assert pages == 4  # of three, eleven names
    assert list(archive.names("2020")) == wanted[:7]
    assert list(archive.names("20")) == list(archive.names("2022")) == []
    way.asked.clear()
    assert list(islice(archive.names(), 2)) == wanted[:2]  # and the console's folder
    assert len(way.asked) == 1  # what is not wanted yet is not asked for
    way.faults.extend([three_a_page, slow_down, dropped_before, truncated])
    assert list(archive.names()) == wanted


def test_a_listing_that_never_ends_is_ended(store: Store, bucket: str, way: Way) -> None:
    store.put(bucket, KEY, DATA)

    def more(turn: Turn) -> None:
        answer = turn.forward()
        body = answer.body.replace(b"<IsTruncated>false<", b"<IsTruncated>true<")
        assert body != answer.body
        turn.give(replace(answer, body=body))

    way.always = more
    listing = by(way, bucket).names()
    assert next(listing) == NAME
    with pytest.raises(Unavailable, match="cannot be listed to its end"):
        next(listing)


def test_what_is_not_there(store: Store, bucket: str, way: Way, archive: Archive) -> None:
    with pytest.raises(Unavailable, match=rf"has no file s3://{bucket}/{KEY}\. Put") as raised:
        archive.get(NAME, HASH)
    assert isinstance(raised.value.__cause__, FileNotFoundError)
    # A multipart upload that was begun and never ended is no object.
    begun = store.ask("POST", f"/{bucket}/{KEY.replace(' ', '%20')}?uploads")
    assert begun.status == 200
    assert not archive.exists(NAME)
    assert list(archive.names()) == []
    archive.put(NAME, DATA)
    assert archive.get(NAME, HASH) == DATA
    assert way.methods.count("PUT") == 1


# ----------------------------------------------------------------------- what goes wrong on the way


def test_a_put_whose_answer_was_lost_has_arrived(
    store: Store, bucket: str, way: Way, archive: Archive
) -> None:
    way.faults.append(dropped_after)
    archive.put(NAME, DATA)
    assert way.methods == ["PUT", "PUT", "GET"]
    assert store.objects(bucket) == {KEY: DATA}


def test_a_put_whose_answer_was_lost_and_whose_name_was_anothers(
    store: Store, bucket: str, way: Way, archive: Archive
) -> None:
    store.put(bucket, KEY, b"another's")
    way.faults.extend([dropped_after, dropped_after])
    with pytest.raises(Refused, match="another file as"):
        archive.put(NAME, DATA)
    assert store.objects(bucket) == {KEY: b"another's"}


@pytest.mark.parametrize(
    "fault",
    [
        dropped_before,
        slow_down,
        spoilt_up,
        refused(500, "InternalError"),
        refused(409, "ConditionalRequestConflict"),
        refused(400, "RequestTimeout"),
        refused(502, "Gateway"),
    ],
)
def test_what_passes_is_waited_for_when_putting(
    store: Store, bucket: str, way: Way, archive: Archive, fault: Fault
) -> None:
    way.faults.extend([fault] * 3)
    archive.put(NAME, DATA)
    assert way.methods == ["PUT"] * 4
    assert store.objects(bucket) == {KEY: DATA}


@pytest.mark.parametrize("fault", [dropped_before, dropped_after, truncated, slow_down])
def test_what_passes_is_waited_for_when_reading(
    store: Store, bucket: str, way: Way, archive: Archive, fault: Fault
) -> None:
    store.put(bucket, KEY, DATA)
    way.faults.extend([fault] * 3)
    assert archive.get(NAME, HASH) == DATA
    assert way.methods == ["GET"] * 4


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (dropped_before, r"the connection to the server broke \(.*Nothing is lost: run this again"),
        (slow_down, r"\(slow down\)\. Run this again later; fewer at once ask less"),
        (spoilt_up, r"what reached the server was not what was sent.*look at the network"),
        (refused(500, "InternalError"), r"the server has a fault of its own\. Nothing is lost"),
        (refused(507, "Odd", "No <b>"), r"the server answered Odd \(No"),
    ],
)
def test_what_does_not_pass_is_given_up_and_keeps_nothing(
    store: Store, bucket: str, way: Way, archive: Archive, fault: Fault, said: str
) -> None:
    way.always = fault
    with pytest.raises(Unavailable, match=rf"cannot keep s3://{bucket}/{KEY}: .*{said}") as raised:
        archive.put(NAME, DATA)
    unsaid(raised.value)
    assert {*way.methods} == {"PUT"}
    each = len(way.methods) // AT_ONCE.tries  # on a connection that broke, the library asks twice
    assert len(way.methods) == each * AT_ONCE.tries
    assert each <= 2
    assert store.objects(bucket) == {}
    # The next file is not waited for as long; and when all is well again, all is well.
    with pytest.raises(Unavailable):
        archive.put(NAME, DATA)
    assert len(way.methods) == each * AT_ONCE.tries + each
    way.always = passed
    archive.put(NAME, DATA)
    assert store.objects(bucket) == {KEY: DATA}


def test_an_answer_that_always_breaks_off(
    store: Store, bucket: str, way: Way, archive: Archive
) -> None:
    store.put(bucket, KEY, DATA)
    way.always = truncated
    with pytest.raises(Unavailable, match=rf"s3://{bucket}/{KEY} cannot be read: the ") as raised:
        archive.get(NAME, HASH)
    unsaid(raised.value)
    assert len(way.methods) == AT_ONCE.tries


def test_what_was_changed_on_its_way_is_not_called_altered(
    store: Store, bucket: str, way: Way, archive: Archive
) -> None:
    store.put(bucket, KEY, DATA)
    way.faults.append(spoilt_down)
    assert archive.get(NAME, HASH) == DATA
    store.put(bucket, KEY, spoilt(DATA))
    with pytest.raises(Unavailable, match=rf"s3://{bucket}/{KEY} is not the one") as raised:
        archive.get(NAME, HASH)
    assert raised.value.__cause__ is None  # as `letters verify` tells an altered file by


def test_a_server_that_never_answers_is_not_waited_for_for_ever(
    store: Store, bucket: str, way: Way
) -> None:
    way.always = stalled
    archive = by(way, bucket, IMPATIENT)
    asked: tuple[Callable[[], object], ...] = (
        partial(archive.put, NAME, DATA),
        partial(archive.get, NAME, HASH),
        partial(archive.exists, NAME),
        lambda: list(archive.names()),
        archive.require,
    )
    for number, ask in enumerate(asked, start=1):
        with pytest.raises(
            Unavailable,
            match=r"did not answer within 0\.3 seconds\. Check archive\.endpoint .*the network",
        ) as raised:
            ask()
        assert f"s3://{bucket}/" in unsaid(raised.value)
        # The first is tried again, and the others are not, as long as nothing is answered.
        assert len(way.methods) <= IMPATIENT.tries - 1 + number
    assert store.objects(bucket) == {}


def test_a_server_that_answers_without_an_end_is_not_waited_for_for_ever(
    store: Store, bucket: str, way: Way
) -> None:
    store.put(bucket, KEY, DATA)
    archive = by(way, bucket, replace(IMPATIENT, silence=60.0))

    def trickle(turn: Turn) -> None:
        turn.give(replace(turn.forward(), body=b"%"), length=len(DATA))
        stalled(turn)

    way.always = trickle
    with pytest.raises(Unavailable, match=r"did not answer within 0\.5 seconds"):
        archive.get(NAME, HASH)


# ----------------------------------------------------------------------- servers without conditions


def test_a_server_without_conditions_is_looked_at_first(
    store: Store, bucket: str, way: Way, archive: Archive
) -> None:
    way.always = unconditional
    archive.put(NAME, DATA)
    assert way.methods == ["PUT", "GET", "PUT"]
    archive.put(NAME, DATA)
    assert way.methods[3:] == ["GET"]
    with pytest.raises(Refused, match="another file as"):
        archive.put(NAME, b"another")
    way.faults.extend([unconditional, dropped_after])
    archive.put("2020/b.pdf", b"b")
    assert way.methods[-3:] == ["GET", "PUT", "PUT"]
    assert store.objects(bucket) == {KEY: DATA, f"{PREFIX}/2020/b.pdf": b"b"}


# ------------------------------------------------------------------------ what a person has to mend


@pytest.mark.parametrize(
    ("fault", "raises", "said"),
    [
        (refused(404, "NoSuchBucket"), Misconfigured, r"no such bucket\. Correct .* archive\.url"),
        (
            refused(403, "InvalidAccessKeyId", f"{KEYS['AWS_ACCESS_KEY_ID']} is unknown"),
            Misconfigured,
            r"does not know the access key\. .*give keys in AWS_ACCESS_KEY_ID",
        ),
        (
            refused(403, "SignatureDoesNotMatch", StringToSign="AWS4 Signature Credential="),
            Misconfigured,
            r"secret key does not belong to the access key\. .*give keys",
        ),
        (
            refused(400, "ExpiredToken", "The provided token has expired."),
            Unavailable,
            r"credentials have expired\. Get new ones",
        ),
        (refused(400, "InvalidToken"), Misconfigured, r"does not know the session's token"),
        (refused(403, "AccessDenied", "Access Denied"), Unavailable, r"not allowed\. Let these"),
        (
            refused(403, "AccessDenied", f"{KEYS['AWS_ACCESS_KEY_ID']} may not s3:PutObject"),
            Unavailable,
            r"not allowed \(\*\*\* may not s3:PutObject\)\. Let these credentials",
        ),
        (refused(403, "RequestTimeTooSkewed"), Unavailable, r"clock differs .*\. Set the clock"),
        (
            refused(400, "IllegalLocationConstraintException"),
            Misconfigured,
            r"in another region\. Set archive\.region \(or AWS_REGION\) to the bucket's own",
        ),
        (
            refused(400, "AuthorizationHeaderMalformed", Region="eu-west-9"),
            Misconfigured,
            r"in the region eu-west-9\. Set archive\.region \(or AWS_REGION\) to eu-west-9",
        ),
        (
            refused(301, "PermanentRedirect", Region="eu-west-9"),
            Misconfigured,
            r"in the region eu-west-9\. Set archive\.region \(or AWS_REGION\) to eu-west-9",
        ),
        (refused(507, "XMinioStorageFull"), Unavailable, r"no room left .*\. Make room at the"),
        (refused(418, "Teapot", "Tea?x=1"), Unavailable, r"answered Teapot \(Tea\?x=1\)\. Ask"),
    ],
)
def test_what_is_refused_says_what_is_wrong_and_is_not_tried_again(
    store: Store,
    bucket: str,
    way: Way,
    archive: Archive,
    fault: Fault,
    raises: type[Exception],
    said: str,
) -> None:
    way.always = fault
    place = f"s3://{bucket}/{PREFIX}"
    for ask, beginning in (
        (partial(archive.put, NAME, DATA), f"The archive cannot keep {place}/{NAME}: "),
        (partial(archive.get, NAME, HASH), f"The archive's file {place}/{NAME} cannot be read: "),
        (partial(archive.exists, NAME), f"The archive {place} cannot be looked at: "),
        (lambda: list(archive.names()), f"The archive {place} cannot be listed: "),
        (archive.require, f"The archive {place} cannot be listed: "),
    ):
        way.asked.clear()
        with pytest.raises(raises, match=rf"{beginning}.*{said}") as raised:
            ask()
        assert type(raised.value) is raises
        unsaid(raised.value)
        # Of another region the library itself makes sure.
        assert len(way.asked) == 1 or "region" in said
    assert store.objects(bucket) == {}


def test_a_bucket_that_is_not_there(way: Way) -> None:
    with pytest.raises(Misconfigured, match="there is no such bucket"):
        by(way, "letters-of-nobody").put(NAME, DATA)


def test_without_keys(bucket: str, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(Misconfigured, match=r"no keys to it, or only a half.*AWS_PROFILE"):
        by(way, bucket).put(NAME, DATA)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(Misconfigured, match=r"no keys to it, or only a half.*AWS_PROFILE"):
        by(way, bucket).put(NAME, DATA)
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(
        Misconfigured,
        match=r"archive\.profile \(or AWS_PROFILE\) names a profile that is not there",
    ):
        by(way, bucket).put(NAME, DATA)
    assert way.asked == []


def test_keys_and_server_from_a_profile(
    store: Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    (tmp_path / "config").write_text(
        "[profile letters]\nregion = eu-west-2\nservices = here\n"
        f"[services here]\ns3 =\n  endpoint_url = {store.endpoint}\n"
    )
    (tmp_path / "credentials").write_text(
        "[letters]\naws_access_key_id = a\naws_secret_access_key = b\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_PROFILE", "letters")
    Archive(f"s3://{bucket}").put(NAME, DATA)
    monkeypatch.delenv("AWS_PROFILE")
    Archive(f"s3://{bucket}", Account(profile="letters")).get(NAME, HASH)
    own = Account(endpoint=store.endpoint, access_key="a", secret_key=lambda: "b")
    assert Archive(f"s3://{bucket}", own).get(NAME, HASH) == DATA
    assert store.objects(bucket) == {NAME: DATA}


def test_a_server_that_is_not_there(bucket: str) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(
        Unavailable,
        match=rf"nothing answers at {nobody} \(Connection refused\)\. Check archive\.endpoint",
    ) as raised:
        Archive(f"s3://{bucket}", Account(endpoint=nobody), AT_ONCE).put(NAME, DATA)
    unsaid(raised.value)
    with pytest.raises(
        Misconfigured, match=r"server's URL is none\. Correct archive\.endpoint \(or"
    ):
        Archive(f"s3://{bucket}", Account(endpoint="nowhere"), AT_ONCE).put(NAME, DATA)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="NOT TESTED: TLS needs openssl")
def test_https_with_certificates_of_ones_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make_certificates(tmp_path)
    with running_s3(tmp_path / "trusted.pem", tmp_path / "trusted.key") as store:
        with pytest.raises(
            Misconfigured, match=rf"{store.endpoint} cannot be trusted \(.*AWS_CA_BUNDLE"
        ) as raised:
            Archive("s3://letters", Account(endpoint=store.endpoint), AT_ONCE).put(NAME, DATA)
        unsaid(raised.value)
        trusted = Account(endpoint=store.endpoint, ca_file=str(made.authority))
        with pytest.raises(Misconfigured, match="there is no such bucket"):
            Archive("s3://letters", trusted, AT_ONCE).put(NAME, DATA)
        nowhere = Account(endpoint=store.endpoint, ca_file="/nowhere/ca.pem")
        with pytest.raises(Misconfigured, match=r"no file /nowhere/ca\.pem with the certificates"):
            Archive("s3://letters", nowhere, AT_ONCE).put(NAME, DATA)
        monkeypatch.setenv("AWS_CA_BUNDLE", "/nowhere/ca.pem")
        with pytest.raises(Misconfigured, match="the certificates to trust cannot be read"):
            Archive("s3://letters", Account(endpoint=store.endpoint), AT_ONCE).put(NAME, DATA)


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///letters",
        "s3://le",
        "s3://me:swordfish@letters/x",
        "s3://letters/x?secret=swordfish",
        "s3://letters?secret=swordfish",
        "s3://letters/a//b",
        "s3://letters/../b",
    ],
)
def test_a_url_that_names_no_bucket(url: str) -> None:
    with pytest.raises(Misconfigured, match=r"Write s3://BUCKET or s3://BUCKET/PREFIX") as raised:
        Archive(url)
    assert "swordfish" not in str(raised.value)


# ----------------------------------------------------------------------------- a process of its own


def in_a_process(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script under a Python that complains of everything, also of what is left open."""
    return subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=servers.PATIENCE,
    )


def test_a_process_loads_s3_when_it_must_and_leaves_nothing_open(store: Store, bucket: str) -> None:
    done = in_a_process(
        """
import hashlib, logging, sys
from pipeline.archive import Account, Archive
archive = Archive(sys.argv[1], Account(endpoint=sys.argv[2]))
print(archive.location("a.pdf"), {"s3fs", "fsspec", "botocore", "aiohttp"} & {*sys.modules})
logging.getLogger("asyncio").setLevel(logging.ERROR)  # which finds a busy machine slow
archive.put("a.pdf", b"one")
assert archive.get("a.pdf", hashlib.sha256(b"one").hexdigest()) == b"one"
""",
        f"s3://{bucket}",
        store.endpoint,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"s3://{bucket}/a.pdf set()\n"
    assert store.objects(bucket) == {"a.pdf": b"one"}


def test_what_s3_needs_may_not_be_installed() -> None:
    done = in_a_process(
        """
import sys
sys.modules["s3fs"] = None
from pipeline.archive import Archive
from pipeline.errors import Misconfigured
try:
    Archive("s3://letters/x")
except Misconfigured as error:
    print(error)
"""
    )
    assert "The archive s3://letters/x is on S3" in done.stdout
    assert "pip install --require-hashes -r requirements-scale.txt" in done.stdout


# ------------------------------------------------------------------------------------ letters check


def looked(bucket: str, named: int = 0) -> list[Check]:
    settings = Settings()
    archived = settings.archive.model_copy(update={"url": f"s3://{bucket}/{PREFIX}"})
    settings = settings.model_copy(update={"archive": archived})
    return list(guarded("archive", partial(keeping.archive, settings, named)))


@pytest.fixture
def checked(way: Way, monkeypatch: pytest.MonkeyPatch) -> Way:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", way.endpoint)
    return way


def test_a_check_finds_a_bucket_well_and_leaves_one_named_object(
    store: Store, bucket: str, checked: Way
) -> None:
    for _ in range(2):
        [one] = looked(bucket)
        assert one.state is Kind.OK
        assert f"s3://{bucket}/{PREFIX}: an object was written and read back;" in one.found
        assert "a second of the same name was refused" in one.found
        assert list(store.objects(bucket)) == [f"{PREFIX}/{PROBE}"]
    assert len(checked.asked) < 10
    [gone] = looked(bucket, named=1000)
    assert gone.state is Kind.FAULT
    assert "There is nothing in" in gone.found
    assert "names 1,000 letters there" in gone.found
    store.put(bucket, KEY, DATA)
    assert [one.state for one in looked(bucket, named=1)] == [Kind.OK]
    store.put(bucket, f"{PREFIX}/{PROBE}", b"another's")
    [other] = looked(bucket)
    assert other.state is Kind.FAULT
    assert "did not give back what was written" in other.found


def test_a_check_tells_a_server_that_overwrites(bucket: str, checked: Way) -> None:
    checked.always = careless
    warned, well = looked(bucket)
    assert (warned.state, well.state) == (Kind.WARNING, Kind.OK)
    assert "does not refuse to overwrite" in warned.found
    assert "older versions" in warned.fix


def test_a_check_tells_what_is_not_allowed(bucket: str, checked: Way) -> None:
    denied = refused(403, "AccessDenied", "Access Denied")

    def no_listing(turn: Turn) -> None:
        if "list-type" in turn.path:
            denied(turn)
        else:
            passed(turn)

    checked.always = no_listing
    warned, well = looked(bucket)
    assert (warned.state, well.state) == (Kind.WARNING, Kind.OK)
    assert "cannot be listed: it is not allowed" in warned.found
    assert "Let these credentials list it" in warned.fix
    checked.always = denied
    [one] = looked(bucket)
    assert one.state is Kind.FAULT
    assert "cannot keep" in one.found
    assert "Let these credentials write it" in one.fix


def test_a_check_of_a_server_that_is_not_there(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:{free_port()}")
    [one] = looked(bucket)
    assert one.state is Kind.FAULT
    assert "nothing answers at" in one.found


def test_what_the_settings_say_of_a_bucket_is_used(
    store: Store, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_REGION"):
        monkeypatch.delenv(name)
    secret = tmp_path / "secret"
    secret.write_text("swordfish\n")
    config = tmp_path / "letters.toml"
    config.write_text(
        f'[archive]\nurl = "s3://{bucket}"\nendpoint = "{store.endpoint}"\n'
        f'region = "eu-west-2"\naccess_key = "me"\nsecret_key_file = "{secret}"\n'
    )
    bootstrap.open_archive(load(config)).put(NAME, DATA)
    assert store.objects(bucket) == {NAME: DATA}
    secret.unlink()
    with pytest.raises(Misconfigured, match=r"secret key file .*archive\.secret_key_file names"):
        bootstrap.open_archive(load(config)).put(NAME, DATA)
    config.write_text('[archive]\nendpoint = "http://minio.example"\naccess_key = "me"\n')
    with pytest.raises(
        Misconfigured, match=r"archive\.endpoint in .*must be a whole URL"
    ) as raised:
        load(config)
    assert "archive.access_key and archive.secret_key_file belong together" in str(raised.value)


def test_what_is_to_be_forgotten_is_deleted_and_nothing_else(
    archive: Archive, store: Store, way: Way, bucket: str
) -> None:
    other = letter_name(2020, "E07000103", "Watford Borough Council", HASH)
    archive.put(NAME, DATA)
    archive.put(other, DATA)
    gone = "2020/messages/never-there.eml"
    way.faults.append(refused(503, "SlowDown"))
    assert list(archive.remove([NAME, gone])) == [False, False]
    assert store.keys(bucket) == [f"{PREFIX}/{other}"]
    assert way.methods.count("DELETE") == 3
    for name in ("../x", "/x", "2020/../../x", ""):
        with pytest.raises(Refused, match="nothing outside it is removed"):
            list(archive.remove([name]))
    way.faults.append(refused(403, "AccessDenied", "Access Denied"))
    with pytest.raises(Unavailable) as error:
        list(archive.remove([other]))
    assert "cannot be removed: it is not allowed. Let these credentials delete it" in unsaid(
        error.value
    )
    assert store.keys(bucket) == [f"{PREFIX}/{other}"]
    way.asked.clear()


def test_a_bucket_that_keeps_versions_says_so_of_what_is_deleted(store: Store, way: Way) -> None:
    bucket = store.make_bucket()
    enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert store.ask("PUT", f"/{bucket}?versioning", enabled.encode()).status < 300
    archive = by(way, bucket)
    archive.put(NAME, DATA)
    assert list(archive.remove([NAME])) == [True]
    assert not archive.exists(NAME)
    way.asked.clear()
