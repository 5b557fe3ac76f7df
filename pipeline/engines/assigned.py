"""How every worker of a cluster is told of a job: as a plugin, which the scheduler hands on.

It gives it to those who are there and to whoever comes later, before any work; so what all letters
of a run have in common does not travel with each of them.
"""

from dataclasses import dataclass

from distributed import Worker, WorkerPlugin  # noqa: TID253 - imported by whoever uses a cluster

from pipeline.engines import lanes


@dataclass(frozen=True, kw_only=True)
class Assigned(WorkerPlugin):
    """Takes an assignment up on a worker, and lays it down when it or the worker ends."""

    assignment: lanes.Assignment

    def setup(self, worker: Worker) -> None:
        """On the worker: from now on it may be asked for letters."""
        lanes.take_up(self.assignment, str(worker.name))

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002 - as Dask calls it
        """On the worker: it will not be asked any more."""
        lanes.lay_down(self.assignment.key)
