"""The private directory of one LibreOffice: its profile, its files, and what a kill leaves."""

import fcntl
import os
import shutil
import tempfile
from pathlib import Path
from xml.sax.saxutils import quoteattr

PREFIX = "letters-office-"

SETTINGS: dict[str, dict[str, bool | int | str]] = {
    "/org.openoffice.Office.Common/Security/Scripting": {
        "DisableActiveContent": True,
        "DisableMacrosExecution": True,
        "MacroSecurityLevel": 3,
        "BlockUntrustedRefererLinks": True,
    },
    "/org.openoffice.Office.Writer/Content/Update": {"Link": 0},  # never
    "/org.openoffice.Office.Calc/Content/Update": {"Link": 1},  # never
    # Whatever gets past the blocks above finds a proxy that is not there (port 9, discard).
    "/org.openoffice.Inet/Settings": {
        "ooInetProxyType": 2,
        "ooInetHTTPProxyName": "127.0.0.1",
        "ooInetHTTPProxyPort": 9,
        "ooInetHTTPSProxyName": "127.0.0.1",
        "ooInetHTTPSProxyPort": 9,
        "ooInetNoProxy": "",
    },
    "/org.openoffice.Office.Recovery/RecoveryInfo": {"Enabled": False},
    "/org.openoffice.Office.Recovery/AutoSave": {"Enabled": False},
    "/org.openoffice.Office.Common/Misc": {
        "FirstRun": False,
        "CrashReport": False,
        "ShowTipOfTheDay": False,
    },
    "/org.openoffice.Office.Common/History": {"PickListSize": 0},
    "/org.openoffice.Office.Java/VirtualMachine": {"Enable": False},
    "/org.openoffice.Setup/Office": {"ooSetupInstCompleted": True, "MigrationCompleted": True},
}


def registry() -> str:
    """Answer the settings as a profile's registrymodifications.xcu."""
    items = []
    for path, settings in SETTINGS.items():
        for name, value in settings.items():
            text = str(value).lower() if isinstance(value, bool) else str(value)
            items.append(
                f"<item oor:path={quoteattr(path)}><prop oor:name={quoteattr(name)}"
                f' oor:op="fuse"><value>{text}</value></prop></item>'
            )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<oor:items xmlns:oor="http://openoffice.org/2001/registry">\n'
        + "\n".join(items)
        + "\n</oor:items>\n"
    )


def own_directory(root: Path) -> tuple[Path, int]:
    """Make a directory in `root`; answer it and the descriptor of the lock that says it is in use.

    Raises OSError when there is no room or no right to.
    """
    # Locked under another name and then renamed, so that a sweep in another process never sees
    # it unlocked. The lock ends with its owner, also after kill -9, also in another container.
    new = Path(tempfile.mkdtemp(prefix="letters-new-", dir=root))
    lock = os.open(new / "owner", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return new.rename(root / (PREFIX + new.name.removeprefix("letters-new-"))), lock


def sweep(root: Path) -> None:
    """Remove the directories in `root` whose owners are dead; only this user's."""
    for directory in root.glob(PREFIX + "*"):
        try:
            if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
                continue
            lock = os.open(directory / "owner", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            remove(directory)  # an earlier sweep was cut short
            continue
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue  # its owner lives
        else:
            remove(directory)
        finally:
            os.close(lock)


def remove(directory: Path) -> None:
    """Remove a directory with all that its office left, there and elsewhere."""
    discard_office(directory)
    shutil.rmtree(directory, ignore_errors=True)


def discard_office(directory: Path) -> None:
    """Remove what a killed office left: its profile, its files, and its sockets in /tmp."""
    sockets = directory / "sockets"
    if sockets.is_file():
        for line in sockets.read_text(encoding="utf-8").splitlines():
            if Path(line).name.startswith("OSL_PIPE_"):
                Path(line).unlink(missing_ok=True)
    for path in directory.iterdir() if directory.is_dir() else ():
        if path.name == "owner":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
