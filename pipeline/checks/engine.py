"""Where letters are made if not here: the cluster's scheduler, its workers, what they make with."""

from pipeline import bootstrap
from pipeline.checks.found import Looking, fault, ok, warning
from pipeline.cluster import Cluster, Kit, Worker, connected, program_version, soon
from pipeline.convert import find_office
from pipeline.errors import LettersError, Misconfigured
from pipeline.settings import Settings

CHECK = "engine"
SECONDS = 30.0
"""How long a cluster may take to say what it has; a cold LibreOffice takes some of them."""
_CONNECT = 10.0
_START = "Start one on each machine, as docs/scaling.md says, or set engine.kind to local."


def engine(settings: Settings) -> Looking[None]:
    """Who would make the letters; nothing is found where they are made here."""
    if settings.engine.kind != "dask":
        return
    with connected(bootstrap.cluster(settings), seconds=_CONNECT) as cluster:
        workers = cluster.workers()
        place = f"The Dask scheduler at {settings.engine.address} can be reached"
        if not workers:
            yield warning(CHECK, f"{place}, and nobody works there.", _START)
            return
        kits = _kits(cluster, workers)
    told: dict[str, list[str]] = {}
    for one in workers:
        told.setdefault(kits.get(one.address, "no answer"), []).append(one.name)
    number = f"{len(workers):,} {'worker' if len(workers) == 1 else 'workers'}"
    threads = sum(one.threads for one in workers)
    found = f"{place}; it has {number}, which make {threads:,} letters at once"
    if list(told) == [str(Kit(program=program_version(), libreoffice=_libreoffice(told)))]:
        yield ok(CHECK, f"{found}, all with {next(iter(told))}.")
        return
    listed = "; ".join(f"{', '.join(names)} ({kit})" for kit, names in sorted(told.items()))
    yield fault(
        CHECK,
        f"{found}, and not all with the same: {listed}. This machine has letters "
        f"{program_version()}.",
        "Install the same on every machine and start its workers anew, or end those that differ.",
    )


def _libreoffice(told: dict[str, list[str]]) -> str:
    return next(iter(told)).rpartition(" ")[2]


def _kits(cluster: Cluster, workers: list[Worker]) -> dict[str, str]:
    """What each worker has, by its address; those that do not say are left out."""
    client = cluster.client
    asked = [
        client.submit(kit_here, workers=[one.address], key=f"kit-{number}-{client.id}", pure=False)
        for number, one in enumerate(workers)
    ]
    left = soon(SECONDS - _CONNECT)
    found = {}
    for one, future in zip(workers, asked, strict=True):

        async def told(future: object = future) -> str:
            return str(await client.gather(future))

        try:
            said = cluster.sync(told, left())
        except (ImportError, AttributeError):
            said = "another program"
        if said is not None:
            found[one.address] = said
        future.release()
    return found


def kit_here() -> str:
    """On a worker: what letters would be made with there."""
    try:
        return str(Kit(program=program_version(), libreoffice=find_office().version))
    except Misconfigured:
        return f"letters {program_version()} without LibreOffice"
    except LettersError as error:
        return type(error).__name__
