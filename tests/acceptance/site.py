"""A site of its own for a test: settings, database, archive and mail in a folder of the test's."""

import csv
import email
import email.policy
import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Self

from pipeline import home
from pipeline.database import Database
from pipeline.highwater import MarkFile
from tests.acceptance import loaded

ROOT = Path(__file__).resolve().parent.parent.parent
SAMPLE = ROOT / "sample"
LETTERS = loaded.LETTERS


@dataclass(frozen=True, slots=True)
class Site:
    """Runs the real command, as a user would, against its own folder."""

    folder: Path
    database: str = ""
    more: Mapping[str, str] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return {
            **loaded.environment(),
            "LETTERS_DATABASE__URL": self.database or f"sqlite:///{self.folder}/letters.db",
            "LETTERS_DATABASE__MARK": str(self.mark),
            "LETTERS_ARCHIVE__URL": str(self.archive),
            "LETTERS_MAIL__CAPTURE": str(self.maildir),
            # For a few letters, one LibreOffice is there sooner than two.
            "LETTERS_CONVERT__WORKERS": "1",
            **(self.more or {}),
        }

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def mark(self) -> Path:
        return self.folder / "high-water-mark"

    @property
    def maildir(self) -> Path:
        return self.folder / "captured"

    def confirmed(self) -> Self:
        """The same, after its keeper has said that this copy is the ledger to go on with."""
        ledger = Database(self.environment["LETTERS_DATABASE__URL"])
        home.confirm(
            ledger,
            MarkFile(self.mark),
            note="copied for a test",
            person="tester",
            hold=False,
            now=datetime.now(UTC),
        )
        ledger.close()
        return self

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start the command and leave it running, in a process group of its own."""
        return subprocess.Popen(
            [LETTERS, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,
        )

    def letters(
        self, *arguments: str, expect: int = 0, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end and hold it to its exit code."""
        done = loaded.run(arguments, {**self.environment, **(env or {})})
        assert done.returncode == expect, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str, expect: int = 0, env: Mapping[str, str] | None = None) -> Any:
        return json.loads(self.letters(*arguments, "--json", expect=expect, env=env).stdout)

    def mail(self) -> list["Captured"]:
        """Every captured message, in the order of the recipients."""
        found = []
        new = self.maildir / "new"
        for path in new.iterdir() if new.exists() else ():
            if path.name.startswith("."):  # a Maildir's own affair, no mail
                continue
            data = path.read_bytes()
            head, _, rest = data.partition(b"\r\n")
            assert head.startswith(b"Return-Path: "), head
            delivered, _, rest = rest.partition(b"\r\n")
            assert delivered.startswith(b"Delivered-To: "), delivered
            found.append(
                Captured(
                    sender=head.removeprefix(b"Return-Path: ").decode().strip("<>"),
                    recipient=delivered.removeprefix(b"Delivered-To: ").decode().strip("<>"),
                    data=rest,
                )
            )
        return sorted(found, key=lambda one: one.recipient)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """One captured message: its envelope, and its bytes as sent."""

    sender: str
    recipient: str
    data: bytes

    @property
    def message(self) -> EmailMessage:
        parsed = email.message_from_bytes(self.data, policy=email.policy.default)
        assert isinstance(parsed, EmailMessage)
        return parsed

    @property
    def pdf(self) -> bytes:
        [attached] = self.message.iter_attachments()
        assert attached.get_content_type() == "application/pdf"
        content = attached.get_content()
        assert isinstance(content, bytes)
        return content


Row = dict[str, str]


def read_sample(name: str) -> list[Row]:
    """The rows of one of the sample's files."""
    with (SAMPLE / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_folder(folder: Path, tables: Mapping[str, Sequence[Row]]) -> Path:
    """A folder of CSV files for `letters import`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        if not rows:
            continue
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return folder


def part_of_the_sample(
    folder: Path,
    codes: Sequence[str],
    change: Callable[[dict[str, list[Row]]], None] = lambda _tables: None,
) -> Path:
    """A folder with only some of the sample's authorities, changed as a test wants it."""
    tables = {
        name: [row for row in read_sample(name) if row.get(key, codes[0]) in codes]
        for name, key in (
            ("authorities", "code"),
            ("officers", "authority_code"),
            ("decisions", "authority_code"),
            ("compliance", "authority_code"),
            ("remarks", "authority_code"),
            ("editions", "none"),
        )
    }
    for row in tables["authorities"]:
        if row["successor_code"] not in codes:
            row["successor_code"] = ""
    change(tables)
    return write_folder(folder, tables)
